// What Newton's plans with few non-zeros are worth: against every set of cells that small groups have, and against the
// best plan on the cells that the published iterations choose.
// with: transport
#include "support/transport_by_hand.hpp"

namespace moe_test {
namespace {

namespace score = polymoe::score;
namespace solver = polymoe::score::solver;
using polymoe::scalar_block;
using published_transport = score::sparse_transport<>;
using exact_transport = score::sparse_transport<solver::newton>;

template <class Cells>
cell_set cells_of(const Cells& c) {
  cell_set open(static_cast<std::size_t>(c.plan.rows), std::vector<char>(static_cast<std::size_t>(c.plan.cols), 0));
  for (index t = 0; t < c.plan.rows; ++t)
    for (index e = 0; e < c.plan.cols; ++e)
      open[static_cast<std::size_t>(t)][static_cast<std::size_t>(e)] = c.plan.at(t, e) > 0;
  return open;
}
/// A plan that is asked for the best it can have: all exchanges that gain anything.
exact_transport patient() {
  exact_transport o;
  o.exchanges = 64, o.worthwhile = 0;
  return o;
}
/// f(columns, clusters, E, n, gamma, k) for 180 groups of 8 to 24 units.
template <class F>
void every_group(F f) {
  for (const bool columns : {true, false})
    for (const bool clusters : {false, true})
      for (const int E : {2, 4, 8})
        for (const int n : {8, 16, 24})
          for (const float gamma : {1.0f, 0.1f})
            for (int room = 0; room < 3; ++room)
              if (const int k = columns ? n / E + room * n / (2 * E) : 1 + room; k < (columns ? n : E))
                f(columns, clusters, E, n, gamma, k);
}
/// The plan that `o` makes of scores s.
template <class Score>
auto plan_of(const Score& o, const matrix& s, int E, bool columns, int k) {
  auto c = std::make_unique<plan_cells<double>>(o, s, E, columns, k);
  o.plan_group(scalar_block{}, c->view);
  return c;
}
matrix scores_of(bool clusters, int n, int E) {
  return softmax_rows(clusters ? clustered_matrix(n, E, 2, 7) : random_matrix(n, E, 2, 8));
}

/// f(cells) for every way to open k places in each line.
template <class F>
void every_choice(std::size_t n, std::size_t E, bool columns, int k, F f) {
  const std::size_t lines = columns ? E : n, length = columns ? n : E;
  cell_set open(n, std::vector<char>(E, 0));
  const auto from = [&](const auto& self, std::size_t line) -> void {
    if (line == lines) return f(open);
    for (unsigned set = 1; set < 1u << length; ++set) {
      if (__builtin_popcount(set) != k) continue;
      for (std::size_t i = 0; i < length; ++i) (columns ? open[i][line] : open[line][i]) = (set >> i & 1u) != 0;
      self(self, line + 1);
    }
  };
  from(from, 0);
}

}  // namespace

// The objective, and what is known of how far it is from the best: docs/policies/score_sparse_transport.md.

TEST_CASE("every set of cells of small groups: a plan wherever there is one, the best of all or near it") {
  int cases = 0, best_cases = 0, without = 0, unfinished = 0;
  double short_by = 0;
  for (const bool columns : {true, false})
    for (const int E : {2, 3})
      for (const int n : {2, 3, 4, 5})
        for (int k = 1; k < (columns ? n : E); ++k)
          for (const float gamma : {1.0f, 0.1f})
            for (std::uint64_t seed = 1; seed <= 3; ++seed) {
              const matrix s = softmax_rows(random_matrix(n, E, 3, seed));
              const double weight = static_cast<double>(gamma);
              exact_transport o;
              o.gamma = gamma, o.tolerance = 1e-9f;
              plan_cells<double> ours(o, s, E, columns, k);
              o.plan_group(scalar_block{}, ours.view);
              const bool sums = ours.row_error() < 1e-6 && ours.column_error() < 1e-6;
              const double value = ours.value(weight);
              // No plan is worth as little as -n gamma.
              double best = sums ? value : -n * weight;
              bool exists = sums;
              every_choice(s.size(), s[0].size(), columns, k, [&](const cell_set& open) {
                const solved_cells r = solve_on(s, open, weight, best + 1e-7);
                unfinished += r.end == solved_cells::unfinished;
                if (r.end == solved_cells::found) best = std::max(best, r.value), exists = true;
              });
              CAPTURE(columns);
              CAPTURE(n);
              CAPTURE(E);
              CAPTURE(k);
              CAPTURE(gamma);
              CAPTURE(seed);
              CHECK(ours.most_in(columns) <= k);
              CHECK(sums == exists);
              without += !exists;
              if (!sums) continue;
              CHECK(best - value < (n < E ? 1e-4 : 0.06) * n);
              ++cases, best_cases += best - value < 1e-6, short_by += (best - value) / n;
            }
  CHECK(unfinished == 0);
  CHECK((cases > 100 && without > 50));
  CHECK(100 * best_cases > 92 * cases);
  CHECK(short_by / cases < 0.001);
}

TEST_CASE("the best plan on the published iterations' cells is worth less than ours in the mean, never much more") {
  for (const bool exact : {false, true}) {
    int held[] = {0, 0}, more[] = {0, 0}, unfinished = 0;
    double gain[] = {0, 0};
    const int steps[] = {20, 500};  // the papers', their tests'
    every_group([&](bool columns, bool clusters, int E, int n, float gamma, int k) {
      const matrix s = scores_of(clusters, n, E);
      const double weight = static_cast<double>(gamma);
      exact_transport o = exact ? patient() : exact_transport{};
      o.gamma = gamma, o.tolerance = 1e-7f;
      const auto ours = plan_of(o, s, E, columns, k);
      CHECK((ours->row_error() < 1e-6 && ours->column_error() < 1e-6));
      const double value = ours->value(weight);
      for (const int i : {0, 1}) {
        published_transport p;
        p.gamma = gamma, p.iterations = steps[i];
        // Their plan misses its sums; its cells may hold one that does not.
        const solved_cells r = solve_on(s, cells_of(*plan_of(p, s, E, columns, k)), weight, -n * weight);
        unfinished += r.end == solved_cells::unfinished;
        if (r.end != solved_cells::found) continue;
        CAPTURE(exact);
        CAPTURE(columns);
        CAPTURE(clusters);
        CAPTURE(n);
        CAPTURE(E);
        CAPTURE(k);
        CAPTURE(gamma);
        CAPTURE(steps[i]);
        CHECK(r.value - value < (i == 0 ? 0.009 : 0.013) * n);
        ++held[i], more[i] += r.value - value > 1e-6, gain[i] += (value - r.value) / n;
      }
    });
    CHECK(unfinished == 0);
    CHECK((held[0] > 110 && held[1] > 140));
    CHECK(((exact ? 14 : 6) * more[0] < held[0] && (exact ? 6 : 3) * more[1] < held[1]));
    CHECK((gain[0] / held[0] > 0.005 && gain[1] / held[1] > 0.002));
  }
}

TEST_CASE("the objective is never below that of the published iterations where mass that is off costs a half") {
  int groups = 0, off_by_much = 0;
  every_group([&](bool columns, bool clusters, int E, int n, float gamma, int k) {
    const matrix s = scores_of(clusters, n, E);
    const auto run = [&](auto o) {
      o.gamma = gamma;
      return plan_of(o, s, E, columns, k);
    };
    exact_transport exact = patient(), usual;
    exact.tolerance = usual.tolerance = 1e-7f;
    published_transport published, long_run;
    long_run.iterations = 500;
    const auto best = run(exact), ours = run(usual), theirs = run(published), theirs_long = run(long_run);
    CAPTURE(columns);
    CAPTURE(clusters);
    CAPTURE(n);
    CAPTURE(E);
    CAPTURE(k);
    CAPTURE(gamma);
    for (const double price : {0.5, 1.0, 2.0}) {
      const double weight = static_cast<double>(gamma), value = best->objective(weight, price),
                   usual_value = ours->objective(weight, price);
      CHECK(value > theirs->objective(weight, price) - 1e-6);
      CHECK(value > theirs_long->objective(weight, price) - 1e-6);
      CHECK(usual_value > theirs->objective(weight, price) - 1e-6);
      CHECK(usual_value > theirs_long->objective(weight, price) - 0.001 * n);
    }
    ++groups, off_by_much += theirs->row_error() + theirs->column_error() > 0.01;
  });
  CHECK((groups == 180 && off_by_much > 90));
}

TEST_CASE("plans do not depend on the scores' size or zero") {
  for (const bool columns : {true, false})
    for (const bool clusters : {false, true}) {
      const int n = 96, E = 8, k = columns ? 15 : 2;
      const matrix s = scores_of(clusters, n, E);
      const auto run = [&](double size, double zero) {
        matrix scaled = s;
        for (auto& row : scaled)
          for (double& x : row) x = size * x + zero;
        exact_transport o;
        o.gamma = static_cast<float>(size), o.tolerance = 1e-7f;
        return plan_of(o, scaled, E, columns, k);
      };
      const auto plain = run(1, 0);
      // Powers of two, so that no rounding differs.
      for (const auto& [size, zero] : {std::pair{4096.0, 0.0}, {1.0 / 65536, 0.0}, {1.0, 4.0}}) {
        const auto other = run(size, zero);
        double worst = 0;
        for (index t = 0; t < n; ++t)
          for (index e = 0; e < E; ++e) worst = std::max(worst, std::abs(plain->plan.at(t, e) - other->plan.at(t, e)));
        CAPTURE(columns);
        CAPTURE(clusters);
        CAPTURE(size);
        CAPTURE(zero);
        CHECK(plain->steps == other->steps);
        CHECK(worst < 1e-9);
      }
    }
}

TEST_CASE_TEMPLATE("every exchange of cells raises the objective or is undone; sums and limit stay", T, double, float) {
  int risen = 0, cases = 0;
  double gained = 0;
  for (const bool columns : {true, false})
    for (const bool clusters : {false, true})
      for (const int E : {4, 8, 16})
        for (const int k : {columns ? 5 * 192 / (4 * E) : 2, columns ? 2 * 192 / E : 3})
          for (const float gamma : {1.0f, 0.1f}) {
            const int n = 192;
            const matrix s = softmax_rows(clusters ? clustered_matrix(n, E, 2, 7) : random_matrix(n, E, 2, 8));
            double first = 0, last = 0;
            for (const int exchanges : {0, 1, 2, 4, 8, 32}) {
              exact_transport o;
              o.gamma = gamma, o.tolerance = 1e-5f, o.exchanges = exchanges;
              plan_cells<T> c(o, s, E, columns, k);
              o.plan_group(scalar_block{}, c.view);
              const double value = c.value(static_cast<double>(gamma)) / n;
              CAPTURE(columns);
              CAPTURE(clusters);
              CAPTURE(E);
              CAPTURE(k);
              CAPTURE(gamma);
              CAPTURE(exchanges);
              CHECK(c.row_error() < 1e-4);
              CHECK(c.column_error() < 1e-4);
              CHECK(c.most_in(columns) <= k);
              // Later ones go on from earlier ones.  Sums that are right to a share are worth up to that share.
              if (exchanges == 0)
                first = value;
              else
                CHECK(value >= last - (sizeof(T) == 4 ? 2e-5 : 1e-9));
              last = value;
            }
            ++cases, risen += last > first + 1e-4, gained += last - first;
          }
  CHECK(4 * risen > 3 * cases);
  CHECK(gained / cases > 0.003);
}

TEST_CASE("what no trial promises is not tried") {
  const matrix s = scores_of(true, 96, 8);
  for (const bool columns : {true, false}) {
    const auto run = [&](int exchanges, float worthwhile) {
      exact_transport o;
      o.exchanges = exchanges, o.worthwhile = worthwhile;
      const auto c = plan_of(o, s, 8, columns, columns ? 15 : 2);
      return std::pair{c->value(1), c->steps};
    };
    CHECK(run(8, 100) == run(0, 0));
    CHECK(run(8, 1e-3f).first > run(0, 0).first + 0.1);
    CHECK(run(8, 0.1f).second < run(8, 1e-3f).second);
    CHECK(run(8, 1e-3f).second <= run(8, 0).second);
  }
}

TEST_CASE("exchanges are a number of trials, worthwhile is a share") {
  exact_transport o;
  o.exchanges = -1;
  CHECK(refuses([&] { o.validate(); }, {"sparse_transport: exchanges is -1, it must not be negative"}));
  o.exchanges = 8, o.worthwhile = -0.5f;
  CHECK(refuses([&] { o.validate(); }, {"sparse_transport: worthwhile is -0.5, it must not be negative"}));
}

}  // namespace moe_test
