// What the tests of documents read: files of the project, and Markdown as its readers see it.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "support/joined_strings.hpp"

#ifndef POLYMOE_SOURCE_DIR
#define POLYMOE_SOURCE_DIR "."
#endif

namespace docs {

namespace fs = std::filesystem;
inline const fs::path root = POLYMOE_SOURCE_DIR;

inline std::string read(const fs::path& p) {
  std::ifstream in(p);
  REQUIRE_MESSAGE(in.good(), "cannot read ", p.string());
  std::ostringstream s;
  s << in.rdbuf();
  return s.str();
}
inline std::string read_code(const fs::path& p) { return moe_test::joined_strings(read(p)); }
/// Every match, and what its groups matched; nothing refers to the text, which may be a temporary.
inline std::vector<std::vector<std::string>> all(const std::string& text, const std::regex& r) {
  std::vector<std::vector<std::string>> out;
  for (std::sregex_iterator m(text.begin(), text.end(), r), end; m != end; ++m) out.emplace_back(m->begin(), m->end());
  return out;
}
/// Files below a folder whose name ends so, sorted.
inline std::vector<fs::path> files_below(const fs::path& folder, const std::string& extension) {
  std::vector<fs::path> out;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file() && entry.path().extension() == extension) out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}
inline std::string name_of(const fs::path& p) { return fs::relative(p, root).generic_string(); }

/// The text with what stands between fences left out, line by line.
inline std::string without_fences(const std::string& text) {
  std::istringstream in(text);
  std::string out;
  bool fenced = false;
  for (std::string line; std::getline(in, line);) {
    const std::size_t first = line.find_first_not_of(' ');
    if (first != std::string::npos && line.compare(first, 3, "```") == 0)
      fenced = !fenced;
    else if (!fenced)
      out += line + "\n";
  }
  return out;
}
/// The part behind a heading of the second level, up to the next one; empty without it.
inline std::string section_of(const std::string& text, const std::string& heading) {
  const std::string title = "\n## " + heading + "\n";
  const std::size_t at = text.find(title);
  if (at == std::string::npos) return {};
  const std::size_t from = at + title.size(), next = text.find("\n## ", from);
  return text.substr(from, next == std::string::npos ? next : next - from);
}

}  // namespace docs
