// The frame of feature map experts on CUDA: a tile is all maps of a call, each step one launch, or a few where windows
// do not fit at once.
//
// A k x k convolution is the grouped product (grouped.cuh) of windows of pixels with the weights of each expert;
// windows are made for some maps at a time, at most `window_bytes` of them, and a table on the device says which of
// those maps each expert owns.  The data gradient is a product as well, of the windows of the gradient with the weight
// turned round, as in conv.cuh.  A 1 x 1 convolution is the grouped product itself.  Depthwise convolutions and the
// norm look up whose each map is (kernel/map_owners.cuh), their weight gradients are summed map by map, then over an
// expert's maps in order.
//
// Maps are fetched through the plan where they are read.  Cuts depend on sizes only, so the same bits come in every
// run.
#pragma once

#include <array>
#include <utility>

#include "../../../expert/map_expert.hpp"
#include "../kernel/maps.cuh"
#include "group_norm.cuh"
#include "pointwise.cuh"
#include "rows.cuh"

namespace polymoe::inline v0::detail {

template <class Body, class T>
class map_expert<Body, T, backend::cuda_device> : public map_expert_base<Body> {
  using base = map_expert_base<Body>;
  using base::config_, base::height_, base::width_;
  using M = master_t<T>;
  using work_type = polymoe::backend::grouped_work;

 public:
  using scalar = T;
  using backend = polymoe::backend::cuda_device;
  using rows_type = grouped::rows_of<T>;
  static_assert(std::is_same_v<M, compute_t<T>>, "polymoe: experts on CUDA keep parameters in their compute type");
  struct saved {
    view<T> kept[Body::kept];
    view<M> stats;  ///< [maps * groups, 2] of the norm
    rows_type x;
    int *expert = nullptr, *source = nullptr;  ///< [maps] kernel::map_owners of x
    int* first = nullptr;                      ///< [chunks, experts + 1] segments of each chunk of maps
    index max_maps = 0, chunk = 1;             ///< chunk: maps whose windows are made at once
  };

  map_expert() = default;
  /// `window_bytes`: scratch for the windows of one chunk; a chunk has a map at least.
  explicit map_expert(expert_config c, index window_bytes = index{64} << 20)
      : base(c), window_bytes_(window_bytes), maps_{make_maps(std::make_index_sequence<Body::maps>{})} {
    require(pixels() * norm().width() < index{1} << 31, "expert ", Body::name, ": a group of ", pixels(), " pixels of ",
            norm().width(), " channels exceeds 2147483647 numbers");
  }

  template <class V>
  void visit(V& v) {
    for (int i = 0; i < Body::maps; ++i) {
      maps_[i].params.visit(v, config_.experts, maps_[i]);
      v.add_derived(maps_[i].derived, maps_[i].derived_bytes(config_.experts));
      if (i == 0) norm_params_.visit(v, config_.experts, norm().channels);
    }
  }
  saved bind(binder<backend>& b, index max_rows) const {
    saved s;
    for (int i = 0; i < Body::kept; ++i) s.kept[i] = b.saved.template take<T>(max_rows, Body::width(i, config_));
    s.max_maps = max_rows / pixels();
    s.stats = b.saved.template take<M>(s.max_maps * Body::groups, 2);
    s.expert = b.saved.template take_raw<int>(s.max_maps), s.source = b.saved.template take_raw<int>(s.max_maps);
    index widest = 1;
    for (const conv& m : maps_)
      if (m.windowed()) widest = std::max(widest, pixels() * m.most_cols() * static_cast<index>(sizeof(T)));
    s.chunk = std::max<index>(1, std::min(s.max_maps, window_bytes_ / widest));
    s.first = b.saved.template take_raw<int>(ceil_div(s.max_maps, s.chunk) * (config_.experts + 1));
    arena_scope call(b.scratch);
    spares(b.scratch, max_rows);
    {
      arena_scope one(b.scratch);
      const polymoe::backend::detail::group_norm_parts<T> measured(b.scratch, norm(), s.max_maps);
      static_cast<void>(measured);
    }
    for (const conv& m : maps_) {
      arena_scope one(b.scratch);
      scratch(b.scratch, m, s.chunk, s.max_maps);
    }
    return s;
  }
  void refresh(context<backend>& c) {
    for (const conv& m : maps_) {
      const view<const M> w = m.params.weight.value;
      if (m.depthwise) {
        turn(c, m.by_tap(config_.experts), w, m.taps_rows(config_.experts));
      } else if (m.windowed()) {
        turn(c, m.by_output(config_.experts), w, m.up_rows(config_.experts));
        turn(c, m.by_input(config_.experts), w, m.down_rows(config_.experts));
      } else if constexpr (rounds) {
        const index rows = config_.experts * m.out;
        polymoe::backend::detail::convert_rows<T>(c.stream, w.reshaped(rows, m.in), view<T>(m.rounded(), rows, m.in));
      }
    }
  }

  /// x in the order of the input, or through the plan; y in slot order.
  void forward(context<backend>& c, const work_type& work, const rows_type& x, view<T> y, saved& s) const {
    namespace kernel = polymoe::backend::kernel;
    s.x = x;
    const grouped::segments& maps = work.rows;
    if (maps.slots == 0) return;
    require(maps.unit_rows == pixels() && maps.slots <= s.max_maps, "expert ", Body::name, ": ", maps.slots,
            " maps of ", maps.unit_rows, " pixels, memory was bound for ", s.max_maps, " maps of ", pixels());
    device::launch(polymoe::backend::detail::thread_grid(
                       "owners of maps", c.stream, maps.slots + ceil_div(maps.slots, s.chunk) * (maps.experts + 1)),
                   kernel::map_owners_kernel<T>, maps, x, s.chunk, s.expert, s.source, s.first);
    Body::forward(tile{*this, c, work, s, x, y, {}, {}, {}});
  }
  /// dx gets one row per row of the slots.
  void backward(context<backend>& c, const work_type& work, view<const T> dy, view<T> dx, saved& s, bool) const {
    if (work.rows.slots == 0) return;
    arena_scope call(c.scratch);
    const tile t{*this, c, work, s, s.x, {}, dy, dx, spares(c.scratch, work.rows.rows())};
    Body::backward(t);
    for (int i = 0; i < Body::maps; ++i) weight_gradient(t, i);
  }

 private:
  static constexpr bool rounds = !std::is_same_v<T, M>;
  static constexpr index most_blocks_y = 65535;
  using turned = polymoe::backend::kernel::weight_turn;

  /// One convolution of all experts.  Derived memory: of windows the weight in rows of outputs and of inputs, depthwise
  /// in rows of taps, of 1 x 1 the weight rounded (nothing where products read the parameters).
  struct conv : conv_map {
    index height = 1, width = 1;
    conv_params<M> params{};
    std::byte* derived = nullptr;

    bool windowed() const { return !depthwise && kernel > 1; }
    index taps() const { return kernel * kernel; }
    /// Columns of windows over `channels` channels: whole 16 bytes, the rest zeros.
    index cols(index channels) const { return round_up(taps() * channels, static_cast<index>(16 / sizeof(T))); }
    index most_cols() const { return std::max(cols(in), cols(out)); }
    polymoe::backend::kernel::window_map windows(bool of_input) const {
      return {{height, width, in, out, kernel, 1, kernel / 2, depthwise}, of_input};
    }
    std::size_t derived_bytes(index experts) const {
      const auto bytes = [&](index numbers, std::size_t each) {
        return static_cast<std::size_t>(experts * numbers) * each;
      };
      if (depthwise) return bytes(taps() * out, sizeof(M));
      if (windowed()) return back(experts) + bytes(in * cols(out), sizeof(T));
      return rounds ? bytes(out * in, sizeof(T)) : 0;
    }
    view<M> taps_rows(index experts) const { return {reinterpret_cast<M*>(derived), experts * taps(), out}; }
    view<T> up_rows(index experts) const { return {rounded(), experts * out, cols(in)}; }
    view<T> down_rows(index experts) const {
      return {reinterpret_cast<T*>(derived + back(experts)), experts * in, cols(out)};
    }
    T* rounded() const { return reinterpret_cast<T*>(derived); }
    grouped::weights_of<T> linear() const {
      if constexpr (rounds)
        return {rounded(), static_cast<int>(in), out * in};
      else
        return {params.weight.value.ptr[0], static_cast<int>(in), out * in};
    }
    grouped::affine<M> affine() const { return {bias ? params.bias.value.ptr[0] : nullptr, out}; }
    M* bias_gradient() const { return bias ? params.bias.grad.ptr[0] : nullptr; }

    turned by_output(index experts) const { return {experts * out, in, taps(), in * taps(), taps()}; }
    turned by_input(index experts) const {
      return {experts * in, out, taps(), taps(), in * taps(), in, out * in * taps()};
    }
    turned by_tap(index experts) const { return {experts * taps(), out, 1, 1, taps(), taps(), out * taps()}; }

   private:
    /// Where the rows of inputs begin.
    std::size_t back(index experts) const {
      return static_cast<std::size_t>(
          round_up(experts * out * cols(in) * static_cast<index>(sizeof(T)), static_cast<index>(arena::alignment)));
    }
  };

  /// What the maths of an expert sees: all maps.
  struct tile {
    const map_expert& e;
    context<backend>& c;
    const work_type& work;
    const saved& s;
    rows_type in_rows;
    view<T> out_rows;
    view<const T> out_gradient;
    view<T> in_gradient;
    std::array<view<T>, 2> spare_rows;

    rows_type x() const { return in_rows; }
    view<T> y() const { return out_rows.rows_at(0, rows()); }
    view<const T> dy() const { return out_gradient.rows_at(0, rows()); }
    view<T> dx() const { return in_gradient.rows_at(0, rows()); }
    view<T> kept(int i) const { return s.kept[i].rows_at(0, rows()); }
    view<T> spare(int i, index cols) const { return {spare_rows[static_cast<std::size_t>(i)].ptr[0], rows(), cols}; }

    template <class Rows>
    void apply(int i, const Rows& in, view<T> out) const {
      const conv& m = e.maps_[i];
      const index experts = e.config_.experts;
      if (m.depthwise)
        return depthwise(m, "depthwise of experts", false, image(in, m.in), m.params.bias.value, owners(in), out);
      if (!m.windowed())
        return grouped::forward(stream(), work.rows, rows_of(in), m.linear(), m.out, m.in, into(out, m.affine()));
      arena_scope all(c.scratch);
      T* const memory = e.scratch(c.scratch, m, s.chunk, work.rows.slots).windows;
      each_chunk([&](const grouped::segments& maps, index first) {
        const auto windows =
            make_windows(m, "windows of experts", false, image(in, m.in), owners(in), first, maps, memory);
        grouped::forward(
            stream(), maps, windows,
            grouped::weights_of<T>{m.up_rows(experts).ptr[0], static_cast<int>(m.cols(m.in)), m.out * m.cols(m.in)},
            m.out, m.cols(m.in), into(part(out, first), m.affine()));
      });
    }
    void data_gradient(int i, view<const T> d_out, view<T> d_in) const {
      const conv& m = e.maps_[i];
      const index experts = e.config_.experts;
      if (m.depthwise) return depthwise(m, "depthwise of experts backward", true, d_out, {}, owners(d_out), d_in);
      if (!m.windowed())
        return grouped::data_gradient(stream(), work.rows, rows_of(d_out), m.linear(), m.out, m.in, into(d_in, {}));
      arena_scope all(c.scratch);
      T* const memory = e.scratch(c.scratch, m, s.chunk, work.rows.slots).windows;
      each_chunk([&](const grouped::segments& maps, index first) {
        const auto windows =
            make_windows(m, "windows of experts' gradients", true, d_out, owners(d_out), first, maps, memory);
        grouped::forward(
            stream(), maps, windows,
            grouped::weights_of<T>{m.down_rows(experts).ptr[0], static_cast<int>(m.cols(m.out)), m.in * m.cols(m.out)},
            m.in, m.cols(m.out), into(part(d_in, first), {}));
      });
    }
    template <class Act>
    void norm(view<const T> in, view<T> out, Act) const {
      polymoe::backend::detail::group_norm_rows<Act, T>(c, e.norm(), owners(in), in, weight(), bias(), out, s.stats);
    }
    template <class Act>
    void norm_backward(view<const T> d, view<T> in, Act) const {
      namespace parts = polymoe::backend::detail;
      arena_scope all(c.scratch);
      const parts::group_norm_parts<T> m(c.scratch, e.norm(), work.rows.slots);
      parts::group_norm_map_sums<Act, T>(c, e.norm(), owners(d), d, in, s.stats, weight(), bias(), m);
      const turned as_is{e.config_.experts, e.norm().channels, 1, e.norm().channels, 1};
      e.add_map_sums(c, work, as_is, m.products, e.norm_params_.weight.grad.ptr[0]);
      e.add_map_sums(c, work, as_is, m.sums, e.norm_params_.bias.grad.ptr[0]);
      parts::group_norm_input_gradient<Act, T>(c, e.norm(), owners(d), d, in, s.stats, weight(), bias(), m, {}, in);
    }
    template <class Act>
    void activate(view<const T> a, view<T> h, Act) const {
      polymoe::backend::activate<Act, T>(c, work, a, h);
    }
    template <class Act>
    void activate_backward(view<const T> d, view<const T> a, view<T> out, Act) const {
      polymoe::backend::activation_backward<Act, T>(c, d, a, out);
    }
    template <class Rows>
    void add(const Rows& from, view<T> to) const {
      polymoe::backend::add_rows<T>(c, work, rows_of(from), to);
    }

    // ---- what weight gradients need as well
    index rows() const { return work.rows.rows(); }
    device::stream_handle stream() const { return c.stream.handle; }
    static rows_type rows_of(const rows_type& r) { return r; }
    static rows_type rows_of(view<const T> v) { return grouped::in_slot_order(v); }
    static rows_type rows_of(view<T> v) { return grouped::in_slot_order(v); }
    /// The maps that windows are taken from, and which one each map of the call reads.  Their number is not looked at.
    static view<const T> image(const rows_type& r, index cols) { return {r.data, 0, cols, r.stride}; }
    static view<const T> image(view<const T> v, index) { return v; }
    polymoe::backend::kernel::map_owners owners(const rows_type&) const { return {s.expert, s.source}; }
    polymoe::backend::kernel::map_owners owners(view<const T>) const { return {s.expert, nullptr}; }
    static grouped::epilogue::plain<T> into(view<T> to, const grouped::affine<M>& with) {
      return {to.ptr[0], to.stride, with, false};
    }
    template <class V>
    V part(V v, index first) const {
      const index at = first * e.pixels();
      return v.rows_at(at, v.rows - at);
    }
    /// f(segments of the chunk, its first map).
    template <class F>
    void each_chunk(F f) const {
      const int experts = static_cast<int>(e.config_.experts);
      for (index first = 0; first < work.rows.slots; first += s.chunk) {
        const int* table = s.first + first / s.chunk * (experts + 1);
        f(grouped::segments{table, experts, 0, std::min(s.chunk, work.rows.slots - first), work.rows.unit_rows}, first);
      }
    }
    /// The windows of a chunk of maps, in slot order.
    rows_type make_windows(const conv& m, const char* name, bool of_input, view<const T> from,
                           polymoe::backend::kernel::map_owners own, index first, const grouped::segments& maps,
                           T* memory) const {
      namespace kernel = polymoe::backend::kernel;
      // A map without a table of sources is the one of its own number.
      if (!own.source) from.ptr[0] += first * e.pixels() * from.stride;
      const view<T> to(memory, maps.rows(), m.cols(from.cols));
      polymoe::backend::detail::with_access<T>(
          [&]<class V>(V) {
            device::launch(polymoe::backend::detail::warp_rows(name, c.stream, to.rows),
                           kernel::windows_kernel<T, V::value>, m.windows(of_input), own.from(first), from, to);
          },
          from, to);
      return grouped::in_slot_order(to);
    }

   private:
    view<const M> weight() const { return e.norm_params_.weight.value; }
    view<const M> bias() const { return e.norm_params_.bias.value; }
    void depthwise(const conv& m, const char* name, bool of_input, view<const T> from, view<const M> bias,
                   const polymoe::backend::kernel::map_owners& own, view<T> to) const {
      namespace kernel = polymoe::backend::kernel;
      const view<const M> weight = m.taps_rows(e.config_.experts);
      polymoe::backend::detail::with_access<T>(
          [&]<class V>(V) {
            device::launch(polymoe::backend::detail::warp_rows(name, c.stream, to.rows),
                           kernel::window_sums_kernel<T, V::value>, m.windows(of_input), own, from, weight, M(1), bias,
                           view<const T>(), to);
          },
          from, weight, bias, to);
    }
  };

  /// Memory of one convolution in a call.
  struct conv_scratch {
    T* windows = nullptr;
    view<M> gradient;  ///< [experts * out, cols(in)]; depthwise: [maps, (taps + 1) * out], the last for the bias
    std::byte* workspace = nullptr;
    std::size_t bytes = 0;
  };
  conv_scratch scratch(arena& a, const conv& m, index chunk, index maps) const {
    conv_scratch t;
    if (m.depthwise) {
      t.gradient = a.template take<M>(maps, (m.taps() + (m.bias ? 1 : 0)) * m.out);
      return t;
    }
    if (m.windowed()) {
      t.windows = a.template take_raw<T>(chunk * pixels() * m.most_cols());
      t.gradient = a.template take<M>(config_.experts * m.out, m.cols(m.in));
    }
    t.bytes = grouped::weight_workspace<T>((m.windowed() ? chunk : maps) * pixels(), m.out,
                                           m.windowed() ? m.cols(m.in) : m.in);
    t.workspace = a.template take_raw<std::byte>(static_cast<index>(t.bytes));
    return t;
  }
  std::array<view<T>, 2> spares(arena& a, index rows) const {
    const index cols = std::max(config_.in, config_.hidden);
    return {a.template take<T>(rows, cols), a.template take<T>(rows, cols)};
  }

  void weight_gradient(const tile& t, int i) const {
    const conv& m = maps_[i];
    const view<const T> d = m.gradient == linear_map::end ? t.dy() : view<const T>(t.kept(m.gradient));
    if (m.input == linear_map::end)
      weight_gradient(t, m, d, t.x());
    else
      weight_gradient(t, m, d, view<const T>(t.kept(m.input)));
  }
  template <class Rows>
  void weight_gradient(const tile& t, const conv& m, view<const T> d, const Rows& in) const {
    arena_scope all(t.c.scratch);
    const conv_scratch own = scratch(t.c.scratch, m, t.s.chunk, t.work.rows.slots);
    M* const dw = m.params.weight.grad.ptr[0];
    if (m.depthwise) return depthwise_gradient(t, m, d, tile::image(in, m.in), t.owners(in), own.gradient);
    if (!m.windowed())
      return grouped::weight_gradient(t.stream(), t.work.rows, grouped::in_slot_order(d), tile::rows_of(in), m.out,
                                      m.in, dw, m.bias_gradient(), own.workspace, own.bytes);
    device::clear(own.gradient.ptr[0], static_cast<std::size_t>(own.gradient.size()) * sizeof(M), t.stream());
    t.each_chunk([&](const grouped::segments& maps, index first) {
      const auto windows =
          t.make_windows(m, "windows of experts", false, tile::image(in, m.in), t.owners(in), first, maps, own.windows);
      grouped::weight_gradient(t.stream(), maps, grouped::in_slot_order(t.part(d, first)), windows, m.out, m.cols(m.in),
                               own.gradient.ptr[0], m.bias_gradient(), own.workspace, own.bytes);
    });
    const turned by = m.by_output(config_.experts);
    device::launch(
        polymoe::backend::detail::thread_grid("add weight gradient", t.c.stream, by.rows * by.taps * by.inner),
        polymoe::backend::kernel::add_turned_kernel<M>, by, own.gradient, index{1}, dw);
  }
  void depthwise_gradient(const tile& t, const conv& m, view<const T> d, view<const T> in,
                          const polymoe::backend::kernel::map_owners& own, view<M> sums) const {
    namespace kernel = polymoe::backend::kernel;
    const index planes = sums.cols / m.out;
    polymoe::backend::detail::with_access<T>(
        [&]<class V>(V) {
          device::launch({.kernel = "depthwise weight gradient of experts",
                          .grid = {static_cast<int>(ceil_div(m.out, 32 * V::value)),
                                   static_cast<int>(std::min(sums.rows, most_blocks_y)), static_cast<int>(planes)},
                          .block = 32 * kernel::row_sum_warps,
                          .shared = kernel::row_sum_bytes<T, V::value>(),
                          .stream = t.stream()},
                         kernel::window_gradient_kernel<T, V::value>, m.windows(false), own, d, in, pixels(), sums);
        },
        d, in);
    // A map's sums are [taps, channels], as the weight in rows of taps, then those of the bias.
    add_map_sums(t.c, t.work, m.by_tap(config_.experts), {sums.ptr[0], sums.rows, m.taps() * m.out, sums.stride},
                 m.params.weight.grad.ptr[0]);
    if (m.bias)
      add_map_sums(t.c, t.work, {config_.experts, m.out, 1, m.out, 1},
                   {sums.ptr[0] + m.taps() * m.out, sums.rows, m.out, sums.stride}, m.bias_gradient());
  }
  void add_map_sums(const context<backend>& c, const work_type& work, const turned& by, view<const M> sums,
                    M* to) const {
    device::launch(polymoe::backend::detail::thread_grid("add sums of maps", c.stream, by.rows * by.taps * by.inner),
                   polymoe::backend::kernel::add_map_sums_kernel<M>, work.rows, by, sums, to);
  }
  template <class To>
  static void turn(context<backend>& c, const turned& by, view<const M> w, view<To> to) {
    device::launch(polymoe::backend::detail::thread_grid("turn weight", c.stream, to.size()),
                   polymoe::backend::kernel::turn_weight_kernel<To, M>, by, w.ptr[0], to);
  }

  template <std::size_t... I>
  std::array<conv, sizeof...(I)> make_maps(std::index_sequence<I...>) const {
    return {conv{{Body::map(I, config_)}, height_, width_}...};
  }
  index pixels() const { return height_ * width_; }
  polymoe::backend::group_norm_shape norm() const { return {Body::norm_channels(config_), Body::groups, pixels()}; }

  index window_bytes_ = 0;
  std::array<conv, Body::maps> maps_;
  norm_params<M> norm_params_;
};

}  // namespace polymoe::detail
