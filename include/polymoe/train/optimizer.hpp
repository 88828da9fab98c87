// Optimisers over flat buffers: SGD with momentum and AdamW, global-norm clipping, and an average of the weights (EMA).
//
// Parameters, gradients and moments are flat buffers of the caller with one layout (core/param.hpp), so an optimiser
// walks three arrays.  The learning rate and the step come from step_state.  Weight decay is decoupled and applies only
// to tensors whose entry says so.  Work is cut in fixed pieces: the same bits for any number of threads.  The update of
// one element is one text for every backend, a chain of explicit fused multiply-adds, so that float results have the
// same bits wherever the processor has that instruction.
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

/// What an optimiser step did, in the backend's memory.
struct optimizer_report {
  double norm = 0;           ///< Euclidean norm of all gradients before clipping
  double scale = 1;          ///< what clipping multiplied the gradients by
  std::int32_t skipped = 0;  ///< 1: the norm was not finite, and parameters, moments and averages were left alone
  index skips = 0;           ///< such steps since construction
};

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
      double piece = 0;
      for (const double x : lane) piece += x;
      total += piece;
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
            const step_state& at) const;
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
            const step_state& at) const;
};

namespace detail {

/// a * b + c with one rounding, where the machine has the instruction.
template <class R>
POLYMOE_HD POLYMOE_ALWAYS_INLINE R multiply_add(R a, R b, R c) {
#if defined(__CUDA_ARCH__) || defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  if constexpr (sizeof(R) == 4)
    return ::fmaf(a, b, c);
  else
    return ::fma(a, b, c);
#else
  return a * b + c;
#endif
}

/// One optimiser at one step: constants, and the update of one element.  Specialised for sgd and adamw.
template <class Rule, class R>
class rule_at;

template <class R>
class rule_at<sgd, R> {
 public:
  rule_at() = default;
  POLYMOE_HD rule_at(const sgd& s, const step_state& at)
      : rate_(static_cast<R>(at.learning_rate)),
        momentum_(static_cast<R>(s.momentum)),
        decay_(static_cast<R>(s.weight_decay)),
        ahead_(s.nesterov) {}
  POLYMOE_HD POLYMOE_ALWAYS_INLINE void operator()(R& p, R g, R (&moment)[1], bool decays) const {
    const R d = multiply_add(decays ? decay_ : R(0), p, g);
    moment[0] = multiply_add(momentum_, moment[0], d);
    p = multiply_add(-rate_, ahead_ ? multiply_add(momentum_, moment[0], d) : moment[0], p);
  }

 private:
  R rate_, momentum_, decay_;
  bool ahead_;
};

template <class R>
class rule_at<adamw, R> {
 public:
  rule_at() = default;
  // The product in keep_ is rounded before it is subtracted, as on the CPU: in double it is exact, and the conversion
  // keeps the compiler from joining the two.
  POLYMOE_HD rule_at(const adamw& a, const step_state& at)
      : rate_(static_cast<R>(at.learning_rate)),
        b1_(static_cast<R>(a.beta1)),
        b2_(static_cast<R>(a.beta2)),
        rest1_(static_cast<R>(1 - a.beta1)),
        rest2_(static_cast<R>(1 - a.beta2)),
        small_(static_cast<R>(a.eps)),
        unbias1_(static_cast<R>(1 / (1 - ::pow(a.beta1, static_cast<double>(at.step + 1))))),
        unbias2_(static_cast<R>(1 / (1 - ::pow(a.beta2, static_cast<double>(at.step + 1))))),
        keep_(R(1) - static_cast<R>(static_cast<double>(rate_) * static_cast<double>(static_cast<R>(a.weight_decay)))) {
  }
  POLYMOE_HD POLYMOE_ALWAYS_INLINE void operator()(R& p, R g, R (&moment)[2], bool decays) const {
    moment[0] = multiply_add(b1_, moment[0], rest1_ * g);
    moment[1] = multiply_add(b2_, moment[1], rest2_ * g * g);
    const R change = rate_ * (moment[0] * unbias1_) / (math::sqrt(moment[1] * unbias2_) + small_);
    p = multiply_add(p, decays ? keep_ : R(1), -change);
  }

 private:
  R rate_, b1_, b2_, rest1_, rest2_, small_, unbias1_, unbias2_, keep_;
};

/// Averaged weights at one step: the update of one element.
template <class R>
class average_at {
 public:
  POLYMOE_HD average_at(double decay_rate, const step_state& at) {
    const auto step = static_cast<double>(at.step);
    const double early = (1.0 + step) / (10.0 + step);
    keep_ = static_cast<R>(early < decay_rate ? early : decay_rate);
  }
  POLYMOE_HD POLYMOE_ALWAYS_INLINE R operator()(R average, R p) const {
    return multiply_add(keep_, average, (R(1) - keep_) * p);
  }

 private:
  R keep_;
};

/// One step of a rule on flat buffers.
template <class Rule, class Stream, class R>
void step_of(const Rule& rule, const Stream& s, const std::vector<param_entry>& entries, R* params, const R* grads,
             R* const* moment, const step_state& at) {
  const rule_at<Rule, R> update(rule, at);
  R* buffers[Rule::moments];
  for (int i = 0; i < Rule::moments; ++i) buffers[i] = moment[i];
  each_piece(s, entries, [=](index first, index n, const param_entry& e) {
    const bool decays = e.decays == decay::yes;
    R* p = params + first;
    const R* g = grads + first;
    POLYMOE_SIMD
    for (index i = 0; i < n; ++i) {
      R m[Rule::moments];
      for (int k = 0; k < Rule::moments; ++k) m[k] = buffers[k][first + i];
      update(p[i], g[i], m, decays);
      for (int k = 0; k < Rule::moments; ++k) buffers[k][first + i] = m[k];
    }
  });
}

}  // namespace detail

template <class Stream, class R>
void sgd::step(const Stream& s, const std::vector<param_entry>& entries, R* params, const R* grads, R* const* moment,
               const step_state& at) const {
  detail::step_of(*this, s, entries, params, grads, moment, at);
}
template <class Stream, class R>
void adamw::step(const Stream& s, const std::vector<param_entry>& entries, R* params, const R* grads, R* const* moment,
                 const step_state& at) const {
  detail::step_of(*this, s, entries, params, grads, moment, at);
}

/// Exponential moving average of the parameters, average = d average + (1 - d) params, with d rising as in
/// (1 + step) / (10 + step) up to `decay_rate` so that early averages forget the start.
struct ema {
  double decay_rate = 0.999;
  template <class Stream, class R>
  void update(const Stream& s, const std::vector<param_entry>& entries, const R* params, R* average,
              const step_state& at) const {
    const detail::average_at<R> updated(decay_rate, at);
    detail::each_piece(s, entries, [=](index first, index n, const param_entry&) {
      const R* p = params + first;
      R* a = average + first;
      POLYMOE_SIMD
      for (index i = 0; i < n; ++i) a[i] = updated(a[i], p[i]);
    });
  }
};

}  // namespace polymoe
