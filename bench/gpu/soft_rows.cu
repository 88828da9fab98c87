// Soft MoE layers in bf16: images of 196 to 576 tokens, one slot an expert, forward and backward, captured and eager.
//
// G images, T tokens of all, S slots of an image, N = G S rows of experts.  The floor of a pass is the sum of those of
// its steps, each with the bytes of its tensors once; norms and copies of rows are not counted.
//
//   forward    logits      6TSD (three bf16 products)   2TD + 6SD + 4TS
//              softmax                                  4TS + 4TS          logits in, dispatch and combine out
//              slots       2TSD                         2TS + 2TD + 2ND
//              experts     4NDH                         as fc1 and fc2 of rows.hpp
//              combine     2TSD                         2TS + 2ND + 2TD
//   backward   combine     4TSD                         2TD + 2ND + 4TS, 2TS + 2TD + 2ND
//              experts     8NDH                         as rows.hpp
//              dispatch    4TSD                         2TD + 2ND + 4TS, 2TS + 2ND + 2TD
//              softmax                                  12TS + 2TS         logits and both gradients in, one out
//              logits      4TSD                         2TS + 2TD + 4SD, 2TS + 2SD + 2TD
#include <polymoe/cuda.cuh>

#include "data.cuh"
#include "timing.cuh"

namespace gpu_bench {

struct soft_spec : polymoe::spec {
  using scalar = polymoe::bf16;
  using router = polymoe::soft_slots<>;
};

namespace {
std::vector<work> forward_work(const row_shape& r) {
  const auto T = static_cast<double>(r.tokens), D = static_cast<double>(r.dim), S = static_cast<double>(r.experts);
  const double N = T / static_cast<double>(r.image) * S, e = 2 * T * S * D;
  return {{3 * e, 2 * T * D + 6 * S * D + 4 * T * S, true},
          {0, 8 * T * S},
          {e, 2 * T * S + 2 * T * D + 2 * N * D, true},
          work_of(stage::fc1, r, N),
          work_of(stage::fc2, r, N),
          {e, 2 * T * S + 2 * N * D + 2 * T * D, true}};
}
std::vector<work> backward_work(const row_shape& r) {
  const auto T = static_cast<double>(r.tokens), D = static_cast<double>(r.dim), S = static_cast<double>(r.experts);
  const double N = T / static_cast<double>(r.image) * S, e = 2 * T * S * D;
  const work weights{e, 2 * T * D + 2 * N * D + 4 * T * S, true}, rows{e, 2 * T * S + 2 * T * D + 2 * N * D, true};
  return {weights,
          rows,
          work_of(stage::fc2_data, r, N),
          work_of(stage::fc1_data, r, N),
          work_of(stage::fc1_weight, r, N),
          work_of(stage::fc2_weight, r, N),
          weights,
          rows,
          {0, 14 * T * S},
          {e, 2 * T * S + 2 * T * D + 4 * S * D, true},
          {e, 2 * T * S + 2 * S * D + 2 * T * D, true}};
}
}  // namespace

/// The rows: images, their tokens and the width, H and slots of an image.  256 images at the widths of ViT-Ti, S and B,
/// with as many slots as tokens or fewer; images of 256 tokens; 64 images of 576, at the widths of ViT-B and L.
std::vector<row_shape> soft_rows() {
  const auto row = [](const char* name, index images, index image, index dim, index hidden, index slots) {
    return row_shape{name, images * image, dim, hidden, slots, 1, image};
  };
  return {row("S1", 256, 196, 192, 768, 196),  row("S2", 256, 196, 384, 1536, 196), row("S3", 256, 196, 768, 3072, 128),
          row("S4", 256, 196, 768, 3072, 196), row("S5", 256, 256, 768, 3072, 256), row("S6", 64, 576, 768, 3072, 576),
          row("S7", 64, 576, 1024, 4096, 576)};
}

block measure_soft(const row_shape& r, const ceilings& top, double seconds) {
  using layer = polymoe::layer<soft_spec, polymoe::cuda>;
  layer::config c;
  c.dim = r.dim, c.hidden = r.hidden, c.experts = r.experts, c.group_size = r.image;
  polymoe::workspace<layer> w(layer(c), {.max_rows = r.tokens, .threads = 1, .seed = 1});
  const auto stream = w.ctx().stream.handle;
  const auto bytes = static_cast<std::size_t>(r.tokens * r.dim) * sizeof(polymoe::bf16);
  polymoe::backend::device_block x(bytes), y(bytes), dy(bytes), dx(bytes);
  const auto of = [&](const polymoe::backend::device_block& b) {
    return polymoe::view<polymoe::bf16>(static_cast<polymoe::bf16*>(b.data()), r.tokens, r.dim);
  };
  fill_normal(stream, of(x), 1, "x");
  fill_normal(stream, of(dy), 1, "dy");
  const auto forward = [&] { w.forward(of(x), of(y)); };
  const auto backward = [&] { w.backward(of(dy), of(dx)); };
  w.zero_grads();
  forward(), backward();
  for (const auto* b : {&y, &dx})
    polymoe::require(compare(stream, b->data(), b->data(), bytes, false).not_finite == 0, r.name,
                     ": the layer gives numbers that are not finite");
  std::vector<timed_case> cases;
  const auto add = [&](const std::string& name, const std::vector<work>& need, const std::function<void()>& call) {
    cases.push_back({name + ", graph", batch::graphs, call, need});
    cases.push_back({name + ", eager", batch::eager, call, need});
  };
  std::vector<work> both = forward_work(r);
  for (const work& step : backward_work(r)) both.push_back(step);
  add("forward", forward_work(r), forward);
  add("backward", backward_work(r), backward);
  add("forward + backward", both, [&] { forward(), backward(); });
  const auto stats = w.module().stats(w.ctx(), w.saved());
  block b;
  b.row = r, b.routing = "slots", b.capacity = "soft", b.recipe = w.module().describe();
  b.fullest_over_mean = stats.load_max_over_mean(), b.placed = static_cast<double>(r.tokens / r.image * r.experts);
  b.figures = take_turns(stream, cases, top, seconds);
  return b;
}

}  // namespace gpu_bench
