// The host executor against closed forms, and the order dependence it must show.
// sanitize: yes
// with: plans
#include "helpers.hpp"

#include <chrono>
#include <set>

#include "device_wrappers.cu"

namespace polymoe::executor_test {
namespace {

// Sums x[0..n) per block: lanes through shuffles, warps through shared memory.
template <class T>
POLYMOE_KERNEL void block_sum(T* sums, const T* x, index n) {
  T* warps = device::shared<T>();
  const index i = device::block_rank() * device::block_size().x + device::thread_rank();
  T v = i < n ? x[i] : T(0);
  for (int flip = 16; flip > 0; flip /= 2) v += device::shuffle_xor(v, flip);
  if (device::lane() == 0) warps[device::warp()] = v;
  device::sync_block();
  if (device::thread_rank() > 0) return;
  T sum = 0;
  for (int w = 0; w < device::block_size().x / device::warp_size; ++w) sum += warps[w];
  sums[device::block_rank()] = sum;
}

// A tree in shared memory, with one barrier per level.
template <class T>
POLYMOE_KERNEL void tree_sum(T* sums, index per_thread) {
  T* s = device::shared<T>();
  const int t = device::thread_rank(), n = static_cast<int>(device::block_size().volume());
  s[t] = T(0);
  for (index i = 0; i < per_thread; ++i) s[t] += static_cast<T>(t * per_thread + i);
  device::sync_block();
  for (int half = n / 2; half > 0; half /= 2) {
    if (t < half) s[t] += s[t + half];
    device::sync_block();
  }
  if (t == 0) sums[device::block_rank()] = s[0];
}

// Exclusive prefix sum over the grid in two phases around a grid barrier; one value per thread.
template <class T>
POLYMOE_KERNEL void grid_prefix(T* prefix, T* totals, const T* x, device::grid_barrier barrier) {
  T* s = device::shared<T>();
  const int t = device::thread_rank(), n = static_cast<int>(device::block_size().volume());
  const index block = device::block_rank();
  s[t] = x[block * n + t];
  device::sync_block();
  if (t == 0) {
    T sum = 0;
    for (int i = 0; i < n; ++i) {
      const T v = s[i];
      s[i] = sum;
      sum += v;
    }
    totals[block] = sum;
  }
  device::sync_grid(barrier);
  T before = 0;
  for (index b = 0; b < block; ++b) before += totals[b];
  prefix[block * n + t] = before + s[t];
}

template <class T>
POLYMOE_KERNEL void shuffles(T* out, int op, int argument, int width) {
  const T x = static_cast<T>(100 + device::lane());
  T y{};
  if (op == 0) y = device::shuffle_xor(x, argument, width);
  if (op == 1) y = device::shuffle_up(x, argument, width);
  if (op == 2) y = device::shuffle_idx(x, argument, width);
  out[device::thread_rank()] = y;
}

// The lane that CUDA's shuffle reads from, after the PTX pages: minimum and maximum lane from the segment mask.
int shuffle_source(int op, int lane, int b, int width) {
  const int segment = 32 - width;  // the bits of the lane that name its segment
  const int low = lane & segment, high = low | (0x1f & ~segment);
  int j = 0;
  bool ok = false;
  if (op == 0) j = lane ^ b, ok = j <= high;
  if (op == 1) j = lane - b, ok = j >= low;
  if (op == 2) j = low | (b & ~segment), ok = j <= high;
  return ok ? j : lane;
}

template <class T>
void check_shuffles() {
  for (int op = 0; op < 3; ++op)
    for (int width : {1, 2, 4, 8, 16, 32})
      for (int argument = 0; argument < 32; ++argument) {
        std::vector<T> out(64);
        device::launch({.kernel = "shuffles", .block = 64}, shuffles<T>, out.data(), op, argument, width);
        for (int i = 0; i < 64; ++i) {
          const T want = static_cast<T>(100 + shuffle_source(op, i % 32, argument, width));
          if (out[static_cast<std::size_t>(i)] != want)
            FAIL("op ", op, " width ", width, " argument ", argument, " lane ", i);
        }
      }
}

TEST_CASE("executor: block reduction equals the closed form") {
  if (no_fibers()) return;
  for (int block : {32, 64, 256, 1024}) {
    const index n = 5 * block - 7;
    std::vector<double> x(static_cast<std::size_t>(n)), sums(5, -1);
    for (index i = 0; i < n; ++i) x[static_cast<std::size_t>(i)] = static_cast<double>(i);
    device::launch({.kernel = "block_sum", .grid = 5, .block = block, .shared = 32 * sizeof(double)},
                   block_sum<double>, sums.data(), x.data(), n);
    double sum = 0;
    for (double s : sums) sum += s;
    CHECK(sum == static_cast<double>(n) * static_cast<double>(n - 1) / 2);
    CHECK(sums[0] == block * (block - 1) / 2.0);

    std::vector<index> tree(3);
    device::launch({.kernel = "tree_sum", .grid = {1, 3}, .block = {block / 4, 2, 2}, .shared = 8 * 1024},
                   tree_sum<index>, tree.data(), 3);
    for (index s : tree) CHECK(s == index{3} * block * (3 * block - 1) / 2);
  }
}

TEST_CASE("executor: every shuffle reads the lane that PTX names") {
  if (no_fibers()) return;
  check_shuffles<int>();
  check_shuffles<double>();
  check_shuffles<float>();
  check_shuffles<unsigned>();
  check_shuffles<index>();
  check_shuffles<dual<double>>();
}

template <class T>
POLYMOE_KERNEL void votes(unsigned* out, T limit) {
  const int l = device::lane();
  unsigned* row = out + 8 * l;
  row[0] = device::ballot(l % 3 == 0);
  row[1] = device::ballot(l == limit) != 0;
  row[2] = device::ballot(l < limit) == device::full_warp;
  row[3] = device::match(l / 5);
  const unsigned half = l < 16 ? 0x0000ffffu : 0xffff0000u;
  row[4] = device::ballot(l % 2 == 0, half);
  row[5] = static_cast<unsigned>(device::popcount(row[0]) + 100 * device::find_first(row[0] << 2));
  // Lanes that diverge and meet again in disjoint groups.
  row[6] = l % 2 ? device::ballot(true, 0xaaaaaaaau) : device::ballot(l > 15, 0x55555555u);
  device::sync_warp();
  row[7] = device::shuffle_idx(static_cast<unsigned>(l), 5, 16, half);
}

TEST_CASE("executor: votes, masks and bit counts") {
  if (no_fibers()) return;
  std::vector<unsigned> out(256);
  device::launch({.kernel = "votes", .block = 32}, votes<int>, out.data(), 32);
  for (unsigned l = 0; l < 32; ++l) {
    const unsigned* row = out.data() + 8 * l;
    CHECK(row[0] == 0x49249249u);
    CHECK(row[1] == 0);
    CHECK(row[2] == 1);
    CHECK(row[3] == static_cast<unsigned>((std::uint64_t{0x1f} << (l / 5 * 5)) & 0xffffffffu));
    CHECK(row[4] == (l < 16 ? 0x00005555u : 0x55550000u));
    CHECK(row[5] == 11 + 100 * 3);
    CHECK(row[6] == (l % 2 ? 0xaaaaaaaau : 0x55550000u));
    CHECK(row[7] == (l < 16 ? 5 : 21));
  }
  device::launch({.kernel = "votes", .block = 32}, votes<int>, out.data(), 31);
  CHECK(out[1] == 1);
  CHECK(out[2] == 0);
}

template <class T>
POLYMOE_KERNEL void atomics(T* global, T* seen, unsigned* order) {
  T* local = device::shared<T>();
  const T id = static_cast<T>(device::block_rank() * device::block_size().x + device::thread_rank());
  if (device::thread_rank() < 2) local[device::thread_rank()] = T(0);
  device::sync_block();
  device::atomic_add(local, id);
  device::atomic_max(local + 1, id);
  device::sync_block();
  if (device::thread_rank() == 0) {
    device::atomic_add(global, local[0]);
    device::atomic_max(global + 1, local[1]);
    device::atomic_min(global + 2, local[1]);
    order[device::block_rank()] = device::atomic_add(order + device::grid_size().x, 1u);
  }
  seen[device::atomic_add(order + device::grid_size().x + 1, 1u)] = id;
}

TEST_CASE_TEMPLATE("executor: atomics", T, int, unsigned, index, std::uint64_t) {
  if (no_fibers()) return;
  std::vector<T> global{0, 0, 1000}, seen(6 * 48);
  std::vector<unsigned> order(8);
  device::launch({.kernel = "atomics", .grid = 6, .block = 48, .shared = 2 * sizeof(T)}, atomics<T>, global.data(),
                 seen.data(), order.data());
  CHECK(global[0] == 288 * 287 / 2);
  CHECK(global[1] == 287);
  CHECK(global[2] == 47);
  CHECK(std::set<T>(seen.begin(), seen.end()).size() == 288);
  CHECK(std::set<unsigned>(order.begin(), order.begin() + 6).size() == 6);
}

// Appends to a list in the order of arrival: its result depends on the order of blocks and threads.
template <class T>
POLYMOE_KERNEL void append(T* list, unsigned* count) {
  list[device::atomic_add(count, 1u)] = static_cast<T>(device::block_rank() * 100 + device::thread_rank());
}
std::vector<int> appended(const executor::settings& s) {
  executor::scope with(s);
  std::vector<int> list(40);
  unsigned count = 0;
  device::launch({.kernel = "append", .grid = 10, .block = 4}, append<int>, list.data(), &count);
  return list;
}
// Reads what another thread wrote without a barrier between.
template <class T>
POLYMOE_KERNEL void forgotten_barrier(T* out, int distance) {
  T* s = device::shared<T>();
  const int t = device::thread_rank(), n = device::block_size().x;
  s[t] = static_cast<T>(t);
  out[t] = s[(t + distance) % n];
}

TEST_CASE("executor: the order is drawn from the seed, and shows what depends on it") {
  if (no_fibers()) return;
  using executor::order;
  const auto first = appended({.seed = 1});
  CHECK(first == appended({.seed = 1}));
  CHECK(first != appended({.seed = 2}));
  const auto up = appended({.blocks = order::ascending, .threads = order::ascending});
  CHECK(up[5] == 101);
  CHECK(appended({.blocks = order::descending, .threads = order::descending})[5] == 802);
  auto sorted = first;
  std::sort(sorted.begin(), sorted.end());
  CHECK(sorted == up);

  // A deterministic kernel gives the same bits under every seed.
  std::vector<float> x(1000), want(4), got(4);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = 1.0f / static_cast<float>(i + 1);
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    executor::scope with({.seed = seed, .resident_blocks = seed % 2 ? 4 : 1});
    device::launch({.kernel = "block_sum", .grid = 4, .block = 256, .shared = 128}, block_sum<float>, got.data(),
                   x.data(), 1000);
    if (seed == 0) want = got;
    CHECK(got == want);
  }

  // A forgotten barrier shows, whichever neighbour is read.
  for (int distance : {1, 63}) {
    std::vector<float> out(64);
    device::launch({.kernel = "forgotten_barrier", .block = 64, .shared = 256}, forgotten_barrier<float>, out.data(),
                   distance);
    CHECK(std::any_of(out.begin(), out.end(), [](float v) { return v != v; }));
  }
}

TEST_CASE("executor: a grid barrier holds all blocks, and its words can be used again") {
  if (no_fibers()) return;
  unsigned words[2] = {};
  for (int grid : {1, 2, 7, 16}) {
    const std::size_t n = static_cast<std::size_t>(grid) * 96;
    std::vector<index> x(n), prefix(n), totals(static_cast<std::size_t>(grid));
    for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<index>(i);
    device::launch({.kernel = "grid_prefix", .grid = grid, .block = 96, .shared = 96 * 8, .cooperative = true},
                   grid_prefix<index>, prefix.data(), totals.data(), x.data(), device::grid_barrier{words});
    bool right = true;
    for (std::size_t i = 0; i < n; ++i) right = right && prefix[i] == static_cast<index>(i * (i - 1) / 2);
    CHECK(right);
  }
  CHECK(words[0] == 0);
  CHECK(words[1] == 4);
  std::vector<index> x(32 * 17);
  const auto start = [&](device::launch_shape shape, unsigned* w) {
    return message_of(
        [&] { device::launch(shape, grid_prefix<index>, x.data(), x.data(), x.data(), device::grid_barrier{w}); });
  };
  CHECK(holds(start({.kernel = "P", .block = 32, .shared = 256}, words), "not cooperative"));
  CHECK(holds(start({.kernel = "P", .grid = 17, .block = 32, .shared = 256, .cooperative = true}, words),
              "P: a cooperative grid of 17 blocks, the device holds 16"));
  words[0] = 3;
  CHECK(holds(start({.kernel = "P", .block = 32, .shared = 256, .cooperative = true}, words), "not zeroed: 3"));
}

// Blocks take turns by a word of memory.
template <class T>
POLYMOE_KERNEL void turnstile(T* list, unsigned* turn, int leave_out) {
  if (device::thread_rank() > 0) return;
  const auto me = static_cast<unsigned>(device::block_rank());
  device::wait_until(turn, me);
  list[me] = me == 0 ? T(1) : list[me - 1] * 3;
  device::fence();
  if (static_cast<int>(me) != leave_out) device::store_release(turn, me + 1);
}

TEST_CASE("executor: waiting for a word") {
  if (no_fibers()) return;
  std::vector<index> list(8);
  unsigned turn = 0;
  const device::launch_shape shape{.kernel = "turnstile", .grid = 8, .block = 32, .cooperative = true};
  device::launch(shape, turnstile<index>, list.data(), &turn, -1);
  CHECK(list[7] == 2187);
  turn = 0;
  const std::string text = message_of([&] { device::launch(shape, turnstile<index>, list.data(), &turn, 3); });
  CHECK(holds(text, "block (4,0,0), thread 0: waits at executor_test.cpp:"));
  CHECK(holds(text, "for a word to become 4, it is 3"));
}

template <class T>
POLYMOE_KERNEL void show_shared(T* out) {
  out[device::block_rank()] = device::shared<T>()[3];
  device::sync_block();
  device::shared<T>()[3] = T(5);
}
TEST_CASE("executor: shared memory is poisoned for every block") {
  if (no_fibers()) return;
  std::vector<int> out(5);
  device::launch({.kernel = "show_shared", .grid = 5, .block = 1, .shared = 64}, show_shared<int>, out.data());
  CHECK(out == std::vector<int>(5, -1));
  std::vector<float> real(5);
  device::launch({.kernel = "show_shared", .grid = 5, .block = 1, .shared = 64}, show_shared<float>, real.data());
  for (float v : real) CHECK(v != v);
}

TEST_CASE("executor: every wrapper of device.cuh runs, and 65,536 threads are quick") {
  if (no_fibers()) return;
  std::vector<float> f(2000, 1);
  std::vector<double> d(2000, 1);
  std::vector<index> wide(16);
  std::vector<int> narrow(2000);
  std::vector<unsigned> word(16);
  device_wrappers::start_every_wrapper(f.data(), d.data(), wide.data(), narrow.data(), word.data(), nullptr);
  CHECK(word[3] == 4);  // four blocks took their turn, in the second launch from zero again
  CHECK(word[9] == 1);

  std::vector<index> sums(256);
  const auto begin = std::chrono::steady_clock::now();
  device::launch({.kernel = "tree_sum", .grid = 256, .block = 256, .shared = 2048}, tree_sum<index>, sums.data(), 2);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  CHECK(sums[255] == 512 * 511 / 2);
  MESSAGE("65,536 threads, 9 barriers: ", seconds, " s, ", executor::last_launch().switches, " switches");
  CHECK(executor::last_launch().threads == 65536);
}

}  // namespace
}  // namespace polymoe::executor_test
