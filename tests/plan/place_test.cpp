// Places: every overflow and priority policy against an allocator written a second time (support/moe_reference.hpp),
// over sizes, group cuts, layouts, capacities, ties and hot experts; and plan_violation on every plan and on broken
// ones.
// sanitize: yes
// thread: yes
// with: plans
#include <algorithm>
#include <set>

#include <polymoe/plan/expand.hpp>
#include <polymoe/plan/invariants.hpp>

#include "support/moe_reference.hpp"

namespace moe_test {
namespace {

namespace capacity = polymoe::capacity;
namespace overflow = polymoe::overflow;
namespace priority = polymoe::priority;
using polymoe::plan_layout;

/// A plan with its own memory, poisoned, around one call of place().
template <class Capacity>
struct placed {
  static constexpr auto kind = Capacity::overflow_policy::value;
  static constexpr bool fallback = kind == overflow::kind::fallback;
  polymoe::sparse_plan<double> plan;
  polymoe::place_memory memory;
  tensor<double> scores, gate;
  std::vector<std::vector<int>> ints;
  std::vector<polymoe::priority_key> order;
  std::vector<unsigned char> bad;
  int bad_count = 0;

  int* take(index n) {
    ints.emplace_back(static_cast<std::size_t>(n) + 1, -0x01010101);
    return ints.back().data();
  }
  placed(const matrix& s, const std::vector<std::vector<int>>& wish, int E, int K, int group_size, int C, bool padded,
         int threads = 1, polymoe::random_stream draw = {}, bool training = true)
      : scores(static_cast<index>(s.size()), E), gate(1, 1) {
    const int T = static_cast<int>(s.size());
    for (int t = 0; t < T; ++t)
      for (int e = 0; e < E; ++e) scores.put(t, e, s[t][e]);
    auto& p = plan;
    p.layout = padded ? plan_layout::padded : plan_layout::packed;
    p.tokens = T, p.experts = E, p.all_experts = E + fallback, p.group_size = group_size;
    p.groups = T ? (T + group_size - 1) / group_size : 0, p.k = K, p.capacity = C;
    const int E1 = p.all_experts;
    p.max_slots = padded ? E * p.groups * C + (fallback ? p.groups * group_size : 0) : T * K + (fallback ? T : 0);
    p.begin = take(E1 + 1), p.count = take(E1 * p.groups), p.run_begin = take(E1 * p.groups),
    p.token = take(p.max_slots);
    p.slot_of = take(T * K), p.expert_of = take(T * K);
    if (fallback) p.fallback_slot = take(T);
    order.resize(static_cast<std::size_t>(T * K) + 1), memory.order = order.data();
    memory.wish = take(T * K), memory.position = take(T * K), memory.pending = take(T * K);
    memory.proposed = take(index{T} * K * Capacity::overflow_policy::rounds);
    gate = tensor<double>(1, p.max_slots, 0.5);
    p.gate = gate.get();
    bad.assign(static_cast<std::size_t>(T), 0);
    p.bad = bad.data(), p.bad_count = &bad_count;
    for (int t = 0; t < T; ++t) {
      bad[t] = wish[t].empty(), bad_count += bad[t];
      for (int j = 0; j < K; ++j) memory.wish[t * K + j] = wish[t].empty() ? -1 : wish[t][j];
    }
    memory.draw = draw, memory.training = training;
    polymoe::cpu::stream stream;
    stream.threads = threads;
    polymoe::place<Capacity>(stream, p, scores.get(), memory);
  }
};

struct situation {
  int T, E, K, group_size, C;
  bool padded;
  int kind;  ///< 0 random scores, 1 ties, 2 all equal, 3 a hot expert, 4 some rows without wishes
  std::uint64_t seed;
};

matrix scores_of(const situation& s) {
  matrix m(static_cast<std::size_t>(s.T), std::vector<double>(static_cast<std::size_t>(s.E)));
  for (int t = 0; t < s.T; ++t)
    for (int e = 0; e < s.E; ++e) {
      const double u = 0.5 + 0.5 * noise(s.seed, static_cast<std::uint64_t>(t * s.E + e));
      m[t][e] = s.kind == 1 ? std::floor(4 * u) / 4 : s.kind == 2 ? 0.5 : s.kind == 3 && e == s.E / 2 ? 2 + u : u;
    }
  return m;
}

template <class Overflow, class Priority>
void check(const situation& s) {
  using Capacity = capacity::bounded<Overflow, Priority>;
  const ref_overflow how = Overflow::value == overflow::kind::identity   ? ref_overflow::identity
                           : Overflow::value == overflow::kind::fallback ? ref_overflow::fallback
                           : Overflow::value == overflow::kind::reroute  ? ref_overflow::reroute
                                                                         : ref_overflow::drop;
  const ref_priority order = Priority::value == priority::kind::gate          ? ref_priority::gate
                             : Priority::value == priority::kind::probability ? ref_priority::probability
                                                                              : ref_priority::position;
  const matrix score = scores_of(s);
  std::vector<std::vector<int>> wish;
  for (int t = 0; t < s.T; ++t) {
    wish.push_back(best_k(score[t], s.K));
    if (s.kind == 4 && t % 3 == 1) wish.back().clear();
  }
  const placed<Capacity> got(score, wish, s.E, s.K, s.group_size, s.C, s.padded, 1 + static_cast<int>(s.seed % 3));
  const ref_places want = give_places(wish, score, s.K, s.group_size, s.C, how, order, Overflow::rounds);
  const auto& p = got.plan;
  INFO("T ", s.T, " E ", s.E, " K ", s.K, " group_size ", s.group_size, " C ", s.C, " padded ", s.padded, " kind ",
       s.kind, " overflow ", Overflow::name, " priority ", Priority::name);
  REQUIRE(polymoe::plan_violation(p) == "");
  // One assertion per plan: `wrong` names the first choice that differs.
  int occupied = 0, wrong = -1;
  const auto expect = [&](bool ok, int c) {
    if (!ok && wrong < 0) wrong = c;
  };
  for (int t = 0; t < s.T; ++t) {
    bool fallback_named = false;
    for (int j = 0; j < s.K; ++j) {
      const int c = t * s.K + j, e = p.expert_of[c], slot = p.slot_of[c], by = want.expert[t][j];
      const bool served_else =
          !wish[t].empty() && by < 0 && (how == ref_overflow::identity || how == ref_overflow::fallback);
      expect(e == (served_else ? wish[t][j] : by), c);
      if (by >= 0) {
        expect(slot == p.run_begin[by * p.groups + t / s.group_size] + want.position[t][j], c);
        ++occupied;
      } else if (served_else && how == ref_overflow::fallback && !fallback_named) {
        fallback_named = true;
        expect(slot == p.run_begin[s.E * p.groups + t / s.group_size] + want.fallback_position[t], c);
        expect(p.fallback_slot[t] == slot, c);
        ++occupied;
      } else {
        expect(slot == -1, c);
      }
    }
    if (how == ref_overflow::fallback && !fallback_named) expect(p.fallback_slot[t] == -1, t * s.K);
  }
  REQUIRE(wrong == -1);
  // Every slot below the end is one of the above or empty.
  int held = 0;
  for (int i = 0; i < p.begin[p.all_experts]; ++i) {
    if (p.token[i] < -1) wrong = i;
    held += p.token[i] >= 0;
  }
  REQUIRE(wrong == -1);
  REQUIRE(held == occupied);
  if (!s.padded) REQUIRE(p.begin[p.all_experts] == occupied);
}

template <class Overflow>
void check_priorities(const situation& s) {
  check<Overflow, priority::position>(s);
  check<Overflow, priority::gate>(s);
  check<Overflow, priority::probability>(s);
}
void check_all(const situation& s) {
  check_priorities<overflow::drop>(s);
  check_priorities<overflow::identity>(s);
  check_priorities<overflow::fallback>(s);
  check_priorities<overflow::reroute<1>>(s);
  check_priorities<overflow::reroute<3>>(s);
}

}  // namespace

TEST_CASE("every overflow and priority over sizes, groups, layouts, capacities, ties and hot experts") {
  std::uint64_t seed = 0;
  const auto pick = [&](std::initializer_list<int> from) {
    const double u = 0.5 + 0.5 * noise(1234, ++seed);
    return *(from.begin() + static_cast<std::ptrdiff_t>(u * static_cast<double>(from.size())));
  };
  for (const int E : {1,  2,  3,  4,  5,  6,  7,  8,  9,   10,  11,  12,  13,  14,  15,
                      16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000})
    for (const int K : {1, 2, 3, 4, 5, 6, 7, 8}) {
      if (K > E || (E > 8 && (K == 5 || K == 7))) continue;
      for (int i = 0; i < (E > 100 ? 3 : 8); ++i) {
        situation s{};
        s.T = E > 100 ? pick({9, 23}) : pick({0, 1, 2, 7, 24, 41}), s.E = E, s.K = K, s.seed = ++seed;
        s.group_size = pick({std::max(1, s.T), 1, 5, 8, 1000}), s.C = pick({1, 1, 2, 3, 4, 9, 100});
        s.padded = pick({0, 1}) != 0, s.kind = pick({0, 1, 2, 3, 4});
        check_all(s);
      }
    }
}

TEST_CASE("sizes around powers of two, and random sizes") {
  std::uint64_t seed = 77;
  for (const int T : {15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1023, 1024, 1025}) {
    check<overflow::drop, priority::position>({T, 8, 2, T, std::max(1, T / 8), false, 0, ++seed});
    check<overflow::drop, priority::gate>({T, 8, 2, 64, 8, true, 1, ++seed});
    check<overflow::reroute<3>, priority::probability>({T, 5, 2, 64, 20, false, 3, ++seed});
  }
  for (int i = 0; i < 60; ++i) {
    const auto in = [&](int lo, int hi) {
      return lo + static_cast<int>((0.5 + 0.5 * noise(4321, ++seed)) * (hi - lo + 1));
    };
    const int E = in(1, 130), T = in(1, 130);
    check_all({T, E, std::min(E, in(1, 4)), in(1, 130), in(1, 12), i % 2 == 0, i % 5, ++seed});
  }
}

TEST_CASE("all scores equal: experts 0..k-1 for everybody, positions in unit order") {
  const situation s{6, 9, 3, 6, 4, false, 2, 1};
  std::vector<std::vector<int>> wish;
  for (int t = 0; t < s.T; ++t) wish.push_back(best_k(scores_of(s)[t], s.K));
  const placed<capacity::bounded<>> got(scores_of(s), wish, s.E, s.K, s.group_size, s.C, s.padded);
  for (int t = 0; t < 6; ++t)
    for (int j = 0; j < 3; ++j) {
      CHECK(got.plan.expert_of[3 * t + j] == (t < 4 ? j : -1));
      CHECK(got.plan.slot_of[3 * t + j] == (t < 4 ? 4 * j + t : -1));
    }
}

TEST_CASE("first choices come before second ones, and BPR lets the surest unit in") {
  // Three units, two experts, one place each: units 0 and 1 want 0 then 1, unit 2 wants 1 then 0.
  const matrix s{{0.6, 0.4}, {0.9, 0.1}, {0.3, 0.7}};
  const std::vector<std::vector<int>> wish{{0, 1}, {0, 1}, {1, 0}};
  const placed<capacity::bounded<>> position(s, wish, 2, 2, 3, 1, false);
  CHECK(std::vector<int>(position.plan.expert_of, position.plan.expert_of + 6) ==
        std::vector<int>{0, -1, -1, -1, 1, -1});
  const placed<capacity::bounded<overflow::drop, priority::gate>> gate(s, wish, 2, 2, 3, 1, false);
  CHECK(std::vector<int>(gate.plan.expert_of, gate.plan.expert_of + 6) == std::vector<int>{-1, -1, 0, -1, 1, -1});
}

namespace {
/// Experts of the choices when units get places at random, as the stream has it at this step.
std::vector<int> placed_at_random(const matrix& s, const std::vector<std::vector<int>>& wish, int K, int group_size,
                                  int C, std::uint64_t step, bool training, int threads = 1) {
  const int E = static_cast<int>(s[0].size());
  const auto draw = polymoe::random_root{3}.stream(polymoe::stream_id("router.noise"), step);
  const placed<capacity::bounded<overflow::drop, priority::random>> got(s, wish, E, K, group_size, C, false, threads,
                                                                        draw, training);
  CHECK(polymoe::plan_violation(got.plan) == "");
  return {got.plan.expert_of, got.plan.expert_of + wish.size() * static_cast<std::size_t>(K)};
}
}  // namespace

TEST_CASE("random priority: units in the order of their drawn numbers, another in every step; evaluation by position") {
  const situation s{41, 5, 2, 17, 4, false, 4, 9};
  const matrix score = scores_of(s);
  std::vector<std::vector<int>> wish;
  for (int t = 0; t < s.T; ++t) {
    wish.push_back(best_k(score[static_cast<std::size_t>(t)], s.K));
    if (t % 3 == 1) wish.back().clear();
  }
  const auto want = [&](ref_priority by, const matrix& keys) {
    const auto places = give_places(wish, keys, s.K, s.group_size, s.C, ref_overflow::drop, by, 0);
    std::vector<int> of;
    for (const auto& unit : places.expert) of.insert(of.end(), unit.begin(), unit.end());
    return of;
  };
  std::set<std::vector<int>> seen;
  for (const std::uint64_t step : {0, 1, 2, 700}) {
    const auto draw = polymoe::random_root{3}.stream(polymoe::stream_id("router.noise"), step);
    matrix keys = score;
    for (std::size_t t = 0; t < keys.size(); ++t)
      std::fill(keys[t].begin(), keys[t].end(), static_cast<double>(draw.uniform(t | std::uint64_t{1} << 62)));
    const auto got = placed_at_random(score, wish, s.K, s.group_size, s.C, step, true);
    CHECK(got == want(ref_priority::gate, keys));
    CHECK(got == placed_at_random(score, wish, s.K, s.group_size, s.C, step, true, 3));
    CHECK(placed_at_random(score, wish, s.K, s.group_size, s.C, step, false) == want(ref_priority::position, score));
    seen.insert(got);
  }
  CHECK(seen.size() == 4);
  // Nobody is preferred: one of eight units is served in an eighth of the steps.
  int served[8] = {};
  const matrix equal(8, {1.0});
  for (std::uint64_t step = 0; step < 800; ++step) {
    const auto got = placed_at_random(equal, std::vector<std::vector<int>>(8, {0}), 1, 8, 1, step, true);
    for (int t = 0; t < 8; ++t) served[t] += got[static_cast<std::size_t>(t)] == 0;
  }
  for (const int n : served) CHECK((n > 65 && n < 135));
}

TEST_CASE("expand spells a plan out: one cell per place, in the right column") {
  const situation s{13, 5, 2, 5, 2, false, 0, 3};
  for (const bool padded : {false, true}) {
    const matrix score = scores_of(s);
    std::vector<std::vector<int>> wish;
    for (int t = 0; t < s.T; ++t) wish.push_back(best_k(score[t], s.K));
    placed<capacity::bounded<overflow::fallback>> got(score, wish, s.E, s.K, s.group_size, s.C, padded);
    for (int i = 0; i < got.plan.max_slots; ++i) got.gate.put(0, i, 1 + i);
    const auto dense = polymoe::expand(got.plan);
    int cells = 0;
    for (int t = 0; t < s.T; ++t)
      for (index c = 0; c < dense.dispatch.cols; ++c) {
        const double d = dense.dispatch.get(t, c), k = dense.combine.get(t, c);
        CHECK((d == 0 || d == 1));
        if (d == 0) {
          CHECK(k == 0);
          continue;
        }
        ++cells;
        const int e = static_cast<int>(c / dense.capacity), g = t / s.group_size;
        const int slot = got.plan.run_begin[e * got.plan.groups + g] + static_cast<int>(c % dense.capacity);
        CHECK(got.plan.token[slot] == t);
        CHECK(k == 1 + slot);
      }
    int held = 0;
    for (int i = 0; i < got.plan.begin[got.plan.all_experts]; ++i) held += got.plan.token[i] >= 0;
    CHECK(cells == held);
  }
}

TEST_CASE("plan_violation names what is broken") {
  const situation s{12, 4, 2, 6, 3, false, 0, 5};
  const matrix score = scores_of(s);
  std::vector<std::vector<int>> wish;
  for (int t = 0; t < s.T; ++t) wish.push_back(best_k(score[t], s.K));
  using P = placed<capacity::bounded<>>;
  const auto broken = [&](auto damage) {
    P p(score, wish, s.E, s.K, s.group_size, s.C, false);
    REQUIRE(polymoe::plan_violation(p.plan) == "");
    damage(p);
    return polymoe::plan_violation(p.plan);
  };
  CHECK(broken([](P& p) { p.plan.token[0] = -7; }) != "");
  CHECK(broken([](P& p) { p.plan.token[0] = 12; }) != "");
  CHECK(broken([](P& p) { std::swap(p.plan.token[0], p.plan.token[1]); }) != "");
  CHECK(broken([](P& p) { p.plan.begin[1] = p.plan.begin[2] + 1; }) != "");
  CHECK(broken([](P& p) { p.plan.count[0] += 1; }) != "");
  CHECK(broken([](P& p) { p.gate.put(0, 2, not_a_number); }) != "");
  CHECK(broken([](P& p) { p.bad[p.plan.token[0]] = 1; }) != "");
  CHECK(broken([](P& p) { p.plan.max_slots = 1; }) != "");
  CHECK(broken([](P& p) { p.plan.capacity = 1; }) != "");
}

}  // namespace moe_test
