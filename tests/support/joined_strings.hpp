// Sources as tests of their sentences read them.
#pragma once

#include <regex>
#include <string>

namespace moe_test {

/// `code` with strings that stand one after another made one, as they are to a compiler.
inline std::string joined_strings(const std::string& code) {
  return std::regex_replace(code, std::regex("\"[ \n]+\""), "");
}

}  // namespace moe_test
