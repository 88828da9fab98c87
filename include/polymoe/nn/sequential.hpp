// Modules one after another.
#pragma once

#include <tuple>

#include "../backend/cpu/pointwise.hpp"
#include "module.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// y = f_n(... f_1(x)).  Children are named "0", "1", ... or by `named<>`.  The values between children are saved; two
/// gradient buffers in scratch take turns in backward.
template <class First, class... Rest>
class sequential {
 public:
  using scalar = typename First::scalar;
  using backend = typename First::backend;
  using T = scalar;
  using B = backend;
  using M = master_t<T>;
  static constexpr std::size_t size = 1 + sizeof...(Rest);
  static_assert((std::is_same_v<T, typename Rest::scalar> && ...),
                "polymoe: all modules of a sequential need the same number type");
  static_assert((std::is_same_v<B, typename Rest::backend> && ...),
                "polymoe: all modules of a sequential need the same backend");

  struct config {
    std::tuple<typename First::config, typename Rest::config...> parts;
  };
  struct saved {
    std::tuple<typename First::saved, typename Rest::saved...> parts;
    view<T> between[size];  ///< [i]: output of child i, except the last
    index rows[size] = {};  ///< [i]: input rows of child i in the last forward
  };

  sequential() = default;
  explicit sequential(config c) : sequential(std::make_index_sequence<size>{}, std::move(c)) {}
  explicit sequential(First f, Rest... rest) : parts_(std::move(f), std::move(rest)...) { check(); }

  index in_cols() const { return std::get<0>(parts_).in_cols(); }
  index out_cols() const { return std::get<size - 1>(parts_).out_cols(); }
  config settings() const requires(has_settings<First> && (has_settings<Rest> && ...)) {
    return std::apply([](const auto&... m) { return config{{m.settings()...}}; }, parts_);
  }
  static constexpr index out_rows(const config& c, index rows) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      index n = rows;
      ((n = rows_after<child<I>>(std::get<I>(c.parts), n)), ...);
      return n;
    }
    (std::make_index_sequence<size>{});
  }
  index rows_out(index rows) const {
    walk([&]<std::size_t I>() { rows = rows_after(std::get<I>(parts_), rows); });
    return rows;
  }
  template <std::size_t I>
  auto& get() {
    return std::get<I>(parts_);
  }

  void visit(visitor<M>& v) {
    walk([&]<std::size_t I>() { detail::visit_child(v, std::get<I>(parts_), I); });
  }
  saved bind(binder<B>& b, index max_rows) const {
    saved s;
    index rows = max_rows, largest = 0;
    walk([&]<std::size_t I>() {
      if constexpr (I + 1 < size) {
        rows = rows_after(std::get<I>(parts_), rows);
        s.between[I] = b.saved.template take<T>(rows, std::get<I>(parts_).out_cols());
        largest = std::max(largest, s.between[I].size());
      }
    });
    arena_scope all(b.scratch);
    if (size > 1) b.scratch.template take<T>(1, largest);
    if (size > 2) b.scratch.template take<T>(1, largest);
    rows = max_rows;
    walk([&]<std::size_t I>() {
      std::get<I>(s.parts) = std::get<I>(parts_).bind(b, rows);
      rows = rows_after(std::get<I>(parts_), rows);
    });
    return s;
  }
  void refresh(context<B>& c) {
    walk([&]<std::size_t I>() { std::get<I>(parts_).refresh(c); });
  }

  void forward(context<B>& c, view<const T> x, view<T> y, saved& s) const { run_forward(c, x, {}, y, s); }
  void forward_add(context<B>& c, view<const T> x, view<const T> skip, view<T> y, saved& s) const {
    run_forward(c, x, skip, y, s);
  }
  void backward(context<B>& c, view<const T> dy, view<T> dx, saved& s) const { run_backward(c, dy, {}, dx, s); }
  void backward_add(context<B>& c, view<const T> dy, view<const T> skip, view<T> dx, saved& s) const {
    run_backward(c, dy, skip, dx, s);
  }
  template <class F>
  void each(F&& f, saved& s) {
    walk([&]<std::size_t I>() { each_module<child<I>>(std::get<I>(parts_), std::get<I>(s.parts), f); });
  }

  static constexpr cost count(const config& c, index rows) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      cost total;
      index n = rows;
      ((total = total + child<I>::count(std::get<I>(c.parts), n), n = rows_after<child<I>>(std::get<I>(c.parts), n)),
       ...);
      return total;
    }
    (std::make_index_sequence<size>{});
  }

 private:
  template <std::size_t I>
  using child = std::tuple_element_t<I, std::tuple<First, Rest...>>;

  /// The first child with parameters: without an input gradient, those before it have nothing to do in backward.
  static constexpr std::size_t first_trained = [] {
    constexpr bool trained[] = {has_parameters<First>(), has_parameters<Rest>()...};
    std::size_t i = 0;
    while (i + 1 < size && !trained[i]) ++i;
    return i;
  }();

  template <std::size_t... I>
  sequential(std::index_sequence<I...>, config c) : parts_(child<I>(std::move(std::get<I>(c.parts)))...) {
    check();
  }
  /// f.operator()<0>(), f.operator()<1>(), ...
  template <class F>
  static void walk(F&& f) {
    [&]<std::size_t... I>(std::index_sequence<I...>) { (f.template operator()<I>(), ...); }
    (std::make_index_sequence<size>{});
  }
  void check() const {
    walk([&]<std::size_t I>() {
      if constexpr (I + 1 < size)
        require(std::get<I>(parts_).out_cols() == std::get<I + 1>(parts_).in_cols(), "sequential: module ", I,
                " gives rows of width ", std::get<I>(parts_).out_cols(), ", module ", I + 1, " takes width ",
                std::get<I + 1>(parts_).in_cols());
    });
  }
  void run_forward(context<B>& c, view<const T> x, view<const T> skip, view<T> y, saved& s) const {
    walk([&]<std::size_t I>() {
      const child<I>& m = std::get<I>(parts_);
      s.rows[I] = x.rows;
      if constexpr (I + 1 < size) {
        const view<T> out = s.between[I].rows_at(0, rows_after(m, x.rows));
        m.forward(c, x, out, std::get<I>(s.parts));
        x = out;
      } else if (skip.ptr[0]) {
        nn::forward_add<child<I>, T, B>(m, c, x, skip, y, std::get<I>(s.parts));
      } else {
        m.forward(c, x, y, std::get<I>(s.parts));
      }
    });
  }
  void run_backward(context<B>& c, view<const T> dy, view<const T> skip, view<T> dx, saved& s) const {
    arena_scope all(c.scratch);
    index largest = 0;
    for (std::size_t i = 0; i + 1 < size; ++i) largest = std::max(largest, s.rows[i + 1] * s.between[i].cols);
    view<T> buffer[2];
    if (size > 1) buffer[0] = c.scratch.template take<T>(1, largest);
    if (size > 2) buffer[1] = c.scratch.template take<T>(1, largest);
    walk([&]<std::size_t J>() {
      constexpr std::size_t I = size - 1 - J;
      const child<I>& m = std::get<I>(parts_);
      auto& kept = std::get<I>(s.parts);
      if constexpr (I < first_trained) {
        if (!dx.ptr[0]) return;
      }
      if constexpr (I > 0) {
        const bool wanted = I > first_trained || dx.ptr[0];
        const view<T> to = wanted ? buffer[I % 2 == 0 && size > 2].reshaped(s.rows[I], m.in_cols()) : view<T>{};
        m.backward(c, dy, to, kept);
        dy = to;
      } else if (skip.ptr[0] && dx.ptr[0]) {
        nn::backward_add<child<I>, T, B>(m, c, dy, skip, dx, kept);
      } else {
        m.backward(c, dy, dx, kept);
      }
    });
  }

  std::tuple<First, Rest...> parts_;
};

}  // namespace nn
}  // namespace polymoe
