// The layers of the rows with one K and one capacity.  Compiled once for each, so that the compilations run side by
// side:
//   POLYMOE_BENCH_K        1, 2 or 4
//   POLYMOE_BENCH_BOUNDED  1: capacity factor 1.0, 0: unlimited
#include "layer_case.cuh"

#if !defined(POLYMOE_BENCH_K)
#define POLYMOE_BENCH_K 1
#define POLYMOE_BENCH_BOUNDED 0
#endif

namespace gpu_bench {

template <int K, bool Bounded>
void measure_row(const row_shape& r, bool padded, const std::vector<std::string>& routings, const ceilings& top,
                 double seconds, const std::function<void(block)>& done) {
  layer_case<bench_spec<K, Bounded>> layer(r, padded, 1);
  for (const std::string& routing : routings) {
    layer.route(routing == "zipf" ? 1.0 : 0.0);
    layer.check();
    done(layer.measure(routing, top, seconds));
  }
}
template void measure_row<POLYMOE_BENCH_K, POLYMOE_BENCH_BOUNDED>(const row_shape&, bool,
                                                                  const std::vector<std::string>&, const ceilings&,
                                                                  double, const std::function<void(block)>&);

}  // namespace gpu_bench
