// The router on CUDA at every size of matrix.hpp, in double, float and bf16, against the CPU in double.
// timeout: 600
// with: matrix
#include "matrix.hpp"

namespace matrix {
namespace {

struct tally {
  index units = 0, skipped = 0, cases = 0, plans = 0, dropped = 0, empty = 0;
};

/// What a call leaves on the device, as bytes.
template <class W, class T>
std::vector<std::byte> bits(W& w, const tensor<T>& dx) {
  const auto& s = w.saved();
  const auto& p = s.plan;
  std::vector<std::byte> all = dx.memory();
  const auto take = [&](const auto* from, index n) {
    const auto at = all.size(), bytes = static_cast<std::size_t>(n) * sizeof(*from);
    all.resize(at + bytes);
    polymoe::device::download(all.data() + at, from, bytes, nullptr);
  };
  const index T_ = p.tokens, E = p.experts, K = p.k;
  take(s.logits.ptr[0], T_ * E), take(s.scores.ptr[0], T_ * E), take(s.wish, T_ * K), take(p.slot_of, T_ * K);
  take(p.begin, E + 1), take(p.expert_of, T_ * K), take(s.values.ptr[0], s.values.cols);
  const auto grads = w.grads_on_host();
  const auto* g = reinterpret_cast<const std::byte*>(grads.data());
  all.insert(all.end(), g, g + grads.size() * sizeof(grads[0]));
  return all;
}
template <class V>
std::vector<V> fetch(const V* from, index n) {
  std::vector<V> to(static_cast<std::size_t>(n));
  polymoe::device::download(to.data(), from, to.size() * sizeof(V), nullptr);
  return to;
}

/// One type against the reference, whose gradients are those of `d_gate` and the balance losses.
template <class T, int K>
void compare(reference<K>& r, const std::vector<double>& dx_want, const std::vector<double>& dw_want,
             const std::vector<double>& d_gate, tally& count) {
  using C = compute_t<T>;
  using Module = routing_module<spec_of<T, K>, cuda>;
  constexpr double u = std::is_same_v<C, double> ? 0x1p-53 : 0x1p-24;
  constexpr double close = std::is_same_v<C, double> ? 1e-12 : 1e-5;
  const size& s = r.s;
  INFO("T ", s.T, " E ", s.E, " D ", s.D, " hot ", s.hot, " bytes of a number ", sizeof(T));
  polymoe::workspace<Module> w(Module(Module::config(s)), {.max_rows = s.T, .seed = 1});
  r.set(w), w.refresh();
  tensor<T> x(s.T, s.D);
  x.put(converted<T>(r.x));
  const auto run = [&] {
    tensor<T> dx(s.T, s.D);
    w.zero_grads();
    w.module().forward(w.ctx(), x, w.saved());
    w.module().open_backward(w.ctx(), w.saved());
    const auto gate = converted<C>(d_gate);
    polymoe::device::upload(w.saved().d_gate.ptr[0], gate.data(), gate.size() * sizeof(C), w.ctx().stream.handle);
    w.module().backward(w.ctx(), dx, w.saved());
    polymoe::device::wait(w.ctx().stream.handle);
    return dx;
  };
  const tensor<T> dx = run();
  const auto first = bits(w, dx);
  const tensor<T> again = run();
  must(bits(w, again) == first, "the same bits in every run");

  const index cells = index{s.T} * s.E, choices = index{s.T} * K;
  const auto& q = r.w.saved();
  const auto& saved = w.saved();
  within(distance(fetch(saved.logits.ptr[0], cells), host_copy<double>(q.logits.rows_at(0, s.T))), close, "logits");
  within(distance(fetch(saved.scores.ptr[0], cells), host_copy<double>(q.scores.rows_at(0, s.T))), close, "scores");
  const auto p = w.module().plan(w.ctx(), saved);
  const std::string broken = polymoe::plan_violation(p);
  must(broken.empty(), broken);
  // Plans apart: choices must be equal where no rounding can change them.
  const auto wish = fetch(saved.wish, choices);
  bool equal = true;
  for (index t = 0; t < s.T; ++t) {
    bool same = true;
    for (index j = t * K; j < (t + 1) * K; ++j) same = same && wish[static_cast<std::size_t>(j)] == q.place.wish[j];
    const bool sure = r.margin(t) > r.moved(t, u);
    must(same || !sure, "another choice, which rounding cannot explain");
    equal = equal && same;
    ++count.units, count.skipped += !sure;
  }
  ++count.cases;
  if (!equal) return;
  ++count.plans;
  must(std::equal(p.expert_of, p.expert_of + choices, q.plan.expert_of) &&
           std::equal(p.slot_of, p.slot_of + choices, q.plan.slot_of) &&
           std::equal(p.begin, p.begin + s.E + 1, q.plan.begin) &&
           std::equal(p.token, p.token + p.begin[s.E], q.plan.token),
       "the plan of the same choices");
  for (int e = 0; e < s.E; ++e) count.empty += s.T > 0 && p.begin[e] == p.begin[e + 1];
  count.dropped += choices - p.begin[s.E];
  within(distance(fetch(saved.plan.gate.ptr[0], p.begin[s.E]),
                  std::vector<double>(q.plan.gate.ptr[0], q.plan.gate.ptr[0] + p.begin[s.E])),
         close, "gates");
  within(distance(w.grads_on_host(), dw_want), close, "the router's gradient");
  within(distance(dx.host(), dx_want), std::is_same_v<T, bf16> ? 4e-3 : close, "the input's gradient");
}

template <int K>
void compare_all(const size& s, tally& count) {
  reference<K> r(s);
  std::vector<double> d_gate(static_cast<std::size_t>(r.w.module().max_slots(s.T))), dx(r.x.size());
  fill(d_gate, 3);
  r.w.zero_grads();
  r.w.module().open_backward(r.w.ctx(), r.w.saved());
  std::copy(d_gate.begin(), d_gate.end(), r.w.saved().d_gate.ptr[0]);
  r.w.module().backward(r.w.ctx(), rows_of(dx, s.T, s.D), r.w.saved());
  const std::vector<double> dw = r.w.grads_on_host();
  compare<double>(r, dx, dw, d_gate, count);
  compare<float>(r, dx, dw, d_gate, count);
  compare<bf16>(r, dx, dw, d_gate, count);
}

TEST_CASE("the router on CUDA at every size: double, float, bf16") {
  tally n;
  for (const size& s : sizes(false)) {
    if (s.E == 1)
      compare_all<1>(s, n);
    else
      compare_all<2>(s, n);
  }
  MESSAGE(n.cases, " cases, ", n.units, " units, ", n.skipped, " too close to call, ", n.plans, " whole plans equal, ",
          n.dropped, " choices dropped, ", n.empty, " experts empty");
  CHECK(n.cases == static_cast<index>(3 * sizes(false).size()));
  CHECK(n.skipped <= n.units / 100);
  CHECK(n.plans >= n.cases * 3 / 4);
  CHECK(n.dropped > 100);
  CHECK(n.empty > 100);
}

}  // namespace
}  // namespace matrix
