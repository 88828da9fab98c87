// Router logits: z [T, E] = r [T, D] W_r^T in compute precision, from a router input of any scalar type.
//
// A bf16 input is exact in float, so its logits must be as exact as float's.  Two ways there:
//   parts   where the CPU multiplies bf16 fast: W_r is the exact sum of three bf16 matrices (8 bits of the mantissa
//           each), and three bf16 products are summed in float; nothing is converted in the call
//   widened elsewhere: the rows are converted to float in tiles
#pragma once

#include "convert.hpp"
#include "planar.hpp"

namespace polymoe::inline v0 {
namespace backend {

template <class T, class Maths>
class logits_product {
 public:
  using C = compute_t<T>;
  using M = master_t<T>;
  static constexpr bool low_precision = std::is_same_v<T, bf16>;
  static constexpr int parts = 3;

  logits_product() = default;
  /// `in_parts` picks the way of a bf16 input.
  logits_product(index dim, index experts, bool in_parts = maths::bf16_is_fast())
      : dim_(dim), experts_(experts), split_(low_precision && in_parts) {
    if (split_) part_ = part(dim, experts);
    else plain_ = plain(dim, experts);
  }
  /// Bytes of a packed W_r, with the room its packing needs.
  std::size_t packed_bytes() const {
    return split_ ? parts * part_.packed_bytes() + residual_bytes() : plain_.packed_bytes();
  }
  std::size_t worker_bytes() const {
    return split_ ? part_.worker_bytes() : plain_.worker_bytes() + (low_precision ? widened_bytes() : 0);
  }
  /// `w` is W_r [E, D].
  void pack(view<const M> w, std::byte* packed, worker& who) const {
    if (!split_) return plain_.pack(w, true, packed, who);
    if constexpr (low_precision) {
      view<float> rest(reinterpret_cast<float*>(packed + parts * part_.packed_bytes()), experts_, dim_);
      for (index e = 0; e < experts_; ++e) std::copy_n(w.row(e), dim_, rest.row(e));
      for (int i = 0; i < parts; ++i) {
        part_.pack(rest, true, packed + static_cast<std::size_t>(i) * part_.packed_bytes(), who);
        for (index k = 0; k < rest.size(); ++k) rest.ptr[0][k] -= static_cast<float>(bf16(rest.ptr[0][k]));
      }
    }
  }
  /// At most planar_product::tile_rows rows of r -> z.
  void run(worker& w, view<const T> r, const std::byte* packed, view<C> z) const {
    if constexpr (low_precision) {
      if (split_) {
        for (int i = 0; i < parts; ++i)
          part_.run_to_master(w, r, packed + static_cast<std::size_t>(i) * part_.packed_bytes(), z, i > 0);
      } else {
        view<float> wide(reinterpret_cast<float*>(w.scratch), r.rows, dim_);
        for (index t = 0; t < r.rows; ++t) widen(r.row(t), wide.row(t), dim_);
        worker library{w.id, w.scratch + widened_bytes(), w.bytes - widened_bytes()};
        plain_.run(library, wide, packed, {}, z);
      }
    } else {
      plain_.run(w, r, packed, {}, z);
    }
  }

 private:
  using plain = planar_product<C, Maths>;
  using part = planar_product<std::conditional_t<low_precision, bf16, C>, Maths>;
  std::size_t residual_bytes() const {
    return static_cast<std::size_t>(round_up(experts_ * dim_ * static_cast<index>(sizeof(float)), arena::alignment));
  }
  std::size_t widened_bytes() const {
    return static_cast<std::size_t>(
        round_up(plain::tile_rows * dim_ * static_cast<index>(sizeof(float)), static_cast<index>(arena::alignment)));
  }

  index dim_ = 0, experts_ = 0;
  bool split_ = false;
  plain plain_;
  part part_;
};

}  // namespace backend
}  // namespace polymoe
