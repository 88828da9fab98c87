// The inverse of a plan as lists, on CUDA, against the CPU's: plans of real routings and plans no router of fixed K
// makes.
// with: plans
#include "tensors.hpp"

#include <polymoe/backend/cuda/dispatch/invert.cuh>
#include <polymoe/backend/cuda/dispatch/move.cuh>
#include <polymoe/plan/invariants.hpp>
#include <polymoe/plan/invert.hpp>

namespace polymoe::executor_test {
namespace {

/// A plan of lists of experts per unit, in host memory.
struct made {
  std::vector<int> begin, count, run_begin, token;
  std::vector<float> gate;
  std::vector<unsigned char> bad;
  sparse_plan<float> plan;

  /// Any number of experts per unit: expert e takes unit t when a draw says so; expert `hot` takes every unit.
  made(int T, int E, int spare, int hot, std::uint64_t seed) {
    const auto draw = random_root{seed}.stream(1, 0);
    begin.push_back(0);
    for (int e = 0; e < E; ++e) {
      for (int t = 0; t < T; ++t)
        if (e == hot || draw.below(static_cast<std::uint64_t>(e * T + t), 5) == 0) token.push_back(t);
      run_begin.push_back(begin.back()), count.push_back(static_cast<int>(token.size()) - begin.back());
      begin.push_back(static_cast<int>(token.size()));
    }
    plan.max_slots = static_cast<int>(token.size()) + spare;
    // Behind the last slot lies what looks like units and must not be read as such.
    token.resize(token.size() + static_cast<std::size_t>(spare), 0);
    for (std::size_t i = 0; i < token.size(); ++i) gate.push_back(draw.normal(i + 100000));
    bad.assign(static_cast<std::size_t>(T), 0);
    plan.tokens = T, plan.experts = plan.all_experts = E, plan.groups = 1, plan.group_size = T;
    plan.begin = begin.data(), plan.count = count.data(), plan.run_begin = run_begin.data();
    plan.token = token.data();
    plan.gate = view<float>(gate.data(), 1, plan.max_slots);
    plan.bad = bad.data();
  }
};

/// The plan's arrays in device memory.
struct on_device {
  tensor<int> begin, token;
  tensor<float> gate;
  tensor<unsigned char> bad;
  sparse_plan<float> plan;

  explicit on_device(const sparse_plan<float>& p)
      : begin(1, p.all_experts + 1), token(1, p.max_slots), gate(1, p.max_slots), bad(1, p.tokens), plan(p) {
    begin.put({p.begin, p.begin + p.all_experts + 1});
    token.put({p.token, p.token + p.max_slots});
    gate.put({p.gate.ptr[0], p.gate.ptr[0] + p.max_slots});
    bad.put({p.bad, p.bad + p.tokens});
    plan.begin = begin.v.ptr[0], plan.token = token.v.ptr[0], plan.gate = gate.v, plan.bad = bad.v.ptr[0];
    plan.count = plan.run_begin = plan.slot_of = plan.expert_of = nullptr;  // not read
  }
};

void compare(const sparse_plan<float>& p, index dim) {
  CAPTURE(p.tokens);
  CAPTURE(p.max_slots);
  std::vector<int> begin(static_cast<std::size_t>(p.tokens) + 1), list(static_cast<std::size_t>(p.max_slots) + 1);
  const auto want = inverted(p, begin.data(), list.data(), p.max_slots);
  on_device d(p);
  tensor<int> lists_begin(1, p.tokens + 1), lists(1, p.max_slots + 1);
  const std::size_t bytes = invert_workspace_bytes(d.plan);
  const backend::device_block work(bytes);
  cuda::runtime run(1, 0);
  context<cuda> c;
  c.stream = run.get();
  const auto again = [&](int blocks) {
    c.stream.blocks = blocks;
    const auto got = inverted(c, d.plan, lists_begin.v.ptr[0], lists.v.ptr[0], work.data(), bytes);
    device::wait(c.stream.handle);
    CHECK(got.k == 0);
    CHECK(lists_begin.host() == begin);
    const auto slots = lists.host();
    for (int i = 0; i < begin.back(); ++i)
      REQUIRE(slots[static_cast<std::size_t>(i)] == list[static_cast<std::size_t>(i)]);
    return got;
  };
  again(1);
  const auto got = again(3);
  // What the lists are for: combine walks them.
  tensor<float> out(p.max_slots, dim, 4), x(p.tokens, dim, 5), y(p.tokens, dim);
  backend::combine_slots<float>(c, got, out, x, 1, y);
  device::wait(c.stream.handle);
  const auto slots = out.host(), rows = x.host();
  std::vector<float> y2(rows.size());
  const context<cpu> one;
  backend::combine_slots<float>(one, want, view<const float>(slots.data(), p.max_slots, dim),
                                view<const float>(rows.data(), p.tokens, dim), 1,
                                view<float>(y2.data(), p.tokens, dim));
  CHECK(distance(y.host(), y2) <= 1e-6);
}

template <class Overflow>
struct bounded_spec : polymoe::spec {
  using scalar = float;
  using expert = polymoe::expert::identity;
  using capacity = polymoe::capacity::bounded<Overflow>;
};
template <class Overflow>
void compare_routed(index units, index experts, index group, bool padded) {
  using routing = polymoe::routing<bounded_spec<Overflow>, cpu>;
  typename routing::config rc;
  rc.dim = 6, rc.experts = experts, rc.group_size = group, rc.padded = padded, rc.capacity.factor = 0.7f;
  struct module : routing {
    using routing::routing;
    index out_cols() const { return this->in_cols(); }
    void forward(context<cpu>& c, view<const float> x, view<float>, typename routing::saved& s) const {
      routing::forward(c, x, s);
    }
  };
  workspace<module> w(module(rc), {.max_rows = units, .seed = 3});
  std::vector<float> x(static_cast<std::size_t>(units * 6));
  const auto draw = random_root{8}.stream(2, 0);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = draw.normal(i);
  w.forward(view<const float>(x.data(), units, 6), view<float>(x.data(), units, 6));
  const auto& p = w.saved().plan;
  REQUIRE(plan_violation(p) == "");
  auto q = p;
  q.skip = {};  // identity overflow: only the slots are of interest here
  compare(q, 8);
}

TEST_CASE("inverted on CUDA equals the CPU's: any number of experts, none, all; no units") {
  for (const int T : {0, 1, 63, 65, 300})
    for (const int E : {1, 7, 33}) compare(made(T, E, 9, E == 7 ? 3 : -1, 1).plan, 5);
  compare(made(257, 257, 0, 0, 2).plan, 4);
}
TEST_CASE("inverted on CUDA equals the CPU's: plans of routings, packed and padded, with a fallback expert") {
  for (const bool padded : {false, true}) {
    compare_routed<overflow::drop>(70, 5, 32, padded);
    compare_routed<overflow::identity>(65, 9, 0, padded);
    compare_routed<overflow::fallback>(70, 5, 0, padded);
  }
}
TEST_CASE("inverted on CUDA: what it cannot do is refused; numbers of units that do not exist are empty slots") {
  made m(20, 4, 3, 1, 5);
  on_device d(m.plan);
  tensor<int> begin(1, 21), list(1, m.plan.max_slots);
  context<cuda> c;
  const std::size_t bytes = invert_workspace_bytes(d.plan);
  CHECK_THROWS_WITH_AS(inverted(c, d.plan, begin.v.ptr[0], list.v.ptr[0], nullptr, bytes - 1),
                       doctest::Contains("bytes of workspace"), polymoe::error);
  auto identity = d.plan;
  identity.layout = plan_layout::identity;
  CHECK_THROWS_WITH_AS(inverted(c, identity, begin.v.ptr[0], list.v.ptr[0], nullptr, bytes),
                       doctest::Contains("identity"), polymoe::error);
  const int held = m.begin.back();
  m.token[0] = 20, m.token[1] = -7;
  d.token.put(m.token);
  const backend::device_block work(bytes);
  inverted(c, d.plan, begin.v.ptr[0], list.v.ptr[0], work.data(), bytes);
  device::wait(nullptr);
  CHECK(begin.host().back() == held - 2);
}

}  // namespace
}  // namespace polymoe::executor_test
