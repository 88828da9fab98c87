// What happens to the results of a grouped product before they are written: the epilogue families.
//
// An epilogue is a small struct of pointers that goes to the kernel by value.  The kernel calls it with runs of
// neighbouring columns of one row, in the compute type; it changes the run and stores it.  Members it offers:
//
//   using out                    the stored type; a run is 16 bytes of it
//   static constexpr bool dots   whether it fills run::dot; then it has a member C* dot for the sums of 64 columns each
//   bool aligned() const         host: every matrix it touches allows accesses of 16 bytes
//   void operator()(run&, bool whole) const            whole: all columns exist and accesses of 16 bytes are allowed
#pragma once

#include "../../../expert/activation.hpp"
#include "../../../plan/sparse_plan.hpp"
#include "grouped_engine.cuh"

namespace polymoe::inline v0::grouped {

/// Neighbouring columns [column, column + count) of one row of the result.
template <class C, int Width>
struct run {
  C v[Width];
  C dot = C(0);  ///< what this run adds to the row's dot
  int expert = 0;
  int row = 0;   ///< row in slot order
  int slot = 0;  ///< the row's slot
  int column = 0;
  int count = 0;  ///< columns that exist, <= Width
};

namespace detail {
/// A run of memory as numbers, in one access or one by one.
template <class C, class T, int Width>
POLYMOE_DEVICE void read_run(const T* p, int count, bool whole, C (&v)[Width]) {
  if (whole) {
    const auto x = *reinterpret_cast<const pack<T, Width>*>(p);
    POLYMOE_UNROLL
    for (int i = 0; i < Width; ++i) v[i] = static_cast<C>(x.v[i]);
  } else {
    POLYMOE_UNROLL
    for (int i = 0; i < Width; ++i) v[i] = i < count ? static_cast<C>(p[i]) : C(0);
  }
}
template <class C, class T, int Width>
POLYMOE_DEVICE void write_run(T* p, int count, bool whole, const C (&v)[Width]) {
  pack<T, Width> x;
  POLYMOE_UNROLL
  for (int i = 0; i < Width; ++i) store(x.v[i], v[i]);
  if (whole) {
    *reinterpret_cast<pack<T, Width>*>(p) = x;
  } else {
    POLYMOE_UNROLL
    for (int i = 0; i < Width; ++i)
      if (i < count) p[i] = x.v[i];
  }
}
/// True when 16-byte accesses to rows of p are allowed (or there is no p).
template <class T>
bool rows_of_chunks(const T* p, index stride) {
  return !p || (reinterpret_cast<std::uintptr_t>(p) % 16 == 0 && stride * static_cast<index>(sizeof(T)) % 16 == 0);
}
}  // namespace detail

/// Weights of slots and biases of experts, both optional, shared by the families.
template <class C>
struct affine {
  const C* bias = nullptr;  ///< [E, N] or null
  index bias_stride = 0;    ///< elements from expert to expert
  const C* gate = nullptr;  ///< [S] or null

  template <int Width>
  POLYMOE_DEVICE void add_bias(run<C, Width>& r) const {
    if (!bias) return;
    const C* b = bias + index{r.expert} * bias_stride + r.column;
    POLYMOE_UNROLL
    for (int i = 0; i < Width; ++i)
      if (i < r.count) r.v[i] += b[i];
  }
  POLYMOE_DEVICE C weight(int slot) const { return gate ? gate[slot] : C(1); }
};

/// Columns that one sum of a row dot covers: fixed, so that the bits of a dot do not depend on the tile.
inline constexpr int dot_columns = 64;
/// Sums per row.
POLYMOE_HD constexpr index dot_parts(index columns) { return ceil_div(columns, dot_columns); }

namespace epilogue {

/// out = gate (product + bias), or += with `accumulate`.  Out may be wider than the operands (float for bf16).
template <class Out>
struct plain {
  using out = Out;
  using C = compute_t<Out>;
  static constexpr bool dots = false;

  Out* to = nullptr;  ///< [rows, N]
  index stride = 0;
  affine<C> with{};
  bool accumulate = false;

  bool aligned() const { return grouped::detail::rows_of_chunks(to, stride); }
  template <int Width>
  POLYMOE_DEVICE void operator()(run<C, Width>& r, bool whole) const {
    Out* p = to + index{r.row} * stride + r.column;
    with.add_bias(r);
    const C g = with.weight(r.slot);
    C before[Width] = {};
    if (accumulate) grouped::detail::read_run(p, r.count, whole, before);
    POLYMOE_UNROLL
    for (int i = 0; i < Width; ++i) {
      if (with.gate) r.v[i] *= g;
      if (accumulate) r.v[i] += before[i];
    }
    grouped::detail::write_run(p, r.count, whole, r.v);
  }
};

/// pre = product + bias, rounded to Out; out = gate act(pre).  The activation sees the rounded value whether or not it
/// is stored, so that act(pre) of a later pass has the same bits.
template <class Act, class Out>
struct activate {
  using out = Out;
  using C = compute_t<Out>;
  static constexpr bool dots = false;

  Out* to = nullptr;  ///< [rows, N]
  index stride = 0;
  Out* pre = nullptr;  ///< [rows, N] or null
  index pre_stride = 0;
  affine<C> with{};

  bool aligned() const {
    return grouped::detail::rows_of_chunks(to, stride) && grouped::detail::rows_of_chunks(pre, pre_stride);
  }
  template <int Width>
  POLYMOE_DEVICE void operator()(run<C, Width>& r, bool whole) const {
    with.add_bias(r);
    if (pre) grouped::detail::write_run(pre + index{r.row} * pre_stride + r.column, r.count, whole, r.v);
    const C g = with.weight(r.slot);
    POLYMOE_UNROLL
    for (int i = 0; i < Width; ++i) {
      Out rounded;
      store(rounded, r.v[i]);
      r.v[i] = Act{}(static_cast<C>(rounded));
      if (with.gate) r.v[i] *= g;
    }
    grouped::detail::write_run(to + index{r.row} * stride + r.column, r.count, whole, r.v);
  }
};

/// A gate for every slot, or 1 without memory.
template <class C>
struct gates_of_slots {
  const C* gate = nullptr;  ///< [S] or null
  POLYMOE_DEVICE C operator()(index slot) const { return gate ? gate[slot] : C(1); }
};
/// The gates of a plan, 0 for slots without a unit and for those of bad units, whose gates may be anything.
template <class C>
struct gates_of_plan {
  sparse_plan<C> plan;
  POLYMOE_DEVICE C operator()(index slot) const {
    const int t = plan.token_at(static_cast<int>(slot));
    return t < 0 || plan.bad[t] ? C(0) : plan.gate.get(0, slot);
  }
};

/// The backward of `activate`: d_pre = gate product act'(pre), where the product is the gradient of gate act(pre).
/// With Dots also the row sums of product act(pre), the gradient of the gate: one sum per 64 columns, which sum_dots()
/// adds in order.  `to` may be `pre`.
template <class Act, class Out, bool Dots = false, class Gates = gates_of_slots<compute_t<Out>>>
struct activate_gradient {
  using out = Out;
  using C = compute_t<Out>;
  static constexpr bool dots = Dots;

  Out* to = nullptr;  ///< [rows, N]
  index stride = 0;
  const Out* pre = nullptr;  ///< [rows, N]
  index pre_stride = 0;
  Gates gates{};
  C* dot = nullptr;  ///< [rows, dot_parts(N)], with Dots

  bool aligned() const {
    return grouped::detail::rows_of_chunks(to, stride) && grouped::detail::rows_of_chunks(pre, pre_stride);
  }
  template <int Width>
  POLYMOE_DEVICE void operator()(run<C, Width>& r, bool whole) const {
    C x[Width];
    grouped::detail::read_run(pre + index{r.row} * pre_stride + r.column, r.count, whole, x);
    const C g = gates(r.slot);
    POLYMOE_UNROLL
    for (int i = 0; i < Width; ++i) {
      if constexpr (Dots)
        if (i < r.count) r.dot += r.v[i] * Act{}(x[i]);
      r.v[i] *= Act{}.grad(x[i]);
      r.v[i] *= g;
    }
    grouped::detail::write_run(to + index{r.row} * stride + r.column, r.count, whole, r.v);
  }
};

}  // namespace epilogue
}  // namespace polymoe::grouped
