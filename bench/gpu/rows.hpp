// The layers that bench/gpu times, and the least work each stage of them can be done with.
//
// T units, D width, H hidden width of an expert, E experts, K choices per unit, N rows that got a place (T K where
// nothing is dropped).  A floor is max(FLOP / rate of a large bf16 product, bytes / rate of a large copy), both rates
// measured on the same GPU in the same run.  Bytes count every tensor once: 2 per activation or weight, 4 per
// probability, gate or weight gradient.
//
//   stage                 FLOP    bytes
//   router forward        6TDE    2TD + 4TE + 16N      fp32 logits from three bf16 products; scores and the plan out
//   gather                -       2TD + 2ND            (padded layers only: others fetch rows in fc1)
//   fc1 product           2NDH    2ND + 2EDH + 4NH     pre-activation and hidden rows out, both are kept for backward
//   fc2 product           2NDH    2NH + 2EDH + 2ND
//   combine               -       2ND + 2TD + 8N
//   combine backward      -       2TD + 4ND            dy and the experts' output in, their gradients out
//   fc2 data gradient     2NDH    2ND + 2EDH + 4NH     reads the pre-activation, writes its gradient
//   fc1 data gradient     2NDH    2NH + 2EDH + 2ND
//   fc1, fc2 weight       2NDH    2NH + 2ND + 4EDH     (ours adds to the gradient: 4EDH more, not counted)
//   gather backward       -       2ND + 2TD
//   router backward       4TDE    6TD + 16TE + 8N      softmax and its weight's gradient; adds to dx
//
// The floor of a pass is the sum of those of its stages, without `gather`.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <polymoe/core/error.hpp>
#include <string>
#include <vector>

namespace gpu_bench {

using polymoe::index;

struct row_shape {
  std::string name;
  index tokens = 0, dim = 0, hidden = 0, experts = 0;
  int k = 0;
  index image = 0;  ///< units of a group, Soft MoE
};

/// The rows of a full run: four general shapes, then vision: three of 128 images of 196 tokens, and four whose targets
/// are rates of a forward and backward (table.py).
inline const std::vector<row_shape>& all_rows() {
  static const std::vector<row_shape> rows{{"R1", 65536, 768, 3072, 16, 2}, {"R2", 65536, 384, 1536, 16, 2},
                                           {"R3", 16384, 192, 768, 8, 1},   {"R4", 65536, 768, 384, 64, 4},
                                           {"V1", 25088, 192, 768, 8, 2},   {"V2", 25088, 384, 1536, 8, 1},
                                           {"V3", 25088, 384, 1536, 32, 2}, {"V4", 65536, 192, 768, 8, 1},
                                           {"V5", 8192, 384, 1536, 8, 1},   {"V6", 65536, 384, 1536, 8, 2},
                                           {"V7", 65536, 768, 3072, 8, 2}};
  return rows;
}

/// Experts that kernels are compiled for at K choices.
constexpr int most_experts(int k) { return k == 4 ? 64 : 32; }

/// A row by name, or "TxDxHxExK".
inline row_shape find_row(const std::string& text) {
  for (const row_shape& r : all_rows())
    if (r.name == text) return r;
  row_shape r{text};
  index* const fields[] = {&r.tokens, &r.dim, &r.hidden, &r.experts};
  const char* at = text.c_str();
  char* end = nullptr;
  for (index* f : fields) {
    *f = std::strtoll(at, &end, 10);
    polymoe::require(end != at && *end == 'x' && *f >= 1, "'", text, "' is no row: R1 to R4, V1 to V7, or TxDxHxExK");
    at = end + 1;
  }
  r.k = static_cast<int>(std::strtol(at, &end, 10));
  polymoe::require(end != at && *end == 0 && (r.k == 1 || r.k == 2 || r.k == 4), "'", text, "': K has to be 1, 2 or 4");
  polymoe::require(r.experts >= r.k && r.experts <= most_experts(r.k), "'", text, "': E is ", r.experts,
                   ", with K = ", r.k, " it lies in [", r.k, ", ", most_experts(r.k), "]");
  return r;
}

/// What a call cannot do without.
struct work {
  double flop = 0, bytes = 0;
  bool product = false;     ///< of experts: what the rate of a pass counts
  double scalar_flop = 0;   ///< in float, no matrix product
  double cached_bytes = 0;  ///< of numbers that L2 holds
};

struct ceilings {
  double flops = 0;         ///< per second, bf16 product of 8192^3
  double copy_api = 0;      ///< bytes per second, read + written, cudaMemcpyAsync
  double copy_kernel = 0;   ///< the same, a kernel of 16-byte accesses
  double scalar_flops = 0;  ///< per second, multiply-adds in float
  double copy_cached = 0;   ///< bytes per second, read + written, of a copy that stays in L2
  double bytes() const { return std::max(copy_api, copy_kernel); }
  double flop_us(const work& w) const { return std::max(us(w.flop, flops), us(w.scalar_flop, scalar_flops)); }
  double byte_us(const work& w) const { return std::max(us(w.bytes, bytes()), us(w.cached_bytes, copy_cached)); }
  double floor_us(const work& w) const { return std::max(flop_us(w), byte_us(w)); }

 private:
  static double us(double amount, double rate) { return amount > 0 ? 1e6 * amount / rate : 0.0; }
};

enum class stage {
  router_forward,
  gather,
  fc1,
  fc2,
  combine,
  combine_backward,
  fc2_data,
  fc1_data,
  fc1_weight,
  fc2_weight,
  gather_backward,
  router_backward
};
inline const std::vector<stage>& forward_stages() {
  static const std::vector<stage> s{stage::router_forward, stage::fc1, stage::fc2, stage::combine};
  return s;
}
inline const std::vector<stage>& backward_stages() {
  static const std::vector<stage> s{stage::combine_backward, stage::fc2_data,   stage::fc1_data,
                                    stage::fc1_weight,       stage::fc2_weight, stage::gather_backward,
                                    stage::router_backward};
  return s;
}

inline const char* name_of(stage s) {
  switch (s) {
    case stage::router_forward:
      return "router forward";
    case stage::gather:
      return "gather (not in the layer)";
    case stage::fc1:
      return "fc1 product";
    case stage::fc2:
      return "fc2 product";
    case stage::combine:
      return "combine";
    case stage::combine_backward:
      return "combine backward";
    case stage::fc2_data:
      return "fc2 data gradient";
    case stage::fc1_data:
      return "fc1 data gradient";
    case stage::fc1_weight:
      return "fc1 weight gradient";
    case stage::fc2_weight:
      return "fc2 weight gradient";
    case stage::gather_backward:
      return "gather backward";
    case stage::router_backward:
      return "router backward";
  }
  return "";
}

/// The table above; `placed` is N.
inline work work_of(stage s, const row_shape& r, double placed) {
  const auto T = static_cast<double>(r.tokens), D = static_cast<double>(r.dim), H = static_cast<double>(r.hidden),
             E = static_cast<double>(r.experts), N = placed;
  const double product = 2 * N * D * H;
  switch (s) {
    case stage::router_forward:
      return {6 * T * D * E, 2 * T * D + 4 * T * E + 16 * N};
    case stage::gather:
      return {0, 2 * T * D + 2 * N * D};
    case stage::fc1:
    case stage::fc2_data:
      return {product, 2 * N * D + 2 * E * D * H + 4 * N * H, true};
    case stage::fc2:
    case stage::fc1_data:
      return {product, 2 * N * H + 2 * E * D * H + 2 * N * D, true};
    case stage::combine:
      return {0, 2 * N * D + 2 * T * D + 8 * N};
    case stage::combine_backward:
      return {0, 2 * T * D + 4 * N * D};
    case stage::fc1_weight:
    case stage::fc2_weight:
      return {product, 2 * N * H + 2 * N * D + 4 * E * D * H, true};
    case stage::gather_backward:
      return {0, 2 * N * D + 2 * T * D};
    case stage::router_backward:
      return {4 * T * D * E, 6 * T * D + 16 * T * E + 8 * N};
  }
  return {};
}

}  // namespace gpu_bench
