// Every relative link of a document leads to a file and to a heading that are there, and
// every source it names is there.
// with: docs
#include <fnmatch.h>

#include <cstring>
#include <functional>
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

/// The files of the project, as paths from its folder.
std::vector<std::string> files_of_project() {
  std::vector<std::string> out;
  for (const char* folder : {"include", "tests", "examples", "bench", "docs", "cmake"})
    for (const auto& entry : docs::fs::recursive_directory_iterator(docs::root / folder))
      if (entry.is_regular_file()) out.push_back("/" + docs::name_of(entry.path()));
  for (const auto& entry : docs::fs::directory_iterator(docs::root))
    if (entry.is_regular_file()) out.push_back("/" + docs::name_of(entry.path()));
  return out;
}
/// Whether a file's path is `name`, or ends with it after a slash; * and ? stand for what they do in a shell.
bool is_there(const std::vector<std::string>& project, const std::string& name) {
  const std::string pattern = "*/" + name;
  return std::any_of(project.begin(), project.end(),
                     [&](const std::string& file) { return ::fnmatch(pattern.c_str(), file.c_str(), 0) == 0; });
}
/// Sources named anywhere in a text, in prose or behind back-ticks; {a,b} counts as two names.  Names with a part in <>
/// are patterns of names, no names.
std::vector<std::string> files_named(const std::string& text) {
  std::vector<std::string> out;
  const std::regex source("[A-Za-z0-9_./*?-]+[.](hpp|cuh|cu|cpp|py|sh|cmake)");
  const auto part_of_name = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || std::strchr("_./*?{},-", c);
  };
  const std::function<void(const std::string&)> add = [&](const std::string& name) {
    const std::size_t open = name.find('{'), close = name.find('}');
    if (open < close && close != std::string::npos) {
      std::istringstream choices(name.substr(open + 1, close - open - 1));
      for (std::string choice; std::getline(choices, choice, ',');)
        add(name.substr(0, open) + choice + name.substr(close + 1));
    } else if (std::regex_match(name, source)) {
      out.push_back(name);
    }
  };
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at;
    int open = 0;  // a comma ends a name, but not inside of braces
    for (; end < text.size() && text[end] != 0 && part_of_name(text[end]) && (open > 0 || text[end] != ','); ++end)
      open += (text[end] == '{') - (text[end] == '}');
    const bool pattern = (at > 0 && std::strchr("<>$~", text[at - 1])) || (end < text.size() && text[end] == '<');
    if (end > at && !pattern) {
      std::string name = text.substr(at, end - at);
      while (!name.empty() && (name.back() == '.' || name.back() == '-')) name.pop_back();
      if (name.compare(0, 2, "./") == 0) name.erase(0, 2);
      add(name);
    }
    at = end + 1;
  }
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
  const std::vector<std::string> project = files_of_project();
  REQUIRE(project.size() > 500);
  CHECK(is_there(project, "kernel/move.cuh"));
  CHECK_FALSE(is_there(project, "kernel/movers.cuh"));
  CHECK_FALSE(is_there(project, "ernel/move.cuh"));
  CHECK(files_named("See a/{b,c}_d.hpp, e*.cu; tests/<noun>/f.cu, x.json.") ==
        std::vector<std::string>{"a/b_d.hpp", "a/c_d.hpp", "e*.cu"});
  // What a reader writes, and texts of other projects.
  const std::set<std::string> elsewhere = {"your.cpp", "projects/soft_moe/router.py",
                                           "megatron/core/transformer/moe/router.py"};
  int files = 0;
  for (const docs::fs::path& page : documents())
    for (const std::string& name : files_named(docs::without_fences(docs::read(page)))) {
      ++files;
      CHECK_MESSAGE((elsewhere.count(name) == 1 || is_there(project, name)), docs::name_of(page), " names ", name);
    }
  CHECK(files > 500);
}
