// view<T>: a matrix somebody else owns, `[rows, cols]`, rows `stride` elements apart.
//
// Dual tensors are planar: view<dual<T>> is a value plane and a tangent plane of equal shape, so that linear maps call
// a library on planes and only pointwise code meets dual numbers.  `get` and `set` convert between storage and compute
// type, which lets one text serve float, double, bf16 and dual.
#pragma once

#include "dual.hpp"
#include "error.hpp"

namespace polymoe::inline v0 {

/// [rows, cols] numbers of T, or of const T to read only; a plane without memory has a null pointer.
template <class T>
struct view {
  using value_type = std::remove_const_t<T>;
  using storage = storage_t<T>;
  using compute = compute_t<value_type>;
  static constexpr int planes = plane_count<T>;

  storage* ptr[planes] = {};
  index rows = 0;
  index cols = 0;
  index stride = 0;  ///< elements from row to row, at least `cols` where there are several

  view() = default;
  /// One plane; rows are contiguous unless a stride is given.
  POLYMOE_HD view(storage* p, index r, index c, index ld = -1)
    requires(planes == 1)
      : ptr{p}, rows(r), cols(c), stride(ld < 0 ? c : ld) {}
  /// Value and tangent plane of a dual tensor.
  POLYMOE_HD view(storage* p, storage* tangent, index r, index c, index ld = -1)
    requires(planes == 2)
      : ptr{p, tangent}, rows(r), cols(c), stride(ld < 0 ? c : ld) {}

  /// A writable view is also a read-only one.  A template, because a conversion to the own type draws a warning.
  template <class U>
    requires(!std::is_const_v<T> && std::is_same_v<U, value_type>)
  POLYMOE_HD operator view<const U>() const {
    view<const U> v;
    for (int i = 0; i < planes; ++i) v.ptr[i] = ptr[i];
    v.rows = rows, v.cols = cols, v.stride = stride;
    return v;
  }

  POLYMOE_HD index size() const { return rows * cols; }
  POLYMOE_HD bool contiguous() const { return stride == cols || rows <= 1; }
  POLYMOE_HD storage* row(index r, int plane = 0) const { return ptr[plane] + r * stride; }
  /// Plane `i` as a tensor of plain numbers (the tensor itself when there is one plane).
  POLYMOE_HD auto plane(int i) const {
    using P = std::conditional_t<std::is_const_v<T>, const real_t<T>, real_t<T>>;
    return view<P>(ptr[i], rows, cols, stride);
  }

  POLYMOE_HD POLYMOE_ALWAYS_INLINE compute get(index r, index c) const {
    const index i = r * stride + c;
    if constexpr (planes == 2)
      return compute(ptr[0][i], ptr[1][i]);
    else
      return static_cast<compute>(ptr[0][i]);
  }
  POLYMOE_HD POLYMOE_ALWAYS_INLINE void set(index r, index c, compute x) const
    requires(!std::is_const_v<T>)
  {
    const index i = r * stride + c;
    if constexpr (planes == 2) {
      ptr[0][i] = x.v;
      ptr[1][i] = x.t;
    } else {
      store(ptr[0][i], x);
    }
  }
  POLYMOE_HD POLYMOE_ALWAYS_INLINE void add(index r, index c, compute x) const
    requires(!std::is_const_v<T>)
  {
    set(r, c, get(r, c) + x);
  }

  /// Rows [r0, r0 + n).
  POLYMOE_HD view rows_at(index r0, index n) const {
    view v = *this;
    for (int i = 0; i < planes; ++i) v.ptr[i] = ptr[i] ? ptr[i] + r0 * stride : nullptr;
    v.rows = n;
    return v;
  }
  /// Columns [c0, c0 + n).
  POLYMOE_HD view cols_at(index c0, index n) const {
    view v = *this;
    for (int i = 0; i < planes; ++i) v.ptr[i] = ptr[i] ? ptr[i] + c0 : nullptr;
    v.cols = n;
    return v;
  }
  /// The same memory as [r, c]; only for contiguous views with r*c == rows*cols.
  POLYMOE_HD view reshaped(index r, index c) const {
    view v = *this;
    v.rows = r, v.cols = c, v.stride = c;
    return v;
  }
};

/// "[rows, cols]" for messages.
template <class T>
std::string shape_text(const view<T>& v) {
  std::string text = "[";  // appended to: GCC 12 warns about memory overlap in "[" + string
  text += std::to_string(v.rows);
  text += ", ";
  text += std::to_string(v.cols);
  text += "]";
  return text;
}

}  // namespace polymoe
