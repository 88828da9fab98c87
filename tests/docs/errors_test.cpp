// The error page says what the headers say: every verdict, its sentence, its failing case, every quoted run-time
// message.
// with: docs
#include "text.hpp"

using namespace docs;

TEST_CASE("every verdict has a sentence, a section of docs/errors.md and a failing case") {
  const std::string support = read_code(root / "include/polymoe/layer/support.hpp");
  const std::string errors = read(root / "docs/errors.md");
  const std::string list =
      support.substr(support.find("enum class verdict"), support.find("};") - support.find("enum class verdict"));
  std::set<std::string> codes;
  for (const auto& m : all(list, std::regex("(M[0-9]{3})_([a-z0-9_]+)"))) {
    const std::string code = m[1], name = m[0];
    CHECK_MESSAGE(codes.insert(code).second, code, " is used twice");
    CHECK_MESSAGE(errors.find("`" + name + "`") != std::string::npos, name, " is not named");
    CHECK_MESSAGE(support.find("docs/errors.md#" + code) != std::string::npos, code, " has no sentence");
  }
  // Calls that no verdict on a composition can know.
  for (const auto& m : all(read_code(root / "include/polymoe/layer/apply.hpp"), std::regex("\"polymoe (M[0-9]{3}): ")))
    CHECK_MESSAGE(codes.insert(m[1]).second, m[1], " is used twice");
  for (const std::string& code : codes) {
    CHECK_MESSAGE(errors.find("\n## " + code + "\n") != std::string::npos, code, " has no section");
    bool found = false;
    for (const auto& entry : fs::directory_iterator(root / "tests/compile_fail")) {
      const std::string file = entry.path().filename().string();
      if (file.compare(0, 5, code + "_") == 0 && entry.path().extension() == ".cpp") {
        found = true;
        CHECK_MESSAGE(read(entry.path()).rfind("// expect: " + code + "\n", 0) == 0, file,
                      " does not open with its code");
      }
    }
    CHECK_MESSAGE(found, code, " has no tests/compile_fail case");
  }
  CHECK(codes.size() >= 20);
  for (const auto& m : all(errors, std::regex("\n## (M[0-9]{3})\n")))
    CHECK_MESSAGE(codes.count(m[1]) == 1, "docs/errors.md explains ", m[1], ", which does not exist");
}

TEST_CASE("the sentences of docs/errors.md are the sentences of the compiler") {
  const std::string support =
      read_code(root / "include/polymoe/layer/support.hpp") + read_code(root / "include/polymoe/layer/apply.hpp");
  const std::string errors = read(root / "docs/errors.md");
  int sentences = 0;
  for (const auto& m : all(support, std::regex("\"(polymoe M[0-9]{3}: [^\"]*) See docs/errors.md#(M[0-9]{3})\""))) {
    ++sentences;
    CHECK_MESSAGE(errors.find("> " + m[1] + "\n") != std::string::npos, m[1]);
    CHECK_MESSAGE(m[1].find("polymoe " + m[2] + ":") == 0, "the sentence of ", m[2],
                  " names another code");
    CHECK_MESSAGE(m[1].find('`') == std::string::npos, "nvcc prints backticks as question marks: ", m[1]);
  }
  CHECK(sentences >= 20);
}

TEST_CASE("every section of docs/errors.md has a failing and a mended snippet") {
  const std::string errors = read(root / "docs/errors.md");
  std::size_t at = errors.find("\n## M");
  while (at != std::string::npos) {
    const std::size_t next = std::min(errors.find("\n## M", at + 1), errors.find("\n# ", at + 1));
    const std::string section = errors.substr(at, next - at);
    CHECK_MESSAGE(all(section, std::regex("```cpp\n")).size() == 2, section.substr(0, 10));
    // Both are compiled: the failing one is a case of its own, the mended ones are in ok_mended.cpp.
    const std::size_t first = section.find("```cpp\n") + 7, second = section.find("```cpp\n", first) + 7;
    const std::string failing = section.substr(first, section.find("```", first) - first);
    const std::string mended = section.substr(second, section.find("```", second) - second);
    const std::string code = section.substr(section.find("M"), 4);
    CHECK_MESSAGE(read(root / "tests/compile_fail/ok_mended.cpp").find(mended) != std::string::npos, code,
                  " mended is not compiled");
    for (const auto& entry : fs::directory_iterator(root / "tests/compile_fail"))
      if (entry.path().filename().string().compare(0, 5, code + "_") == 0)
        CHECK_MESSAGE(std::regex_replace(read(entry.path()), std::regex("\\bbad\\b"), "my_moe").find(failing) !=
                          std::string::npos,
                      code, " failing snippet is not its case");
    CHECK_MESSAGE(section.find("\nMended:\n") != std::string::npos, section.substr(0, 10));
    at = errors.find("\n## M", at + 1);
  }
}

TEST_CASE("quoted run-time messages exist in the headers") {
  std::string headers;
  for (const auto& entry : fs::recursive_directory_iterator(root / "include/polymoe"))
    if (entry.is_regular_file()) headers += read_code(entry.path());
  const std::string errors = read(root / "docs/errors.md");
  const std::string table = errors.substr(errors.find("# Run-time errors"));
  int rows = 0;
  for (const auto& m : all(table, std::regex("\n\\| `([^`]*)` \\|"))) {
    ++rows;
    CHECK_MESSAGE(headers.find("\"" + m[1]) != std::string::npos, "no header says: ", m[1]);
  }
  CHECK(rows >= 15);
}

TEST_CASE("the tests that docs/failure_modes.md quotes exist") {
  const std::string text = read(root / "docs/failure_modes.md");
  int modes = 0, quoted = 0;
  for (const auto& row : all(text, std::regex("\n\\| F[0-9]+ \\|[^\n]*"))) {
    ++modes;
    const std::string line = row[0];
    std::string cases;  // of the file that was named last
    for (const auto& m : all(line, std::regex("`(tests/[a-z_0-9/]+\\.cpp)`|\"([^\"]*)\""))) {
      if (!m[1].empty()) {
        cases = read_code(root / m[1]);
        continue;
      }
      if (cases.empty()) continue;  // a word of the report
      ++quoted;
      CHECK_MESSAGE(cases.find("TEST_CASE(\"" + m[2] + "\"") != std::string::npos, line.substr(1, 5), m[2]);
    }
    CHECK_MESSAGE(!cases.empty(), line.substr(1, 6), "names no test");
  }
  CHECK(modes == 37);
  CHECK(quoted > modes);
}
