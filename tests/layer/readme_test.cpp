// The programs that README.md shows are the example files.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

#ifndef POLYMOE_SOURCE_DIR
#define POLYMOE_SOURCE_DIR "."
#endif

namespace {
std::string read(const std::string& name) {
  std::ifstream in(std::string(POLYMOE_SOURCE_DIR) + "/" + name);
  REQUIRE_MESSAGE(in.good(), "cannot read ", name);
  std::ostringstream s;
  s << in.rdbuf();
  return s.str();
}
int lines(const std::string& s) { return static_cast<int>(std::count(s.begin(), s.end(), '\n')); }
}  // namespace

TEST_CASE("README shows the hello layer and the custom router as they are") {
  const std::string readme = read("README.md"), hello = read("examples/hello_layer.cpp"), custom = read("examples/custom_router.cpp");
  CHECK(readme.find("```cpp\n" + hello + "```") != std::string::npos);
  CHECK(lines(hello) <= 40);
  const auto from = custom.find("struct priced_sigmoid {"), to = custom.find("\n};\n", from);
  REQUIRE(from != std::string::npos);
  REQUIRE(to != std::string::npos);
  const std::string router = custom.substr(from, to - from + 4);
  CHECK(readme.find(router) != std::string::npos);
  CHECK(lines(router) <= 25);
}
