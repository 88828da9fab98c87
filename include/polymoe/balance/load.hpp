// Smooth load losses: CV^2 of the expected number of units an expert would get if the noise were drawn again.
//
//   load          p = 1 - Phi((tau - z_e) / s_e), tau = K-th largest noisy logit: V-MoE (Riquelme et al. 2021, arXiv
//                 2106.05974; google-research/vmoe, nn/routing.py)
//   load_shazeer  p = Phi((z_e - kth_excluding(e)) / s_e), the K-th largest of the others: Shazeer et al. 2017 (arXiv
//                 1701.06538), equations 8 to 11
//
// z are the clean logits, s_e the noise deviation.  Gradients flow to z, to s and to the noisy logit that is the
// threshold.  Both need a router with noise.
#pragma once

#include "balance.hpp"

namespace polymoe::inline v0::balance {

namespace detail {
/// The parts both forms share; `Excluding` selects Shazeer's threshold.
template <bool Excluding>
struct load_form : squared_cv_loss {
  static constexpr bool needs_noise = true;
  static constexpr bool needs_threshold = true;
  float weight = 0.005f;

  template <class Info, class Row>
  POLYMOE_HD void partial(const Info& r, Row* acc) const {
    using S = typename Info::scalar;
    acc[0].add(margin(r, acc[0]).zip(r.noise_std, [](S u, S s, int) {
      return value_of(u) == far ? S(1) : math::normal_cdf(u / held(s));
    }));
  }
  template <class Info, class Row, class Grad>
  POLYMOE_HD void add_grad(const Info& r, const Row* cot, Grad& g) const {
    using S = typename Info::scalar;
    const Row m = margin(r, cot[0]);
    // d p / d margin = pdf(m / s) / s, and d p / d s = -pdf(m / s) m / s^2.
    Row share = m.zip(r.noise_std, [](S u, S s, int) {
      return value_of(u) == far ? S(0) : math::normal_pdf(u / held(s)) / held(s);
    });
    share = share.zip(cot[0], [](S a, S c, int) { return a * c; });
    g.logits.add(share);
    const Row over_s = share.zip(r.noise_std, [](S a, S s, int) { return value_of(s) < least ? S(0) : a / s; });
    g.noise_std.add(over_s.zip(m, [](S a, S u, int) { return value_of(u) == far ? S(0) : -a * u; }));
    const Row through_next = share.zip(r.noisy, [&](S a, S x, int e) { return in_top(r, x, e) ? a : S(0); });
    const S next = through_next.sum();
    g.noisy.add_at(r.kth, next - share.sum());
    if (Excluding && r.next >= 0) g.noisy.add_at(r.next, -next);
  }

 private:
  static constexpr float far = 1e30f;  ///< marks "no threshold": K = E, the expert is always chosen
  static constexpr float least = 1e-10f;

  /// A learned deviation may vanish; without a least one, an expert at the threshold would give 0 / 0.
  template <class S>
  POLYMOE_HD static S held(S s) {
    return value_of(s) < least ? S(least) : s;
  }

  /// Clean logit minus its threshold, or `far`.
  template <class Info, class Row>
  POLYMOE_HD static Row margin(const Info& r, const Row&) {
    using S = typename Info::scalar;
    return r.logits.zip(r.noisy, [&](S z, S x, int e) {
      if (!in_top(r, x, e)) return z - r.kth_value;
      return r.next < 0 ? S(far) : z - r.next_value;
    });
  }
  /// Shazeer's form only: expert e, with noisy logit x, is among the K largest (ties to the lower index).
  template <class Info, class S>
  POLYMOE_HD static bool in_top(const Info& r, S x, int e) {
    return Excluding && (x > r.kth_value || (x == r.kth_value && e <= r.kth));
  }
};
}  // namespace detail

struct load : detail::load_form<false> {
  static constexpr const char* name = "load";
};
struct load_shazeer : detail::load_form<true> {
  static constexpr const char* name = "load_shazeer";
};

}  // namespace polymoe::balance
