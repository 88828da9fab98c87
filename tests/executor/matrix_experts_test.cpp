// Experts, gather and combine on CUDA at every size of matrix.hpp, in double, float and bf16, with the plan of the
// CPU's router in double, against the CPU in double.
// timeout: 600
// with: matrix
#include "matrix.hpp"

namespace matrix {
namespace {

constexpr index hidden = 40;

/// Payload to output alone; a workspace gives it memory.
template <class Spec, class B>
struct apply_module : polymoe::apply<Spec, B> {
  using base = polymoe::apply<Spec, B>;
  using typename base::saved;
  index slots = 0;
  apply_module(const size& s, index most_slots) : base({s.D, hidden, s.D, s.E, 1}), slots(most_slots) {}
  saved bind(polymoe::binder<B>& b, index units) const { return base::bind(b, slots, units, 1); }
};

/// A plan of the host in device memory, its numbers as C.
template <class C>
struct device_plan {
  tensor<int> begin, count, run_begin, token, slot_of, expert_of, bad_count;
  tensor<C> gate;
  tensor<unsigned char> bad;
  sparse_plan<C> plan;

  explicit device_plan(const sparse_plan<double>& q)
      : begin(1, q.all_experts + 1),
        count(1, index{q.all_experts} * q.groups),
        run_begin(1, index{q.all_experts} * q.groups),
        token(1, q.max_slots),
        slot_of(1, index{q.tokens} * q.k),
        expert_of(1, index{q.tokens} * q.k),
        bad_count(1, 1),
        gate(1, q.max_slots),
        bad(1, q.tokens) {
    plan.layout = q.layout, plan.tokens = q.tokens, plan.experts = q.experts, plan.all_experts = q.all_experts;
    plan.groups = q.groups, plan.group_size = q.group_size, plan.k = q.k, plan.capacity = q.capacity;
    plan.max_slots = q.max_slots;
    const auto bring = [](const auto* from, auto& to) { to.put({from, from + to.v.size()}); };
    bring(q.begin, begin), bring(q.count, count), bring(q.run_begin, run_begin), bring(q.slot_of, slot_of);
    bring(q.expert_of, expert_of), bring(q.bad_count, bad_count), bring(q.bad, bad);
    // What lies behind the last slot is nobody's, and stays poisoned.
    const int used = q.begin[q.all_experts];
    std::vector<int> units = token.host();
    std::copy_n(q.token, used, units.begin());
    token.put(units);
    std::vector<C> gates = gate.host();
    for (int s = 0; s < used; ++s) gates[static_cast<std::size_t>(s)] = static_cast<C>(q.gate.get(0, s));
    gate.put(gates);
    plan.begin = begin.v.ptr[0], plan.count = count.v.ptr[0], plan.run_begin = run_begin.v.ptr[0];
    plan.token = token.v.ptr[0], plan.slot_of = slot_of.v.ptr[0], plan.expert_of = expert_of.v.ptr[0];
    plan.bad = bad.v.ptr[0], plan.bad_count = bad_count.v.ptr[0], plan.gate = gate.v;
  }
};

struct expert_tally {
  index cases = 0, tensors = 0, untouched = 0;
};
struct wanted {
  std::vector<double> dy, y, dx, d_gate, values, grads;
};

template <class T, int K>
void compare_experts(const size& s, const sparse_plan<double>& q, const std::vector<double>& x_values,
                     const wanted& want, expert_tally& count) {
  using C = compute_t<T>;
  using Module = apply_module<spec_of<T, K>, cuda>;
  constexpr double close = bound<T>(1.2e-2);
  INFO("T ", s.T, " E ", s.E, " D ", s.D, " hot ", s.hot, " bytes of a number ", sizeof(T));
  polymoe::workspace<Module> w(Module(s, q.max_slots), {.max_rows = s.T, .seed = 1});
  w.set_values(converted<master_t<T>>(want.values)), w.refresh();
  const device_plan<C> plan(q);
  tensor<T> x(s.T, s.D), dy(s.T, s.D);
  x.put(converted<T>(x_values)), dy.put(converted<T>(want.dy));
  const int used = q.begin[q.all_experts];
  struct outcome {
    std::vector<T> y, dx;
    std::vector<C> d_gate;
    std::vector<master_t<T>> grads;
  };
  const auto run = [&] {
    tensor<T> y(s.T, s.D), dx(s.T, s.D);
    tensor<C> d_gate(1, q.max_slots);
    const auto stream = w.ctx().stream.handle;
    polymoe::device::clear(d_gate.v.ptr[0], static_cast<std::size_t>(q.max_slots) * sizeof(C), stream);
    w.zero_grads();
    w.module().forward(w.ctx(), x, plan.plan, y, w.saved());
    w.module().backward(w.ctx(), dy, plan.plan, d_gate, {}, dx, w.saved());
    polymoe::device::wait(stream);
    auto gates = d_gate.host();
    gates.resize(static_cast<std::size_t>(used));
    return outcome{y.host(), dx.host(), gates, w.grads_on_host()};
  };
  const outcome got = run(), again = run();
  must(same_bits(got.y, again.y) && same_bits(got.dx, again.dx) && same_bits(got.d_gate, again.d_gate) &&
           same_bits(got.grads, again.grads),
       "the same bits in every run");
  within(distance(got.y, want.y), close, "the output");
  within(distance(got.dx, want.dx), close, "the input's gradient");
  within(distance(got.d_gate, want.d_gate), close, "the gates' gradient");
  for (const auto& e : w.entries()) {
    // Tensor by tensor, so that a wrong small one does not hide behind a large one.
    const auto part = [&](const auto& v) {
      return std::remove_cvref_t<decltype(v)>(v.begin() + e.offset, v.begin() + e.offset + e.size);
    };
    const auto mine = part(got.grads);
    within(distance(mine, part(want.grads)), close, e.name.c_str());
    ++count.tensors;
    // An expert without rows has a gradient of zeros, exactly.
    count.untouched += std::all_of(mine.begin(), mine.end(), [](auto g) { return g == 0; });
  }
  ++count.cases;
}

template <int K>
void compare_all_experts(const size& s, expert_tally& count) {
  using Module = apply_module<spec_of<double, K>, cpu>;
  reference<K> r(s);
  auto& q = r.w.saved().plan;
  // The CPU leaves the gates of no slots alone; a router's promise is asked for here, before anything is compared.
  must(polymoe::plan_violation(q).empty(), "the reference's plan");
  polymoe::workspace<Module> w(Module(s, q.max_slots), {.max_rows = s.T, .threads = threads(), .seed = 1});
  wanted want;
  // Weights that a bf16 holds: rounding them is not what is compared.
  want.values.resize(static_cast<std::size_t>(w.values().cols)), fill(want.values, 5);
  for (const auto& e : w.entries())
    for (index i = 0; i < e.size; ++i)
      if (e.dims.size() > 1) want.values[static_cast<std::size_t>(e.offset + i)] *= 0x1p-4;
  w.set_values(want.values), w.refresh();
  want.dy.resize(r.x.size()), fill(want.dy, 6);
  want.y.resize(r.x.size()), want.dx.resize(r.x.size()), want.d_gate.resize(static_cast<std::size_t>(q.max_slots));
  w.zero_grads();
  w.module().forward(w.ctx(), rows_of(std::as_const(r.x), s.T, s.D), q, rows_of(want.y, s.T, s.D), w.saved());
  w.module().backward(w.ctx(), rows_of(std::as_const(want.dy), s.T, s.D), q, rows_of(want.d_gate, 1, q.max_slots), {},
                      rows_of(want.dx, s.T, s.D), w.saved());
  want.d_gate.resize(static_cast<std::size_t>(q.begin[q.all_experts]));
  want.grads = w.grads_on_host();
  compare_experts<double, K>(s, q, r.x, want, count);
  compare_experts<float, K>(s, q, r.x, want, count);
  compare_experts<bf16, K>(s, q, r.x, want, count);
}

TEST_CASE("experts on CUDA at every size, with the reference's plan: double, float, bf16") {
  expert_tally n;
  index used = 0;
  for (const size& s : sizes(true)) s.E > 1 ? compare_all_experts<2>(s, n) : compare_all_experts<1>(s, n), ++used;
  MESSAGE(n.cases, " cases, ", n.tensors, " gradients, ", n.untouched, " of them of experts without rows");
  CHECK(n.cases == 3 * used);
  CHECK(n.untouched > 100);
}

}  // namespace
}  // namespace matrix
