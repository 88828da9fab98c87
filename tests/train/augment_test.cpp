// RandAugment's operations pixel by pixel, mixup and CutMix against images mixed by hand, and the distributions of
// their draws.
// sanitize: yes
// thread: yes
// with: files
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include <polymoe/train/loader.hpp>

#include "support/close_to.hpp"
#include "temp_folder.hpp"

namespace polymoe::inline v0 {
namespace {

using rand_augment::operation;
using picture_bytes = std::vector<std::uint8_t>;

/// One operation on an image of one channel, or of three with `plane` bytes each.
picture_bytes after(operation op, double m, bool negative, const picture_bytes& in, index height, index width) {
  picture_bytes out(in.size(), 99);
  const rand_augment::image_size size{static_cast<index>(in.size()) / (height * width), height, width};
  rand_augment::apply(rand_augment::amounts::of(op, m, negative, size), in.data(), out.data(), size);
  return out;
}

/// n images of 3 classes whose bytes are Philox's.
dataset noise_images(index n, index c, index h, index w) {
  dataset d;
  d.channels = c, d.height = h, d.width = w, d.class_names = {"a", "b", "c"};
  for (index i = 0; i < n; ++i) d.labels.push_back(static_cast<std::int32_t>(i % 3));
  for (index k = 0; k < n * d.features(); ++k)
    d.pixels.push_back(static_cast<std::uint8_t>(random_stream{9, 0}.bits(static_cast<std::uint64_t>(k)).a >> 24));
  d.measure();
  return d;
}
/// All of a batch in double.
std::vector<double> filled(const loader<double>& l, index batch, int threads = 1) {
  const auto n = static_cast<index>(l.images(batch).size());
  std::vector<double> x(static_cast<std::size_t>(n * l.data().features()));
  std::vector<std::int32_t> labels(static_cast<std::size_t>(n));
  backend::cpu_with<int>::stream s;
  s.threads = threads;
  l.fill(s, batch, {x.data(), n, l.data().features()}, labels);
  return x;
}

}  // namespace

TEST_CASE("RandAugment: every operation on a small image, worked out by hand") {
  const picture_bytes ramp = {0, 10, 20, 30, 40, 50, 60, 70, 80};  // 3 x 3
  CHECK(after(operation::identity, 30, false, ramp, 3, 3) == ramp);
  // 80 is the range: 10 -> 2550 / 80 = 31.9, 20 -> 63.75, ...
  CHECK(after(operation::autocontrast, 0, false, ramp, 3, 3) == picture_bytes{0, 32, 64, 96, 128, 159, 191, 223, 255});
  CHECK(after(operation::autocontrast, 0, false, picture_bytes(9, 7), 3, 3) == picture_bytes(9, 7));
  // Half strength: a threshold of 128.
  CHECK(after(operation::solarize, 15, false, {0, 127, 128, 255}, 2, 2) == picture_bytes{0, 127, 127, 0});
  CHECK(after(operation::solarize, 30, false, {0, 127, 128, 255}, 2, 2) == picture_bytes{255, 128, 127, 0});
  // 4 bits are left of 8, or 6.
  CHECK(after(operation::posterize, 30, false, {15, 16, 200, 255}, 2, 2) == picture_bytes{0, 16, 192, 240});
  CHECK(after(operation::posterize, 15, false, {15, 16, 203, 255}, 2, 2) == picture_bytes{12, 16, 200, 252});
  CHECK(after(operation::brightness, 30, false, {10, 100, 200, 0}, 2, 2) == picture_bytes{19, 190, 255, 0});
  CHECK(after(operation::brightness, 30, true, {10, 100, 200, 0}, 2, 2) == picture_bytes{1, 10, 20, 0});
  // The mean is 50: 50 + 1.9 (p - 50), 50 + 0.1 (p - 50).
  CHECK(after(operation::contrast, 30, false, {40, 60, 0, 100}, 2, 2) == picture_bytes{31, 69, 0, 145});
  CHECK(after(operation::contrast, 30, true, {40, 60, 0, 100}, 2, 2) == picture_bytes{49, 51, 45, 55});
  // Grey of (100, 50, 150): 29.9 + 29.35 + 17.1 = 76.35, 76.
  CHECK(after(operation::colour, 30, true, {100, 50, 150}, 1, 1) == picture_bytes{78, 73, 83});
  CHECK(after(operation::colour, 30, false, {100, 50, 150}, 1, 1) == picture_bytes{122, 27, 217});
  CHECK(after(operation::colour, 30, true, {100}, 1, 1) == picture_bytes{100});
  // A spot of 130 among zeros: smoothed to 5 * 130 / 13 = 50; 50 + 0.1 * 80, 50 + 1.9 * 80.
  const picture_bytes spot = {0, 0, 0, 0, 130, 0, 0, 0, 0};
  CHECK(after(operation::sharpness, 30, true, spot, 3, 3)[4] == 58);
  CHECK(after(operation::sharpness, 30, false, spot, 3, 3)[4] == 202);
  CHECK(after(operation::sharpness, 30, false, ramp, 3, 3) == ramp);  // smoothing changes no ramp
  // 150/331 of 3 is 1.36 pixels: one to the right, one up.
  CHECK(after(operation::translate_x, 30, false, ramp, 3, 3) == picture_bytes{0, 0, 10, 0, 30, 40, 0, 60, 70});
  CHECK(after(operation::translate_y, 30, true, ramp, 3, 3) == picture_bytes{30, 40, 50, 60, 70, 80, 0, 0, 0});
  // Rows two away from the middle of five move by 0.6 pixels, those one away by 0.3.
  picture_bytes five(25);
  std::iota(five.begin(), five.end(), std::uint8_t{1});
  CHECK(after(operation::shear_x, 30, false, five, 5, 5) ==
        picture_bytes{0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 23, 24, 25, 0});
  CHECK(after(operation::shear_y, 30, false, five, 5, 5) ==
        picture_bytes{0, 2, 3, 4, 10, 1, 7, 8, 9, 15, 6, 12, 13, 14, 20, 11, 17, 18, 19, 25, 16, 22, 23, 24, 0});
  // 30 degrees counter-clockwise of a 3 x 3 image: the corner (1, 1) away comes from (0.37, 1.37), the edge from (0.87,
  // 0.5).
  const picture_bytes turned = after(operation::rotate, 30, false, {1, 2, 3, 4, 5, 6, 7, 8, 9}, 3, 3);
  CHECK(turned[4] == 5);
  CHECK(turned[0] == 2);
  CHECK(turned[2] == 6);
  CHECK(turned[8] == 8);
  CHECK(turned[6] == 4);
  // Equalize after PIL: 256 pixels in four equal levels; step = 192 / 255 = 0 leaves them, 1024 pixels spread them.
  picture_bytes levels(1024);
  for (std::size_t k = 0; k < 1024; ++k) levels[k] = static_cast<std::uint8_t>(100 + k / 256);
  const picture_bytes flat = after(operation::equalize, 0, false, levels, 32, 32);
  CHECK(flat[0] == 0);      // step 768 / 255 = 3: (1 + 0) / 3
  CHECK(flat[256] == 85);   // (1 + 256) / 3
  CHECK(flat[512] == 171);  // (1 + 512) / 3
  CHECK(flat[1023] == 255);
  CHECK(after(operation::equalize, 0, false, picture_bytes(25, 9), 5, 5) == picture_bytes(25, 9));
  // No strength, no change.
  for (int op = 0; op < rand_augment::operations; ++op)
    if (const auto o = static_cast<operation>(op); o != operation::autocontrast && o != operation::equalize)
      CHECK_MESSAGE(after(o, 0, true, five, 5, 5) == five, op);
}

TEST_CASE("RandAugment: operations are equally likely, signs fair, new for every image, epoch and place") {
  std::vector<int> count(rand_augment::operations, 0), negative_of(count);
  int negative = 0, same = 0;
  for (index i = 0; i < 14000; ++i) {
    const auto c = rand_augment::choice::draw({3}, 1, i, 0);
    ++count[static_cast<std::size_t>(c.op)], negative += c.negative;
    negative_of[static_cast<std::size_t>(c.op)] += c.negative;
    same += c.op == rand_augment::choice::draw({3}, 1, i, 1).op && c.op == rand_augment::choice::draw({3}, 2, i, 0).op;
  }
  for (const int n : count) CHECK(std::abs(n - 1000) < 150);  // 5 deviations of 30
  CHECK(std::abs(negative - 7000) < 300);
  for (std::size_t op = 0; op < count.size(); ++op)
    CHECK(std::abs(2 * negative_of[op] - count[op]) < 160);  // of each one
  CHECK(std::abs(same - 14000 / 196) < 45);
}

TEST_CASE("loader: RandAugment comes after shift and mirror, before cut-out and normalisation") {
  const auto d = noise_images(12, 3, 8, 7);
  augment_options o{.pad = 2, .mirror = flip::random, .cutout = 3};
  o.rand_operations = 2, o.rand_strength = 14;
  loader<double> l(d, {.batch = 12, .augment = o, .seed = 5});
  l.begin_epoch(3);
  const auto x = filled(l, 0);
  int changed = 0;
  for (index i = 0; i < 12; ++i) {
    const auto a = augmentation::draw(o, {5}, 3, i, 8, 7);
    picture_bytes image(168), other(168);
    for (index k = 0; k < 168; ++k) {
      const index c = k / 56, y = k % 56 / 7 + a.dy, z = (a.mirrored ? 6 - k % 7 : k % 7) + a.dx;
      if (y >= 0 && y < 8 && z >= 0 && z < 7)
        image[static_cast<std::size_t>(k)] = d.image(i)[static_cast<std::size_t>(c * 56 + y * 7 + z)];
    }
    const picture_bytes before = image;
    for (int j = 0; j < 2; ++j) {
      const auto c = rand_augment::choice::draw({5}, 3, i, j);
      const rand_augment::image_size size{3, 8, 7};
      rand_augment::apply(rand_augment::amounts::of(c.op, 14, c.negative, size), image.data(), other.data(), size);
      std::swap(image, other);
    }
    changed += image != before;
    for (index k = 0; k < 168; ++k) {
      const auto c = static_cast<std::size_t>(k / 56);
      const double want =
          a.cut(k % 56 / 7, k % 7) ? 0 : (image[static_cast<std::size_t>(k)] / 255.0 - d.mean[c]) * (1.0 / d.stddev[c]);
      REQUIRE(x[static_cast<std::size_t>(i * 168 + k)] == want);
    }
  }
  CHECK(changed > 6);
}

TEST_CASE("loader: mixup and CutMix mix an image with the next one; label weights are the shares of pixels") {
  const auto d = noise_images(22, 2, 6, 9);
  for (const bool cut : {false, true}) {
    augment_options o{.pad = 1, .mirror = flip::random};
    const loader_options plain{.batch = 8, .shuffle = true, .augment = o, .seed = 4};
    loader_options mixing = plain;
    (cut ? mixing.augment.cutmix : mixing.augment.mixup) = 1.0;
    loader<double> l(d, mixing), unmixed(d, plain);
    std::vector<std::int32_t> second(8);
    index boxes = 0;
    for (std::uint64_t epoch = 0; epoch < 6; ++epoch) {
      l.begin_epoch(epoch), unmixed.begin_epoch(epoch);
      for (index b = 0; b < l.batches(); ++b) {  // 8, 8, 6
        const auto which = l.images(b);
        const auto n = static_cast<index>(which.size());
        const auto x = filled(l, b), own = filled(unmixed, b);
        const batch_mix m = l.mix(b, second);
        CHECK(m.how == (cut ? batch_mix::kind::cutmix : batch_mix::kind::mixup));
        REQUIRE((m.own >= 0 && m.own <= 1));
        for (index r = 0; r < n; ++r) {
          const index p = (r + 1) % n;
          CHECK(second[static_cast<std::size_t>(r)] ==
                d.labels[static_cast<std::size_t>(which[static_cast<std::size_t>(p)])]);
          index pasted = 0;
          for (index k = 0; k < 108; ++k) {
            const double a = own[static_cast<std::size_t>(r * 108 + k)], z = own[static_cast<std::size_t>(p * 108 + k)];
            const double got = x[static_cast<std::size_t>(r * 108 + k)];
            if (cut) {
              const bool in = m.pasted(k % 54 / 9, k % 9);
              pasted += in && k < 54;
              REQUIRE(got == (in ? z : a));
            } else {
              REQUIRE(got == doctest::Approx(m.own * a + (1 - m.own) * z).epsilon(1e-13));
            }
          }
          if (cut) CHECK(m.own == 1 - static_cast<double>(pasted) / 54);
          boxes += pasted > 0 && pasted < 54;
        }
        // The same bits for any number of threads.
        for (const int threads : {2, 3}) CHECK(filled(l, b, threads) == x);
      }
    }
    CHECK((boxes > 60) == cut);
  }
}

TEST_CASE("mixup: lambda is Beta(alpha, alpha); with CutMix a coin per batch decides") {
  for (const double alpha : {batch_mix::least_alpha, batch_mix::most_alpha}) {
    augment_options o;
    o.mixup = alpha;
    for (index b = 0; b < 200; ++b) {
      const double x = batch_mix::draw(o, {2}, 0, b, 8, 8).own;
      CHECK((x >= 0 && x <= 1 && (alpha < 1 || std::abs(x - 0.5) < 0.01)));
    }
  }
  for (const double alpha : {0.2, 1.0, 3.0}) {
    augment_options o;
    o.mixup = alpha;
    double sum = 0, squares = 0;
    const index n = 20000;
    for (index b = 0; b < n; ++b) {
      const double x = batch_mix::draw(o, {2}, 0, b, 8, 8).own - 0.5;
      sum += x, squares += x * x;
    }
    CHECK(std::abs(sum / static_cast<double>(n)) < 0.02);
    CHECK(squares / static_cast<double>(n) == moe_test::close_to(1 / (4 * (2 * alpha + 1)), 0.03));
  }
  augment_options both;
  both.mixup = 0.2, both.cutmix = 1;
  index cut = 0, again = 0;
  for (index b = 0; b < 4000; ++b) {
    const auto m = batch_mix::draw(both, {2}, 1, b, 8, 8), next = batch_mix::draw(both, {2}, 2, b, 8, 8);
    cut += m.how == batch_mix::kind::cutmix, again += m.own == next.own;
  }
  CHECK(std::abs(cut - 2000) < 160);
  CHECK(again < 400);  // a box of no area, or one that covers the image, is not rare on 8 x 8
  CHECK(batch_mix::draw({}, {2}, 0, 0, 8, 8).own == 1);
}

TEST_CASE("loader: options of mixing and RandAugment outside their ranges are refused with their numbers") {
  const auto d = noise_images(4, 1, 5, 5);
  const auto refused = [&](auto change) {
    loader_options o{.batch = 2};
    change(o.augment);
    return message_of<polymoe::error>([&] { loader<double> l(d, o); });
  };
  CHECK(refused([](auto&) {}) == "");
  CHECK(has(refused([](auto& o) { o.mixup = -0.5; }), "mixup -0.5"));
  for (const double alpha : {1e-310, 1e7, std::numeric_limits<double>::infinity(), std::nan("")}) {
    CHECK(has(refused([=](auto& o) { o.mixup = alpha; }), "must be 0 or lie in [0.001, 1"));
    CHECK(has(refused([=](auto& o) { o.cutmix = alpha; }), "must be 0 or lie in [0.001, 1"));
  }
  CHECK(has(refused([](auto& o) { o.rand_operations = 17; }),
            "0 to 16 operations of strength 0 to 30, asked for 17 of 9"));
  CHECK(has(refused([](auto& o) { o.rand_strength = 31; }), "of 31"));
}

}  // namespace polymoe
