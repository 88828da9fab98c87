// The programs that README.md shows are the example files.
// with: docs
#include "text.hpp"

namespace {
int lines(const std::string& s) { return static_cast<int>(std::count(s.begin(), s.end(), '\n')); }
}  // namespace

TEST_CASE("README shows the hello layer and the custom router as they are") {
  const std::string readme = docs::read(docs::root / "README.md"),
                    hello = docs::read(docs::root / "examples/hello_layer.cpp"),
                    custom = docs::read(docs::root / "examples/custom_router.cpp");
  CHECK(readme.find("```cpp\n" + hello + "```") != std::string::npos);
  CHECK(lines(hello) <= 40);
  const auto from = custom.find("struct priced_sigmoid {"), to = custom.find("\n};\n", from);
  REQUIRE(from != std::string::npos);
  REQUIRE(to != std::string::npos);
  const std::string router = custom.substr(from, to - from + 4);
  CHECK(readme.find(router) != std::string::npos);
  CHECK(lines(router) <= 25);
}
