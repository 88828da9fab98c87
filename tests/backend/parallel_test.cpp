// The parallel loop: every tile once, one worker a tile, workers' scratch apart, exceptions come out.
// thread: yes
#include <doctest/doctest.h>

#include <atomic>
#include <string>
#include <vector>

#include <polymoe/backend/cpu/parallel.hpp>

namespace parallel_test {
namespace {

using polymoe::index;
using polymoe::parallel_for;
using polymoe::parallel_rows;
using polymoe::worker;

polymoe::cpu::stream stream_of(int threads) {
  polymoe::cpu::stream s;
  s.threads = threads;
  return s;
}

}  // namespace

TEST_CASE("every tile is computed once, for any number of threads and tiles") {
  for (const int threads : {1, 2, 3, 8})
    for (const index tiles : {0, 1, 2, 7, 1000}) {
      std::vector<int> seen(static_cast<std::size_t>(tiles), 0);  // plain: tiles share nothing
      std::atomic<int> wrong{0};
      parallel_for(stream_of(threads), tiles, [&](index i, worker& w) {
        ++seen[static_cast<std::size_t>(i)];
        if (w.id < 0 || w.id >= threads) ++wrong;
      });
      CHECK(wrong == 0);
      for (const int n : seen) CHECK(n == 1);
    }
}

TEST_CASE("rows are cut by the grain alone, and none is left out") {
  for (const int threads : {1, 3})
    for (const index rows : {0, 1, 255, 256, 257, 1030}) {
      std::vector<index> begin(static_cast<std::size_t>(rows), -1);
      parallel_rows(stream_of(threads), rows, 256, [&](index first, index n, worker&) {
        for (index r = first; r < first + n; ++r) begin[static_cast<std::size_t>(r)] = first;
      });
      for (index r = 0; r < rows; ++r) CHECK(begin[static_cast<std::size_t>(r)] == r / 256 * 256);
    }
}

TEST_CASE("workers have scratch of their own") {
  std::vector<std::byte> memory(3 * 64);
  polymoe::cpu::stream s = stream_of(3);
  s.worker_scratch = memory.data(), s.worker_bytes = 64;
  std::atomic<int> wrong{0};
  parallel_for(s, 500, [&](index i, worker& w) {
    if (w.bytes != 64 || w.scratch != memory.data() + 64 * w.id) ++wrong;
    for (int b = 0; b < 64; ++b) w.scratch[b] = static_cast<std::byte>(i);
    for (int b = 0; b < 64; ++b) wrong += w.scratch[b] != static_cast<std::byte>(i);
  });
  CHECK(wrong == 0);
}

TEST_CASE("what was computed before the loop is seen in it, and its results after it") {
  std::vector<long> a(5000), b(5000);
  for (int round = 0; round < 20; ++round) {
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<long>(i) * round;
    parallel_for(stream_of(3), 5000,
                 [&](index i, worker&) { b[static_cast<std::size_t>(i)] = a[static_cast<std::size_t>(4999 - i)]; });
    long sum = 0;
    for (const long x : b) sum += x;
    CHECK(sum == 4999L * 5000 / 2 * round);
  }
}

TEST_CASE("an exception of a tile comes out of the loop; the other tiles are computed") {
  for (const int threads : {2, 3}) {
    std::vector<int> seen(100, 0);
    std::string text;
    try {
      parallel_for(stream_of(threads), 100, [&](index i, worker&) {
        ++seen[static_cast<std::size_t>(i)];
        if (i == 40) throw polymoe::error("tile 40");
      });
    } catch (const polymoe::error& e) {
      text = e.what();
    }
    CHECK(text == "tile 40");
    for (const int n : seen) CHECK(n == 1);
  }
}

}  // namespace parallel_test
