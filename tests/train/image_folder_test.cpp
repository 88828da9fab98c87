// Pictures from files: PNG and JPEG, damage, sizes, folders of classes.
// sanitize: yes
// with: files
#include <doctest/doctest.h>

#include <cstdio>

#include <polymoe/train/image_folder.hpp>
#include <polymoe/train/png.hpp>

#include "train/jpeg_file.hpp"
#include "train/temp_folder.hpp"

#if defined(POLYMOE_WITH_PNG) && defined(POLYMOE_WITH_JPEG)

namespace polymoe {
namespace {

std::span<const std::uint8_t> bytes(const std::string& s) {
  return {reinterpret_cast<const std::uint8_t*>(s.data()), s.size()};
}

/// A smooth picture: channel c at (y, x) is 20 c + 2 y + x.
std::vector<std::uint8_t> ramp(index height, index width, int channels) {
  std::vector<std::uint8_t> p;
  for (index y = 0; y < height; ++y)
    for (index x = 0; x < width; ++x)
      for (int c = 0; c < channels; ++c) p.push_back(static_cast<std::uint8_t>(20 * c + 2 * y + x));
  return p;
}
std::string refusal(const std::string& file) {
  try {
    (void)decode_image(bytes(file), "x.png");
  } catch (const error& e) {
    return e.what();
  }
  return "";
}
bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("PNG: grey and RGB come back bit for bit, alpha lies on black") {
  for (const int channels : {1, 3}) {
    const auto pixels = ramp(9, 13, channels);
    const auto d = decode_image(bytes(encode_png(pixels, 9, 13, channels)), "x");
    CHECK(d.height == 9);
    CHECK(d.width == 13);
    CHECK(d.channels == channels);
    CHECK(d.pixels == pixels);
  }
  const std::vector<std::uint8_t> rgba = {200, 100, 50, 255, 200, 100, 50, 0};
  const auto d = decode_image(bytes(encode_png(rgba, 1, 2, 4)), "x");
  CHECK(d.pixels == std::vector<std::uint8_t>{200, 100, 50, 0, 0, 0});
}

TEST_CASE("JPEG: grey and RGB come back nearly") {
  for (const int channels : {1, 3}) {
    const auto pixels = ramp(24, 32, channels);
    const auto d = decode_image(bytes(jpeg_of(pixels, 24, 32, channels)), "x");
    REQUIRE(d.pixels.size() == pixels.size());
    CHECK(d.channels == channels);
    for (std::size_t i = 0; i < pixels.size(); ++i) CHECK(std::abs(int(d.pixels[i]) - int(pixels[i])) <= 4);
  }
}

TEST_CASE("damage is an error that says where; nothing is painted over") {
  const std::string png = encode_png(ramp(9, 13, 3), 9, 13, 3), jpeg = jpeg_of(ramp(40, 40, 3), 40, 40, 3);
  for (std::size_t n = 0; n < png.size(); ++n) CHECK_MESSAGE(refusal(png.substr(0, n)) != "", n);
  for (std::size_t n = 0; n + 2 < jpeg.size(); ++n) CHECK_MESSAGE(refusal(jpeg.substr(0, n)) != "", n);
  CHECK(refusal(png.substr(0, 40)) == "x.png: ends at byte 40 inside a PNG chunk that begins at 33");
  CHECK(has(refusal(png.substr(0, 50)), "x.png: the PNG chunk at byte 33 has"));
  auto flipped = png;
  flipped[45] = static_cast<char>(flipped[45] ^ 1);
  CHECK(refusal(flipped) == "x.png: the check sum of the PNG chunk at byte 33 is wrong");
  CHECK(has(refusal(jpeg.substr(0, jpeg.size() / 2)), "near byte"));
  CHECK(refusal("hello") == "x.png: neither a PNG nor a JPEG file (5 bytes)");
  CHECK(refusal("") == "x.png: neither a PNG nor a JPEG file (0 bytes)");
  // A header that asks for a terabyte.
  std::string huge = encode_png(ramp(1, 1, 1), 1, 1, 1);
  for (const std::size_t at : {16u, 20u})
    huge[at] = 0x00, huge[at + 1] = 0x0F, huge[at + 2] = 0x00, huge[at + 3] = 0x00;
  const auto sum = crc32_z(0, reinterpret_cast<const Bytef*>(huge.data()) + 12, 17);
  for (int i = 0; i < 4; ++i) huge[29 + static_cast<std::size_t>(i)] = static_cast<char>(sum >> (24 - 8 * i));
  CHECK(has(refusal(huge), "pixels are read"));
}

TEST_CASE("resize keeps ramps and means, crop takes the middle") {
  decoded_image ramp_image{16, 32, 1, {}};
  for (int y = 0; y < 16; ++y)
    for (int x = 0; x < 32; ++x) ramp_image.pixels.push_back(static_cast<std::uint8_t>(4 * x + 2 * y));
  CHECK(resize(ramp_image, 16, 32).pixels == ramp_image.pixels);
  // Half the size: a linear ramp stays linear away from the edges.
  const auto half = resize(ramp_image, 8, 16);
  for (int y = 1; y < 7; ++y)
    for (int x = 1; x < 15; ++x)
      CHECK(std::abs(int(half.pixels[static_cast<std::size_t>(16 * y + x)]) - (4 * (2 * x) + 2 + 2 * (2 * y) + 1)) <=
            1);
  const auto twice = resize(ramp_image, 32, 64);
  for (int y = 2; y < 30; ++y)
    for (int x = 2; x < 62; ++x)
      CHECK(std::abs(int(twice.pixels[static_cast<std::size_t>(64 * y + x)]) - (2 * x - 1 + y)) <= 2);
  const decoded_image flat{5, 7, 3, std::vector<std::uint8_t>(105, 77)};
  for (const std::uint8_t p : resize(flat, 3, 19).pixels) CHECK(p == 77);
  // A single bright pixel spreads; its sum does not change beyond rounding.
  decoded_image spot{12, 12, 1, std::vector<std::uint8_t>(144, 0)};
  spot.pixels[6 * 12 + 6] = 240;
  index sum = 0;
  for (const std::uint8_t p : resize(spot, 4, 4).pixels) sum += p;
  CHECK(std::abs(sum - 240 / 9) <= 4);

  const auto middle = resize_and_crop(ramp_image, 0, 4, 6);
  CHECK(middle.pixels[0] == 4 * 13 + 2 * 6);
  const auto scaled = resize_and_crop(ramp_image, 8, 8, 8);
  CHECK(scaled.height == 8);
  CHECK(scaled.pixels[0] == half.pixels[4]);
  CHECK_THROWS_WITH_AS(resize_and_crop(ramp_image, 0, 17, 17), "resize_and_crop: the image is 16x32, the cut 17x17",
                       error);
}

TEST_CASE("folders of classes: sorted, any number of threads, one bad picture named or skipped") {
  const temp_folder folder;
  namespace fs = std::filesystem;
  for (const char* c : {"dog", "cat", "eel/images"}) fs::create_directories(folder.path + "/" + c);
  folder.put("dog/b.PNG", encode_png(ramp(20, 30, 3), 20, 30, 3));
  folder.put("dog/a.jpg", jpeg_of(ramp(40, 30, 3), 40, 30, 3));
  folder.put("cat/x.png", encode_png(ramp(16, 16, 1), 16, 16, 1));
  folder.put("cat/notes.txt", "no picture");
  folder.put("cat/.hidden.png", "no picture");
  folder.put("eel/images/e.jpeg", jpeg_of(ramp(24, 24, 1), 24, 24, 1));
  const image_list list = list_image_folder(folder.path);
  CHECK(list.class_names == std::vector<std::string>{"cat", "dog", "eel"});
  CHECK(list.labels == std::vector<std::int32_t>{0, 1, 1, 2});
  CHECK(has(list.paths[1], "dog/a.jpg"));

  read_images_options o{.height = 8, .width = 8, .shorter_side = 10, .channels = 3};
  index told = 0;
  const auto one = read_images(list, o, [&](index, index all) { told += all == 4; });
  CHECK(told == 4);
  CHECK(one.skipped.empty());
  CHECK(one.data.size() == 4);
  auto measured = one.data;
  measured.measure();
  measured.check();
  o.threads = 3;
  CHECK(read_images(list, o).data.pixels == one.data.pixels);
  // Planes: the blue one is 40 brighter than the red one, grey pictures have three equal ones.
  CHECK(std::abs(int(one.data.image(2)[128]) - int(one.data.image(2)[0]) - 40) <= 1);
  CHECK(one.data.image(0)[64] == one.data.image(0)[0]);
  o.channels = 1;
  CHECK(read_images(list, o).data.features() == 64);
  o.channels = 3;

  folder.put("dog/a.jpg", "broken");
  folder.put("eel/images/e.jpeg", "broken too");
  for (const int threads : {1, 2, 4}) {
    o.threads = threads, o.skip_bad = false;
    try {
      (void)read_images(list, o);
      CHECK(false);
    } catch (const error& e) {
      CHECK_MESSAGE(has(e.what(), "dog/a.jpg: neither a PNG nor a JPEG file (6 bytes)"), e.what());
    }
    o.skip_bad = true;
    const auto some = read_images(list, o);
    CHECK(some.data.size() == 2);
    CHECK(some.data.labels == std::vector<std::int32_t>{0, 1});
    REQUIRE(some.skipped.size() == 2);
    CHECK(has(some.skipped[1].why, "eel/images/e.jpeg"));
    CHECK(std::equal(some.data.image(1).begin(), some.data.image(1).end(), one.data.image(2).begin()));
  }
  // A picture that has gone since the folder was listed.
  fs::remove(list.paths[1]);
  o.skip_bad = false;
  CHECK_THROWS_WITH_AS((void)read_images(list, o), doctest::Contains("dog/a.jpg: cannot open: No such file"), error);
  fs::create_directories(folder.path + "/empty");
  CHECK_THROWS_AS(list_image_folder(folder.path), error);
  CHECK_THROWS_AS(list_image_folder(folder.path + "/none"), error);
  CHECK_THROWS_AS(list_image_folder(folder.path + "/empty"), error);
}

TEST_CASE("Tiny-ImageNet's layout: train folders, val by its table, bad lines with their number") {
  const temp_folder folder;
  namespace fs = std::filesystem;
  for (const char* c : {"train/n2/images", "train/n1/images", "val/images"})
    fs::create_directories(folder.path + "/" + c);
  const std::string png = encode_png(ramp(8, 8, 3), 8, 8, 3);
  for (const char* f : {"train/n1/images/n1_0.JPEG", "train/n2/images/n2_0.JPEG", "train/n2/images/n2_1.JPEG",
                        "val/images/val_0.JPEG", "val/images/val_1.JPEG"})
    folder.put(f, png);
  folder.put("val/val_annotations.txt", "val_0.JPEG\tn2\t0\t0\t7\t7\nval_1.JPEG\tn1\t0\t0\t7\t7\n");
  CHECK(list_tiny_imagenet(folder.path, "train").labels == std::vector<std::int32_t>{0, 1, 1});
  const auto val = list_tiny_imagenet(folder.path, "val");
  CHECK(val.labels == std::vector<std::int32_t>{1, 0});
  CHECK(read_images(val, {.height = 8, .width = 8, .shorter_side = 0}).data.size() == 2);
  folder.put("val/val_annotations.txt", "val_0.JPEG\tn2\t0\nval_1.JPEG\tn1\n");
  CHECK_THROWS_WITH_AS(
      list_tiny_imagenet(folder.path, "val"),
      (folder.path + "/val/val_annotations.txt: line 2 has no file and class separated by tabs").c_str(), error);
  folder.put("val/val_annotations.txt", "val_0.JPEG\tn7\t0\n");
  CHECK_THROWS_AS(list_tiny_imagenet(folder.path, "val"), error);
  folder.put("val/val_annotations.txt", "val_0.JPEG\tn2\t0\n../../x\tn2\t0\n");
  CHECK_THROWS_AS(list_tiny_imagenet(folder.path, "val"), error);
}

}  // namespace polymoe

#else
TEST_CASE("pictures need libpng and libjpeg") { std::printf("SKIPPED: built without libpng or libjpeg\n"); }
#endif
