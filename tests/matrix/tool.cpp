// support_matrix: writes what is made from the axes.
//
//   support_matrix write                               docs/support.md and the tests of compositions (lists.hpp), in the
//                                                      project's folder; those of the CPU stay where they meet something
//   support_matrix sample N SEED FOLDER SIZE BACKEND   sources with N random supported compositions on cpu or cuda, as
//                                                      many of every router (all: N < 0), SIZE a source
#include <filesystem>
#include <fstream>
#include <iostream>

#include "lists.hpp"
#include "page.hpp"

namespace {

void write_file(const std::string& name, const std::string& text) {
  std::ofstream out(name);
  out << text;
  matrix::require(out.good(), "support_matrix: cannot write ", name);
}

void write_all() {
  write_file("docs/support.md", matrix::support_page());
  for (const matrix::file_text& f : matrix::tests_of_compositions()) write_file(f.name, f.text);
}

int sample(long long n, std::uint64_t seed, const std::filesystem::path& folder, std::size_t size,
           const std::string& backend) {
  const bool on_cuda = backend == "cuda";
  matrix::require(on_cuda || backend == "cpu", "support_matrix: the backend is ", backend, ", it must be cpu or cuda");
  const auto list =
      matrix::random_compositions(n, seed, on_cuda ? matrix::backend_values::on_cuda : matrix::backend_values::on_cpu);
  const std::string examine = on_cuda ? "cuda_examine" : "examine";
  std::filesystem::create_directories(folder);
  std::size_t files = 0;
  for (std::size_t first = 0; first < list.size(); first += size) {
    std::ofstream out(folder / ("batch_" + std::to_string(files++) + ".cpp"));
    out << "// Random compositions " << first << " and on, seed " << seed << ".\n#include <doctest/doctest.h>\n\n"
        << "#include \"matrix/" << examine << ".hpp\"\n\n";
    for (std::size_t i = first; i < std::min(list.size(), first + size); ++i) {
      const std::string text = matrix::text_of(list[i]);
      out << "TEST_CASE(\"" << text << "\") { matrix::" << examine << "_all<std::tuple<MATRIX_SPEC(" << text
          << ") void>>(); }\n";
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
    } else if (what == "sample" && n == 7) {
      return sample(std::stoll(argument[2]), std::stoull(argument[3]), argument[4], std::stoull(argument[5]),
                    argument[6]);
    } else {
      std::cerr << "support_matrix: write | sample N SEED FOLDER SIZE BACKEND\n";
      return 2;
    }
  } catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    return 1;
  }
}
