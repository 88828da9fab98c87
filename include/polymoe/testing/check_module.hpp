// A contract check for any module (nn/module.hpp): gradients, memory, threads, number types.
//
//   check_module<linear>(config, rows)   with `template <class T> using linear = nn::linear<T>`
//
// compares analytic derivatives with central differences in double along random directions and at sampled coordinates,
// and everything else with a run in double.  It throws polymoe::error with the first broken promise and returns the
// measured errors.
#pragma once

#include <cmath>
#include <functional>

#include "../core/workspace.hpp"

namespace polymoe::inline v0 {
namespace testing {

struct check_options {
  index rows = 0;  ///< rows of the input
  std::uint64_t seed = 1;
  double step = 1e-5;         ///< of central differences
  double gradient = 1e-6;     ///< allowed relative error of gradients in double
  double tangent = 1e-6;      ///< the same for the tangents of a dual run
  double float_error = 2e-5;  ///< norm of difference over norm, float against double
  double bf16_error = 4e-2;
  index samples = 12;      ///< coordinates checked one by one, in the input and in the parameters
  double input_scale = 1;  ///< inputs are uniform in +- this
  double param_scale = 0;  ///< > 0: parameters are first replaced by uniform numbers in +- this
  run_mode mode = run_mode::train;
  bool input_gradient = true;  ///< the module has a gradient for its input
  bool gaps = true;            ///< the module takes views whose rows lie apart; else it has to refuse them itself
};

/// Largest errors seen.
struct check_report {
  double input_gradient = 0, param_gradient = 0;  ///< relative, in double, against differences
  double tangent = 0;                             ///< dual forward and backward, against differences
  double float_output = 0, float_gradient = 0;    ///< norm of difference over norm
  double bf16_output = 0, bf16_gradient = 0;
};

namespace detail {

inline double test_number(std::uint64_t seed, std::uint64_t stream, index i) {
  return 2.0 * random_root{seed}.stream(stream, 0).uniform(static_cast<std::uint64_t>(i)) - 1.0;
}

/// A tensor in its own memory, `gap` numbers between its rows; all bytes 0xFF (NaN) at first.
template <class T>
class tensor {
 public:
  tensor(index rows, index cols, index gap = 0)
      : block_(static_cast<std::size_t>(std::max<index>(rows * (cols + gap), 1) + 32) * sizeof(real_t<T>) *
                   view<T>::planes +
               128) {
    arena a = block_.as_arena();
    view_ = a.take<T>(rows, cols + gap);
    view_.cols = cols;
    poison();
  }
  operator view<T>() const { return view_; }
  operator view<const T>() const { return view_; }
  view<T> get() const { return view_; }
  void poison() {
    for (int p = 0; p < view<T>::planes; ++p)
      std::memset(static_cast<void*>(view_.ptr[p]), 0xFF,
                  static_cast<std::size_t>(view_.rows * view_.stride) * sizeof(real_t<T>));
  }
  /// Whether nobody wrote between the rows.
  bool gaps_untouched() const {
    for (int p = 0; p < view<T>::planes; ++p)
      for (index r = 0; r < view_.rows; ++r) {
        const auto* from = reinterpret_cast<const unsigned char*>(view_.row(r, p) + view_.cols);
        const auto* to = reinterpret_cast<const unsigned char*>(view_.row(r, p) + view_.stride);
        if (std::any_of(from, to, [](unsigned char byte) { return byte != 0xFF; })) return false;
      }
    return true;
  }

 private:
  aligned_block block_;
  view<T> view_;
};

inline double plane_value(double x) { return x; }
template <class T>
double to_double(T x) {
  return static_cast<double>(value_of(x));
}

/// All numbers of a view in double: values, then tangents.
template <class T>
std::vector<double> values_of(view<T> v) {
  std::vector<double> out;
  for (int p = 0; p < view<T>::planes; ++p)
    for (index r = 0; r < v.rows; ++r)
      for (index c = 0; c < v.cols; ++c) out.push_back(to_double(v.row(r, p)[c]));
  return out;
}

inline double norm_ratio(const std::vector<double>& a, const std::vector<double>& reference, std::size_t n) {
  double d = 0, s = 0;
  for (std::size_t i = 0; i < n; ++i) {
    d += (a[i] - reference[i]) * (a[i] - reference[i]);
    s += reference[i] * reference[i];
  }
  const double ratio = std::sqrt(d) / std::sqrt(s > 0 ? s : 1);
  return std::isnan(ratio) ? 1e300 : ratio;
}

/// Results of one forward and backward.
struct outcome {
  std::vector<double> y, dx, grads;
};

/// Fills plane 0 with numbers of a stream, rounded to bf16 so that every number type starts from the same values.
template <class T>
void fill(view<T> v, std::uint64_t seed, std::uint64_t stream, double scale) {
  for (index r = 0; r < v.rows; ++r)
    for (index c = 0; c < v.cols; ++c) {
      const float x = static_cast<float>(bf16(static_cast<float>(scale * test_number(seed, stream, r * v.cols + c))));
      for (int p = 0; p < view<T>::planes; ++p) v.row(r, p)[c] = static_cast<storage_t<T>>(p == 0 ? x : 0.0f);
    }
}

/// One module over T with inputs and buffers.
template <class Module>
struct bench {
  using T = typename Module::scalar;
  using M = master_t<T>;
  check_options o;
  workspace<Module> w;
  tensor<T> x, y, dy, dx;

  bench(const typename Module::config& config, const check_options& options, int threads, index max_rows = -1,
        index gap = 0)
      : o(options),
        w(Module(config), {max_rows < 0 ? options.rows : max_rows, threads, options.seed}),
        x(o.rows, w.module().in_cols(), gap),
        y(out_rows(config, o.rows), w.module().out_cols(), gap),
        dy(out_rows(config, o.rows), w.module().out_cols(), gap),
        dx(o.rows, w.module().in_cols(), gap) {
    w.ctx().mode = o.mode;
    fill<T>(x, o.seed, 11, o.input_scale);
    fill<T>(dy, o.seed, 12, 1);
    if (o.param_scale > 0) fill<M>(w.values(), o.seed, 13, o.param_scale);
    round_params();
    w.refresh();
  }
  static index out_rows(const typename Module::config& c, index rows) {
    if constexpr (requires { Module::out_rows(c, rows); })
      return Module::out_rows(c, rows);
    else
      return rows;
  }
  void round_params() {
    const view<M> v = w.values();
    for (index i = 0; i < v.cols; ++i) {
      const float r = static_cast<float>(bf16(static_cast<float>(to_double(v.ptr[0][i]))));
      v.ptr[0][i] = static_cast<storage_t<M>>(r);
    }
  }
  outcome run() {
    y.poison(), dx.poison();
    w.zero_grads();
    w.forward(x, y);
    w.backward(dy, dx);
    return {values_of<T>(y), values_of<T>(dx), values_of<M>(w.grads())};
  }
  /// <dy, f(x)>, the function whose gradient backward computes.
  double projected() {
    w.forward(x, y);
    double s = 0;
    const view<T> a = y.get(), b = dy.get();
    for (index r = 0; r < a.rows; ++r)
      for (index c = 0; c < a.cols; ++c) s += to_double(a.row(r)[c]) * to_double(b.row(r)[c]);
    return s;
  }
};

inline void equal_bits(const std::vector<double>& a, const std::vector<double>& b, const char* what) {
  require(a.size() == b.size(), "check_module: ", what, ": ", a.size(), " numbers against ", b.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    require(std::memcmp(&a[i], &b[i], sizeof(double)) == 0, "check_module: ", what, ": number ", i, " is ", a[i],
            " against ", b[i]);
}
inline void all_finite(const std::vector<double>& a, const char* what) {
  for (std::size_t i = 0; i < a.size(); ++i)
    require(std::isfinite(a[i]), "check_module: ", what, ": number ", i, " of ", a.size(), " is ", a[i],
            ", it was not written or is not finite");
}

/// Gradients against central differences: along two random directions, then coordinate by coordinate.
template <class Module>
void check_gradients(const typename Module::config& config, const check_options& o, check_report& report) {
  bench<Module> b(config, o, 1);
  const outcome base = b.run();
  all_finite(base.y, "output");
  if (o.input_gradient) all_finite(base.dx, "input gradient");
  all_finite(base.grads, "parameter gradient");
  const auto difference = [&](double* at, const std::vector<double>& direction, bool params) {
    std::vector<double> before(at, at + direction.size());
    double f[2];
    for (int side = 0; side < 2; ++side) {
      for (std::size_t i = 0; i < direction.size(); ++i)
        at[i] = before[i] + (side == 0 ? o.step : -o.step) * direction[i];
      if (params) b.w.refresh();
      f[side] = b.projected();
    }
    std::copy(before.begin(), before.end(), at);
    if (params) b.w.refresh();
    return (f[0] - f[1]) / (2 * o.step);
  };
  const auto check = [&](double* at, const std::vector<double>& gradient, bool params, const char* what,
                         double& worst) {
    if (gradient.empty()) return;
    double norm = 0;
    for (const double g : gradient) norm += g * g;
    const double typical = std::sqrt(norm / static_cast<double>(gradient.size()));
    for (index trial = 0; trial < 2 + o.samples; ++trial) {
      std::vector<double> d(gradient.size(), 0.0);
      double expected = 0, size = typical;
      if (trial < 2) {
        for (std::size_t i = 0; i < d.size(); ++i)
          d[i] = test_number(o.seed, 20 + static_cast<std::uint64_t>(trial), static_cast<index>(i));
        for (std::size_t i = 0; i < d.size(); ++i) expected += d[i] * gradient[i];
        size = std::sqrt(norm);
      } else {
        const std::size_t i = static_cast<std::size_t>(trial) * 2654435761u % d.size();
        d[i] = 1;
        expected = gradient[i];
      }
      const double measured = difference(at, d, params);
      const double error = std::abs(measured - expected) / std::max({std::abs(expected), size, 1e-30});
      worst = std::max(worst, std::isnan(error) ? 1e300 : error);
      require(error <= o.gradient, "check_module: ", what, " gradient, ",
              trial < 2 ? "direction " : "coordinate trial ", trial, ": ", expected, " against a difference of ",
              measured, ", relative error ", error);
    }
  };
  if (o.input_gradient) check(b.x.get().ptr[0], base.dx, false, "input", report.input_gradient);
  check(b.w.values().ptr[0], base.grads, true, "parameter", report.param_gradient);
}

/// += and =, repeats, an unwanted input gradient, fewer rows than the maximum, rows = 0.
template <class Module>
void check_memory(const typename Module::config& config, const check_options& o, index unit) {
  using T = typename Module::scalar;
  bench<Module> b(config, o, 1);
  const outcome first = b.run(), second = b.run();
  equal_bits(first.y, second.y, "output of a second run");
  equal_bits(first.grads, second.grads, "parameter gradient of a second run");
  if (o.input_gradient) equal_bits(first.dx, second.dx, "input gradient of a second run");

  b.w.backward(b.dy, b.dx);
  const std::vector<double> twice = values_of(b.w.grads());
  for (std::size_t i = 0; i < twice.size(); ++i)
    require(std::abs(twice[i] - 2 * first.grads[i]) <= 1e-5 * (std::abs(first.grads[i]) + 1e-3),
            "check_module: parameter gradients must be added to: entry ", i, " is ", twice[i], " after two backwards, ",
            first.grads[i], " after one");
  if (o.input_gradient) equal_bits(first.dx, values_of(b.dx.get()), "input gradient must be written, not added to");

  b.w.zero_grads();
  b.w.forward(b.x, b.y);
  b.w.backward(b.dy, view<T>{});
  equal_bits(first.grads, values_of(b.w.grads()), "parameter gradient without an input gradient");

  bench<Module> wide(config, o, 1, 3 * o.rows);
  const outcome inside = wide.run();
  equal_bits(first.y, inside.y, "output with a larger maximum of rows");
  if (o.input_gradient) equal_bits(first.dx, inside.dx, "input gradient with a larger maximum of rows");

  check_options none = o;
  none.rows = 0;
  bench<Module> empty(config, none, 1, o.rows);
  for (const double g : empty.run().grads) require(g == 0, "check_module: gradient ", g, " from 0 rows");

  if (o.rows <= unit) return;
  // In evaluation a row (or an image of `unit` rows) does not depend on those after it, up to rounding of another tile.
  check_options eval = o;
  eval.mode = run_mode::eval;
  check_options fewer = eval;
  fewer.rows = unit;
  bench<Module> all(config, eval, 1), few(config, fewer, 1);
  const outcome a = all.run(), f = few.run();
  const double error = norm_ratio(f.y, a.y, f.y.size());
  require(error <= 1e-5, "check_module: output of the first ", unit, " rows alone differs from that in ", o.rows,
          " rows by ", error);
}

/// Rows that lie apart, in all four tensors: the same bits as without, nothing written between rows, and what lies
/// there read by nobody.
template <class Module>
void check_strides(const typename Module::config& config, const check_options& o) {
  bench<Module> dense(config, o, 1), apart(config, o, 1, -1, 3);
  const outcome a = dense.run(), b = apart.run();
  equal_bits(a.y, b.y, "output with 3 numbers between rows");
  if (o.input_gradient) equal_bits(a.dx, b.dx, "input gradient with 3 numbers between rows");
  equal_bits(a.grads, b.grads, "parameter gradient with 3 numbers between rows");
  require(
      apart.x.gaps_untouched() && apart.y.gaps_untouched() && apart.dy.gaps_untouched() && apart.dx.gaps_untouched(),
      "check_module: something was written between the rows of x, y, dy or dx");
}

template <class Module>
void check_refuses_gaps(const typename Module::config& config, const check_options& o) {
  bench<Module> apart(config, o, 1, -1, 3);
  bool refused = false;
  try {
    apart.w.forward(apart.x, apart.y);
  } catch (const error&) {
    refused = true;
  }
  require(refused, "check_module: rows 3 numbers apart are neither taken (check_options::gaps) nor refused");
}

template <class Module>
void check_threads(const typename Module::config& config, const check_options& o) {
  bench<Module> one(config, o, 1);
  const outcome a = one.run();
  for (int threads = 2; threads <= 3; ++threads) {
    bench<Module> more(config, o, threads);
    const outcome b = more.run();
    equal_bits(a.y, b.y, "output with more threads");
    if (o.input_gradient) equal_bits(a.dx, b.dx, "input gradient with more threads");
    equal_bits(a.grads, b.grads, "parameter gradient with more threads");
  }
}

/// The tangents of a dual run against differences of runs in double; moves input, upstream gradient and parameters.
template <class Dual, class Plain>
void check_tangent(const typename Dual::config& dual_config, const typename Plain::config& plain_config,
                   const check_options& o, check_report& report) {
  bench<Dual> d(dual_config, o, 1);
  bench<Plain> p(plain_config, o, 1);
  const auto direction = [&](std::uint64_t stream, index i) { return 0.5 * test_number(o.seed, stream, i); };
  const auto each_moved = [&](auto f) {
    f(d.x.get(), p.x.get(), 31);
    f(d.dy.get(), p.dy.get(), 32);
    f(d.w.values(), p.w.values(), 33);
  };
  each_moved([&](auto dual_view, auto, std::uint64_t stream) {
    for (index i = 0; i < dual_view.size(); ++i) dual_view.ptr[1][i] = direction(stream, i);
  });
  d.w.refresh();
  const outcome tangent = d.run();
  outcome side[2];
  for (int s = 0; s < 2; ++s) {
    const auto move = [&](double amount) {
      each_moved([&](auto, auto plain_view, std::uint64_t stream) {
        for (index i = 0; i < plain_view.size(); ++i) plain_view.ptr[0][i] += amount * direction(stream, i);
      });
    };
    move(s == 0 ? o.step : -o.step);
    p.w.refresh();
    side[s] = p.run();
    move(s == 0 ? -o.step : o.step);
  }
  const auto compare = [&](const std::vector<double>& dual_numbers, const std::vector<double>& hi,
                           const std::vector<double>& lo, const char* what) {
    if (hi.empty()) return;
    std::vector<double> expected(hi.size());
    for (std::size_t i = 0; i < hi.size(); ++i) expected[i] = (hi[i] - lo[i]) / (2 * o.step);
    const std::vector<double> t(dual_numbers.begin() + static_cast<std::ptrdiff_t>(hi.size()), dual_numbers.end());
    const double error = norm_ratio(t, expected, hi.size());
    report.tangent = std::max(report.tangent, error);
    require(error <= o.tangent, "check_module: tangent of the ", what, " differs from differences by ", error);
  };
  compare(tangent.y, side[0].y, side[1].y, "output");
  if (o.input_gradient) compare(tangent.dx, side[0].dx, side[1].dx, "input gradient");
  compare(tangent.grads, side[0].grads, side[1].grads, "parameter gradient");
}

template <class Module, class Reference>
void check_precision(const typename Module::config& config, const typename Reference::config& reference_config,
                     const check_options& o, double allowed, const char* type, double& output, double& gradient) {
  bench<Module> b(config, o, 1);
  bench<Reference> r(reference_config, o, 1);
  const outcome a = b.run(), e = r.run();
  output = norm_ratio(a.y, e.y, e.y.size());
  gradient = norm_ratio(a.grads, e.grads, e.grads.size());
  if (o.input_gradient) gradient = std::max(gradient, norm_ratio(a.dx, e.dx, e.dx.size()));
  require(output <= allowed, "check_module: output in ", type, " differs from double by ", output, ", allowed ",
          allowed);
  require(gradient <= allowed, "check_module: gradients in ", type, " differ from double by ", gradient, ", allowed ",
          allowed);
}

}  // namespace detail

/// Checks one family of modules.  `config(T{})` gives the configuration of Module<T> for T = double, float, bf16 and
/// dual<double>; `unit` is the number of rows that belong together (tokens of an image), 1 for row-wise modules.
/// Throws polymoe::error at the first broken promise.
template <template <class> class Module, class Config>
check_report check_module(Config config, check_options o, index unit = 1) {
  check_report report;
  const auto c64 = config(double{});
  detail::check_gradients<Module<double>>(c64, o, report);
  detail::check_memory<Module<double>>(c64, o, unit);
  if (o.gaps) {
    detail::check_strides<Module<double>>(c64, o);
    detail::check_strides<Module<float>>(config(float{}), o);
    detail::check_strides<Module<bf16>>(config(bf16{}), o);
  } else {
    detail::check_refuses_gaps<Module<double>>(c64, o);
  }
  detail::check_threads<Module<double>>(c64, o);
  detail::check_threads<Module<float>>(config(float{}), o);
  detail::check_tangent<Module<dual<double>>, Module<double>>(config(dual<double>{}), c64, o, report);
  detail::check_precision<Module<float>, Module<double>>(config(float{}), c64, o, o.float_error, "float",
                                                         report.float_output, report.float_gradient);
  detail::check_precision<Module<bf16>, Module<double>>(config(bf16{}), c64, o, o.bf16_error, "bf16",
                                                        report.bf16_output, report.bf16_gradient);
  return report;
}

}  // namespace testing
}  // namespace polymoe
