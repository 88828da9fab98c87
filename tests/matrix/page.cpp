// Writes docs/support.md: one table for every two axes that refuse something together, those of scores and linear maps,
// and a legend.
#include "page.hpp"

#include <cctype>
#include <regex>
#include <sstream>

#include "support/joined_strings.hpp"

namespace matrix {
namespace {

std::vector<coordinate> listed(dimension d) {
  std::vector<coordinate> v;
  for (int i = 0; i < size_of(d); ++i)
    if (facts_of({d, i}).appears.page) v.push_back({d, i});
  return v;
}
const char* name_of(dimension d) { return axis_names[static_cast<int>(d)]; }
/// A value's text as code, without a namespace that all beside it share.
std::string label(std::string text, const std::string& prefix) {
  for (std::size_t at; !prefix.empty() && (at = text.find(prefix)) != std::string::npos;) text.erase(at, prefix.size());
  return "`" + text + "`";
}
std::string label(coordinate c) {
  std::string text = facts_of(c).text;
  const std::string own = std::string(name_of(c.axis)) + "::";
  if (text.rfind(own, 0) == 0) text.erase(0, own.size());
  return label(text, column_prefixes[static_cast<int>(c.axis)]);
}

/// A table of `said(row, column)`; refusals are added to `met`.
template <class Said>
std::string table(const std::string& corner, const std::vector<std::string>& rows,
                  const std::vector<std::string>& columns, std::set<verdict>& met, Said said) {
  std::ostringstream out;
  out << "| " << corner << " |";
  for (const std::string& c : columns) out << " " << c << " |";
  out << "\n|---|";
  for (std::size_t i = 0; i < columns.size(); ++i) out << "---|";
  for (std::size_t r = 0; r < rows.size(); ++r) {
    out << "\n| " << rows[r] << " |";
    for (std::size_t c = 0; c < columns.size(); ++c) {
      const verdict v = said(r, c);
      if (v != verdict::ok) met.insert(v);
      out << " " << (v == verdict::ok ? "yes" : code_of(v)) << " |";
    }
  }
  out << "\n";
  return out.str();
}
std::string table(dimension rows, dimension columns, std::set<verdict>& met) {
  const std::vector<coordinate> r = listed(rows), c = listed(columns);
  const auto labels = [](const std::vector<coordinate>& v) {
    std::vector<std::string> text;
    for (const coordinate x : v) text.push_back(label(x));
    return text;
  };
  return table(name_of(rows), labels(r), labels(c), met,
               [&](std::size_t i, std::size_t j) { return verdict_on(r[i], c[j]); });
}

/// Routers with scores, and with linear maps.
std::string tables_of_routers(std::set<verdict>& met) {
  std::vector<std::string> templates, scores, maps, routers;
  for (const value_facts& f : router_templates) templates.push_back(label(f.text, ""));
  for (const value_facts& f : router_scores) scores.push_back(label(f.text, "score::"));
  for (const value_facts& f : linear_maps) maps.push_back(label(f.text, ""));
  for (const int r : mapped_routers) routers.push_back(label({dimension::router, r}));
  int all = 0, supported = 0;
  const std::string of_scores = table("score", scores, templates, met, [&](std::size_t s, std::size_t t) {
    const verdict v = verdict_on_score(static_cast<int>(t), static_cast<int>(s)).said;
    ++all, supported += v == verdict::ok;
    return v;
  });
  std::ostringstream out;
  out << "\n## Router and score\n\n"
         "Every router that has a score, with every score: "
      << supported << " of the " << all
      << " are supported.\n\n"
      << of_scores
      << "\n## Router and linear map\n\n"
         "What may stand around a router, or inside another of them.\n\n"
      << table("router", routers, maps, met,
               [](std::size_t r, std::size_t m) { return verdict_on_map(static_cast<int>(r), static_cast<int>(m)); });
  return out.str();
}

/// The compiler's sentence behind a code, without the code and the reference.
std::string sentence(const std::string& code) {
  static const std::string text = moe_test::joined_strings(project_text("include/polymoe/layer/support.hpp"));
  std::smatch m;
  require(std::regex_search(text, m, std::regex("\"polymoe " + code + ": ([^\"]*) See docs/errors.md#" + code + "\"")),
          "support matrix: ", code, " has no sentence");
  return m[1];
}

std::string with_separators(long long n) {
  std::string s = std::to_string(n);
  for (std::size_t at = s.size(); at > 3;) s.insert(at -= 3, ",");
  return s;
}

}  // namespace

std::string support_page() {
  std::ostringstream out;
  std::set<verdict> met;
  const census all = count_compositions();
  const std::vector<point> on_cuda = cuda_compositions();
  const coverage cuda_pairs = cuda_coverage(on_cuda);
  out << "# Support matrix\n\n"
         "Which policies go together, as `support<Spec, Backend>()` says when it is compiled. This page is written by\n"
         "`support_matrix write` from the axes in `tests/matrix/axes.hpp`; the test `matrix/support` fails when it is "
         "out of date.\n\n"
         "A cell is `yes`, or the code of the sentence with which the compiler refuses the two values "
         "([legend](#legend)),\n"
         "whatever the other axes are. A composition is supported exactly if all pairs of its values are: the same "
         "test\n"
         "compares this with `support` on "
      << sampled().size() << " random compositions. Of the " << with_separators(all.compositions)
      << " compositions of the values below " << with_separators(all.supported)
      << " are supported.\n"
         "Which of them are tested, and how: [tested compositions](results/matrix.md). On `cpu` the tested "
         "compositions "
         "meet every\n"
         "supported pair in double, with gradients compared to differences, and every supported router and score; on "
         "`cuda`\n"
      << on_cuda.size() << " of them meet every value and " << cuda_pairs.met << " of the " << cuda_pairs.all
      << " pairs (" << cuda_pairs.percent()
      << " %).\n\n"
         "Values of one axis that behave alike are listed once: K of `top_k` may be 1 to 16 (of "
         "`balanced_assignment` 1),\n"
         "activations, biases and roundings of capacities change no verdict, a feature map is "
         "`unit::image<unit::mean>`,\n"
         "and losses may be summed, `balance::sum<...>`, where each of them is supported.\n";
  std::vector<std::string> free;
  for (int i = 0; i < dimensions; ++i)
    for (int j = i + 1; j < dimensions; ++j) {
      std::set<verdict> here;
      const std::string text = table(axis_of(i), axis_of(j), here);
      met.insert(here.begin(), here.end());
      if (here.empty())
        free.push_back(std::string(axis_names[i]) + " and " + axis_names[j]);
      else
        out << "\n## " << static_cast<char>(std::toupper(axis_names[i][0])) << axis_names[i] + 1 << " and "
            << axis_names[j] << "\n\n"
            << text;
    }
  out << tables_of_routers(met);
  out << "\n## Pairs of axes without refusals\n\nEvery value of one goes with every value of the other:\n\n";
  for (const std::string& f : free) out << "- " << f << "\n";
  out << "\n## Legend\n\n";
  for (const verdict v : met) {
    const std::string code = code_of(v);
    out << "- [" << code << "](errors.md#" << code << "): " << sentence(code) << "\n";
  }
  return out.str();
}

}  // namespace matrix
