// What a module is, and the helpers containers use to treat modules alike.
//
// A module M has
//   scalar, backend            the number type and the backend it is for
//   config, saved              its sizes (an aggregate); what forward keeps for backward (default constructible)
//   explicit M(config)
//   in_cols(), out_cols()      widths of input and output
//   visit(visitor&)            names its parameters, state, derived memory and random streams (core/param.hpp)
//   bind(binder&, max_rows)    measures or takes memory for inputs of up to max_rows rows
//   refresh(context&)          derived copies from parameters; after every optimiser step
//   forward(context&, x, y, saved&)         any number of rows up to max_rows, 0 included; y is written
//   backward(context&, dy, dx, saved&)      parameter gradients +=; dx is written, unless it is an empty view
//   static constexpr cost count(config, rows)
// and may have
//   static constexpr index out_rows(config, rows), with settings()   when output rows differ from input rows
//   rows_out(rows)              containers: the same of an object, asked of its children
//   forward_add(context&, x, skip, y, saved&)      y = f(x) + skip in one pass
//   backward_add(context&, dy, skip, dx, saved&)   dx = f'(dy) + skip in one pass; dx is not empty
//   static constexpr bool parameters = false   it has none, so that backward may be left out where nobody wants dx
//   each(f, saved&)            containers: calls f(child, child saved) for every module inside
// Inputs and outputs must not overlap.  The caller keeps x alive, unchanged, until backward: modules keep views of it.
#pragma once

#include "../backend/cpu/maths.hpp"
#include "../core/cost.hpp"
#include "../core/param.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// True when M has the members that every module has (see the top of this file).
template <class M>
concept module = requires(M m, const M cm, binder<typename M::backend> b, context<typename M::backend> c,
                          typename M::saved s, visitor<master_t<typename M::scalar>> v,
                          view<const typename M::scalar> x, view<typename M::scalar> y, index n) {
  typename M::config;
  cm.in_cols();
  cm.out_cols();
  m.visit(v);
  { cm.bind(b, n) } -> std::same_as<typename M::saved>;
  m.refresh(c);
  cm.forward(c, x, y, s);
  cm.backward(c, x, y, s);
};

/// True when M can give its configuration back.
template <class M>
concept has_settings = requires(const M m) {
  m.settings();
};

/// False for modules that say they have no parameters.
template <class M>
consteval bool has_parameters() {
  if constexpr (requires { { M::parameters } -> std::convertible_to<bool>; })
    return M::parameters;
  else
    return true;
}

/// Rows of the output for `rows` rows of input, from the configuration.
template <class M>
constexpr index rows_after(const typename M::config& c, index rows) {
  if constexpr (requires { M::out_rows(c, rows); })
    return M::out_rows(c, rows);
  else
    return rows;
}
/// The same for a module.
template <class M>
index rows_after(const M& m, index rows) {
  if constexpr (requires { m.rows_out(rows); })
    return m.rows_out(rows);
  else if constexpr (requires { M::out_rows(m.settings(), rows); })
    return M::out_rows(m.settings(), rows);
  else
    return rows;
}

/// Calls f(module, saved) for every module inside `m` that contains no other, or for `m` itself.
template <class M, class F>
void each_module(M& m, typename M::saved& s, F&& f) {
  if constexpr (requires { m.each(f, s); })
    m.each(f, s);
  else
    f(m, s);
}

/// Throws unless x and y are [rows, in] and [rows after, out] of module `m`.
template <class M, class X, class Y>
void check_shapes(const char* what, const M& m, const view<X>& x, const view<Y>& y) {
  require(x.cols == m.in_cols(), what, ": the input is ", shape_text(x), ", the module was built for width ",
          m.in_cols());
  require(y.cols == m.out_cols() && y.rows == rows_after(m, x.rows), what, ": the output is ", shape_text(y),
          ", for this input it has to be [", rows_after(m, x.rows), ", ", m.out_cols(), "]");
}

/// y = f(x) + skip, in one pass where the module can.
template <class M, class T, class B>
void forward_add(const M& m, context<B>& c, view<const T> x, view<const T> skip, view<T> y, typename M::saved& s) {
  if constexpr (requires { m.forward_add(c, x, skip, y, s); }) {
    m.forward_add(c, x, skip, y, s);
  } else {
    m.forward(c, x, y, s);
    add(c, view<const T>(y), skip, y);
  }
}
/// dx = f'(dy) + skip, in one pass where the module can.
template <class M, class T, class B>
void backward_add(const M& m, context<B>& c, view<const T> dy, view<const T> skip, view<T> dx, typename M::saved& s) {
  if constexpr (requires { m.backward_add(c, dy, skip, dx, s); }) {
    m.backward_add(c, dy, skip, dx, s);
  } else {
    m.backward(c, dy, dx, s);
    add(c, view<const T>(dx), skip, dx);
  }
}

/// A text that can be a template argument.
template <std::size_t N>
struct fixed_string {
  char text[N]{};
  constexpr fixed_string(const char (&s)[N]) {
    for (std::size_t i = 0; i < N; ++i) text[i] = s[i];
  }
  constexpr bool empty() const { return N == 1; }
};

/// M under the name `Name` in a container; named<"", M> adds nothing to the names of M's parameters.
template <fixed_string Name, class M>
struct named : M {
  static constexpr auto name = Name;
  using M::M;
  named(M m) : M(std::move(m)) {}
};

namespace detail {
/// Visits child number `i`: under its own name if it has one, else under the number.
template <class V, class M>
void visit_child(V& v, M& m, index i) {
  if constexpr (requires { M::name.text; }) {
    if constexpr (M::name.empty())
      m.visit(v);
    else
      v.child(M::name.text, m);
  } else {
    v.child(std::to_string(i), m);
  }
}
}  // namespace detail

}  // namespace nn
}  // namespace polymoe
