// The trace of a symmetric operator by random probes (Hutchinson 1989), with its standard error.
#pragma once

#include "symmetric_operator.hpp"

namespace polymoe::inline v0::analysis {

/// How many probes, and when to stop early.
struct trace_options {
  index probes = 100;  ///< products with the operator, at most
  /// PyHessian's rule (Yao et al. 2020, arXiv 1912.07145; 1e-3 there): stop once the running mean moves by less than
  /// this share; 0: never.  It stops wherever two probes happen to agree, and is offered to compare with published
  /// figures.
  double stop_when_still = 0;
  std::uint64_t seed = 0;  ///< of the probes
};

/// An estimate with its error, and what it is made of.
struct trace_result {
  double mean = 0;            ///< the estimate
  double standard_error = 0;  ///< of it, from the spread of the probes; infinite for one probe
  std::vector<double> probes{};  ///< v' A v of each
};

/// v' A v for vectors of random signs: mean trace(A), variance 2 (|A|_F^2 - sum_i a_ii^2).
template <symmetric_operator A>
trace_result trace(A& a, const trace_options& o = {}) {
  using R = typename A::real;
  require(o.probes >= 1 && o.stop_when_still >= 0, "trace: ", o.probes, " probes, stop_when_still ", o.stop_when_still,
          "; at least one probe, and no negative share");
  trace_result r;
  std::vector<R> product(static_cast<std::size_t>(a.size()));
  double sum = 0;
  for (index i = 0; i < o.probes; ++i) {
    const std::vector<R> v = detail::sign_vector<R>(a.size(), o.seed, static_cast<std::uint64_t>(i));
    a.apply(v, product);
    r.probes.push_back(detail::dot(v, product));
    require(std::isfinite(r.probes.back()), "trace: probe ", i, " is not finite");
    sum += r.probes.back();
    const double before = r.mean;
    r.mean = sum / static_cast<double>(i + 1);
    if (i > 0 && o.stop_when_still > 0 && std::abs(r.mean - before) / (std::abs(before) + 1e-6) < o.stop_when_still)
      break;
  }
  double square = 0;
  for (const double x : r.probes) square += (x - r.mean) * (x - r.mean);
  const double n = static_cast<double>(r.probes.size());
  r.standard_error = n > 1 ? std::sqrt(square / (n - 1) / n) : HUGE_VAL;
  return r;
}

}  // namespace polymoe::analysis
