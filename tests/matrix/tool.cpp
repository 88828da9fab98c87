// support_matrix: writes what is made from the axes.
//
//   support_matrix write                       docs/support.md and the tests of compositions, compositions_<n>_test.cpp and
//                                              cuda_compositions_<n>_test.cpp, in the project's folder
//   support_matrix sample N SEED FOLDER SIZE   sources with N random supported compositions, as many of every router
//                                              (all: N < 0), SIZE a source
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "cover.hpp"
#include "page.hpp"

namespace {

void write_file(const std::string& name, const std::string& text) {
  std::ofstream out(name);
  out << text;
  matrix::require(out.good(), "support_matrix: cannot write ", name);
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

void write_tests(const list_of_tests& tests, const std::vector<matrix::point>& list, const std::string& met) {
  const std::size_t parts = tests.joined.size(), n = list.size();
  for (std::size_t part = 0; part < parts; ++part) {
    std::vector<std::string> lines;
    if (tests.neighbours)
      for (std::size_t i = part * n / parts; i < (part + 1) * n / parts; ++i) lines.push_back(matrix::text_of(list[i]));
    else
      for (std::size_t i = part; i < n; i += parts) lines.push_back(matrix::text_of(list[i]));
    std::ostringstream out;
    out << "// " << n << " compositions " << met << "; " << lines.size() << " of them.\n"
        << "// Written by `support_matrix write`; the test matrix/cover checks it.\n"
        << "// timeout: " << tests.timeout << "\n// with: " << tests.joined[part] << "\n#include \"" << tests.examine
        << ".hpp\"\n\n#define MATRIX_COMPOSITIONS(X) \\\n";
    for (std::size_t i = 0; i < lines.size(); ++i)
      out << "  X(" << lines[i] << ")" << (i + 1 < lines.size() ? " \\" : "") << "\n";
    out << "\nTEST_CASE(\"" << tests.title << ", part " << part << "\") { matrix::" << tests.examine
        << "_all<std::tuple<MATRIX_COMPOSITIONS(MATRIX_SPEC) void>>(); }\n#undef MATRIX_COMPOSITIONS\n";
    write_file(std::string("tests/matrix/") + tests.file + "_" + std::to_string(part) + "_test.cpp", out.str());
  }
}

void write_all() {
  write_file("docs/support.md", matrix::support_page());
  std::size_t pairs = 0, all = 0;
  for (const matrix::demand& d : matrix::demands()) pairs += d.values.size() == 2, ++all;
  std::ostringstream met;
  met << "that meet all " << all - pairs << " supported triples of router, capacity and unit in double and all\n// " << pairs
      << " supported pairs of values of any two axes";
  write_tests({"compositions", "compositions", "examine", 600,
               {"first", "first", "second", "second", "third", "third", "fourth", "fourth"}, true},
              matrix::covering_compositions(), met.str());
  const auto on_cuda = matrix::cuda_compositions();
  const matrix::coverage c = matrix::cuda_coverage(on_cuda);
  std::ostringstream met_on_cuda;
  met_on_cuda << "on CUDA that meet every value of every axis and " << c.met << " of the " << c.all
              << " supported pairs of\n// values of any two axes, " << c.percent() << " %";
  write_tests({"cuda_compositions", "compositions on CUDA", "cuda_examine", 900,
               {"cuda", "cuda", "cuda_rest", "cuda_rest"}, false},
              on_cuda, met_on_cuda.str());
}

int sample(long long n, std::uint64_t seed, const std::filesystem::path& folder, std::size_t size) {
  const auto list = matrix::random_compositions(n, seed);
  std::filesystem::create_directories(folder);
  std::size_t files = 0;
  for (std::size_t first = 0; first < list.size(); first += size) {
    std::ofstream out(folder / ("batch_" + std::to_string(files++) + ".cpp"));
    out << "// Random compositions " << first << " and on, seed " << seed << ".\n#include <doctest/doctest.h>\n\n"
        << "#include \"matrix/examine.hpp\"\n\n";
    for (std::size_t i = first; i < std::min(list.size(), first + size); ++i) {
      const std::string text = matrix::text_of(list[i]);
      out << "TEST_CASE(\"" << text << "\") { matrix::examine_all<std::tuple<MATRIX_SPEC(" << text << ") void>>(); }\n";
    }
    matrix::require(out.good(), "support_matrix: cannot write into ", folder.string());
  }
  std::cout << list.size() << " compositions in " << files << " sources\n";
  return 0;
}

}  // namespace

int main(int n, char** argument) {
  try {
    const std::string what = n > 1 ? argument[1] : "";
    if (what == "write" && n == 2) {
      write_all();
    } else if (what == "sample" && n == 6) {
      return sample(std::stoll(argument[2]), std::stoull(argument[3]), argument[4], std::stoull(argument[5]));
    } else {
      std::cerr << "support_matrix: write | sample N SEED FOLDER SIZE\n";
      return 2;
    }
  } catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    return 1;
  }
}
