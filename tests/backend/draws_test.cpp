// backend/cpu/draws.hpp: the same bits as block after block, for any first block and any number of them.
// sanitize: yes
#include <doctest/doctest.h>

#include <polymoe/backend/cpu/draws.hpp>
#include <vector>

namespace polymoe {
namespace {

TEST_CASE("draws: a tile has the words of its blocks, past 2^32 of them too") {
  const random_stream stream = random_root{3}.stream(stream_id("draws"), (std::uint64_t{5} << 32) + 1);
  const auto beyond = static_cast<index>((std::uint64_t{1} << 32) - 3);
  backend::draw_tile tile;
  for (const index first : {index{0}, index{7}, beyond})
    for (const index blocks : {1, 3, 17, 32}) {
      tile.fill(stream, first, blocks);
      int wrong = 0;
      for (index b = 0; b < blocks; ++b) {
        const words4 w = stream.bits(static_cast<std::uint64_t>(first + b));
        wrong += tile[4 * b] != w.a, wrong += tile[4 * b + 1] != w.b;
        wrong += tile[4 * b + 2] != w.c, wrong += tile[4 * b + 3] != w.d;
      }
      CHECK(wrong == 0);
    }
}

TEST_CASE("draws: tiles meet every element of a range once, whatever its ends") {
  for (const index from : {0, 1, 3, 4, 127, 130})
    for (const index count : {0, 1, 2, 5, 128, 129, 401}) {
      std::vector<int> met(static_cast<std::size_t>(from + count) + 8);
      index filled = -1, held = 0;
      int outside = 0;
      backend::each_draw_tile(
          from, from + count, [&](index block, index blocks) { filled = block, held = blocks; },
          [&](index first, index n, index base) {
            outside += base != 4 * filled || first < base || first + n > base + 4 * held;
            for (index i = first; i < first + n; ++i) ++met[static_cast<std::size_t>(i)];
          });
      int wrong = 0;
      for (index i = 0; i < static_cast<index>(met.size()); ++i)
        wrong += met[static_cast<std::size_t>(i)] != (i >= from && i < from + count ? 1 : 0);
      CHECK(outside == 0);
      CHECK(wrong == 0);
    }
}

}  // namespace
}  // namespace polymoe
