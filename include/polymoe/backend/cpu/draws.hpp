// Random bits of many consecutive blocks of a stream at once, in loops that compile to vector code.
//
// One block of Philox is a chain of ten dependent rounds; side by side blocks fill the time that each waits, with the
// same bits as random_stream::bits.  docs/results/routers.md has what that saves.
#pragma once

#include "../../core/rng.hpp"
#include "simd.hpp"

namespace polymoe::inline v0 {
namespace backend {

/// Words of at most 32 consecutive blocks of a stream: number 4 b + w is word w of block b.
class draw_tile {
 public:
  static constexpr index most_blocks = 32;

  /// Blocks first .. first + blocks - 1 of `stream`.
  void fill(const random_stream& stream, index first, index blocks) {
    std::uint32_t a[most_blocks], b[most_blocks], c[most_blocks], d[most_blocks];
    simd::each(blocks, [&](index i) {
      const words4 w = stream.counter(static_cast<std::uint64_t>(first + i));
      a[i] = w.a, b[i] = w.b, c[i] = w.c, d[i] = w.d;
    });
    philox_key key = stream.first_key();
    for (int round = 0; round < philox_key::rounds; ++round, key.next())
      simd::each(blocks, [&](index i) {
        const words4 w = philox_round({a[i], b[i], c[i], d[i]}, key);
        a[i] = w.a, b[i] = w.b, c[i] = w.c, d[i] = w.d;
      });
    simd::each(blocks, [&](index i) {
      word_[4 * i] = a[i], word_[4 * i + 1] = b[i], word_[4 * i + 2] = c[i], word_[4 * i + 3] = d[i];
    });
  }
  std::uint32_t operator[](index i) const { return word_[i]; }

 private:
  std::uint32_t word_[4 * most_blocks] = {};
};

/// f(first, n, base) for the elements [from, to) of a stream that has four a block: n of them from `first` on lie in
/// the tile of blocks that begins at element `base`, where fill(block, blocks) was called before.
template <class Fill, class F>
void each_draw_tile(index from, index to, Fill fill, F f) {
  for (index block = from / 4; 4 * block < to; block += draw_tile::most_blocks) {
    const index blocks = std::min(draw_tile::most_blocks, ceil_div(to, index{4}) - block);
    fill(block, blocks);
    const index base = 4 * block, first = std::max(base, from);
    f(first, std::min(to, base + 4 * blocks) - first, base);
  }
}

}  // namespace backend
}  // namespace polymoe
