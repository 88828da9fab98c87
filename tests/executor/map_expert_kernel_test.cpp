// Experts that convolve on CUDA under the host executor against the CPU backend: plain and depthwise blocks in packed
// and padded plans and in mixtures, and windows in one piece or map by map.
// timeout: 900
// with: layers
#include "layer_harness.hpp"

#include <polymoe/backend/cuda/graph.cuh>
#include <polymoe/expert/conv_block.hpp>
#include <polymoe/expert/depthwise_block.hpp>

namespace {
namespace maps {
using namespace layer_test;
namespace act = polymoe::act;
using polymoe::index;
using polymoe::expert::conv_block;
using polymoe::expert::depthwise_block;

template <class T, class Expert>
struct spec : expert_spec<T, Expert> {
  using unit = polymoe::unit::feature_map;
};
struct map_mixture_spec : small_spec<bf16> {
  using unit = polymoe::unit::feature_map;
  using expert = depthwise_block<>;
  using router = polymoe::mixture<>;
};
struct slots_spec : small_spec<double> {
  using unit = polymoe::unit::feature_map;
  using expert = conv_block<act::gelu_tanh, 1>;
  using router = polymoe::soft_slots<>;
};

/// An expert on its own, its maps fetched through a plan: five maps in three experts, the second without any, the last
/// slot nobody's.  Recorded: the calls were written down with other maps in other experts.
struct result {
  std::vector<double> y, dx, grads;
  std::size_t scratch = 0;
};
template <class Expert>
result run(index window_bytes, bool recorded = false) {
  using expert_type = typename Expert::template module<double, cuda>;
  const index pixels = 12, slots = 6, dim = 4;
  polymoe::expert_config config;
  config.experts = 3, config.in = config.out = dim, config.hidden = 6, config.unit_rows = pixels, config.map_height = 3;
  polymoe::workspace<expert_type> w(expert_type(config, window_bytes), {.max_rows = slots * pixels});
  const std::vector<int> first{0, 3, 3, 5}, unit{2, 0, 1, 3, 1, -1}, other_first{0, 0, 4, 6},
      other_unit{3, 3, 0, 2, 1, 0};
  const auto stream = w.ctx().stream.handle;
  polymoe::backend::device_block begin(first.size() * sizeof(int)), source(unit.size() * sizeof(int));
  const auto put = [&](const std::vector<int>& f, const std::vector<int>& u) {
    polymoe::device::upload(begin.data(), f.data(), begin.size(), stream);
    polymoe::device::upload(source.data(), u.data(), source.size(), stream);
  };
  polymoe::backend::grouped_work work;
  work.rows = {static_cast<const int*>(begin.data()), 3, 0, slots, static_cast<int>(pixels)};
  tensor<double> x(4 * pixels, dim, 1), dy(slots * pixels, dim, 2), y(slots * pixels, dim), dx(slots * pixels, dim);
  // Rows of nobody are not read.
  std::vector<double> cut = dy.host();
  for (index i = 5 * pixels * dim; i < dy.v.size(); ++i) cut[static_cast<std::size_t>(i)] = __builtin_nan("");
  dy.put(cut);
  auto rows = polymoe::grouped::in_slot_order(view<const double>(x.v));
  rows.source = static_cast<const int*>(source.data());
  const auto step = [&] {
    w.module().forward(w.ctx(), work, rows, y.v, w.saved());
    w.module().backward(w.ctx(), work, dy.v, dx.v, w.saved(), true);
  };
  if (recorded) {
    polymoe::device::recording written;
    put(other_first, other_unit);
    written.record(stream, step);
    put(first, unit);
    written.replay(stream);
  } else {
    put(first, unit);
    step();
  }
  polymoe::device::wait(stream);
  polymoe::binder<cuda> dry;
  w.module().bind(dry, slots * pixels);
  const auto owned = [&](std::vector<double> v) { return v.resize(static_cast<std::size_t>(5 * pixels * dim)), v; };
  return {owned(y.host()), owned(dx.host()), w.grads_on_host(), dry.scratch.peak()};
}
}  // namespace maps
}  // namespace

TEST_CASE("convolution experts on CUDA: capacity that binds, bad maps, experts without maps, packed and padded") {
  using namespace maps;
  using block = spec<double, conv_block<act::gelu_tanh, 2, true>>;
  CHECK(both<block>({.units = 11,
                     .experts = 4,
                     .dim = 6,
                     .hidden = 8,
                     .unit_rows = 9,
                     .with_bad = true,
                     .factor = 0.6f,
                     .seed = 51})
            .dropped > 0);
  CHECK(
      both<block>(
          {.units = 9, .experts = 3, .dim = 4, .hidden = 6, .unit_rows = 4, .padded = true, .factor = 0.7f, .seed = 52})
          .dropped > 0);
  both<block>(
      {.units = 2, .experts = 7, .dim = 3, .hidden = 4, .unit_rows = 25, .padded = true, .factor = 4.0f, .seed = 53});
  using small = spec<bf16, conv_block<act::silu, 4>>;
  both<small>({.units = 7, .experts = 3, .dim = 16, .hidden = 24, .unit_rows = 16, .factor = 0.8f, .seed = 54});
}
TEST_CASE("depthwise experts on CUDA: capacity that binds, more maps than experts, a mixture") {
  using namespace maps;
  using block = spec<double, depthwise_block<act::gelu_tanh, 5, 2>>;
  CHECK(both<block>({.units = 11,
                     .experts = 4,
                     .dim = 6,
                     .hidden = 8,
                     .unit_rows = 9,
                     .with_bad = true,
                     .factor = 0.6f,
                     .seed = 55})
            .dropped > 0);
  both<block>(
      {.units = 3, .experts = 5, .dim = 34, .hidden = 5, .unit_rows = 36, .padded = true, .factor = 3.0f, .seed = 56});
  both<map_mixture_spec>(
      {.units = 5, .experts = 3, .dim = 16, .hidden = 24, .unit_rows = 16, .with_bad = true, .seed = 57});
}
TEST_CASE("convolution experts on CUDA in slots that mix maps") {
  using namespace maps;
  both<slots_spec>(
      {.units = 6, .experts = 3, .dim = 4, .hidden = 5, .unit_rows = 9, .group_size = 3, .seed = 58, .slots = 2});
}
TEST_CASE("experts that convolve on CUDA give the same where the windows of their maps do not fit at once") {
  using namespace maps;
  using block = conv_block<act::gelu_tanh, 2>;
  const result whole = run<block>(polymoe::index{1} << 30), pairs = run<block>(2 * 12 * 9 * 6 * 8),
               single = run<block>(1);
  CHECK(pairs.scratch < whole.scratch);
  CHECK(single.scratch < pairs.scratch);
  for (const result* r : {&pairs, &single}) {
    CHECK(same_bits(r->y, whole.y));
    CHECK(same_bits(r->dx, whole.dx));
    CHECK(distance(r->grads, whole.grads) <= 1e-14);
  }
}
TEST_CASE("experts that convolve on CUDA are recorded: replays see the maps that experts have then") {
  using namespace maps;
  const auto same = [](const result& a, const result& b) {
    CHECK(same_bits(a.y, b.y));
    CHECK(same_bits(a.dx, b.dx));
    CHECK(same_bits(a.grads, b.grads));
  };
  same(run<conv_block<act::relu, 2>>(2 * 12 * 9 * 6 * 8, true), run<conv_block<act::relu, 2>>(2 * 12 * 9 * 6 * 8));
  same(run<depthwise_block<>>(1, true), run<depthwise_block<>>(1));
}
