// Block contexts of CUDA (core/block.hpp), for the column phases of routers: warp_lanes, the threads of a warp, and
// block_lanes, those of a block.  grid_lanes.cuh has that of several blocks.
//
// Sums and scans go warp by warp, then over the warps in order: the same bits on every thread and in every run.  Blocks
// are whole warps.
#pragma once

#include "../../core/block.hpp"
#include "warp_group.cuh"

namespace polymoe::inline v0::device {

struct warp_lanes {
  POLYMOE_DEVICE int rank() const { return lane(); }
  POLYMOE_DEVICE int width() const { return warp_size; }
  POLYMOE_DEVICE void sync() const { sync_warp(); }
  template <class S>
  POLYMOE_DEVICE S sum(S x) const {
    return warp_group{}.sum(x);
  }
  template <class S>
  POLYMOE_DEVICE S max(S x) const {
    return warp_group{}.max(x);
  }
  POLYMOE_DEVICE int inclusive_scan(int x, int* total) const {
    for (int step = 1; step < warp_size; step *= 2) {
      const int before = shuffle_up(x, step);
      if (lane() >= step) x += before;
    }
    *total = shuffle_idx(x, warp_size - 1);
    return x;
  }
  POLYMOE_DEVICE void count(int* counter) const { atomic_add(counter, 1); }
  template <class F>
  POLYMOE_DEVICE void lines(index n, index /*length*/, int* bins, F f) const {
    for (index i = 0; i < n; ++i) f(*this, bins, i);
  }
  template <class F>
  POLYMOE_DEVICE void short_lines(index n, F f) const {
    for (index i = 0; i < n; ++i) f(*this, i);
  }
};

struct block_lanes {
  static constexpr int most_warps = 32;
  /// A line of more elements is worth a block, others a warp.  It is part of what decides the bits of sums.
  static constexpr index warp_line = 1024;
  /// Shared memory that `words` points to.
  static constexpr std::size_t bytes = most_warps * sizeof(double);

  double* words;  ///< shared by the block

  POLYMOE_DEVICE int rank() const { return thread_rank(); }
  POLYMOE_DEVICE int width() const { return static_cast<int>(block_size().volume()); }
  POLYMOE_DEVICE void sync() const { sync_block(); }

  template <class S>
  POLYMOE_DEVICE S sum(S x) const {
    const S* of_warp = publish(warp_lanes{}.sum(x), lane() == 0);
    S total = of_warp[0];
    for (int w = 1; w < warps(); ++w) total = total + of_warp[w];
    sync_block();
    return total;
  }
  template <class S>
  POLYMOE_DEVICE S max(S x) const {
    const S* of_warp = publish(warp_lanes{}.max(x), lane() == 0);
    S most = of_warp[0];
    for (int w = 1; w < warps(); ++w) most = of_warp[w] > most ? of_warp[w] : most;
    sync_block();
    return most;
  }
  POLYMOE_DEVICE int inclusive_scan(int x, int* total) const {
    int of_mine = 0;
    x = warp_lanes{}.inclusive_scan(x, &of_mine);
    const int* of_warp = publish(of_mine, lane() == 0);
    int before = 0, all = 0;
    for (int w = 0; w < warps(); ++w) {
      if (w < warp()) before += of_warp[w];
      all += of_warp[w];
    }
    sync_block();
    *total = all;
    return x + before;
  }
  POLYMOE_DEVICE void count(int* counter) const { atomic_add(counter, 1); }
  /// `bins` has room for select_bins numbers of every warp.
  template <class F>
  POLYMOE_DEVICE void lines(index n, index length, int* bins, F f) const {
    deal(0, 1, n, length, bins, f);
  }
  template <class F>
  POLYMOE_DEVICE void short_lines(index n, F f) const {
    deal_to_warps(0, 1, n, f);
  }

  /// The same for block `block` of `blocks` that share the lines.
  template <class F>
  POLYMOE_DEVICE void deal(int block, int blocks, index n, index length, int* bins, F f) const {
    if (length <= warp_line)
      deal_to_warps(block, blocks, n,
                    [&](const warp_lanes& team, index i) { f(team, bins + warp() * phase::select_bins, i); });
    else
      for (index i = block; i < n; i += blocks) f(*this, bins, i);
  }
  template <class F>
  POLYMOE_DEVICE void deal_to_warps(int block, int blocks, index n, F f) const {
    for (index i = index{block} * warps() + warp(); i < n; i += index{blocks} * warps()) f(warp_lanes{}, i);
  }
  POLYMOE_DEVICE int warps() const { return width() / warp_size; }

 private:
  /// One number of each warp, readable by the block afterwards.
  template <class S>
  POLYMOE_DEVICE const S* publish(S x, bool mine) const {
    static_assert(sizeof(S) <= sizeof(double), "polymoe: block_lanes passes numbers of at most 8 bytes between warps");
    S* shared_words = reinterpret_cast<S*>(words);
    if (mine) shared_words[warp()] = x;
    sync_block();
    return shared_words;
  }
};

}  // namespace polymoe::device
