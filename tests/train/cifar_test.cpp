// sanitize: yes
// CIFAR's binary files, made here; the real ones where POLYMOE_CIFAR names their folder.
// with: files
#include <doctest/doctest.h>

#include <cstdlib>

#include <polymoe/train/cifar.hpp>

#include "temp_folder.hpp"

namespace polymoe::inline v0 {

namespace {
std::string record(std::vector<int> labels, int seed) {
  std::string s;
  for (const int l : labels) s += static_cast<char>(l);
  for (int i = 0; i < 3072; ++i) s += static_cast<char>(i * 5 + i / 1024 + seed);
  return s;
}
void put_cifar10(const temp_folder& t, const std::string& third) {
  for (int i = 1; i <= 5; ++i)
    t.put("data_batch_" + std::to_string(i) + ".bin", i == 3 ? third : record({i}, i) + record({9}, i + 10));
  t.put("test_batch.bin", record({0}, 99));
}
}  // namespace

TEST_CASE("cifar-10: five training files in order, one test file") {
  temp_folder t;
  put_cifar10(t, record({3}, 3));
  const auto [train, test] = read_cifar10(t.path);
  CHECK(train.size() == 9);
  CHECK(test.size() == 1);
  CHECK(train.labels == std::vector<std::int32_t>{1, 9, 2, 9, 3, 4, 9, 5, 9});
  CHECK(train.class_names[9] == "truck");
  for (index i = 0; i < 3072; ++i) {
    REQUIRE(train.image(4)[static_cast<std::size_t>(i)] == static_cast<std::uint8_t>(i * 5 + i / 1024 + 3));
    REQUIRE(test.image(0)[static_cast<std::size_t>(i)] == static_cast<std::uint8_t>(i * 5 + i / 1024 + 99));
  }
  CHECK(test.mean == train.mean);
  CHECK(train.mean.size() == 3);

  // The folder of the official archive is found from its parent.
  std::filesystem::create_directory(t.file("up"));
  std::filesystem::create_directory(t.file("up/cifar-10-batches-bin"));
  for (const char* f : {"data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"})
    t.put(std::string("up/cifar-10-batches-bin/") + f + ".bin", record({7}, 1));
  CHECK(read_cifar10(t.file("up")).train.size() == 5);
}

TEST_CASE("cifar-10: cut files and bad labels are errors with file and byte") {
  temp_folder t;
  const auto with = [&](const std::string& third) {
    put_cifar10(t, third);
    return message_of<polymoe::error>([&] { read_cifar10(t.path); });
  };
  const std::string whole = record({3}, 3) + record({4}, 4);
  CHECK(with(whole).empty());
  CHECK(has(with(whole.substr(0, 6145)),
            "data_batch_3.bin: 6145 bytes, expected records of 3073, the last one at byte 3073 has 3072"));
  CHECK(has(with(whole + "x"), "at byte 6146 has 1"));
  CHECK(has(with(""), "0 bytes"));
  CHECK(has(with(record({3}, 0) + record({10}, 0)), "byte 3073: label 10, there are 10 classes"));
  put_cifar10(t, whole);
  std::filesystem::remove(t.file("data_batch_5.bin"));
  CHECK(has(message_of<polymoe::error>([&] { read_cifar10(t.path); }), "data_batch_5.bin: cannot open"));
  std::filesystem::create_directory(t.file("data_batch_5.bin"));
  CHECK(has(message_of<polymoe::error>([&] { read_cifar10(t.path); }),
            "data_batch_5.bin: expected a regular file, found a folder"));
  const std::string file = t.put("file", "x");
  CHECK(has(message_of<polymoe::error>([&] { read_cifar10(file); }), file));
}

TEST_CASE("cifar-100: super-class first, names from their files") {
  temp_folder t;
  t.put("train.bin", record({19, 99}, 1) + record({0, 7}, 2));
  t.put("test.bin", record({4, 5}, 3));
  CHECK(read_cifar100(t.path).train.class_names[99] == "99");
  std::string fine, coarse;
  for (int i = 0; i < 100; ++i) fine += "fine" + std::to_string(i) + "\n";
  for (int i = 0; i < 20; ++i) coarse += "coarse" + std::to_string(i) + "\r\n";
  t.put("fine_label_names.txt", fine);
  t.put("coarse_label_names.txt", coarse);
  const auto d = read_cifar100(t.path).train;
  CHECK(d.coarse == std::vector<std::int32_t>{19, 0});
  CHECK(d.labels == std::vector<std::int32_t>{99, 7});
  CHECK(d.class_names[99] == "fine99");
  CHECK(d.coarse_names[19] == "coarse19");
  const auto one = d.slice(1, 1);
  CHECK(one.coarse == std::vector<std::int32_t>{0});
  CHECK(one.image(0)[0] == d.image(1)[0]);
  CHECK(has(message_of<polymoe::error>([&] { d.slice(1, 2); }), "images 1..3 of 2"));

  t.put("train.bin", record({20, 1}, 1));
  CHECK(has(message_of<polymoe::error>([&] { read_cifar100(t.path); }), "byte 0: label 20, there are 20 classes"));
  t.put("fine_label_names.txt", "only\none more\n");
  CHECK(has(message_of<polymoe::error>([&] { read_cifar100(t.path); }), "2 names, expected 100"));
}

TEST_CASE("cifar: the real files" * doctest::skip(std::getenv("POLYMOE_CIFAR") == nullptr)) {
  const std::string folder = std::getenv("POLYMOE_CIFAR");
  const auto check = [](const dataset& train, const dataset& test, index classes) {
    CHECK(train.size() == 50000);
    CHECK(test.size() == 10000);
    std::vector<index> count(static_cast<std::size_t>(classes), 0);
    for (const auto y : train.labels) ++count[static_cast<std::size_t>(y)];
    for (const index n : count) CHECK(n == 50000 / classes);
  };
  const auto ten = read_cifar10(folder);
  check(ten.train, ten.test, 10);
  const float mean[] = {.49139968f, .48215841f, .44653091f}, stddev[] = {.24703223f, .24348513f, .26158784f};
  for (std::size_t c = 0; c < 3; ++c) {
    CHECK(ten.train.mean[c] == doctest::Approx(mean[c]).epsilon(1e-6));
    CHECK(ten.train.stddev[c] == doctest::Approx(stddev[c]).epsilon(1e-6));
  }
  const auto hundred = read_cifar100(folder);
  check(hundred.train, hundred.test, 100);
}

}  // namespace polymoe
