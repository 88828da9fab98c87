// Optimisers over flat buffers: SGD with momentum and AdamW, global-norm clipping, and an average of the weights (EMA).
//
// Parameters, gradients and moments are flat buffers of the caller with one layout (core/param.hpp), so an optimiser
// walks three arrays.  The learning rate and the step come from step_state.  Weight decay is decoupled and applies only
// to tensors whose entry says so.  Work is cut in fixed pieces: the same bits for any number of threads.
#pragma once

#include <cmath>

#include "../backend/cpu/parallel.hpp"
#include "../core/param.hpp"

namespace polymoe::inline v0 {

namespace detail {
inline constexpr index optimizer_piece = 16384;

/// Calls f(first, count, entry) for pieces of every tensor, in parallel.
template <class Stream, class F>
void each_piece(const Stream& s, const std::vector<param_entry>& entries, F f) {
  index pieces = 0;
  for (const param_entry& e : entries) pieces += ceil_div(e.size, optimizer_piece);
  parallel_for(s, pieces, [&](index piece, worker&) {
    std::size_t i = 0;
    while (piece >= ceil_div(entries[i].size, optimizer_piece)) piece -= ceil_div(entries[i++].size, optimizer_piece);
    const param_entry& e = entries[i];
    const index first = piece * optimizer_piece;
    f(e.offset + first, e.size - first < optimizer_piece ? e.size - first : optimizer_piece, e);
  });
}
}  // namespace detail

/// Euclidean norm of all gradients: pieces summed in double and added in order.
template <class R>
double gradient_norm(const std::vector<param_entry>& entries, const R* grads) {
  double total = 0;
  for (const param_entry& e : entries)
    for (index first = 0; first < e.size; first += detail::optimizer_piece) {
      const index n = std::min(detail::optimizer_piece, e.size - first);
      const R* g = grads + e.offset + first;
      double lane[16] = {};
      index i = 0;
      for (; i + 16 <= n; i += 16)
        for (int l = 0; l < 16; ++l) lane[l] += static_cast<double>(g[i + l]) * static_cast<double>(g[i + l]);
      for (; i < n; ++i) lane[0] += static_cast<double>(g[i]) * static_cast<double>(g[i]);
      for (const double x : lane) total += x;
    }
  return std::sqrt(total);
}

/// Scales all gradients so that their norm is at most `limit`; returns the norm before.  A norm that is not finite is
/// returned and the gradients are left alone, so that the caller sees it.
template <class Stream, class R>
double clip_gradients(const Stream& s, const std::vector<param_entry>& entries, R* grads, double limit) {
  const double norm = gradient_norm(entries, grads);
  if (limit > 0 && norm > limit && std::isfinite(norm)) {
    const R scale = static_cast<R>(limit / norm);
    detail::each_piece(s, entries, [=](index first, index n, const param_entry&) {
      R* g = grads + first;
      POLYMOE_SIMD
      for (index i = 0; i < n; ++i) g[i] *= scale;
    });
  }
  return norm;
}

/// SGD: v = momentum v + g;  p -= lr (v, or g + momentum v with Nesterov).  Weight decay is added to the gradient, as
/// in PyTorch's SGD.  Moments: "velocity".
struct sgd {
  double momentum = 0.9;
  double weight_decay = 0.0;
  bool nesterov = false;
  static constexpr int moments = 1;
  static const char* moment_name(int) { return "velocity"; }

  template <class Stream, class R>
  void step(const Stream& s, const std::vector<param_entry>& entries, R* params, const R* grads, R* const* moment,
            const step_state& at) const {
    const R lr = static_cast<R>(at.learning_rate), mu = static_cast<R>(momentum);
    R* velocity = moment[0];
    const bool ahead = nesterov;
    const double decay_rate = weight_decay;
    detail::each_piece(s, entries, [=](index first, index n, const param_entry& e) {
      const R wd = e.decays == decay::yes ? static_cast<R>(decay_rate) : R(0);
      R *p = params + first, *v = velocity + first;
      const R* g = grads + first;
      POLYMOE_SIMD
      for (index i = 0; i < n; ++i) {
        const R d = g[i] + wd * p[i];
        v[i] = mu * v[i] + d;
        p[i] -= lr * (ahead ? d + mu * v[i] : v[i]);
      }
    });
  }
};

/// AdamW (Loshchilov & Hutter 2019, algorithm 2): decoupled decay, bias correction by step + 1.  Moments: "mean",
/// "square".
struct adamw {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double weight_decay = 0.05;
  static constexpr int moments = 2;
  static const char* moment_name(int i) { return i == 0 ? "mean" : "square"; }

  template <class Stream, class R>
  void step(const Stream& s, const std::vector<param_entry>& entries, R* params, const R* grads, R* const* moment,
            const step_state& at) const {
    const double t = static_cast<double>(at.step + 1);
    const R lr = static_cast<R>(at.learning_rate), b1 = static_cast<R>(beta1), b2 = static_cast<R>(beta2);
    const R rest1 = static_cast<R>(1 - beta1), rest2 = static_cast<R>(1 - beta2), small = static_cast<R>(eps);
    const R unbias1 = static_cast<R>(1 / (1 - std::pow(beta1, t)));
    const R unbias2 = static_cast<R>(1 / (1 - std::pow(beta2, t)));
    const double decay_rate = weight_decay;
    R *mean = moment[0], *square = moment[1];
    detail::each_piece(s, entries, [=](index first, index n, const param_entry& e) {
      const R keep = R(1) - (e.decays == decay::yes ? lr * static_cast<R>(decay_rate) : R(0));
      R *p = params + first, *m = mean + first, *v = square + first;
      const R* g = grads + first;
      POLYMOE_SIMD
      for (index i = 0; i < n; ++i) {
        m[i] = b1 * m[i] + rest1 * g[i];
        v[i] = b2 * v[i] + rest2 * g[i] * g[i];
        p[i] = p[i] * keep - lr * (m[i] * unbias1) / (std::sqrt(v[i] * unbias2) + small);
      }
    });
  }
};

/// Exponential moving average of the parameters, average = d average + (1 - d) params, with d rising as in
/// (1 + step) / (10 + step) up to `decay` so that early averages forget the start.
struct ema {
  double decay_rate = 0.999;
  template <class Stream, class R>
  void update(const Stream& s, const std::vector<param_entry>& entries, const R* params, R* average,
              const step_state& at) const {
    const auto step = static_cast<double>(at.step);
    const R d = static_cast<R>(std::min(decay_rate, (1.0 + step) / (10.0 + step)));
    detail::each_piece(s, entries, [=](index first, index n, const param_entry&) {
      const R* p = params + first;
      R* a = average + first;
      POLYMOE_SIMD
      for (index i = 0; i < n; ++i) a[i] = d * a[i] + (R(1) - d) * p[i];
    });
  }
};

}  // namespace polymoe
