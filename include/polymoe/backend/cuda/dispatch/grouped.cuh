// Products of experts with their rows on CUDA: forward, data gradient, weight gradient.
//
// The number of rows per expert stays on the device; the host knows a bound and sizes the grid by it.  Everything is
// asynchronous, allocates nothing and can be captured in a graph.  The same bits come out in every run, for every
// device of one architecture, and for every grid.
#pragma once

#include "../../../plan/sparse_plan.hpp"
#include "../kernel/grouped.cuh"
#include "../tuning/grouped.hpp"

namespace polymoe::inline v0::grouped {

/// Which tiles and engine the products of T use.  exact: matrix instructions for bf16, multiply-adds for float and
/// double.  tf32: float operands rounded to 10 mantissa bits, several times faster; nothing else changes.
struct exact {
  template <class T>
  using engine_of = std::conditional_t<std::is_same_v<T, bf16>, engine::tensor, engine::fma>;
};
struct tf32 {
  template <class T>
  using engine_of = std::conditional_t<std::is_same_v<T, double>, engine::fma, engine::tensor>;
};

/// Who owns which slots of a plan, of any layout.
template <class C>
segments segments_of(const sparse_plan<C>& p, index unit_rows = 1) {
  segments s;
  s.first = p.layout == plan_layout::identity ? nullptr : p.begin;
  s.experts = p.all_experts;
  s.each = p.layout == plan_layout::identity ? p.tokens : 0;
  s.slots = p.layout == plan_layout::identity ? index{p.tokens} * p.all_experts : p.max_slots;
  s.unit_rows = static_cast<int>(unit_rows);
  return s;
}
/// A matrix whose rows lie in slot order already.
template <class T>
rows_of<std::remove_const_t<T>> in_slot_order(view<T> x) {
  require(x.stride < (index{1} << 31), "grouped product: rows are ", x.stride,
          " elements apart, at most 2^31 - 1 are supported");
  return {x.ptr[0], static_cast<int>(x.stride), nullptr, 0};
}
/// A matrix in unit order, whose rows the product fetches through the plan.
template <class T, class C>
rows_of<std::remove_const_t<T>> through(const sparse_plan<C>& p, view<T> x) {
  auto r = in_slot_order(x);
  if (p.layout == plan_layout::identity) r.wrap = p.tokens;
  else r.source = p.token;
  return r;
}

namespace detail {

template <class T>
constexpr tile_numbers numbers(tile_kind kind) {
  if constexpr (std::is_same_v<T, bf16>) return bf16_tile(kind);
  else if constexpr (std::is_same_v<T, float>) return float_tile(kind);
  else {
    static_assert(std::is_same_v<T, double>, "polymoe: grouped products work on bf16, float and double");
    return double_tile(kind);
  }
}
template <class T, class Precision, tile_kind Kind>
using tile_of =
    tile_shape<T, typename Precision::template engine_of<T>, numbers<T>(Kind).m, numbers<T>(Kind).n,
               numbers<T>(Kind).warps_m, numbers<T>(Kind).warps_n, numbers<T>(Kind).stages, numbers<T>(Kind).blocks>;

inline device_limits limits() {
  return {device::multiprocessors(), device::shared_limit(), device::shared_of_multiprocessor()};
}

/// f.operator()<Tile, Wide>() for the tile that fits.
template <class T, class Precision, class F>
void with_tile(const device_limits& d, bool wide, index strips, index columns, index rows, F f) {
  using large = tile_of<T, Precision, tile_kind::large>;
  using deep = tile_of<T, Precision, tile_kind::deep>;
  using small = tile_of<T, Precision, tile_kind::small>;
  using narrow = tile_of<T, Precision, tile_kind::narrow>;
  static_assert(large::shared_bytes <= 101376, "polymoe: the large tile has to fit the 99 KiB of sm_86 and sm_89");
  static_assert(deep::shared_bytes <= 166912, "polymoe: the deep tile has to fit the 163 KiB of sm_80");
  switch (choose_tile(d, wide, strips, columns, rows, large::shared_bytes, deep::shared_bytes)) {
    case tile_kind::large: return f.template operator()<large, true>();
    case tile_kind::deep: return f.template operator()<deep, true>();
    case tile_kind::small: return f.template operator()<small, true>();
    case tile_kind::narrow: return f.template operator()<narrow, false>();
  }
}

/// A persistent grid: what is resident at once, and no more than there are tiles.
template <class Tile>
device::launch_shape shape_of(const char* kernel, device::stream_handle stream, const device_limits& d, index tiles) {
  const auto by_memory = static_cast<index>(d.multiprocessor_bytes / (Tile::shared_bytes + 1024));
  require(tiles < (index{1} << 30), kernel, ": ", tiles, " tiles of ", Tile::m, " x ", Tile::n,
          ", at most 2^30 are supported");
  const index resident = by_memory < 1 ? 1 : by_memory < Tile::blocks ? by_memory : Tile::blocks;
  const index blocks = resident * d.multiprocessors;
  return {.kernel = kernel,
          .grid = static_cast<int>(blocks < tiles ? blocks : tiles),
          .block = Tile::threads,
          .shared = Tile::shared_bytes,
          .stream = stream};
}

template <class T>
bool wide(const T* p, index stride, index expert_stride, index width) {
  constexpr index each = chunk_bytes / static_cast<index>(sizeof(T));
  return reinterpret_cast<std::uintptr_t>(p) % chunk_bytes == 0 && stride % each == 0 && expert_stride % each == 0 &&
         width % each == 0;
}

inline void check_sizes(const char* what, const segments& s, index width, index length) {
  require(s.experts >= 1 && s.slots >= 0 && s.unit_rows >= 1 && width >= 0 && length >= 0, what, ": ", s.experts,
          " experts, ", s.slots, " slots of ", s.unit_rows, " rows, ", width, " columns, sums of ", length,
          ": experts and rows of a slot are at least 1, the others at least 0");
  require(!s.first || s.experts <= max_experts + 1, what, ": ", s.experts,
          " experts with rows counted on the device, at most ", max_experts + 1, " are supported");
  require(s.first || s.each * s.experts == s.slots, what, ": ", s.experts, " experts of ", s.each, " slots are not ",
          s.slots, " slots");
  require(s.rows() < (index{1} << 30) && width < (index{1} << 30) && length < (index{1} << 30), what, ": ", s.rows(),
          " rows, ", width, " columns, sums of ", length, ": each has to be below 2^30");
}
template <class T>
void check_operand(const char* what, const char* name, const T* p, index stride, index width) {
  require(p != nullptr, what, ": ", name, " is null");
  require(stride >= width, what, ": rows of ", name, " are ", stride, " apart and ", width, " wide");
}

template <bool Slab, class Precision, class T, class Epilogue>
void rows_product(const char* what, device::stream_handle stream, const segments& rows, const rows_of<T>& a,
                  const weights_of<T>& b, index columns, index length, const Epilogue& epilogue) {
  check_sizes(what, rows, columns, length);
  static_assert(std::is_same_v<typename Epilogue::C, compute_t<T>>,
                "polymoe: the epilogue of a grouped product computes in another type than the product");
  if (rows.rows() == 0 || columns == 0) return;
  if (length > 0) {
    check_operand(what, "the left operand", a.data, a.stride, length);
    check_operand(what, "the weights", b.data, b.stride, Slab ? columns : length);
  }
  require(epilogue.to != nullptr && epilogue.stride >= columns, what, ": the result is null or its rows are ",
          epilogue.stride, " apart and ", columns, " wide");
  const bool chunks =
      wide(a.data, a.stride, 0, length) && wide(b.data, b.stride, b.expert_stride, Slab ? columns : length);
  const rows_args<T, Epilogue> args{
      rows, a, b, static_cast<int>(columns), static_cast<int>(length), epilogue.aligned(), epilogue};
  const device_limits d = limits();
  with_tile<T, Precision>(
      d, chunks, most_strips(rows.rows(), rows.experts, 128), columns, rows.rows() / rows.experts,
      [&]<class Tile, bool Wide>() {
        const index tiles = most_strips(rows.rows(), rows.experts, Tile::m) * ceil_div(columns, Tile::n);
        device::launch(shape_of<Tile>(what, stream, d, tiles), grouped_rows_kernel<Tile, Epilogue, Slab, Wide>, args);
      });
}

}  // namespace detail

/// epilogue(X W_e^T): for every row s of expert e and n < N the sum over k < K of x[src(s), k] w[e, n, k].
/// `x` is [.., K], `w` is [E, N, K]; rows of slots without a source (-1) are zeros, and are written as such rows.
/// Asynchronous on `stream`; all pointers are device memory.  Throws polymoe::error on sizes that do not fit, before
/// any work, or when the launch is refused.
template <class Precision = exact, class T, class Epilogue>
void forward(device::stream_handle stream, const segments& rows, const rows_of<T>& x, const weights_of<T>& w, index n,
             index k, const Epilogue& epilogue) {
  detail::rows_product<false, Precision>("grouped forward", stream, rows, x, w, n, k, epilogue);
}

/// epilogue(dY W_e): for every row s of expert e and k < K the sum over n < N of dy[s, n] w[e, n, k].  The weights are
/// read as they lie for forward.  `dy` may have a source, too.  Otherwise as forward.
template <class Precision = exact, class T, class Epilogue>
void data_gradient(device::stream_handle stream, const segments& rows, const rows_of<T>& dy, const weights_of<T>& w,
                   index n, index k, const Epilogue& epilogue) {
  detail::rows_product<true, Precision>("grouped data gradient", stream, rows, dy, w, k, n, epilogue);
}

/// Bytes of workspace of weight_gradient for at most `rows` rows (slots times rows of a slot).  `chunk` as there.
template <class T>
std::size_t weight_workspace(index rows, index n, index k, int chunk = 0) {
  weights_args<T> a;
  a.n = static_cast<int>(n), a.k = static_cast<int>(k);
  if (chunk == 0) chunk = weight_chunk(n, k);
  const index entries = rows > 0 ? (rows - 1) / chunk : 0;
  return static_cast<std::size_t>(checked_mul(checked_mul(entries, a.part_size(), "grouped weight gradient"),
                                              static_cast<index>(sizeof(compute_t<T>)), "grouped weight gradient"));
}

/// dw[e, n, k] += sum over the rows s of expert e of dy[s, n] x[src(s), k], and db[e, n] += sum of dy[s, n] (db may be
/// null).  `dy` is [rows, N] in slot order, `dw` [E, N, K] and `db` [E, N] are contiguous, in the compute type.  Slots
/// without a source add nothing, experts without rows keep their gradients.  Segments longer than `chunk` rows (0: the
/// default for these sizes) are summed chunk by chunk, in order; `workspace` has weight_workspace() bytes, 16-byte
/// aligned.  At most two launches.
template <class Precision = exact, class T>
void weight_gradient(device::stream_handle stream, const segments& rows, const rows_of<T>& dy, const rows_of<T>& x,
                     index n, index k, compute_t<T>* dw, compute_t<T>* db, void* workspace, std::size_t workspace_bytes,
                     int chunk = 0) {
  constexpr const char* what = "grouped weight gradient";
  detail::check_sizes(what, rows, k, n);
  if (rows.rows() == 0 || n == 0 || k == 0) return;
  if (chunk == 0) chunk = weight_chunk(n, k);
  require(chunk > 0, what, ": chunks of ", chunk, " rows");
  detail::check_operand(what, "dy", dy.data, dy.stride, n);
  detail::check_operand(what, "x", x.data, x.stride, k);
  require(!dy.source && dy.wrap == 0, what, ": dy lies in slot order and has no source");
  require(dw != nullptr, what, ": dw is null");
  const std::size_t need = weight_workspace<T>(rows.rows(), n, k, chunk);
  require(workspace_bytes >= need && (need == 0 || workspace != nullptr), what, ": ", workspace_bytes,
          " bytes of workspace, ", need, " are needed for ", rows.rows(), " rows of ", n, " x ", k);
  weights_args<T> a;
  a.rows = rows, a.dy = dy, a.x = x, a.n = static_cast<int>(n), a.k = static_cast<int>(k), a.chunk = chunk;
  a.dw = dw, a.db = db, a.parts = static_cast<compute_t<T>*>(workspace);
  a.whole = detail::rows_of_chunks(dw, k) && detail::rows_of_chunks(a.parts, k);
  const bool chunks = detail::wide(dy.data, dy.stride, 0, n) && detail::wide(x.data, x.stride, 0, k);
  const device_limits d = detail::limits();
  const index strips = most_strips(rows.rows(), rows.experts, chunk);
  detail::with_tile<T, Precision>(d, chunks, strips * ceil_div(n, 128), k, n, [&]<class Tile, bool Wide>() {
    const index tiles = strips * ceil_div(n, Tile::m) * ceil_div(k, Tile::n);
    device::launch(detail::shape_of<Tile>(what, stream, d, tiles), grouped_weights_kernel<Tile, Wide>, a);
  });
  const index entries = (rows.rows() - 1) / chunk;
  if (entries == 0) return;
  const index across = ceil_div(index{a.n} * a.k + a.n, reduce_threads), most = index{d.multiprocessors} * 8;
  const device::dim grid{static_cast<int>(across < most ? across : most),
                         static_cast<int>(entries < 65535 ? entries : 65535)};
  device::launch({.kernel = "grouped weight gradient, chunks",
                  .grid = grid,
                  .block = reduce_threads,
                  .shared = 0,
                  .stream = stream},
                 grouped_reduce_kernel<T>, a, entries);
}

/// d_gate[s] += the dots that activate_gradient left in `dot` [rows, dot_parts(columns)] for the rows of slot s.
template <class C>
void sum_dots(device::stream_handle stream, const segments& rows, const C* dot, index columns, C* d_gate) {
  detail::check_sizes("grouped dots", rows, columns, 0);
  const index blocks = ceil_div(rows.slots, reduce_threads), most = index{device::multiprocessors()} * 8;
  device::launch({.kernel = "grouped dots",
                  .grid = static_cast<int>(blocks < most ? blocks : most),
                  .block = reduce_threads,
                  .shared = 0,
                  .stream = stream},
                 grouped_dots_kernel<C>, rows, dot, static_cast<int>(dot_parts(columns)), d_gate);
}

}  // namespace polymoe::grouped
