// Reads and writes the tests of compositions.
#include "lists.hpp"

#include <filesystem>
#include <sstream>

namespace matrix {
namespace {

std::string file_of(const std::string& name, std::size_t part) {
  return "tests/matrix/" + name + "_" + std::to_string(part) + "_test.cpp";
}

/// The number of an identifier on an axis; -1 where it has none.
int number_of(dimension d, const std::string& id) {
  const int known = d == dimension::router ? int(router_values::all_routers) : size_of(d);
  for (int v = 0; v < known; ++v)
    if (facts_of({d, v}).name == id) return v;
  return -1;
}

/// A list of compositions as tests.
struct list_of_tests {
  const char* file;     ///< "<file>_<n>_test.cpp", in tests/matrix
  const char* title;    ///< of the test cases
  const char* examine;  ///< the header with the test body, and its function
  int timeout;
  std::vector<const char*> joined;  ///< a name for each source, those of equal names are compiled as one
  bool neighbours;                  ///< of the list, which share code, are in one source
};

void write(const list_of_tests& tests, const std::vector<point>& list, const std::string& met,
           std::vector<file_text>& to) {
  const std::size_t parts = tests.joined.size(), n = list.size();
  for (std::size_t part = 0; part < parts; ++part) {
    std::vector<std::string> lines;
    if (tests.neighbours)
      for (std::size_t i = part * n / parts; i < (part + 1) * n / parts; ++i) lines.push_back(text_of(list[i]));
    else
      for (std::size_t i = part; i < n; i += parts) lines.push_back(text_of(list[i]));
    std::ostringstream out;
    out << "// " << n << " compositions " << met << "; " << lines.size() << " of them.\n"
        << "// Written by `support_matrix write`; the test matrix/cover checks it.\n"
        << "// timeout: " << tests.timeout << "\n// with: " << tests.joined[part] << "\n#include \"" << tests.examine
        << ".hpp\"\n\n#define MATRIX_COMPOSITIONS(X) \\\n";
    for (std::size_t i = 0; i < lines.size(); ++i)
      out << "  X(" << lines[i] << ")" << (i + 1 < lines.size() ? " \\" : "") << "\n";
    out << "\nTEST_CASE(\"" << tests.title << ", part " << part << "\") { matrix::" << tests.examine
        << "_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }\n#undef MATRIX_COMPOSITIONS\n";
    to.push_back({file_of(tests.file, part), out.str()});
  }
}

}  // namespace

std::vector<point> committed(const std::string& name, int backend) {
  std::vector<point> list;
  for (std::size_t part = 0; std::filesystem::exists(file_of(name, part)); ++part) {
    std::istringstream text(project_text(file_of(name, part)));
    for (std::string line; std::getline(text, line);) {
      if (line.rfind("  X(", 0) != 0) continue;
      std::istringstream names(line.substr(4, line.find(')') - 4));
      point p{};
      at(p, dimension::backend) = backend;
      bool known = true;
      for (int d = 0; d + 1 < dimensions; ++d) {
        std::string id;
        names >> id;
        if (!id.empty() && id.back() == ',') id.pop_back();
        const int v = number_of(axis_of(d), id);
        known = known && v >= 0;
        p[static_cast<std::size_t>(d)] = v;
      }
      if (known) list.push_back(p);
    }
  }
  return list;
}

std::vector<file_text> tests_of_compositions() {
  std::vector<file_text> files;
  std::size_t pairs = 0, triples = 0;
  for (const demand& d : demands()) ++(of_routing(d) ? triples : pairs);
  std::ostringstream met;
  met << "that meet all " << triples << " supported triples of router, capacity and unit and all\n// " << pairs
      << " supported pairs of values of any two axes, in double but for pairs with another scalar";
  write({"compositions", "compositions", "examine", 600,
         {"first", "first", "second", "second", "third", "third", "fourth", "fourth"}, true},
        covering_compositions(committed("compositions", backend_values::on_cpu)), met.str(), files);
  write({"score_compositions", "compositions of scores", "examine", 600, {"scores", "scores"}, true},
        score_compositions(),
        "in double, one for every supported router and score that the axis of routers\n// has not", files);
  const auto on_cuda = cuda_compositions();
  const coverage c = cuda_coverage(on_cuda);
  std::ostringstream met_on_cuda;
  met_on_cuda << "on CUDA that meet every value of every axis and " << c.met << " of the " << c.all
              << " supported pairs of\n// values of any two axes, " << c.percent() << " %";
  write({"cuda_compositions", "compositions on CUDA", "cuda_examine", 900, {"cuda", "cuda", "cuda_rest", "cuda_rest"},
         false},
        on_cuda, met_on_cuda.str(), files);
  return files;
}

}  // namespace matrix
