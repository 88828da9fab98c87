// One bf16 layer on the GPU and the calls it is made of.
//
// A stage is the very call the layer makes, on the layer's own memory, plan and weights; before anything is timed, the
// stages in a row are checked to give the same bits as the layer: output, gradient of the input, parameter gradients.
// Padded layers run their products batched through cuBLASLt, on rows that `gather` brings into slot order.
#pragma once

#include <cmath>
#include <polymoe/cuda.cuh>

#include "data.cuh"
#include "rows.hpp"

namespace gpu_bench {

using polymoe::bf16;
using polymoe::view;
namespace grouped = polymoe::grouped;
namespace backend = polymoe::backend;

template <int K, bool Bounded>
struct bench_spec : polymoe::spec {
  using scalar = bf16;
  using router = polymoe::top_k<K>;
  using capacity = std::conditional_t<Bounded, polymoe::capacity::bounded<>, polymoe::capacity::unlimited>;
  static constexpr int most_experts = gpu_bench::most_experts(K);
};

template <class Spec>
class layer_case {
 public:
  using layer = polymoe::layer<Spec, polymoe::cuda>;
  using act = polymoe::act::gelu_tanh;

  layer_case(const row_shape& r, bool padded, std::uint64_t seed)
      : r_(r),
        padded_(padded),
        w_(layer(config(r, padded)), {.max_rows = r.tokens, .threads = 1, .seed = seed}),
        x_(rows(r.tokens, r.dim)),
        y_(rows(r.tokens, r.dim)),
        dy_(rows(r.tokens, r.dim)),
        dx_(rows(r.tokens, r.dim)),
        slots_(rows(most_slots(), r.dim)),
        d_out_(rows(most_slots(), r.dim)),
        d_slots_(rows(most_slots(), r.dim)),
        d_pre_(rows(padded ? most_slots() : 0, r.hidden)),
        w1_(rows(r.experts * r.hidden, r.dim)),
        w2_(rows(r.experts * r.hidden, r.dim)),
        b1_(rows(r.experts, r.hidden + 8)),
        b2_(rows(r.experts, r.dim + 8)),
        sums_(std::max(grouped::weight_workspace<bf16>(r.tokens * r.k, r.hidden, r.dim),
                       grouped::weight_workspace<bf16>(r.tokens * r.k, r.dim, r.hidden))),
        seed_(seed) {
    fill_normal(stream(), of(x_), seed, "x");
    fill_normal(stream(), of(dy_), seed, "dy");
    first_column(stream(), of(x_), 1.0f);
    round_weights("fc1", w1_), round_weights("fc2", w2_);
    round_biases("fc1", b1_, r.hidden), round_biases("fc2", b2_, r.dim);
    if (padded)
      polymoe::require(w_.saved().apply.expert.products != nullptr, r.name, ": ", w_.module().describe(),
                       ": the padded rows are there to time cuBLASLt");
  }

  /// Column 0 of x is 1, so column 0 of the router's weight is a bias: log p, p = 1/(e+1)^exponent, gives expert e
  /// about that popularity (exactly so if the other columns made Gumbel noise; theirs is normal, of the same width).
  void route(double exponent) {
    std::vector<float> weight(static_cast<std::size_t>(r_.experts * r_.dim));
    const auto draw = polymoe::random_root{seed_}.stream(polymoe::stream_id("router"), 0);
    const float width = (exponent > 0 ? 1.2825f : 1.0f) / std::sqrt(static_cast<float>(r_.dim));
    for (index e = 0; e < r_.experts; ++e)
      for (index d = 0; d < r_.dim; ++d) {
        const auto i = static_cast<std::size_t>(e * r_.dim + d);
        weight[i] = d ? width * draw.normal(i) : static_cast<float>(-exponent * std::log(static_cast<double>(e + 1)));
      }
    device::upload(w_.values().ptr[0] + entry("router.weight").offset, weight.data(), weight.size() * sizeof(float),
                   stream());
    w_.refresh();
  }

  void forward() { w_.forward(of(x_), of(y_)); }
  void backward() { w_.backward(of(dy_), of(dx_)); }

  void run(stage s) {
    auto& saved = w_.saved();
    auto& kept = saved.apply;
    auto& c = w_.ctx();
    const auto& plan = saved.routing.plan;
    const auto& work = kept.work.rows;
    const view<bf16> pre = kept.expert.kept[0], hidden = kept.expert.kept[1];
    const view<bf16> slots = of(slots_, plan.max_slots), d_out = of(d_out_, plan.max_slots),
                     d_slots = of(d_slots_, plan.max_slots);
    const view<const bf16> x = of(x_), dy = of(dy_);
    const index D = r_.dim, H = r_.hidden;
    if (padded_ && run_batched(s, d_out, d_slots)) return;
    switch (s) {
      case stage::router_forward:
        return w_.module().router().forward(c, x, saved.routing);
      case stage::gather:
        return backend::gather<bf16>(c, plan, x, 1, slots);
      case stage::fc1:
        return grouped::forward(stream(), work, grouped::through(plan, x), weights(w1_, D), H, D,
                                grouped::epilogue::activate<act, bf16>{
                                    hidden.ptr[0], hidden.stride, pre.ptr[0], pre.stride, {bias("fc1"), H}});
      case stage::fc2:
        return grouped::forward(
            stream(), work, grouped::in_slot_order(hidden), weights(w2_, H), D, H,
            grouped::epilogue::plain<bf16>{kept.out.ptr[0], kept.out.stride, {bias("fc2"), D}, false});
      case stage::combine:
        return backend::combine_slots<bf16>(c, plan, kept.out, x, 1, of(y_));
      case stage::combine_backward:
        w_.module().router().open_backward(c, saved.routing);  // clears the gates' gradients
        return backend::combine_backward<bf16>(c, plan, dy, kept.out, x, 1, d_out, saved.routing.d_gate,
                                               saved.routing.d_skip);
      case stage::fc2_data:
        return grouped::data_gradient(
            stream(), work, grouped::in_slot_order(d_out), weights(w2_, H), D, H,
            grouped::epilogue::activate_gradient<act, bf16>{pre.ptr[0], pre.stride, pre.ptr[0], pre.stride});
      case stage::fc1_data:
        return grouped::data_gradient(stream(), work, grouped::in_slot_order(pre), weights(w1_, D), H, D,
                                      grouped::epilogue::plain<bf16>{d_slots.ptr[0], d_slots.stride, {}, false});
      case stage::fc1_weight:
        return add_gradient("fc1", grouped::in_slot_order(pre), grouped::through(plan, x), H, D);
      case stage::fc2_weight:
        return add_gradient("fc2", grouped::in_slot_order(d_out), grouped::in_slot_order(hidden), D, H);
      case stage::gather_backward:
        return backend::gather_backward<bf16>(c, plan, d_slots, dy, 1, of(dx_));
      case stage::router_backward:
        return w_.module().router().backward(c, of(dx_), saved.routing, true);
    }
  }

  /// The layer against its stages, bit for bit; and that all of it is finite.
  void check() {
    const auto n = static_cast<std::size_t>(w_.grads().cols) * sizeof(float);
    backend::device_block y(y_.size()), dx(dx_.size()), grads(n);
    w_.zero_grads();
    forward(), backward();
    device::copy(y.data(), y_.data(), y.size(), stream());
    device::copy(dx.data(), dx_.data(), dx.size(), stream());
    device::copy(grads.data(), w_.grads().ptr[0], n, stream());
    // What the layer left must not stand in for a stage that writes nothing.
    auto& kept = w_.saved().apply;
    for (const view<bf16>& v : {of(y_), of(dx_), kept.out, kept.expert.kept[0], kept.expert.kept[1]})
      device::clear(v.ptr[0], static_cast<std::size_t>(v.size()) * sizeof(bf16), stream());
    w_.zero_grads();
    if (padded_) run(stage::gather);
    for (const stage s : forward_stages()) run(s);
    for (const stage s : backward_stages()) run(s);
    const auto same = [&](const char* what, const void* a, const void* b, std::size_t bytes, bool is_float) {
      const differences d = compare(stream(), a, b, bytes, is_float);
      polymoe::require(d.words == 0, r_.name, ": ", what, " of the stages differs from the layer's in ", d.words,
                       " of ", bytes / 4, " words: the stages timed here are no longer the layer's");
      polymoe::require(d.not_finite == 0, r_.name, ": ", d.not_finite, " numbers of ", what, " are not finite");
    };
    same("the output", y.data(), y_.data(), y.size(), false);
    same("the input's gradient", dx.data(), dx_.data(), dx.size(), false);
    same("the parameters' gradient", grads.data(), w_.grads().ptr[0], n, true);
  }

 protected:
  static typename layer::config config(const row_shape& r, bool padded) {
    typename layer::config c{.dim = r.dim, .hidden = r.hidden, .experts = r.experts};
    c.padded = padded;
    if constexpr (Spec::capacity::limited) c.capacity.factor = 1.0f;
    return c;
  }
  index most_slots() { return w_.saved().routing.plan.max_slots; }
  static std::size_t rows(index n, index cols) { return static_cast<std::size_t>(n * cols) * sizeof(bf16); }
  device::stream_handle stream() { return w_.ctx().stream.handle; }
  view<bf16> of(const backend::device_block& b, index n) const { return {static_cast<bf16*>(b.data()), n, r_.dim}; }
  view<bf16> of(const backend::device_block& b) const { return of(b, r_.tokens); }

  const polymoe::param_entry& entry(const std::string& name) const {
    for (const auto& e : w_.entries())
      if (e.name == name) return e;
    polymoe::require(false, "the layer has no parameter '", name, "'");
    return w_.entries().front();
  }
  /// Parameters of a linear map of all experts lie one after the other.
  index offset(const char* map, const char* what) const {
    return entry(std::string("experts.0.") + map + "." + what).offset;
  }
  const float* bias(const char* map) { return w_.values().ptr[0] + offset(map, "bias"); }
  void round_weights(const char* map, backend::device_block& to) {
    const index n = r_.experts * r_.hidden;
    backend::detail::convert_rows<bf16>(w_.ctx().stream,
                                        view<const float>(w_.values().ptr[0] + offset(map, "weight"), n, r_.dim),
                                        view<bf16>(static_cast<bf16*>(to.data()), n, r_.dim));
  }
  /// Biases as cuBLASLt takes them: bf16, each expert's on a 16-byte border.
  static constexpr index bias_stride(index n) { return backend::batched::bias_stride(n, sizeof(bf16)); }
  void round_biases(const char* map, backend::device_block& to, index n) {
    backend::detail::convert_rows<bf16>(w_.ctx().stream, view<const float>(bias(map), r_.experts, n),
                                        view<bf16>(static_cast<bf16*>(to.data()), r_.experts, n, bias_stride(n)));
  }
  backend::batched::map_memory<bf16> memory(const char* map, const backend::device_block& w,
                                            const backend::device_block& b, index n) {
    float* g = w_.grads().ptr[0];
    return {static_cast<const bf16*>(w.data()), static_cast<const bf16*>(b.data()), bias_stride(n),
            g + offset(map, "weight"), g + offset(map, "bias")};
  }
  /// The stages that a padded layer runs in another way; false: this is none of them.
  bool run_batched(stage s, view<bf16> d_out, view<bf16> d_slots) {
    auto& kept = w_.saved().apply;
    auto& c = w_.ctx();
    const auto& maps = kept.expert.products->maps;
    const index each = kept.work.each;
    const view<bf16> pre = kept.expert.kept[0], hidden = kept.expert.kept[1];
    const view<bf16> d_pre(static_cast<bf16*>(d_pre_.data()), pre.rows, pre.cols);
    const auto fc1 = memory("fc1", w1_, b1_, r_.hidden), fc2 = memory("fc2", w2_, b2_, r_.dim);
    switch (s) {
      case stage::gather:
        backend::gather<bf16>(c, w_.saved().routing.plan, of(x_), 1, kept.gathered);
        return true;
      case stage::fc1:
        maps[0].forward(c.stream, c.scratch, each, fc1, kept.gathered, hidden, pre);
        return true;
      case stage::fc2:
        maps[1].forward(c.stream, c.scratch, each, fc2, hidden, kept.out);
        return true;
      case stage::fc2_data:
        maps[1].data_gradient(c.stream, c.scratch, each, fc2, d_out, d_pre, false, pre);
        return true;
      case stage::fc1_data:
        maps[0].data_gradient(c.stream, c.scratch, each, fc1, d_pre, d_slots, false);
        return true;
      case stage::fc1_weight:
        maps[0].weight_gradient(c.stream, c.scratch, each, fc1, d_pre, kept.gathered);
        return true;
      case stage::fc2_weight:
        maps[1].weight_gradient(c.stream, c.scratch, each, fc2, d_out, hidden);
        return true;
      default:
        return false;
    }
  }
  grouped::weights_of<bf16> weights(const backend::device_block& b, index in) const {
    return {static_cast<const bf16*>(b.data()), static_cast<int>(in), r_.dim * r_.hidden};
  }
  void add_gradient(const char* map, const grouped::rows_of<bf16>& d, const grouped::rows_of<bf16>& in, index n,
                    index k) {
    float* g = w_.grads().ptr[0];
    grouped::weight_gradient(stream(), w_.saved().apply.work.rows, d, in, n, k, g + offset(map, "weight"),
                             g + offset(map, "bias"), sums_.data(), sums_.size());
  }

  row_shape r_;
  bool padded_;
  polymoe::workspace<layer> w_;
  backend::device_block x_, y_, dy_, dx_, slots_, d_out_, d_slots_, d_pre_, w1_, w2_, b1_, b2_, sums_;
  std::uint64_t seed_;
};

}  // namespace gpu_bench
