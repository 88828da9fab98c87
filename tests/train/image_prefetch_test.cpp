// Pictures decoded ahead: order and bits for any number of threads, errors in their turn, a clean stop.
// sanitize: yes
// thread: yes
// with: files
#include <doctest/doctest.h>

#include <polymoe/train/image_prefetch.hpp>
#include <polymoe/train/png.hpp>

#include "train/temp_folder.hpp"

#if defined(POLYMOE_WITH_PNG) && defined(POLYMOE_WITH_JPEG)

namespace polymoe::inline v0 {
namespace {

/// `n` pictures of 6 x 7 pixels and three classes; those in `bad` are no pictures.
image_list prefetch_list(const temp_folder& folder, int n, const std::vector<int>& bad = {}) {
  image_list list;
  list.class_names = {"a", "b", "c"};
  for (int i = 0; i < n; ++i) {
    std::vector<std::uint8_t> pixels(6 * 7 * 3);
    for (std::size_t k = 0; k < pixels.size(); ++k) pixels[k] = static_cast<std::uint8_t>(31 * i + static_cast<int>(k));
    const std::string name = "picture-" + std::to_string(i) + ".png";
    const bool broken = std::find(bad.begin(), bad.end(), i) != bad.end();
    folder.put(name, broken ? "broken" : encode_png(pixels, 6, 7, 3));
    list.paths.push_back(folder.file(name)), list.labels.push_back(i % 3);
  }
  return list;
}
image_prefetch_options prefetch_options(int threads, index ahead, bool skip = false) {
  image_prefetch_options o;
  o.read.height = 4, o.read.width = 5, o.read.shorter_side = 0, o.read.threads = threads, o.read.skip_bad = skip;
  o.ahead = ahead;
  return o;
}
std::vector<index> prefetch_order(index n) {
  std::vector<index> order;
  for (index i = 0; i < 2 * n; ++i) order.push_back(i * 7 % n);  // every picture twice, in a mixed order
  return order;
}

}  // namespace

TEST_CASE("prefetch: the pictures of read_images in the order asked for, for any number of threads and places") {
  const temp_folder folder;
  const image_list list = prefetch_list(folder, 30);
  const dataset want = read_images(list, prefetch_options(1, 1).read).data;
  const std::vector<index> order = prefetch_order(30);
  for (const int threads : {1, 2, 3, 8})
    for (const index ahead : {1, 2, 5, 1000}) {
      CAPTURE(threads);
      CAPTURE(ahead);
      image_prefetch all(list, order, prefetch_options(threads, ahead));
      REQUIRE(all.features() == 60);
      std::vector<std::uint8_t> pixels(60);
      std::int32_t label = -1;
      for (const index i : order) {
        REQUIRE(all.next(pixels, label));
        REQUIRE(label == i % 3);
        REQUIRE(std::equal(pixels.begin(), pixels.end(), want.image(i).begin()));
      }
      CHECK_FALSE(all.next(pixels, label));
      CHECK_FALSE(all.next(pixels, label));
    }
  image_prefetch none(list, {}, prefetch_options(2, 4));
  std::vector<std::uint8_t> pixels(60);
  std::int32_t label = 0;
  CHECK_FALSE(none.next(pixels, label));
}

TEST_CASE("prefetch: an error comes with its file when its turn comes, pictures after it are still there") {
  const temp_folder folder;
  const image_list list = prefetch_list(folder, 12, {3, 4, 9});
  std::vector<index> order(12);
  for (std::size_t i = 0; i < 12; ++i) order[i] = static_cast<index>(i);
  std::vector<std::uint8_t> pixels(60);
  std::int32_t label = 0;
  for (const int threads : {1, 4}) {
    image_prefetch all(list, order, prefetch_options(threads, 3));
    for (index i = 0; i < 12; ++i) {
      if (i == 3 || i == 4 || i == 9) {
        CHECK(message_of<error>([&] { all.next(pixels, label); }) ==
              folder.file("picture-" + std::to_string(i) + ".png") + ": neither a PNG nor a JPEG file (6 bytes)");
      } else {
        REQUIRE(all.next(pixels, label));
        CHECK(label == i % 3);
      }
    }
    CHECK_FALSE(all.next(pixels, label));
    image_prefetch some(list, order, prefetch_options(threads, 3, true));
    index seen = 0;
    while (some.next(pixels, label)) ++seen;
    CHECK(seen == 9);
    REQUIRE(some.skipped().size() == 3);
    CHECK(some.skipped()[2].path == list.paths[9]);
  }
}

TEST_CASE("prefetch: it stops wherever it is, and refuses orders and sizes that do not fit") {
  const temp_folder folder;
  const image_list list = prefetch_list(folder, 10);
  const std::vector<index> order = prefetch_order(10);
  std::vector<std::uint8_t> pixels(60);
  std::int32_t label = 0;
  for (int taken = 0; taken <= 20; ++taken) {  // threads wait for room, decode, or are done
    image_prefetch all(list, order, prefetch_options(3, 2));
    for (int i = 0; i < taken; ++i) REQUIRE(all.next(pixels, label));
  }
  const auto refused = [&](std::vector<index> which, const image_prefetch_options& o) {
    return message_of<error>([&] { image_prefetch(list, which, o); });
  };
  CHECK(has(refused({0, 10}, prefetch_options(1, 1)), "place 1 of the order names picture 10 of 10"));
  CHECK(has(refused({0}, prefetch_options(1, 0)), "ahead is 0"));
  CHECK(has(refused({0}, prefetch_options(0, 1)), "0 threads"));
  image_prefetch all(list, order, prefetch_options(1, 1));
  std::vector<std::uint8_t> small(59);
  CHECK(has(message_of<error>([&] { all.next(small, label); }), "room for 59 values, a picture has 60"));
}

TEST_CASE("open_images: the data set of read_images without its pixels in memory; bad pictures are named once") {
  const temp_folder folder;
  read_images_options o = prefetch_options(3, 1).read;
  const image_list list = prefetch_list(folder, 12);
  read_images_result want = read_images(list, o);
  want.data.measure();
  std::vector<index> told;
  const read_images_result all = open_images(list, o, [&](index done, index of) { told.push_back(done + 100 * of); });
  CHECK(told == std::vector<index>{1212});
  const auto same = [](const dataset& a, const dataset& b) {
    a.check();
    CHECK(a.pixels.empty());
    CHECK(a.labels == b.labels);
    CHECK(a.class_names == b.class_names);
    CHECK(a.mean == b.mean);
    CHECK(a.stddev == b.stddev);
    std::vector<std::uint8_t> pixels(60);
    for (index i = 0; i < b.size(); ++i) {
      a.copy_image(i, pixels);
      CHECK(std::equal(pixels.begin(), pixels.end(), b.image(i).begin()));
    }
  };
  same(all.data, want.data);
  const std::vector<index> which{7, 0, 7};
  same(all.data.subset(which), want.data.subset(which));

  const image_list damaged = prefetch_list(folder, 12, {0, 5, 6, 11});
  CHECK(has(message_of<error>([&] { open_images(damaged, o); }), "picture-0.png: neither a PNG nor a JPEG"));
  o.skip_bad = true;
  want = read_images(damaged, o);
  want.data.measure();
  const read_images_result some = open_images(damaged, o);
  REQUIRE(some.skipped.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) CHECK(some.skipped[i].path == want.skipped[i].path);
  same(some.data, want.data);
  CHECK(has(message_of<error>([&] {
              open_images(prefetch_list(folder, 2, {0, 1}), o);
            }),
            "none of 2 pictures can be read"));
  // A picture that goes bad later is an error, whatever skip_bad says: labels and order count on it.
  const read_images_result later = open_images(prefetch_list(folder, 4), o);
  folder.put("picture-2.png", "broken");
  const auto queue = later.data.store->queue({1, 2, 3}, 2);
  std::vector<std::uint8_t> pixels(60);
  std::int32_t label = 0;
  CHECK(queue->next(pixels, label));
  CHECK(has(message_of<error>([&] { queue->next(pixels, label); }), "picture-2.png"));
  CHECK(has(message_of<error>([&] { later.data.copy_image(2, pixels); }), "picture-2.png"));
}

}  // namespace polymoe

#endif
