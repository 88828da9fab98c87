// docs/policies: a page for every policy of the headers, all pages of one form, and what can be compared with the
// headers. Their snippets are compiled (CMakeLists.txt beside this file).
// with: docs
#include "text.hpp"

namespace {

const docs::fs::path pages_folder = docs::root / "docs/policies";
constexpr const char* headings[] = {"What it is for",
                                    "Minimal spec",
                                    "Forward",
                                    "Backward",
                                    "Options",
                                    "Training and evaluation",
                                    "Statistics and cost",
                                    "Numerics and edge cases",
                                    "Determinism",
                                    "Backends",
                                    "Does not go with",
                                    "Measured",
                                    "Tested by",
                                    "Source"};

struct policy {
  std::string name, header;  ///< as a spec writes it, without polymoe::
};

bool in_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

/// A header without comments and text, so that braces count.
std::string code_of(const std::string& text) {
  return std::regex_replace(text, std::regex("//[^\n]*|\"[^\"\n]*\""), "");
}

/// Whether `body`, what stands between the name of a struct and its end, is that of a router.
bool is_router(const std::string& body) {
  return std::regex_search(body, std::regex("^ : (detail::scored<|Router \\{)|static constexpr int k = "));
}

/// The structs and aliases that a header defines in a namespace for policies (score::, unit::, ...), and in polymoe::
/// itself its routers, plans and what is scheduled over a run.
void add_policies(const docs::fs::path& header, std::vector<policy>& out) {
  struct brace {
    bool of_namespace;
    std::string name;  ///< with :: behind it; empty for polymoe itself
  };
  static const std::regex opening("namespace\\s+([\\w:]+(?:\\s+v0[\\w:]*)?)\\s*$"),
      root_name("^polymoe::inline\\s+v0(::)?"), alias("\\busing (\\w+) ="),
      type("(?:^|\\s)struct (\\w+)(?:<[^;{]*>)?(?: :[^;{]*)?\\s*$");
  const std::string code = code_of(docs::read(header)), folder = header.parent_path().filename().string();
  std::vector<brace> open;
  std::size_t start = 0;  // of what stands before the next brace or semicolon
  for (std::size_t i = code.find_first_of("{};"); i != std::string::npos; i = code.find_first_of("{};", i + 1)) {
    const std::string before = code.substr(start, i - start);
    const char c = code[i];
    std::smatch m;
    if (c != '}' && std::all_of(open.begin(), open.end(), [](const brace& b) { return b.of_namespace; }) &&
        std::regex_search(before, m, c == ';' ? alias : type)) {
      std::string space;
      for (const brace& b : open) space += b.name;
      const std::string name = m[1];
      const std::size_t body = start + static_cast<std::size_t>(m.position(1)) + name.size();
      const bool router =
          folder == "router" && c == '{' && is_router(code.substr(body, code.find("\n};", body) - body));
      const bool plan = folder == "plan" && std::regex_search(name, std::regex("_plan$"));
      const bool schedule = folder == "train" && std::regex_search(name, std::regex("_schedule$"));
      if (space.find("detail::") == std::string::npos && (!space.empty() || router || plan || schedule))
        out.push_back({space + name, docs::name_of(header)});
    }
    if (c == '{') {
      const bool found = std::regex_search(before, m, opening);
      const std::string space = found ? std::regex_replace(m[1].str(), root_name, "") : "";
      open.push_back({found, space.empty() ? "" : space + "::"});
    } else if (c == '}' && !open.empty()) {
      open.pop_back();
    }
    start = i + 1;
  }
}
std::vector<policy> policies() {
  std::vector<policy> out;
  for (const char* folder : {"score", "router", "unit", "expert", "combine", "capacity", "balance", "plan"})
    for (const auto& header : docs::files_below(docs::root / "include/polymoe" / folder, ".hpp"))
      add_policies(header, out);
  add_policies(docs::root / "include/polymoe/layer/exchange.hpp", out);
  add_policies(docs::root / "include/polymoe/train/temperature.hpp", out);
  return out;
}

/// Whether a text has the name as a word of its own; polymoe:: may stand before it.
bool names(const std::string& text, const std::string& name) {
  for (std::size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 1)) {
    const char before = at ? text[at - 1] : ' ', after = at + name.size() < text.size() ? text[at + name.size()] : ' ';
    const bool ours = at >= 9 && text.compare(at - 9, 9, "polymoe::") == 0;
    if (!in_word(after) && (ours || (!in_word(before) && before != ':'))) return true;
  }
  return false;
}

/// The headers that a page says it is about, in its first paragraph.
std::vector<std::string> headers_of(const std::string& page) {
  const std::string first = page.substr(0, page.find("\n## "));
  std::vector<std::string> out;
  for (const auto& m : docs::all(first, std::regex("`(include/polymoe/[a-z_0-9/]+\\.hpp)`"))) out.push_back(m[1]);
  return out;
}

}  // namespace

TEST_CASE("every policy of the headers is on a page that names its header") {
  struct text_and_headers {
    std::string text;
    std::vector<std::string> headers;
  };
  std::vector<text_and_headers> pages;
  for (const auto& page : docs::files_below(pages_folder, ".md")) {
    const std::string text = docs::read(page);
    pages.push_back({text, headers_of(text)});
  }
  const std::vector<policy> known = policies();
  for (const policy& p : known) {
    bool found = false;
    for (const auto& page : pages)
      found = found || (names(page.text, p.name) &&
                        std::find(page.headers.begin(), page.headers.end(), p.header) != page.headers.end());
    CHECK_MESSAGE(found, "no page of docs/policies names ", p.name, " and ", p.header);
  }
  // The walk finds what is there: nested namespaces, aliases, routers, plans, and nothing else.
  const auto has = [&](const std::string& name) {
    return std::count_if(known.begin(), known.end(), [&](const policy& p) { return p.name == name; });
  };
  for (const char* name : {"score::softmax",
                           "score::solver::newton",
                           "score::start::last_step",
                           "score::one",
                           "axis::batch",
                           "unit::feature_map",
                           "overflow::reroute",
                           "priority::random",
                           "capacity::bounded",
                           "combine::sum",
                           "balance::load_shazeer",
                           "save::without_output",
                           "act::silu",
                           "expert::head",
                           "exchange::none",
                           "top_k",
                           "mixture",
                           "with_cosine",
                           "soft_slots",
                           "sparse_plan",
                           "dense_plan",
                           "temperature_schedule"})
    CHECK_MESSAGE(has(name) >= 1, std::string(name), " is not found");
  for (const char* name : {"group_cells", "input_noise", "row_info", "mlp_maths", "load_form", "transport_lines"})
    CHECK_MESSAGE(has(name) == 0, std::string(name), " is no policy");
}

TEST_CASE("pages of policies have one form") {
  const std::string index = docs::read(docs::root / "docs/policies.md");
  int pages = 0;
  for (const auto& page : docs::files_below(pages_folder, ".md")) {
    ++pages;
    const std::string name = docs::name_of(page), text = docs::read(page);
    INFO(name);
    CHECK_MESSAGE(index.find("](policies/" + page.filename().string()) != std::string::npos,
                  "docs/policies.md does not list it");
    CHECK(text.compare(0, 2, "# ") == 0);
    CHECK_MESSAGE(!headers_of(text).empty(), "it begins with no header");
    std::size_t at = 0;
    for (const std::string heading : headings) {
      const std::size_t next = text.find("\n## " + heading + "\n", at);
      CHECK_MESSAGE(next != std::string::npos, "the heading ", heading, " is missing, or out of order");
      if (next != std::string::npos) at = next;
      CHECK_MESSAGE(docs::section_of(text, heading).find_first_not_of(" \n") != std::string::npos, heading,
                    " is empty");
    }
    CHECK_MESSAGE(docs::section_of(text, "Minimal spec").find("```cpp\n") != std::string::npos, "no snippet");
    CHECK_MESSAGE(docs::section_of(text, "Tested by").find("`tests/") != std::string::npos, "no test");
    // A GPU has confirmed nothing yet.
    CHECK(docs::section_of(text, "Backends").find("](../results/gpu-unverified.md)") != std::string::npos);
    for (const auto& m : docs::all(text, std::regex("\\[(M[0-9]{3})\\]\\(([^)]*)\\)")))
      CHECK_MESSAGE(m[2] == "../errors.md#" + m[1], m[0]);
  }
  CHECK(pages >= 40);
}

TEST_CASE("defaults that pages of policies name are those of the headers") {
  int defaults = 0;
  for (const auto& page : docs::files_below(pages_folder, ".md")) {
    const std::string text = docs::read(page);
    std::string headers;
    for (const std::string& header : headers_of(text)) headers += docs::read(docs::root / header);
    for (const auto& m :
         docs::all(docs::section_of(text, "Options"), std::regex("\n\\| `([^`]*)` \\| (`([^`]*)`|-) \\|"))) {
      const std::string option = m[1], value = m[3];
      ++defaults;
      const std::string escaped = std::regex_replace(value, std::regex("[.+()]"), "\\$&");
      const std::string pattern = "\\b" + option + (value.empty() ? "\\b" : " = " + escaped + "f?(?![A-Za-z0-9_.:])");
      CHECK_MESSAGE(std::regex_search(headers, std::regex(pattern)), docs::name_of(page), ": no header says ", option,
                    " = ", value);
    }
  }
  CHECK(defaults > 80);
}

TEST_CASE("every setting of a layer but its sizes is an option on a page; groups have theirs") {
  const std::string header = code_of(docs::read(docs::root / "include/polymoe/layer/layer.hpp"));
  const std::size_t from = header.find("struct layer_config {");
  REQUIRE(from != std::string::npos);
  std::vector<std::string> settings;
  for (const auto& m : docs::all(header.substr(from, header.find("\n};", from) - from),
                                 std::regex("\n  (?:index|bool|double) (\\w+) = ")))
    if (m[1] != "dim" && m[1] != "hidden" && m[1] != "experts") settings.push_back(m[1]);
  CHECK(settings.size() >= 7);
  for (const std::string& name : settings) {
    std::vector<std::string> on;
    for (const auto& page : docs::files_below(pages_folder, ".md"))
      if (docs::section_of(docs::read(page), "Options").find("\n| `" + name + "` |") != std::string::npos)
        on.push_back(page.filename().string());
    CHECK_MESSAGE(!on.empty(), "no page has the option ", name);
    if (name == "group_size") CHECK(on == std::vector<std::string>{"groups.md"});
  }
  for (const char* page : {"unit_token.md", "unit_image.md", "capacity_bounded.md"})
    CHECK_MESSAGE(docs::read(pages_folder / page).find("](groups.md)") != std::string::npos, page);
}

TEST_CASE("rows of measurements that pages of policies name are in the table") {
  const std::string table = docs::read(docs::root / "docs/results/routers.md");
  int rows = 0;
  for (const auto& page : docs::files_below(pages_folder, ".md")) {
    const std::string measured = docs::section_of(docs::read(page), "Measured");
    for (const auto& m : docs::all(measured, std::regex("[Rr]ows? ([^\\[\\]]*)of\\s\\[routers\\]")))
      for (const auto& row : docs::all(m[1], std::regex("`([a-z_0-9]+)`"))) {
        ++rows;
        CHECK_MESSAGE(table.find("\n| " + row[1] + " |") != std::string::npos, docs::name_of(page), ": ", row[1]);
      }
  }
  CHECK(rows >= 25);
}

TEST_CASE("every refusal is on a page of policies") {
  std::string pages = docs::read(docs::root / "docs/policies.md");
  for (const auto& page : docs::files_below(pages_folder, ".md")) pages += docs::read(page);
  for (const auto& m : docs::all(docs::read(docs::root / "docs/errors.md"), std::regex("\n## (M[0-9]{3})\n")))
    CHECK_MESSAGE(pages.find("errors.md#" + m[1] + ")") != std::string::npos, m[1]);
}
