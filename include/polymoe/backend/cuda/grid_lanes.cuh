// grid_lanes: the threads of several blocks as one block context (core/block.hpp), for groups too large for one block.
//
// The blocks of a group meet at a barrier of their own, two zeroed words of global memory, so all of them have to be
// resident: a cooperative launch.  One block alone needs no words, and waits for nobody else.
#pragma once

#include "block_lanes.cuh"

namespace polymoe::inline v0::device {

/// Waits for every thread of the `blocks` blocks that call it with these words.  As sync_grid(): the last block to
/// arrive clears the count and raises the generation, so the words need no clearing between uses.
POLYMOE_DEVICE inline void sync_blocks(unsigned* words, int blocks) {
  sync_block();
  if (thread_rank() == 0) {
    // Read before arriving: afterwards the last block may raise it at any moment.
    const unsigned generation = load_acquire(words + 1);
    fence();
    if (atomic_add(words, 1u) == static_cast<unsigned>(blocks) - 1) {
      store_release(words, 0u);
      store_release(words + 1, generation + 1);
    } else {
      wait_until(words + 1, generation + 1);
    }
    fence();
  }
  sync_block();
}

struct grid_lanes {
  block_lanes own;
  int block = 0, blocks = 1;   ///< this block among those of the group
  unsigned* words = nullptr;   ///< [2] of the group
  double* exchange = nullptr;  ///< [blocks] of the group, global memory

  POLYMOE_DEVICE int rank() const { return block * own.width() + own.rank(); }
  POLYMOE_DEVICE int width() const { return blocks * own.width(); }
  POLYMOE_DEVICE void sync() const {
    if (blocks == 1)
      own.sync();
    else
      sync_blocks(words, blocks);
  }
  /// Of whole numbers: the bits of a floating sum would tell how many blocks there are.
  template <class S>
  POLYMOE_DEVICE S sum(S x) const {
    static_assert(std::is_integral_v<S>, "polymoe: grid_lanes sums whole numbers only; floating sums are for teams");
    return over_blocks(own.sum(x), [](S a, S b) { return a + b; });
  }
  template <class S>
  POLYMOE_DEVICE S max(S x) const {
    return over_blocks(own.max(x), [](S a, S b) { return b > a ? b : a; });
  }
  POLYMOE_DEVICE int inclusive_scan(int x, int* total) const {
    x = own.inclusive_scan(x, total);
    if (blocks == 1) return x;
    const int* of_block = publish(*total);
    int before = 0, all = 0;
    for (int b = 0; b < blocks; ++b) before += b < block ? of_block[b] : 0, all += of_block[b];
    sync();
    *total = all;
    return x + before;
  }
  POLYMOE_DEVICE void count(int* counter) const { atomic_add(counter, 1); }
  template <class F>
  POLYMOE_DEVICE void lines(index n, index length, int* bins, F f) const {
    own.deal(block, blocks, n, length, bins, f);
  }
  template <class F>
  POLYMOE_DEVICE void short_lines(index n, F f) const {
    own.deal_to_warps(block, blocks, n, f);
  }

 private:
  template <class S>
  POLYMOE_DEVICE const S* publish(S x) const {
    static_assert(sizeof(S) <= sizeof(double), "polymoe: grid_lanes passes numbers of at most 8 bytes between blocks");
    S* numbers = reinterpret_cast<S*>(exchange);
    if (own.rank() == 0) numbers[block] = x;
    sync();
    return numbers;
  }
  template <class S, class F>
  POLYMOE_DEVICE S over_blocks(S x, F join) const {
    if (blocks == 1) return x;
    const S* of_block = publish(x);
    S all = of_block[0];
    for (int b = 1; b < blocks; ++b) all = join(all, of_block[b]);
    sync();
    return all;
  }
};

}  // namespace polymoe::device
