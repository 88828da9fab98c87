// block_lanes: the threads of a CUDA block as a block context (core/block.hpp), for the column phases of routers.
//
// Sums and scans go warp by warp, then over the warps in order: the same bits on every thread and in every run.  Blocks
// are whole warps.
#pragma once

#include "../../core/block.hpp"
#include "device.cuh"

namespace polymoe::inline v0::device {

struct block_lanes {
  static constexpr int most_warps = 32;
  /// Shared memory that `words` points to.
  static constexpr std::size_t bytes = most_warps * sizeof(double);

  double* words;  ///< shared by the block

  POLYMOE_DEVICE int rank() const { return thread_rank(); }
  POLYMOE_DEVICE int width() const { return static_cast<int>(block_size().volume()); }
  POLYMOE_DEVICE void sync() const { sync_block(); }

  template <class S>
  POLYMOE_DEVICE S sum(S x) const {
    for (int flip = warp_size / 2; flip > 0; flip /= 2) x = x + shuffle_xor(x, flip);
    const S* of_warp = publish(x, lane() == 0);
    S total = of_warp[0];
    for (int w = 1; w < warps(); ++w) total = total + of_warp[w];
    sync_block();
    return total;
  }
  template <class S>
  POLYMOE_DEVICE S max(S x) const {
    for (int flip = warp_size / 2; flip > 0; flip /= 2) {
      const S other = shuffle_xor(x, flip);
      x = other > x ? other : x;
    }
    const S* of_warp = publish(x, lane() == 0);
    S most = of_warp[0];
    for (int w = 1; w < warps(); ++w) most = of_warp[w] > most ? of_warp[w] : most;
    sync_block();
    return most;
  }
  POLYMOE_DEVICE int inclusive_scan(int x, int* total) const {
    for (int step = 1; step < warp_size; step *= 2) {
      const int before = shuffle_up(x, step);
      if (lane() >= step) x += before;
    }
    const int* of_warp = publish(x, lane() == warp_size - 1);
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

 private:
  POLYMOE_DEVICE int warps() const { return width() / warp_size; }
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
