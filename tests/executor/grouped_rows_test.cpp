// Forward and data gradient of the grouped product against plain fp64 loops, run by the host executor.
// with: grouped
#include "grouped_cases.hpp"

namespace polymoe::grouped_test {
namespace {
namespace g = polymoe::grouped;
using gelu_act = act::gelu_tanh;

/// One problem: rows of experts, operands, and what they should give.
template <class T>
struct problem {
  using C = compute_t<T>;
  ragged list;
  int n, k;
  std::vector<int> source;  ///< empty: rows lie in slot order
  std::vector<T> x, w, dy, pre;
  std::vector<C> bias, gate;

  problem(const std::vector<int>& rows, int n_, int k_, bool gathered, std::uint64_t seed = 3)
      : list(rows), n(n_), k(k_) {
    const auto draw = random_root{seed}.stream(9, 0);
    const int s = list.rows(), units = gathered ? 50 : s + 3;
    if (gathered) {
      // The bound is larger than the rows: what lies behind must not be used.
      source.assign(at(s + 70), 1 << 30);
      for (int i = 0; i < s; ++i) {
        const int unit = static_cast<int>(draw.below(static_cast<std::uint64_t>(i), 53));
        source[at(i)] = unit < units ? unit : -1;
      }
    }
    x = normals<T>(index{units} * k, seed);
    if (!gathered)  // rows beyond the last segment
      for (std::size_t i = at(s, k, 0); i < x.size(); ++i) store(x[i], std::nanf(""));
    w = normals<T>(index{list.experts()} * n * k, seed + 1, 1 / std::sqrt(static_cast<double>(k)));
    dy = normals<T>(index{s + 3} * n, seed + 2);
    for (std::size_t i = at(s, n, 0); i < dy.size(); ++i) store(dy[i], std::nanf(""));
    pre = normals<T>(index{s + 3} * k, seed + 3);
    bias = normals<C>(index{list.experts()} * n, seed + 4);
    gate = normals<C>(s + 3, seed + 5);
  }
  g::rows_of<T> rows_x() const { return {x.data(), k, source.empty() ? nullptr : source.data(), 0}; }
  g::rows_of<T> rows_dy() const { return {dy.data(), n, nullptr, 0}; }
  g::weights_of<T> weights() const { return {w.data(), k, index{n} * k}; }
  int row_of(int s) const { return source.empty() ? s : source[at(s)]; }
  double w_at(int e, int i, int j) const { return number(w[at(index{e} * n + i, k, j)]); }

  /// X W^T, [rows, n].
  std::vector<double> forward() const {
    std::vector<double> y(at(list.rows(), n, 0), 0.0), row(at(k));
    for (int s = 0, e = 0; s < list.rows(); ++s) {
      while (list.first[at(e + 1)] <= s) ++e;
      if (row_of(s) < 0) continue;
      for (int j = 0; j < k; ++j) row[at(j)] = number(x[at(row_of(s), k, j)]);
      for (int i = 0; i < n; ++i) {
        double sum = 0;
        for (int j = 0; j < k; ++j) sum += row[at(j)] * w_at(e, i, j);
        y[at(s, n, i)] = sum;
      }
    }
    return y;
  }
  /// dY W, [rows, k].
  std::vector<double> backward() const {
    std::vector<double> d(at(list.rows(), k, 0), 0.0);
    for (int s = 0, e = 0; s < list.rows(); ++s) {
      while (list.first[at(e + 1)] <= s) ++e;
      for (int i = 0; i < n; ++i) {
        const double v = number(dy[at(s, n, i)]);
        for (int j = 0; j < k; ++j) d[at(s, k, j)] += v * w_at(e, i, j);
      }
    }
    return d;
  }
  std::size_t size(int columns) const { return at(list.rows(), columns, 0); }
};

template <class T>
double bound() {
  return sizeof(T) == 2 ? 4e-3 : sizeof(T) == 4 ? 1e-6 : 1e-14;
}

template <class Precision, class T>
void check_forward(const problem<T>& p, double most, bool options) {
  using C = compute_t<T>;
  CAPTURE(p.n);
  CAPTURE(p.k);
  CAPTURE(p.list.rows());
  CAPTURE(p.list.experts());
  std::vector<double> want = p.forward();
  // Plain, and with bias and gate.
  g::epilogue::plain<T> plain;
  plain.stride = p.n;
  if (options) {
    plain.with = {p.bias.data(), p.n, p.gate.data()};
    for (int s = 0; s < p.list.rows(); ++s)
      for (int i = 0; i < p.n; ++i) {
        double& y = want[at(s, p.n, i)];
        y = (y + number(p.bias[at(p.list.expert_of(s), p.n, i)])) * number(p.gate[at(s)]);
      }
  }
  std::vector<T> y = poison<T>(static_cast<index>(p.size(p.n)) + 5 * p.n);
  plain.to = y.data();
  g::forward<Precision>(nullptr, p.list.segments(), p.rows_x(), p.weights(), p.n, p.k, plain);
  CHECK(distance(y, want) <= most);
  CHECK(untouched(y, p.size(p.n)));

  if constexpr (sizeof(T) == 2) {  // kept in float, only the sums are rounded
    std::vector<C> wide = poison<C>(static_cast<index>(p.size(p.n)) + 5 * p.n);
    g::epilogue::plain<C> to{wide.data(), p.n, plain.with, false};
    g::forward<Precision>(nullptr, p.list.segments(), p.rows_x(), p.weights(), p.n, p.k, to);
    CHECK(distance(wide, want) <= 1e-5);
    CHECK(untouched(wide, p.size(p.n)));
  }
}

template <class Precision, class T>
void check_backward(const problem<T>& p, double most) {
  using C = compute_t<T>;
  CAPTURE(p.n);
  CAPTURE(p.k);
  CAPTURE(p.list.rows());
  CAPTURE(p.list.experts());
  std::vector<double> want = p.backward();
  std::vector<T> dx = poison<T>(static_cast<index>(p.size(p.k)) + 5 * p.k);
  g::epilogue::plain<T> plain{dx.data(), p.k, {}, false};
  g::data_gradient<Precision>(nullptr, p.list.segments(), p.rows_dy(), p.weights(), p.n, p.k, plain);
  CHECK(distance(dx, want) <= most);
  CHECK(untouched(dx, p.size(p.k)));

  // Added to what is there.
  std::vector<T> sum = p.pre;
  std::vector<double> added(want);
  for (std::size_t i = 0; i < want.size(); ++i) added[i] += number(p.pre[i]);
  plain.to = sum.data(), plain.accumulate = true;
  g::data_gradient<Precision>(nullptr, p.list.segments(), p.rows_dy(), p.weights(), p.n, p.k, plain);
  CHECK(distance(sum, added) <= most);

  // Through an activation, with gates and their gradients.
  std::vector<double> d_gate(at(p.list.rows()), 0.0);
  for (int s = 0; s < p.list.rows(); ++s)
    for (int j = 0; j < p.k; ++j) {
      const std::size_t i = at(s, p.k, j);
      d_gate[at(s)] += want[i] * gelu(number(p.pre[i]));
      want[i] *= number(p.gate[at(s)]) * gelu_grad(number(p.pre[i]));
    }
  const index parts = g::dot_parts(p.k);
  std::vector<C> dots = poison<C>((p.list.rows() + 5) * parts), sums(at(p.list.rows() + 5), C(0));
  std::memset(static_cast<void*>(dx.data()), 0xFF, dx.size() * sizeof(T));
  g::epilogue::activate_gradient<gelu_act, T, true> through{dx.data(), p.k,           p.pre.data(),
                                                            p.k,       {p.gate.data()}, dots.data()};
  g::data_gradient<Precision>(nullptr, p.list.segments(), p.rows_dy(), p.weights(), p.n, p.k, through);
  CHECK(distance(dx, want) <= most);
  CHECK(untouched(dx, p.size(p.k)));
  CHECK(untouched(dots, at(p.list.rows() * parts)));
  g::sum_dots(nullptr, p.list.segments(), dots.data(), p.k, sums.data());
  CHECK(distance(sums, d_gate) <= (sizeof(T) == 8 ? 1e-13 : 1e-5) + (std::is_same_v<Precision, g::tf32> ? most : 0));
  for (std::size_t i = at(p.list.rows()); i < sums.size(); ++i) CHECK(sums[i] == C(0));
}

/// N x K pairs that cross every border of a tile somewhere.
const std::vector<std::pair<int, int>> shapes{{8, 64}, {64, 8}, {96, 200}, {200, 96}, {192, 64}, {384, 192}};

template <class T, class Precision = g::exact>
void all_shapes(double most, bool forward) {
  const auto lists = ragged_lists();
  for (std::size_t i = 0; i < shapes.size(); ++i)
    for (std::size_t j = 0; j < 2; ++j) {
      const problem<T> p(lists[(i + j * 3) % lists.size()], shapes[i].first, shapes[i].second, (i + j) % 2 == 1);
      if (forward) check_forward<Precision>(p, most, i % 2 == 0);
      else if (p.source.empty()) check_backward<Precision>(p, most);
    }
}

/// A device with few multiprocessors uses the large tiles even for small products, one with many the small ones.
executor::settings multiprocessors(int count) {
  executor::settings s;
  s.multiprocessors = count;
  return s;
}
}  // namespace

TEST_CASE("grouped forward: bf16 equals fp64 loops") { all_shapes<bf16>(bound<bf16>(), true); }
TEST_CASE("grouped forward: float equals fp64 loops") { all_shapes<float>(bound<float>(), true); }
TEST_CASE("grouped forward: double equals fp64 loops") { all_shapes<double>(bound<double>(), true); }
TEST_CASE("grouped forward: float as tf32") { all_shapes<float, g::tf32>(1e-3, true); }
TEST_CASE("grouped data gradient: bf16 equals fp64 loops") { all_shapes<bf16>(bound<bf16>(), false); }
TEST_CASE("grouped data gradient: float equals fp64 loops") { all_shapes<float>(bound<float>(), false); }
TEST_CASE("grouped data gradient: double equals fp64 loops") { all_shapes<double>(bound<double>(), false); }
TEST_CASE("grouped data gradient: float as tf32") { all_shapes<float, g::tf32>(1e-3, false); }

TEST_CASE("grouped rows: large tiles, three and four stages") {
  for (const std::size_t shared : {std::size_t{232448}, std::size_t{166912}, std::size_t{101376}}) {
    executor::settings s = multiprocessors(1);
    s.shared_limit = shared;
    executor::scope with(s);
    const problem<bf16> p({130, 0, 300}, 200, 384, true), q({130, 0, 300}, 96, 200, false);
    check_forward<g::exact>(p, bound<bf16>(), true);
    CHECK(executor::last_launch().threads == executor::last_launch().blocks * 256);
    check_backward<g::exact>(q, bound<bf16>());
  }
  executor::scope with(multiprocessors(1));
  const problem<float> p({0, 200, 129}, 136, 72, true), q({0, 200, 129}, 72, 136, false);
  check_forward<g::exact>(p, bound<float>(), true);
  check_backward<g::exact>(q, bound<float>());
  check_forward<g::tf32>(p, 1e-3, true);
  check_backward<g::tf32>(q, 1e-3);
}
TEST_CASE("grouped rows: widths that are no multiple of 16 bytes") {
  for (const auto& [n, k] : {std::pair{7, 13}, {65, 30}, {1, 1}, {33, 100}}) {
    const problem<bf16> p({0, 70, 3}, n, k, true), q({0, 70, 3}, n, k, false);
    check_forward<g::exact>(p, bound<bf16>(), true);
    check_backward<g::exact>(q, bound<bf16>());
    check_forward<g::exact>(problem<float>({9, 0, 66}, n, k, true), bound<float>(), true);
    check_backward<g::exact>(problem<double>({9, 0, 66}, n, k, false), bound<double>());
  }
}
TEST_CASE("grouped rows: many experts") {
  for (const int experts : {1, 8, 33, 257, 1025}) {
    std::vector<int> rows(at(experts));
    for (std::size_t e = 0; e < rows.size(); ++e) rows[e] = e * 7919 % 5 == 0 ? static_cast<int>(e % 3) : 0;
    rows.back() += 2, rows[rows.size() / 2] += 3;
    check_forward<g::exact>(problem<float>(rows, 8, 16, true), bound<float>(), true);
    if (experts < 300) check_backward<g::exact>(problem<bf16>(rows, 16, 8, false), bound<bf16>());
  }
}

TEST_CASE("grouped forward: activation sees the stored pre-activation") {
  const problem<bf16> p({65, 0, 64, 3}, 104, 72, true);
  std::vector<bf16> pre = poison<bf16>(static_cast<index>(p.size(p.n)) + 9), out = pre, again = pre;
  g::epilogue::activate<gelu_act, bf16> e{out.data(), p.n, pre.data(), p.n, {p.bias.data(), p.n, nullptr}};
  g::forward(nullptr, p.list.segments(), p.rows_x(), p.weights(), p.n, p.k, e);
  std::vector<double> want = p.forward(), act(want.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    const int s = static_cast<int>(i) / p.n;
    want[i] += number(p.bias[at(p.list.expert_of(s), p.n, static_cast<int>(i) % p.n)]);
    act[i] = gelu(want[i]);
    bf16 h;
    store(h, gelu_act{}(static_cast<float>(pre[i])));
    CHECK(h.bits == out[i].bits);
  }
  CHECK(distance(pre, want) <= bound<bf16>());
  CHECK(distance(out, act) <= 8e-3);  // two roundings
  CHECK(untouched(out, p.size(p.n)));
  CHECK(untouched(pre, p.size(p.n)));
  // Not storing it changes nothing.
  e.pre = nullptr, e.to = again.data();
  g::forward(nullptr, p.list.segments(), p.rows_x(), p.weights(), p.n, p.k, e);
  CHECK(same_bits(out, again));
}

TEST_CASE("grouped rows: the same bits for every order, grid and tile") {
  const problem<bf16> p({200, 0, 131, 1}, 200, 136, true), q({200, 0, 131, 1}, 136, 200, false);
  std::vector<float> first, dots;
  std::vector<bf16> gradient;
  for (const auto& [seed, units, shared] :
       {std::tuple{1u, 1, 232448}, {2u, 1, 166912}, {3u, 3, 101376}, {4u, 40, 232448}, {5u, 2, 232448}}) {
    executor::settings s;
    s.seed = seed, s.multiprocessors = units, s.shared_limit = static_cast<std::size_t>(shared),
    s.resident_blocks = 1 + units % 3;
    executor::scope with(s);
    std::vector<float> y = poison<float>(static_cast<index>(p.size(p.n))),
                       d = poison<float>(q.list.rows() * g::dot_parts(q.k));
    std::vector<bf16> dx = poison<bf16>(static_cast<index>(q.size(q.k)));
    g::forward(nullptr, p.list.segments(), p.rows_x(), p.weights(), p.n, p.k,
               g::epilogue::plain<float>{y.data(), p.n, {}, false});
    g::data_gradient(
        nullptr, q.list.segments(), q.rows_dy(), q.weights(), q.n, q.k,
        g::epilogue::activate_gradient<gelu_act, bf16, true>{dx.data(), q.k, q.pre.data(), q.k, {}, d.data()});
    if (first.empty()) first = y, gradient = dx, dots = d;
    CHECK(same_bits(first, y));
    CHECK(same_bits(gradient, dx));
    CHECK(same_bits(dots, d));
  }
}
TEST_CASE("grouped rows: single elements and float tiles give the same bits") {
  const problem<bf16> p({70, 0, 131}, 72, 136, true);
  const problem<float> q({200, 0, 131, 1}, 136, 72, true);
  const auto run = [](const auto& problem, const auto* x) {
    std::vector<float> y = poison<float>(static_cast<index>(problem.size(problem.n)));
    auto rows = problem.rows_x();
    rows.data = x;
    g::forward(nullptr, problem.list.segments(), rows, problem.weights(), problem.n, problem.k,
               g::epilogue::plain<float>{y.data(), problem.n, {}, false});
    return y;
  };
  const auto wide = run(p, p.x.data());
  std::vector<bf16> shifted(p.x.size() + 1);
  std::copy(p.x.begin(), p.x.end(), shifted.begin() + 1);
  CHECK(same_bits(wide, run(p, shifted.data() + 1)));

  std::vector<float> small;
  {
    executor::scope with(multiprocessors(100));
    small = run(q, q.x.data());
  }
  CHECK(executor::last_launch().threads == executor::last_launch().blocks * 128);
  executor::scope with(multiprocessors(1));
  CHECK(same_bits(small, run(q, q.x.data())));
  CHECK(executor::last_launch().threads == executor::last_launch().blocks * 256);
}
TEST_CASE("grouped rows: plans of every layout name their slots") {
  const problem<float> p({70, 70, 70}, 72, 40, false);
  std::vector<int> begin{0, 70, 140, 210}, token(210);
  for (int i = 0; i < 210; ++i) token[at(i)] = (i * 11 + 5) % 70;
  sparse_plan<float> plan;
  plan.tokens = 70, plan.all_experts = 3, plan.max_slots = 210, plan.begin = begin.data(), plan.token = token.data();
  const auto run = [&](const g::rows_of<float>& x) {
    std::vector<float> y = poison<float>(static_cast<index>(p.size(p.n)));
    g::forward(nullptr, g::segments_of(plan), x, p.weights(), p.n, p.k,
               g::epilogue::plain<float>{y.data(), p.n, {}, false});
    return y;
  };
  const view<const float> x{p.x.data(), 210, 40}, units{p.x.data(), 70, 40};
  for (const auto layout : {plan_layout::packed, plan_layout::identity}) {
    plan.layout = layout;
    problem<float> q = p;
    for (int s = 0; s < 210; ++s) std::copy_n(p.x.begin() + plan.token_at(s) * p.k, p.k, q.x.begin() + s * p.k);
    CHECK(distance(run(g::through(plan, units)), q.forward()) <= bound<float>());
    CHECK(distance(run(g::in_slot_order(x)), p.forward()) <= bound<float>());
  }
}
TEST_CASE("grouped rows: a row that is not finite stays alone") {
  problem<bf16> p({20, 50, 0, 9}, 72, 64, false);
  const auto run = [&] {
    std::vector<bf16> y = poison<bf16>(static_cast<index>(p.size(p.n)));
    g::forward(nullptr, p.list.segments(), p.rows_x(), p.weights(), p.n, p.k,
               g::epilogue::plain<bf16>{y.data(), p.n, {}, false});
    return y;
  };
  const auto before = run();
  for (int j = 0; j < p.k; ++j) store(p.x[at(33, p.k, j)], std::nanf(""));
  const auto after = run();
  for (int s = 0; s < p.list.rows(); ++s)
    for (int i = 0; i < p.n; ++i) {
      const std::size_t here = at(s, p.n, i);
      if (s == 33) CHECK(std::isnan(number(after[here])));
      else CHECK(before[here].bits == after[here].bits);
    }
}
TEST_CASE("grouped rows: dense, equal segments, identity plans and units of several rows") {
  // One segment and equal segments agree with a ragged list that says the same.
  const problem<float> p({70, 70, 70}, 72, 40, false);
  const auto run = [&](const g::segments& s, const g::rows_of<float>& x) {
    std::vector<float> y = poison<float>(static_cast<index>(p.size(p.n)));
    g::forward(nullptr, s, x, p.weights(), p.n, p.k, g::epilogue::plain<float>{y.data(), p.n, {}, false});
    return y;
  };
  const auto ragged_y = run(p.list.segments(0), p.rows_x());
  CHECK(same_bits(run(g::equal_segments(3, 70), p.rows_x()), ragged_y));
  // Seven rows per unit: ten units per expert.
  const std::vector<int> units{0, 10, 20, 30};
  CHECK(same_bits(run({units.data(), 3, 0, 30, 7}, p.rows_x()), ragged_y));
  std::vector<int> source(30);
  for (int i = 0; i < 30; ++i) source[at(i)] = (i * 7 + 3) % 30;
  const auto moved = run({units.data(), 3, 0, 30, 7}, {p.x.data(), p.k, source.data(), 0});
  problem<float> q = p;
  for (int s = 0; s < 210; ++s) {
    const int from = source[at(s / 7)] * 7 + s % 7;
    std::copy_n(p.x.begin() + from * p.k, p.k, q.x.begin() + s * p.k);
  }
  CHECK(distance(moved, q.forward()) <= bound<float>());
  // Identity: three experts see the same 70 rows.
  const auto shared = run(g::equal_segments(3, 70), {p.x.data(), p.k, nullptr, 70});
  for (int s = 70; s < 210; ++s) std::copy_n(p.x.begin() + s % 70 * p.k, p.k, q.x.begin() + s * p.k);
  std::copy_n(p.x.begin(), 70 * p.k, q.x.begin());
  CHECK(distance(shared, q.forward()) <= bound<float>());
}
TEST_CASE("grouped rows: misuse is named with its numbers") {
  const problem<float> p({5}, 8, 16, false);
  std::vector<float> y(400);
  const auto text = [&](const g::segments& s, g::rows_of<float> x, index n, index stride) {
    try {
      g::forward(nullptr, s, x, p.weights(), n, 16, g::epilogue::plain<float>{y.data(), stride, {}, false});
    } catch (const error& e) {
      return std::string(e.what());
    }
    return std::string("nothing");
  };
  CHECK(text(p.list.segments(), p.rows_x(), 8, 7).find("the result is null or its rows are 7 apart and 8 wide") !=
        std::string::npos);
  CHECK(text(p.list.segments(), {p.x.data(), 15, nullptr, 0}, 8, 8)
            .find("rows of the left operand are 15 apart and 16 wide") != std::string::npos);
  CHECK(text(p.list.segments(), {nullptr, 16, nullptr, 0}, 8, 8).find("the left operand is null") != std::string::npos);
  g::segments many = p.list.segments();
  many.experts = 1026;
  CHECK(text(many, p.rows_x(), 8, 8).find("1026 experts") != std::string::npos);
  CHECK(text({nullptr, 3, 4, 11, 1}, p.rows_x(), 8, 8).find("3 experts of 4 slots are not 11 slots") !=
        std::string::npos);
  executor::settings small;
  small.shared_limit = 1000;
  executor::scope with(small);
  CHECK(text(p.list.segments(), p.rows_x(), 8, 8).find("grouped forward") != std::string::npos);
}

}  // namespace polymoe::grouped_test
