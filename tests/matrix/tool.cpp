// support_matrix: writes what is made from the axes.
//
//   support_matrix write                       the three files below, in the project's folder
//   support_matrix page                        docs/support.md
//   support_matrix compositions                tests/matrix/compositions.hpp
//   support_matrix cuda_compositions           tests/matrix/cuda_compositions.hpp
//   support_matrix sample N SEED FOLDER SIZE   sources with N random supported compositions, as many of every router
//                                              (all: N < 0), SIZE a source
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "cover.hpp"
#include "page.hpp"

namespace {

void print_compositions(std::ostream& out, const std::vector<matrix::point>& list) {
  for (std::size_t i = 0; i < list.size(); ++i)
    out << "  X(" << matrix::text_of(list[i]) << ")" << (i + 1 < list.size() ? " \\" : "") << "\n";
}

void print_cover(std::ostream& out) {
  const auto list = matrix::covering_compositions();
  std::size_t pairs = 0, all = 0;
  for (const matrix::demand& d : matrix::demands()) pairs += d.values.size() == 2, ++all;
  out << "// " << list.size() << " compositions that meet all " << all - pairs
      << " supported triples of router, capacity and unit in double and all\n// " << pairs
      << " supported pairs of values of any two axes.\n// Written by `support_matrix compositions`; the test "
         "matrix/cover "
         "checks it.\n#pragma once\n\n#define MATRIX_COMPOSITIONS(X) \\\n";
  print_compositions(out, list);
}

void print_cuda_list(std::ostream& out) {
  const auto list = matrix::cuda_compositions();
  const matrix::coverage c = matrix::cuda_coverage(list);
  out << "// " << list.size() << " compositions on CUDA that meet every value of every axis and " << c.met << " of the "
      << c.all << " supported pairs of\n// values of any two axes, " << c.percent()
      << " %.  Written by `support_matrix cuda_compositions`; the test matrix/cover checks it.\n#pragma once\n\n"
         "#define MATRIX_CUDA_COMPOSITIONS(X) \\\n";
  print_compositions(out, list);
}

/// One file of the project, in whose folder this runs.
template <class F>
void write_file(const std::string& name, F print) {
  std::ostringstream text;
  print(text);
  std::ofstream out(name);
  out << text.str();
  matrix::require(out.good(), "support_matrix: cannot write ", name);
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
      write_file("docs/support.md", [](std::ostream& out) { out << matrix::support_page(); });
      write_file("tests/matrix/compositions.hpp", print_cover);
      write_file("tests/matrix/cuda_compositions.hpp", print_cuda_list);
    } else if (what == "page" && n == 2) {
      std::cout << matrix::support_page();
    } else if (what == "compositions" && n == 2) {
      print_cover(std::cout);
    } else if (what == "cuda_compositions" && n == 2) {
      print_cuda_list(std::cout);
    } else if (what == "sample" && n == 6) {
      return sample(std::stoll(argument[2]), std::stoull(argument[3]), argument[4], std::stoull(argument[5]));
    } else {
      std::cerr << "support_matrix: write | page | compositions | cuda_compositions | sample N SEED FOLDER SIZE\n";
      return 2;
    }
  } catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    return 1;
  }
}
