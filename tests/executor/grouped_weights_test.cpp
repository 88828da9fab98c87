// The weight gradient of the grouped product against plain fp64 loops, run by the host executor.
// with: grouped
#include "grouped_cases.hpp"

namespace polymoe::grouped_test {
namespace {
namespace g = polymoe::grouped;

template <class T>
struct weight_problem {
  using C = compute_t<T>;
  ragged list;
  int n, k;
  std::vector<int> source;
  std::vector<T> x, dy;
  std::vector<C> dw, db;  ///< what is there before

  weight_problem(const std::vector<int>& rows, int n_, int k_, bool gathered, std::uint64_t seed = 4)
      : list(rows), n(n_), k(k_) {
    const auto draw = random_root{seed}.stream(9, 0);
    const int s = list.rows(), units = gathered ? 50 : s + 3;
    x = normals<T>(index{units} * k, seed);
    dy = normals<T>(index{s + 3} * n, seed + 1);
    if (gathered) {
      source.assign(at(s + 70), 1 << 30);
      for (int i = 0; i < s; ++i) {
        const int unit = static_cast<int>(draw.below(static_cast<std::uint64_t>(i), 53));
        source[at(i)] = unit < units ? unit : -1;
        if (unit >= units)  // the gradient of an empty slot is not looked at
          for (int j = 0; j < n; ++j) store(dy[at(i, n, j)], std::nanf(""));
      }
    } else {
      for (std::size_t i = at(s, k, 0); i < x.size(); ++i) store(x[i], std::nanf(""));
    }
    for (std::size_t i = at(s, n, 0); i < dy.size(); ++i) store(dy[i], std::nanf(""));
    dw = normals<C>(index{list.experts()} * n * k, seed + 2);
    db = normals<C>(index{list.experts()} * n, seed + 3);
  }
  g::rows_of<T> rows_x() const { return {x.data(), k, source.empty() ? nullptr : source.data(), 0}; }
  g::rows_of<T> rows_dy() const { return {dy.data(), n, nullptr, 0}; }

  struct gradients {
    std::vector<C> w, b;
  };
  template <class weight_precision>
  gradients run(int chunk, bool with_bias = true) const {
    // Room behind the gradients and the workspace, which nobody may write.
    gradients d{dw, db};
    d.w.resize(dw.size() + 8, C(77)), d.b.resize(db.size() + 8, C(77));
    const g::segments s = list.segments();
    const std::size_t bytes = g::weight_workspace<T>(s.rows(), n, k, chunk);
    std::vector<C> work = poison<C>(static_cast<index>(bytes / sizeof(C)) + 16);
    const auto start = (reinterpret_cast<std::uintptr_t>(work.data()) + 15) / 16 * 16;
    C* aligned = reinterpret_cast<C*>(start);
    g::weight_gradient<weight_precision>(nullptr, s, rows_dy(), rows_x(), n, k, d.w.data(),
                                         with_bias ? d.b.data() : nullptr, aligned, bytes, chunk);
    CHECK(untouched(work, at(aligned - work.data()) + bytes / sizeof(C)));
    for (int i = 0; i < 8; ++i) CHECK((d.w[dw.size() + at(i)] == C(77) && d.b[db.size() + at(i)] == C(77)));
    d.w.resize(dw.size()), d.b.resize(db.size());
    return d;
  }
  void want(std::vector<double>& w, std::vector<double>& b) const {
    w.assign(dw.begin(), dw.end()), b.assign(db.begin(), db.end());
    for (int s = 0, e = 0; s < list.rows(); ++s) {
      while (list.first[at(e + 1)] <= s) ++e;
      const int row = source.empty() ? s : source[at(s)];
      if (row < 0) continue;
      for (int i = 0; i < n; ++i) {
        const double v = number(dy[at(s, n, i)]);
        b[at(e, n, i)] += v;
        for (int j = 0; j < k; ++j) w[at(index{e} * n + i, k, j)] += v * number(x[at(row, k, j)]);
      }
    }
  }
};

template <class weight_precision, class T>
void check(const weight_problem<T>& p, double most, int chunk) {
  CAPTURE(p.n);
  CAPTURE(p.k);
  CAPTURE(p.list.rows());
  CAPTURE(chunk);
  std::vector<double> w, b;
  p.want(w, b);
  const auto got = p.template run<weight_precision>(chunk);
  CHECK(distance(got.w, w) <= most);
  CHECK(distance(got.b, b) <= (sizeof(T) == 8 ? 1e-14 : 1e-6));
  // Experts without rows keep every bit.
  for (int e = 0; e < p.list.experts(); ++e) {
    if (p.list.first[at(e + 1)] > p.list.first[at(e)]) continue;
    CHECK(std::memcmp(&got.w[at(index{e} * p.n, p.k, 0)], &p.dw[at(index{e} * p.n, p.k, 0)],
                      at(p.n, p.k, 0) * sizeof(got.w[0])) == 0);
    CHECK(std::memcmp(&got.b[at(e, p.n, 0)], &p.db[at(e, p.n, 0)], at(p.n) * sizeof(got.b[0])) == 0);
  }
}
/// Sums of products of bf16 numbers are rounded as floats only.
template <class T>
double weight_bound() {
  return sizeof(T) == 8 ? 1e-14 : 1e-6;
}

template <class T, class weight_precision = g::exact>
void all_weight_shapes(double most) {
  const auto lists = ragged_lists();
  const std::vector<std::pair<int, int>> sizes{{8, 64}, {64, 8}, {96, 200}, {200, 96}, {192, 384}};
  for (std::size_t i = 0; i < sizes.size(); ++i)
    for (std::size_t j = 0; j < 2; ++j)
      check<weight_precision>(
          weight_problem<T>(lists[(i + j * 3) % lists.size()], sizes[i].first, sizes[i].second, (i + j) % 2 == 1), most,
          i == 2 ? 64 : 0);
}
}  // namespace

TEST_CASE("grouped weight gradient: bf16 equals fp64 loops") { all_weight_shapes<bf16>(weight_bound<bf16>()); }
TEST_CASE("grouped weight gradient: float equals fp64 loops") { all_weight_shapes<float>(weight_bound<float>()); }
TEST_CASE("grouped weight gradient: double equals fp64 loops") { all_weight_shapes<double>(weight_bound<double>()); }
TEST_CASE("grouped weight gradient: float as tf32") { all_weight_shapes<float, g::tf32>(1e-3); }

TEST_CASE("grouped weight gradient: segments around the length of a chunk") {
  for (const int rows : {31, 32, 33, 63, 64, 65, 96, 97}) {
    check<g::exact>(weight_problem<bf16>({rows, 0, 5, rows}, 24, 16, rows % 2 == 0), weight_bound<bf16>(), 32);
    check<g::exact>(weight_problem<double>({3, rows, 0}, 16, 10, rows % 2 == 1), weight_bound<double>(), 32);
  }
  check<g::exact>(weight_problem<float>({200, 7, 301}, 70, 30, true), weight_bound<float>(), 50);
  check<g::exact>(weight_problem<bf16>({1100, 0, 2100, 1024}, 8, 16, true), weight_bound<bf16>(),
                  0);  // the default, 1024
  check<g::exact>(weight_problem<float>(std::vector<int>(257, 3), 8, 8, false), weight_bound<float>(), 2);
}
TEST_CASE("grouped weight gradient: large tiles, three and four stages") {
  for (const int shared : {232448, 166912, 101376}) {
    executor::settings s;
    s.multiprocessors = 1, s.shared_limit = static_cast<std::size_t>(shared);
    executor::scope with(s);
    const weight_problem<bf16> p({130, 0, 300}, 136, 200, true);
    check<g::exact>(p, weight_bound<bf16>(), 128);
  }
  executor::settings s;
  s.multiprocessors = 1;
  executor::scope with(s);
  check<g::exact>(weight_problem<float>({130, 0, 65}, 136, 72, true), weight_bound<float>(), 64);
  check<g::tf32>(weight_problem<float>({130, 0, 65}, 72, 136, false), 1e-3, 64);
}
TEST_CASE("grouped weight gradient: widths that are no multiple of 16 bytes") {
  for (const auto& [n, k] : {std::pair{7, 13}, {65, 30}, {1, 1}, {30, 66}}) {
    check<g::exact>(weight_problem<bf16>({0, 70, 3}, n, k, true), weight_bound<bf16>(), 32);
    check<g::exact>(weight_problem<float>({0, 70, 3}, n, k, false), weight_bound<float>(), 0);
    check<g::exact>(weight_problem<double>({0, 70, 3}, n, k, true), weight_bound<double>(), 16);
  }
}
TEST_CASE("grouped weight gradient: the same bits for every order, grid and tile") {
  const weight_problem<bf16> p({200, 0, 131, 1, 400}, 136, 200, true);
  weight_problem<bf16>::gradients first;
  for (const auto& [seed, units, shared] :
       {std::tuple{1u, 1, 232448}, {2u, 1, 166912}, {3u, 3, 101376}, {4u, 40, 232448}, {5u, 2, 232448}}) {
    executor::settings s;
    s.seed = seed, s.multiprocessors = units, s.shared_limit = static_cast<std::size_t>(shared),
    s.resident_blocks = 1 + units % 3;
    executor::scope with(s);
    const auto d = p.run<g::exact>(64);
    if (first.w.empty()) first = d;
    CHECK(same_bits(first.w, d.w));
    CHECK(same_bits(first.b, d.b));
  }
  // Without a bias the weights have the same bits.
  CHECK(same_bits(first.w, p.run<g::exact>(64, false).w));
}
TEST_CASE("grouped weight gradient: equal segments agree with a ragged list") {
  weight_problem<float> p({70, 70, 70}, 24, 40, false);
  const auto ragged_d = p.run<g::exact>(32);
  auto w = p.dw, b = p.db;
  std::vector<float> work(g::weight_workspace<float>(210, 24, 40, 32) / sizeof(float));
  g::weight_gradient(nullptr, g::equal_segments(3, 70), p.rows_dy(), p.rows_x(), 24, 40, w.data(), b.data(),
                     work.data(), work.size() * sizeof(float), 32);
  CHECK(same_bits(w, ragged_d.w));
  CHECK(same_bits(b, ragged_d.b));
}
TEST_CASE("grouped weight gradient: the workspace is measured and checked") {
  CHECK(g::weight_workspace<bf16>(64, 24, 16, 64) == 0);
  CHECK(g::weight_workspace<bf16>(65, 24, 16, 64) == (24 * 16 + 24) * sizeof(float));
  CHECK(g::weight_workspace<bf16>(0, 24, 16) == 0);
  const weight_problem<float> p({100}, 8, 8, false);
  auto w = p.dw, b = p.db;
  std::string text;
  try {
    g::weight_gradient(nullptr, p.list.segments(), p.rows_dy(), p.rows_x(), 8, 8, w.data(), b.data(), nullptr, 0, 32);
  } catch (const error& e) {
    text = e.what();
  }
  CHECK(text.find("0 bytes of workspace, 1440 are needed for 170 rows of 8 x 8") != std::string::npos);
  CHECK(same_bits(w, p.dw));
}

}  // namespace polymoe::grouped_test
