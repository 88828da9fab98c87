// sanitize: yes
// Orders, augmentation and normalisation against naive references.
// thread: yes
// with: files
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <set>

#include <polymoe/train/loader.hpp>

#include "memory_store.hpp"
#include "temp_folder.hpp"

namespace polymoe::inline v0 {

namespace {

dataset pictures(index n, index c, index h, index w) {
  dataset d;
  d.channels = c, d.height = h, d.width = w;
  for (index i = 0; i < n; ++i) {
    d.labels.push_back(static_cast<std::int32_t>(i % 3));
    for (index k = 0; k < d.features(); ++k)
      d.pixels.push_back(
          static_cast<std::uint8_t>(random_stream{7, 0}.bits(static_cast<std::uint64_t>(i * 4096 + k)).a >> 24));
  }
  d.class_names = {"a", "b", "c"};
  d.measure();
  return d;
}

std::vector<index> order_of(index n, std::uint64_t seed, std::uint64_t epoch) {
  std::vector<index> order(static_cast<std::size_t>(n));
  std::vector<std::pair<std::uint64_t, index>> keys;
  random_order(order, random_root{seed}.stream(stream_id("train.shuffle"), epoch), keys);
  return order;
}

bool bijection(const std::vector<index>& order) {
  std::vector<char> seen(order.size(), 0);
  for (const index i : order) {
    if (i < 0 || i >= static_cast<index>(order.size()) || seen[static_cast<std::size_t>(i)]) return false;
    seen[static_cast<std::size_t>(i)] = 1;
  }
  return true;
}

using stream = backend::cpu_with<int>::stream;

}  // namespace

TEST_CASE("loader: an order is a bijection, new every epoch, the same for the same seed") {
  for (index n = 1; n <= 200; ++n) REQUIRE(bijection(order_of(n, 1, 0)));
  const auto big = order_of(60000, 1, 0);
  CHECK(bijection(big));
  CHECK(big == order_of(60000, 1, 0));
  CHECK(big != order_of(60000, 1, 1));
  CHECK(big != order_of(60000, 2, 0));
  index fixed = 0;
  for (std::size_t i = 0; i < big.size(); ++i) fixed += big[i] == static_cast<index>(i);
  CHECK(fixed < 10);  // Poisson of mean 1: 10 or more has a chance of 1e-7
}

TEST_CASE("loader: all 24 orders of four images are equally likely") {
  std::vector<int> count(256, 0);
  const int epochs = 24000;
  for (int e = 0; e < epochs; ++e) {
    const auto o = order_of(4, 5, static_cast<std::uint64_t>(e));
    ++count[static_cast<std::size_t>(o[0] * 64 + o[1] * 16 + o[2] * 4 + o[3])];
  }
  double chi2 = 0;
  int orders = 0;
  for (const int c : count)
    if (c > 0) ++orders, chi2 += (c - 1000.0) * (c - 1000.0) / 1000.0;
  CHECK(orders == 24);
  CHECK(chi2 < 60);  // 23 degrees of freedom: 60 has a chance of 4e-5
}

TEST_CASE("loader: batches cover every image once, the last one may be short") {
  const auto d = pictures(23, 1, 5, 5);
  for (const bool drop : {false, true}) {
    loader<float> l(d, {.batch = 5, .shuffle = true, .drop_last = drop, .seed = 3});
    l.begin_epoch(4);
    CHECK(l.batches() == (drop ? 4 : 5));
    std::set<index> seen;
    for (index b = 0; b < l.batches(); ++b) {
      CHECK(l.images(b).size() == (b == 4 ? 3 : 5));
      for (const index i : l.images(b)) CHECK(seen.insert(i).second);
    }
    CHECK(seen.size() == (drop ? 20 : 23));
    CHECK(has(message_of<polymoe::error>([&] { l.images(l.batches()); }), "of " + std::to_string(l.batches())));
  }
  loader<float> plain(d, {.batch = 30});
  for (index i = 0; i < 23; ++i) CHECK(plain.images(0)[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("loader: pixels are (p/255 - mean)/stddev, in float, double and bf16") {
  const auto d = pictures(4, 3, 6, 7);
  std::vector<std::int32_t> labels(4);
  const auto check = [&]<class T>(T, double tolerance) {
    loader<T> l(d, {.batch = 4});
    std::vector<T> x(static_cast<std::size_t>(4 * 128), static_cast<T>(compute_t<T>(-7)));
    const view<T> v(x.data(), 4, d.features(), 128);
    CHECK(l.fill(stream{}, 0, v, labels) == 4);
    for (index i = 0; i < 4; ++i) {
      CHECK(labels[static_cast<std::size_t>(i)] == d.labels[static_cast<std::size_t>(i)]);
      for (index k = 0; k < d.features(); ++k) {
        const auto c = static_cast<std::size_t>(k / 42);
        const double want = (d.image(i)[static_cast<std::size_t>(k)] / 255.0 - d.mean[c]) / d.stddev[c];
        REQUIRE(std::fabs(static_cast<double>(v.get(i, k)) - want) <= tolerance * (1 + std::fabs(want)));
      }
      for (index k = d.features(); k < 128; ++k)
        REQUIRE(static_cast<double>(static_cast<compute_t<T>>(v.row(i)[k])) == -7.0);
    }
  };
  check(double{}, 1e-12);
  check(float{}, 1e-7);
  check(bf16{}, 4e-3);
}

TEST_CASE("loader: measured statistics make channels of mean 0 and deviation 1") {
  const auto d = pictures(50, 3, 8, 8);
  loader<double> l(d, {.batch = 50});
  std::vector<double> x(static_cast<std::size_t>(50 * d.features()));
  std::vector<std::int32_t> labels(50);
  l.fill(stream{}, 0, view<double>(x.data(), 50, d.features()), labels);
  for (index c = 0; c < 3; ++c) {
    double sum = 0, squares = 0;
    for (index i = 0; i < 50; ++i)
      for (index k = 0; k < 64; ++k) {
        const double v = x[static_cast<std::size_t>(i * 192 + c * 64 + k)];
        sum += v, squares += v * v;
      }
    CHECK(std::fabs(sum / 3200) < 1e-6);
    CHECK(squares / 3200 == doctest::Approx(1).epsilon(1e-6));
  }
}

TEST_CASE("loader: augmentation is pixel-exact against a padded copy that is cropped, then mirrored, then cut") {
  const index H = 7, W = 9, C = 2, n = 40;
  const auto d = pictures(n, C, H, W);
  for (const border outside : {border::zero, border::reflect})
    for (const flip mirror : {flip::none, flip::random, flip::alternating})
      for (const index pad : {0, 1, 3, 6})
        for (const index cutout : {0, 1, 4, 30}) {
          const augment_options o{.pad = pad, .outside = outside, .mirror = mirror, .cutout = cutout};
          loader<double> l(d, {.batch = n, .augment = o, .seed = 11});
          const std::uint64_t epoch = 5;
          l.begin_epoch(epoch);
          std::vector<double> x(static_cast<std::size_t>(n * d.features()));
          std::vector<std::int32_t> labels(static_cast<std::size_t>(n));
          l.fill(stream{}, 0, view<double>(x.data(), n, d.features()), labels);
          for (index i = 0; i < n; ++i) {
            const auto a = augmentation::draw(o, {11}, epoch, i, H, W);
            REQUIRE((a.dy >= -pad && a.dy <= pad && a.dx >= -pad && a.dx <= pad));
            for (index c = 0; c < C; ++c) {
              // The padded picture, as one would draw it on paper.
              const index PH = H + 2 * pad, PW = W + 2 * pad;
              std::vector<int> padded(static_cast<std::size_t>(PH * PW), 0);
              for (index y = 0; y < PH; ++y)
                for (index z = 0; z < PW; ++z) {
                  index sy = y - pad, sz = z - pad;
                  if (outside == border::reflect) {
                    if (sy < 0) sy = -sy;
                    if (sy > H - 1) sy = H - 1 - (sy - (H - 1));
                    if (sz < 0) sz = -sz;
                    if (sz > W - 1) sz = W - 1 - (sz - (W - 1));
                  }
                  if (sy >= 0 && sy < H && sz >= 0 && sz < W)
                    padded[static_cast<std::size_t>(y * PW + z)] =
                        d.image(i)[static_cast<std::size_t>((c * H + sy) * W + sz)];
                }
              for (index y = 0; y < H; ++y)
                for (index z = 0; z < W; ++z) {
                  const index from = a.mirrored ? W - 1 - z : z;
                  const int p = padded[static_cast<std::size_t>((y + pad + a.dy) * PW + from + pad + a.dx)];
                  const auto k = static_cast<std::size_t>(c);
                  double want = (p / 255.0 - d.mean[k]) * (1.0 / d.stddev[k]);
                  if (a.cut(y, z)) want = 0;
                  REQUIRE(x[static_cast<std::size_t>(i * d.features() + (c * H + y) * W + z)] == want);
                }
            }
          }
        }
}

TEST_CASE("augmentation: shifts are uniform, coins fair, the alternating mirror alternates, the cut-out has its area") {
  const augment_options o{.pad = 2, .mirror = flip::random, .cutout = 8};
  std::vector<int> dy(5, 0), dx(5, 0), both(50, 0);
  int mirrored = 0;
  const int n = 50000;
  for (int i = 0; i < n; ++i) {
    const auto a = augmentation::draw(o, {1}, 3, i, 32, 32);
    ++dy[static_cast<std::size_t>(a.dy + 2)], ++dx[static_cast<std::size_t>(a.dx + 2)];
    ++both[static_cast<std::size_t>(((a.dy + 2) * 5 + a.dx + 2) * 2 + a.mirrored)];
    mirrored += a.mirrored;
    REQUIRE((a.top >= 0 && a.left >= 0 && a.bottom <= 32 && a.right <= 32));
    REQUIRE((a.bottom - a.top >= 4 && a.bottom - a.top <= 8 && a.right - a.left >= 4 && a.right - a.left <= 8));
  }
  for (int k = 0; k < 5; ++k) {
    CHECK(std::abs(dy[static_cast<std::size_t>(k)] - n / 5) < 450);  // five standard deviations
    CHECK(std::abs(dx[static_cast<std::size_t>(k)] - n / 5) < 450);
  }
  CHECK(std::abs(mirrored - n / 2) < 560);
  for (const int k : both) CHECK(std::abs(k - n / 50) < 160);  // and they do not depend on each other

  const augment_options alternating{.mirror = flip::alternating};
  int first = 0;
  for (int i = 0; i < 1000; ++i) {
    const bool even = augmentation::draw(alternating, {1}, 0, i, 32, 32).mirrored;
    first += even;
    for (std::uint64_t e = 1; e < 6; ++e)
      REQUIRE(augmentation::draw(alternating, {1}, e, i, 32, 32).mirrored == (even != (e % 2 == 1)));
  }
  CHECK(std::abs(first - 500) < 80);
}

TEST_CASE("loader: the same bits for 1, 2 and 3 threads and for any batch size") {
  const auto d = pictures(101, 3, 8, 8);
  const loader_options o{
      .batch = 101, .shuffle = true, .augment = {.pad = 2, .mirror = flip::random, .cutout = 3}, .seed = 9};
  loader<float> l(d, o);
  l.begin_epoch(2);
  std::vector<float> one(static_cast<std::size_t>(101 * d.features())), other(one.size());
  std::vector<std::int32_t> y(101), z(101);
  l.fill(stream{}, 0, view<float>(one.data(), 101, d.features()), y);
  for (const int threads : {2, 3}) {
    l.fill(stream{.threads = threads}, 0, view<float>(other.data(), 101, d.features()), z);
    CHECK(one == other);
    CHECK(y == z);
  }
  auto small = o;
  small.batch = 7;
  loader<float> s(d, small);
  s.begin_epoch(2);
  std::fill(other.begin(), other.end(), 0.0f);
  for (index b = 0; b < s.batches(); ++b) {
    const view<float> rows(other.data() + b * 7 * d.features(), std::min<index>(7, 101 - b * 7), d.features());
    s.fill(stream{}, b, rows, std::span(z).subspan(static_cast<std::size_t>(b * 7)));
  }
  CHECK(one == other);
  CHECK(y == z);
  s.begin_epoch(3);
  CHECK(s.images(0)[0] + s.images(0)[1] * 1000 + s.images(0)[2] * 1000000 !=
        l.images(0)[0] + l.images(0)[1] * 1000 + l.images(0)[2] * 1000000);
}

TEST_CASE("loader: what does not fit is refused") {
  auto d = pictures(4, 1, 6, 5);
  const auto made = [&](loader_options o) { return message_of<polymoe::error>([&] { loader<float>(d, o); }); };
  CHECK(made({}).empty());
  CHECK(has(made({.batch = 0}), "0 images"));
  CHECK(has(made({.augment = {.pad = 5}}), "pad 5, the images are 6x5"));
  CHECK(has(made({.augment = {.pad = -1}}), "pad -1"));
  loader<float> l(d, {.batch = 4});
  std::vector<float> x(4 * 30);
  std::vector<std::int32_t> y(4);
  CHECK(has(message_of<polymoe::error>([&] { l.fill(stream{}, 0, view<float>(x.data(), 4, 29), y); }), "[4, 29]"));
  CHECK(has(message_of<polymoe::error>([&] { l.fill(stream{}, 0, view<float>(x.data(), 3, 30), y); }), "[3, 30]"));
  CHECK(
      has(message_of<polymoe::error>([&] { l.fill(stream{}, 0, view<float>(x.data(), 4, 30), std::span(y).first(3)); }),
          "room for 3 labels"));
  d.mean.clear();
  CHECK(has(made({}), "call dataset::measure()"));
  d.measure();
  d.labels[2] = 3;
  CHECK(has(made({}), "the label of image 2 is 3, there are 3 classes"));
  d.labels.pop_back();
  CHECK(has(made({}), "120 pixels for 3 labels"));
  d = pictures(2, 1, 2, 2);
  d.pixels.assign(8, 17);  // a constant channel: zeros, not infinities
  d.measure();
  loader<float> constant(d, {.batch = 2});
  constant.fill(stream{}, 0, view<float>(x.data(), 2, 4), y);
  for (int k = 0; k < 8; ++k) CHECK(std::fabs(x[static_cast<std::size_t>(k)]) == 0.0f);
}

TEST_CASE("loader: images in a store give the bits of images in memory, batch after batch and in any other order") {
  const dataset memory = pictures(23, 3, 6, 5), disk = stored(memory);
  const auto& store = static_cast<const memory_store&>(*disk.store);
  loader_options o;
  o.batch = 4, o.shuffle = true, o.seed = 5;
  std::vector<loader_options> all(4, o);
  all[1].augment.pad = 1, all[1].augment.mirror = flip::random, all[1].augment.cutout = 2;
  all[2].augment.mixup = 0.4, all[2].augment.cutmix = 1, all[2].drop_last = true;
  all[3].augment.rand_operations = 2, all[3].augment.rand_strength = 9, all[3].augment.pad = 1;
  for (const loader_options& options : all) {
    loader<float> want(memory, options), got(disk, options);
    std::vector<float> a(4 * 90), b(a);
    std::vector<std::int32_t> la(4), lb(4);
    const auto compare = [&](index batch) {
      const index n = want.fill(stream{1}, batch, view<float>(a.data(), 4, 90), la);
      REQUIRE(got.fill(stream{2}, batch, view<float>(b.data(), 4, 90), lb) == n);
      CHECK(std::equal(la.begin(), la.begin() + n, lb.begin()));
      CHECK(std::memcmp(a.data(), b.data(), static_cast<std::size_t>(n * 90) * sizeof(float)) == 0);
    };
    for (const std::uint64_t epoch : {0, 1}) {
      want.begin_epoch(epoch), got.begin_epoch(epoch);
      const int before = store.queues;
      for (index batch = 0; batch < want.batches(); ++batch) compare(batch);
      CHECK(store.queues == before + 1);
      CHECK(store.last_ahead == 8);
    }
    const int before = store.queues;
    for (const index batch : {3, 1, 2, 3, 3, 0}) compare(batch);  // a resumed run, and one that asks twice
    CHECK(store.queues == before + 3);
  }
}

TEST_CASE(
    "loader: an image of a store that cannot be read is an error each time, and those before and after are there") {
  const dataset memory = pictures(12, 1, 4, 4);
  dataset disk = stored(memory);
  auto store = std::make_shared<memory_store>(memory);
  store->bad = 6;
  disk.store = store;
  loader_options o;
  o.batch = 4;
  const loader<float> l(disk, o);
  std::vector<float> x(4 * 16), first(x);
  std::vector<std::int32_t> labels(4);
  const auto fill = [&](index b) { return l.fill(stream{1}, b, view<float>(x.data(), 4, 16), labels); };
  fill(0);
  first = x;
  for (int again = 0; again < 2; ++again) CHECK(message_of<error>([&] { fill(1); }) == "image 6 is unreadable");
  CHECK(fill(2) == 4);
  fill(0);
  CHECK(x == first);
  // What a data set with a store cannot do, and stores that do not fit.
  CHECK(has(message_of<error>([&] { disk.image(0); }), "lies in a store"));
  std::vector<std::uint8_t> small(15);
  CHECK(has(message_of<error>([&] { disk.copy_image(0, small); }), "into 15 bytes, it has 16"));
  disk.labels.pop_back();
  CHECK(has(message_of<error>([&] { disk.check(); }), "a store of 12 images of 16 values for 11 labels"));
  disk.pixels.resize(3);
  CHECK(has(message_of<error>([&] { disk.check(); }), "3 pixels in memory, and a store"));
}

TEST_CASE("data set: measured, cut and copied the same in memory and in a store") {
  const dataset memory = pictures(23, 3, 6, 5);
  dataset disk = stored(memory);
  disk.mean.clear(), disk.stddev.clear();
  disk.measure();
  CHECK(disk.mean == memory.mean);
  CHECK(disk.stddev == memory.stddev);
  const std::vector<index> which{20, 3, 3};
  const dataset some = disk.subset(which), want = memory.subset(which);
  some.check();
  CHECK(some.labels == want.labels);
  std::vector<std::uint8_t> pixels(90);
  for (index i = 0; i < 3; ++i) {
    some.copy_image(i, pixels);
    CHECK(std::equal(pixels.begin(), pixels.end(), want.image(i).begin()));
  }
}

}  // namespace polymoe
