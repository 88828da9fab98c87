// The layer that bench/gpu times, under the host executor: its stages, called one by one, give the layer's bits.
// with: layers
#include "host_blaslt.hpp"
#include "host_executor.hpp"

#include <doctest/doctest.h>

#include "../../bench/gpu/layer_case.cuh"

namespace {
/// One K and one capacity: another is another minute of compile time.
void check(const gpu_bench::row_shape& r, bool padded) {
  CAPTURE(r.tokens);
  CAPTURE(r.experts);
  gpu_bench::layer_case<gpu_bench::bench_spec<2, true>> layer(r, padded, 1);
  for (const double exponent : {0.0, 1.0}) {
    layer.route(exponent);
    CHECK_NOTHROW(layer.check());
  }
}
}  // namespace

TEST_CASE("the stages that bench/gpu times are the layer's: its output and gradients bit for bit") {
  check({"a", 130, 64, 96, 6, 2}, false);
  check({"b", 70, 40, 48, 9, 2}, false);
  check({"c", 90, 48, 64, 5, 2}, true);
}
