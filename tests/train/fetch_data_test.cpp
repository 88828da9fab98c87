// cmake/fetch_data.sh without a network: it takes nothing whose check sum is wrong, and leaves nothing half done.
#include <doctest/doctest.h>

#include <array>
#include <cstdio>

#include "train/temp_folder.hpp"

namespace {

struct ran {
  int status;
  std::string output;
};
ran run(const std::string& command) {
  std::FILE* p = ::popen((command + " 2>&1").c_str(), "r");
  REQUIRE(p != nullptr);
  ran r{0, ""};
  std::array<char, 512> line;
  while (std::fgets(line.data(), line.size(), p)) r.output += line.data();
  r.status = ::pclose(p);
  return r;
}
bool has(const ran& r, const char* part) { return r.output.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("fetch_data.sh refuses unknown names, missing archives and wrong sums, and deletes what is wrong") {
  const temp_folder folder;
  const std::string at = "POLYMOE_DATA_SOURCE='" + folder.path + "' bash cmake/fetch_data.sh ",
                    to = " '" + folder.path + "/data'";
  auto r = run(at + "imagenet" + to);
  CHECK(r.status != 0);
  CHECK(has(r, "there is no data set 'imagenet'; known: cifar-10, cifar-100"));
  CHECK(run(at).status != 0);
  r = run(at + "cifar-10" + to);
  CHECK(r.status != 0);
  CHECK(has(r, "cannot copy"));
  folder.put("cifar-10-binary.tar.gz", "no archive");
  r = run(at + "cifar-10" + to);
  CHECK(r.status != 0);
  CHECK(has(r, "the authors publish c32a1d4ab5d03f1284b67883e8d87530; it was deleted"));
  CHECK_FALSE(std::filesystem::exists(folder.path + "/data/cifar-10-binary.tar.gz.part"));
  CHECK_FALSE(std::filesystem::exists(folder.path + "/data/cifar-10-batches-bin"));
}

TEST_CASE("fetch_data.sh is done at once when the files are there") {
  const temp_folder folder;
  std::filesystem::create_directories(folder.path + "/data/cifar-100-binary");
  for (const char* f : {"train.bin", "test.bin"}) folder.put(std::string("data/cifar-100-binary/") + f, "x");
  const auto r = run("POLYMOE_DATA_SOURCE=/nowhere bash cmake/fetch_data.sh cifar-100 '" + folder.path + "/data'");
  CHECK(r.status == 0);
  CHECK(has(r, "is there already"));
}
