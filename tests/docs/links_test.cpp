// Every relative link of a document leads to a file and to a heading that are there.
// with: docs
#include <map>

#include "text.hpp"

namespace {

/// The name that a web page gives to a heading: letters, digits, hyphens and underscores, blanks as hyphens.
std::string anchor_of(const std::string& heading) {
  std::string out;
  for (std::size_t i = 0; i < heading.size(); ++i) {
    const auto c = static_cast<unsigned char>(heading[i]);
    if (c == ']' && i + 1 < heading.size() && heading[i + 1] == '(')
      i = std::min(heading.find(')', i), heading.size());
    else if (std::isalnum(c) || c == '-' || c == '_' || c >= 128)
      out += static_cast<char>(std::tolower(c));
    else if (c == ' ')
      out += '-';
  }
  return out;
}
/// Anchors of all headings; the second of a name gets -1, the third -2.
std::set<std::string> anchors_of(const std::string& text) {
  std::set<std::string> out;
  std::map<std::string, int> seen;
  std::istringstream in(docs::without_fences(text));
  for (std::string line; std::getline(in, line);) {
    const std::size_t level = line.find_first_not_of('#');
    if (level == 0 || level > 6 || level == std::string::npos || line[level] != ' ') continue;
    const std::string name = anchor_of(line.substr(level + 1));
    const int before = seen[name]++;
    out.insert(before ? name + "-" + std::to_string(before) : name);
  }
  return out;
}
/// Targets of [text](target), outside of code.
std::vector<std::string> targets_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(docs::without_fences(text));
  bool code = false;
  std::string prose;
  for (std::string line; std::getline(in, line); prose += '\n') {
    if (line.find_first_not_of(' ') == std::string::npos) code = false;  // a paragraph ends what nobody closed
    for (const char c : line) {
      if (c == '`')
        code = !code;
      else if (!code)
        prose += c;
    }
  }
  for (std::size_t at = prose.find("]("); at != std::string::npos; at = prose.find("](", at + 1)) {
    const std::size_t end = prose.find(')', at);
    if (end != std::string::npos) out.push_back(prose.substr(at + 2, end - at - 2));
  }
  return out;
}

std::vector<docs::fs::path> documents() {
  std::vector<docs::fs::path> out = docs::files_below(docs::root / "docs", ".md");
  for (const char* name : {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "bench/README.md"})
    out.push_back(docs::root / name);
  return out;
}

}  // namespace

TEST_CASE("links of documents lead to files and headings that are there") {
  int links = 0, anchors = 0;
  for (const docs::fs::path& page : documents()) {
    const std::string text = docs::read(page);
    CHECK_MESSAGE(text.size() > 500, docs::name_of(page), " is nearly empty");
    for (const std::string& target : targets_of(text)) {
      if (target.find("://") != std::string::npos || target.compare(0, 7, "mailto:") == 0) continue;
      ++links;
      const std::size_t hash = target.find('#');
      const docs::fs::path file = hash == 0 ? page : page.parent_path() / target.substr(0, hash);
      CHECK_MESSAGE(docs::fs::exists(file), docs::name_of(page), " links to ", target);
      if (hash == std::string::npos || !docs::fs::is_regular_file(file)) continue;
      ++anchors;
      // Codes of errors are written as the compiler says them; web pages do not mind the case.
      std::string wanted = target.substr(hash + 1);
      for (char& c : wanted) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      CHECK_MESSAGE(anchors_of(docs::read(file)).count(wanted) == 1, docs::name_of(page), " links to the heading ",
                    target);
    }
  }
  CHECK(links > 300);
  CHECK(anchors > 100);
}

TEST_CASE("files that documents name exist") {
  int files = 0;
  for (const docs::fs::path& page : documents())
    for (const auto& m :
         docs::all(docs::read(page), std::regex("`((include|examples|tests|docs)/[a-z_/0-9]+\\.[a-z]+)`"))) {
      ++files;
      CHECK_MESSAGE(docs::fs::exists(docs::root / m[1]), docs::name_of(page), " names ", m[1]);
    }
  CHECK(files > 200);
}
