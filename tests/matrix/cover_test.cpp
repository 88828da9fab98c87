// The tested compositions (compositions_<n>_test.cpp) meet every supported pair and every supported triple of router,
// capacity and unit, those on CUDA (cuda_compositions_<n>_test.cpp) every value; neither holds anything that is refused.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "cover.hpp"

namespace matrix {
namespace {

/// The compositions of committed tests, "<first part of the name>_<n>_test.cpp", in the order of the files: lines
/// "  X(identifier, ...)", a value for each axis but the backend.
std::vector<point> committed(const std::string& name, int backend) {
  std::vector<point> list;
  const auto file = [&](int part) { return "tests/matrix/" + name + "_" + std::to_string(part) + "_test.cpp"; };
  for (int part = 0; std::filesystem::exists(file(part)); ++part) {
    std::istringstream text(project_text(file(part)));
    for (std::string line; std::getline(text, line);) {
      if (line.rfind("  X(", 0) != 0) continue;
      std::istringstream names(line.substr(4, line.find(')') - 4));
      point p{};
      at(p, dimension::backend) = backend;
      for (int d = 0; d + 1 < dimensions; ++d) {
        std::string id;
        names >> id;
        if (!id.empty() && id.back() == ',') id.pop_back();
        int found = -1;
        for (int v = 0; v < sizes[d]; ++v)
          if (facts_of({axis_of(d), v}).name == id) found = v;
        REQUIRE_MESSAGE(found >= 0, axis_names[d], " has no value ", id, " (", file(part), ")");
        p[static_cast<std::size_t>(d)] = found;
      }
      list.push_back(p);
    }
  }
  REQUIRE(!list.empty());
  return list;
}
const std::vector<point>& committed_points() {
  static const std::vector<point> list = committed("compositions", backend_values::on_cpu);
  return list;
}
/// Values of axes, the backend apart, that are tested on a backend and not in a list for it.
std::string values_without(const std::vector<point>& list, int backend) {
  std::string text;
  for (int d = 0; d + 1 < dimensions; ++d)
    for (int v = 0; v < sizes[d]; ++v) {
      bool met = !tested({axis_of(d), v}, backend);
      for (const point& p : list) met = met || p[static_cast<std::size_t>(d)] == v;
      if (!met) text += std::string(axis_names[d]) + " " + facts_of({axis_of(d), v}).name + "; ";
    }
  return text;
}
/// Demands that a list does not meet.
std::set<demand> missing(const std::vector<point>& list) {
  std::set<demand> left = demands();
  for (const point& p : list)
    for (const demand& d : met_by(p)) left.erase(d);
  return left;
}

}  // namespace

TEST_CASE("the tested compositions meet every supported pair and triple, and are supported") {
  const auto& list = committed_points();
  for (const point& p : list) {
    CHECK_MESSAGE(supported(p), text_of(p), " is refused: ", code_of(first_refusal(p)));
    CHECK_MESSAGE(distinct(p), text_of(p), " has an order of places where every wish has one");
  }
  const auto left = missing(list);
  for (const demand& d : left)
    CHECK_MESSAGE(false, "not met: ", text_of(d), "; support_matrix write makes another list");
  CHECK(demands().size() > 3000);
  CHECK(values_without(list, backend_values::on_cpu) == "");
}

TEST_CASE("the compositions on CUDA are supported, meet every value, and are those that support_matrix writes") {
  auto list = committed("cuda_compositions", backend_values::on_cuda);
  for (const point& p : list) {
    CHECK_MESSAGE(supported(p), text_of(p), " is refused: ", code_of(first_refusal(p)));
    CHECK_MESSAGE(distinct(p), text_of(p), " has an order of places where every wish has one");
  }
  CHECK(values_without(list, backend_values::on_cuda) == "");
  CHECK(values_without({}, backend_values::on_cuda).find("scalar b16; ") != std::string::npos);
  CHECK(values_without({}, backend_values::on_cuda).find("scalar dual") == std::string::npos);
  const coverage pairs = cuda_coverage(list);
  MESSAGE(list.size(), " compositions on CUDA meet ", pairs.met, " of ", pairs.all, " pairs");
  // The files deal the list out.
  auto made = cuda_compositions();
  std::sort(list.begin(), list.end()), std::sort(made.begin(), made.end());
  CHECK_MESSAGE(list == made, "the list is an old one: support_matrix write");
}

TEST_CASE("everything that the page lists is tested on the CPU") {
  for (int d = 0; d < dimensions; ++d)
    for (int v = 0; v < sizes[d]; ++v)
      if (axis_of(d) != dimension::backend && facts_of({axis_of(d), v}).appears.page)
        CHECK_MESSAGE(tested({axis_of(d), v}), facts_of({axis_of(d), v}).name, " is listed only");
}

TEST_CASE("a missing composition is seen") {
  auto list = committed_points();
  const auto before = missing(list).size();
  // The triples are met once or a few times: among these there is one whose loss is seen.
  std::size_t seen = 0;
  for (std::size_t i = 0; i < list.size(); i += 7) {
    auto fewer = list;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
    seen += missing(fewer).size() > before;
  }
  CHECK(seen > list.size() / 14);
}

TEST_CASE("random compositions: supported, without repeats, the same for the same seed") {
  const auto a = random_compositions(50, 3), b = random_compositions(50, 3), c = random_compositions(50, 4);
  CHECK((a == b && a != c && a.size() == 50));
  CHECK(std::set<point>(a.begin(), a.end()).size() == 50);
  for (const point& p : a) CHECK_MESSAGE(supported(p), text_of(p));
  // As many of every router.
  std::vector<int> of_router(router_values::count, 0);
  for (const point& p : random_compositions(3 * router_values::count, 5)) ++of_router[static_cast<std::size_t>(p[0])];
  CHECK(of_router == std::vector<int>(router_values::count, 3));
}

}  // namespace matrix
