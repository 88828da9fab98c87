// The integer maths of the grouped product: every tile once, a swizzle without bank conflicts, fragments as in the PTX
// tables.
// sanitize: yes
// with: grouped
#include "grouped_cases.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace polymoe::grouped_test {
namespace g = polymoe::grouped;
namespace {

std::vector<int> prefix_of(const g::strip_finder& f) {
  std::vector<int> prefix(g::table_words, 0);
  for (int b = 0; b < g::table_entries; ++b)
    prefix[static_cast<std::size_t>(b) + 1] = prefix[static_cast<std::size_t>(b)] + f.strips_of_entry(b);
  return prefix;
}

// Walks all tiles as the kernel does and counts every (expert, m, n).
void cover(const g::segments& s, int strip, int n_tiles) {
  g::strip_finder f{s, strip, nullptr};
  const std::vector<int> prefix = prefix_of(f);
  f.prefix = prefix.data();
  std::map<std::tuple<int, int, int>, int> seen;
  index rows = 0;
  for (index l = 0; l < f.total() * n_tiles; ++l) {
    const auto owner = f.find(l / n_tiles);
    const g::tile_at at = g::place_tile(l - (l / n_tiles - owner.strip) * n_tiles, owner.strips, n_tiles);
    REQUIRE(owner.expert >= 0);
    REQUIRE(owner.expert < s.experts);
    REQUIRE(at.m >= 0);
    REQUIRE(at.m < f.strips_of(owner.expert));
    REQUIRE(at.n >= 0);
    REQUIRE(at.n < n_tiles);
    REQUIRE(++seen[{owner.expert, at.m, at.n}] == 1);
    const index begin = s.begin(owner.expert) + at.m * strip, end = std::min<index>(begin + strip, s.end(owner.expert));
    REQUIRE(begin < end);
    rows += end - begin;
  }
  CHECK(rows == (s.end(s.experts - 1) - s.begin(0)) * n_tiles);
  CHECK(f.total() <= g::most_strips(s.rows(), s.experts, strip));
}

// ---- compile time ----

constexpr bool bijective(int chunks) {
  for (int row = 0; row < 64; ++row) {
    bool hit[64] = {};
    for (int c = 0; c < chunks; ++c) {
      const int at = g::chunk_offset(row, c, chunks) / g::chunk_bytes - row * chunks;
      if (at < 0 || at >= chunks || hit[at]) return false;
      hit[at] = true;
    }
  }
  return true;
}
// Eight lanes that access 16 bytes each in one go: their words must fall into 32 different banks.
template <class F>
constexpr bool free_of_conflicts(F offset) {
  bool hit[8] = {};
  for (int lane = 0; lane < 8; ++lane) {
    const int bank = offset(lane) / 16 % 8;
    if (hit[bank]) return false;
    hit[bank] = true;
  }
  return true;
}
constexpr bool rows_and_columns_free(int chunks) {
  for (int row = 0; row < 64; row += 8)
    for (int c = 0; c < chunks; ++c)
      if (!free_of_conflicts([&](int l) { return g::chunk_offset(row + l, c, chunks); })) return false;
  for (int row = 0; row < 64; ++row)
    for (int c = 0; c < chunks; c += 8)
      if (!free_of_conflicts([&](int l) { return g::chunk_offset(row, c + l, chunks); })) return false;
  return true;
}
static_assert(bijective(8) && bijective(16) && bijective(32), "polymoe test: the swizzle loses chunks");
static_assert(rows_and_columns_free(8) && rows_and_columns_free(16) && rows_and_columns_free(32),
              "polymoe test: the swizzle has bank conflicts");

// The eight lanes that name the rows of one 8 x 8 matrix, for all four matrices of a load.
template <class F>
constexpr bool matrix_loads_free(F place, int chunks) {
  for (int base = 0; base < 64; base += 16)
    for (int c = 0; c + 2 <= chunks; c += 2)
      for (int matrix = 0; matrix < 4; ++matrix)
        if (!free_of_conflicts([&](int l) {
              const g::matrix_row r = place(8 * matrix + l);
              return g::chunk_offset(base + r.row, c + r.chunk, chunks);
            }))
          return false;
  return true;
}
static_assert(matrix_loads_free(g::a_rows, 8) && matrix_loads_free(g::b_rows, 8) &&
                  matrix_loads_free(g::a_rows_transposed, 16) && matrix_loads_free(g::b_rows_transposed, 16),
              "polymoe test: a matrix load has bank conflicts");

}  // namespace

TEST_CASE("grouped tiles: 200 random ragged cases, every tile once") {
  const auto draw = random_root{5}.stream(1, 0);
  std::uint64_t at = 0;
  for (int i = 0; i < 200; ++i) {
    const int many[] = {1, 2, 3, 8, 33, 255, 256, 257, 600, 1025};
    const int experts = many[draw.below(at++, 10)], strip = draw.below(at++, 2) ? 128 : 64;
    const int n_tiles = 1 + static_cast<int>(draw.below(at++, 5));
    std::vector<int> rows(static_cast<std::size_t>(experts));
    for (int& r : rows) {
      const auto kind = draw.below(at++, 4);
      r = kind == 0 ? 0 : kind == 1 ? static_cast<int>(draw.below(at++, 9)) : static_cast<int>(draw.below(at++, 200));
    }
    if (draw.below(at++, 4) == 0) {  // one expert has nearly all
      for (int& r : rows) r = draw.below(at++, 8) == 0;
      const auto hot = draw.below(at++, static_cast<std::uint32_t>(experts));
      rows[hot] = 2000 + static_cast<int>(draw.below(at++, 3000));
    }
    const ragged list(rows);
    cover(list.segments(), strip, n_tiles);
  }
}
TEST_CASE("grouped tiles: equal segments, without a table and with rows of units") {
  for (const int experts : {1, 3, 2000})
    for (const index each : {0, 1, 64, 130}) cover(g::equal_segments(experts, each), 64, 3);
  cover(g::one_segment(1000), 128, 7);
  const std::vector<int> first{0, 2, 2, 5};
  cover({first.data(), 3, 0, 5, 49}, 64, 2);
}
TEST_CASE("grouped tiles: chunks of weight gradients find entries of their own") {
  const auto draw = random_root{6}.stream(1, 0);
  std::uint64_t at = 0;
  for (int i = 0; i < 200; ++i) {
    const int chunk = 1 + static_cast<int>(draw.below(at++, 50));
    std::set<index> used;
    index row = 0;
    for (int e = 0; e < 20; ++e) {
      const index rows = draw.below(at++, 120);
      for (index c = chunk; c < rows; c += chunk) {
        const index entry = g::part_of(row + c, chunk);
        REQUIRE(entry >= 0);
        REQUIRE(used.insert(entry).second);
        // The reduction expects an expert's chunks in neighbouring entries.
        REQUIRE(entry == g::part_of(row + chunk, chunk) + c / chunk - 1);
      }
      row += rows;
    }
    if (!used.empty()) CHECK(*used.rbegin() < (row - 1) / chunk);
  }
}
TEST_CASE("grouped tiles: fragments as in the PTX tables") {
  for (int lane = 0; lane < 32; ++lane) {
    const int group = lane >> 2, in_group = lane % 4;
    for (int i = 0; i < 8; ++i) {  // m16n8k16, A of 16-bit elements a0..a7
      const int row = (i < 2 || (i >= 4 && i < 6)) ? group : group + 8;
      const int column = in_group * 2 + (i & 1) + (i < 4 ? 0 : 8);
      CHECK(g::bf16_a(lane, i / 2, i % 2) == g::element{row, column});
    }
    for (int i = 0; i < 4; ++i) {  // B, b0..b3
      const int row = in_group * 2 + (i & 1) + (i < 2 ? 0 : 8);
      CHECK(g::bf16_b(lane, i / 2, i % 2) == g::element{row, group});
    }
    for (int i = 0; i < 4; ++i) {  // C, c0..c3
      CHECK(g::fragment_c(lane, i) == g::element{i < 2 ? group : group + 8, in_group * 2 + (i & 1)});
      // m16n8k8, A of tf32
      CHECK(g::tf32_a(lane, i) == g::element{i == 0 || i == 2 ? group : group + 8, i < 2 ? in_group : in_group + 4});
    }
    for (int i = 0; i < 2; ++i) CHECK(g::tf32_b(lane, i) == g::element{in_group + 4 * i, group});
  }
  // Every table holds each element once.
  std::set<std::pair<int, int>> a, b, c;
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i) {
      for (int h = 0; h < 2; ++h) {
        a.insert({g::bf16_a(lane, i, h).row, g::bf16_a(lane, i, h).column});
        if (i < 2) b.insert({g::bf16_b(lane, i, h).row, g::bf16_b(lane, i, h).column});
      }
      c.insert({g::fragment_c(lane, i).row, g::fragment_c(lane, i).column});
    }
  CHECK(a.size() == 256);
  CHECK(b.size() == 128);
  CHECK(c.size() == 128);
}
TEST_CASE("grouped tiles: matrix loads put elements where products expect them") {
  // A tile of 32 x 16 numbers, element = 100 row + column, in both orders; loads as the engine does them.
  std::vector<std::uint16_t> straight(16 * 64), turned(16 * 64);
  for (int r = 0; r < 16; ++r)
    for (int k = 0; k < 16; ++k) {
      straight[static_cast<std::size_t>(g::element_offset(r, k, 8, 2))] = static_cast<std::uint16_t>(100 * r + k);
      turned[static_cast<std::size_t>(g::element_offset(k, r, 8, 2))] = static_cast<std::uint16_t>(100 * r + k);
    }
  unsigned right = 0;
  const auto kernel = +[](const std::uint16_t* s, const std::uint16_t* t, unsigned* count) {
    const int lane = device::lane();
    const auto at = [](const std::uint16_t* tile, g::matrix_row r) {
      return tile + g::chunk_offset(r.row, r.chunk, 8) / 2;
    };
    unsigned r[4][4];
    device::load_matrices(r[0], at(s, g::a_rows(lane)));
    device::load_matrices_transposed(r[1], at(t, g::a_rows_transposed(lane)));
    device::load_matrices(r[2], at(s, g::b_rows(lane)));
    device::load_matrices_transposed(r[3], at(t, g::b_rows_transposed(lane)));
    unsigned good = 0;
    for (int i = 0; i < 4; ++i)
      for (int h = 0; h < 2; ++h) {
        const g::element a = g::bf16_a(lane, i, h), b = g::bf16_b(lane, i & 1, h);
        const int want_a = 100 * a.row + a.column, want_b = 100 * (b.column + i / 2 * 8) + b.row;
        for (int q = 0; q < 4; ++q)
          good += static_cast<int>(r[q][i] >> (16 * h) & 0xffffu) == (q < 2 ? want_a : want_b);
      }
    device::atomic_add(count, good);
  };
  device::launch({.kernel = "matrix loads", .grid = 1, .block = 32}, kernel, straight.data(), turned.data(), &right);
  CHECK(right == 32 * 4 * 2 * 4);
}
TEST_CASE("grouped tiles: limits of shared memory decide the tile") {
  using g::tile_kind;
  const std::size_t large = 99360, deep = 132128;
  const g::device_limits sm90{132, 232448, 233472}, sm80{108, 166912, 167936}, sm86{84, 101376, 102400};
  const auto choose = [&](const g::device_limits& d, bool wide, index strips, index columns, index rows) {
    return g::choose_tile(d, wide, strips, columns, rows, large, deep);
  };
  CHECK(choose(sm90, true, 1024, 1536, 4096) == tile_kind::large);
  CHECK(choose(sm80, true, 1024, 1536, 4096) == tile_kind::deep);
  CHECK(choose(sm86, true, 1024, 1536, 4096) == tile_kind::large);
  CHECK(choose(sm90, true, 1024, 64, 4096) == tile_kind::small);
  CHECK(choose(sm90, true, 1024, 1536, 33) == tile_kind::small);
  CHECK(choose(sm90, true, 10, 1536, 4096) == tile_kind::small);
  CHECK(choose(sm90, false, 1024, 1536, 4096) == tile_kind::narrow);
}

}  // namespace polymoe::grouped_test
