// The host executor against closed forms, and what it must find: standstills, wrong masks, overruns, order dependence.
#include "host_executor.hpp"

#include <chrono>
#include <set>

#include <doctest/doctest.h>

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
  if (op == 2) y = device::shuffle_down(x, argument, width);
  if (op == 3) y = device::shuffle_idx(x, argument, width);
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
  if (op == 2) j = lane + b, ok = j <= high;
  if (op == 3) j = low | (b & ~segment), ok = j <= high;
  return ok ? j : lane;
}

template <class T>
void check_shuffles() {
  for (int op = 0; op < 4; ++op)
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

template <class F>
std::string message_of(F f) {
  try {
    f();
  } catch (const polymoe::error& e) {
    return e.what();
  }
  return "nothing was thrown";
}
bool holds(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return true;
  MESSAGE("'", part, "' is not in: ", text);
  return false;
}

// Skips a check, aloud, where AddressSanitizer would end the program at the access itself.
bool guards_throw() {
  if constexpr (executor::guards_stop_program) MESSAGE("AddressSanitizer watches the guards and would end the program");
  return !executor::guards_stop_program;
}

// Skips a test, aloud, where there are no fibers.
bool no_fibers() {
  if constexpr (!executor::available) MESSAGE(std::string(executor::unavailable_reason));
  return !executor::available;
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
  row[1] = device::any(l == limit);
  row[2] = device::all(l < limit);
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
    T old = device::atomic_cas(global + 3, T(7), T(8));
    if (old == T(7)) device::atomic_exchange(global + 4, id);
    order[device::block_rank()] = device::atomic_add(order + device::grid_size().x, 1u);
  }
  seen[device::atomic_add(order + device::grid_size().x + 1, 1u)] = id;
}

TEST_CASE_TEMPLATE("executor: atomics", T, int, unsigned, index, std::uint64_t) {
  if (no_fibers()) return;
  std::vector<T> global{0, 0, 1000, 7, 99}, seen(6 * 48);
  std::vector<unsigned> order(8);
  device::launch({.kernel = "atomics", .grid = 6, .block = 48, .shared = 2 * sizeof(T)}, atomics<T>, global.data(),
                 seen.data(), order.data());
  CHECK(global[0] == 288 * 287 / 2);
  CHECK(global[1] == 287);
  CHECK(global[2] == 47);
  CHECK(global[3] == 8);
  CHECK(global[4] % 48 == 0);
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
POLYMOE_KERNEL void misuse(T* out, int what) {
  const int t = device::thread_rank();
  T* s = device::shared<T>();
  if (what == 0 && t < 10) device::sync_block();
  if (what == 1) {
    if (t < 10) device::sync_block();
    else
      device::sync_block();
  }
  if (what == 2 && t != 5) out[t] = device::shuffle_xor(out[t], 1);
  if (what == 3) out[t] = device::shuffle_xor(out[t], 1, 32, 0x0000ffffu);
  if (what == 4) out[t] = device::shuffle_idx(out[t], 9, 32, t % 32 < 8 ? 0xffu : 0xffffff00u);
  if (what == 5) s[64] = T(0);
  if (what == 6) s[-3] = T(-1);
  if (what == 7 && t == 3) throw std::out_of_range("thrown by thread 3");
  if (what == 8) out[t] = t % 2 ? static_cast<T>(device::ballot(true)) : device::shuffle_xor(out[t], 1);
  if (what == 9) device::sync_warp(t < 16 ? 0xffffu : 0xffffffffu);
  if (what == 10) device::shared<T>(64 * sizeof(T) + 4);
  if (what == 11) device::shuffle_up(out[t], 40);
  if (what == 12) device::atomic_add(reinterpret_cast<unsigned*>(reinterpret_cast<char*>(out) + 2), 1u);
  if (what == 13) device::launch({.kernel = "inner"}, misuse<T>, out, -1);
  if (what == 14) device::sync_grid({});
  if (what >= 0) device::sync_block();
}

TEST_CASE("executor: misuse is found and named") {
  if (no_fibers()) return;
  std::vector<float> out(80);
  device::launch_shape shape{.kernel = "misuse", .grid = 1, .block = 64, .shared = 256};
  const auto start = [&](int what) { device::launch(shape, misuse<float>, out.data(), what); };
  const auto report = [&](int what) { return message_of([&] { start(what); }); };

  std::string text;
  SUBCASE("threads that leave before a barrier") {
    shape.grid = {2, 3};
    const auto early = [&] { device::launch(shape, block_sum<float>, out.data(), out.data(), index{0}); };
    CHECK_NOTHROW(early());
    text = report(0);
    // Ten threads are at the inner barrier, the others at the last: two places, reported as such.
    CHECK(holds(text, "kernel misuse, block ("));
    CHECK(holds(text, "two different barriers, executor_test.cpp:"));
  }
  SUBCASE("two barriers in two branches") { CHECK(holds(report(1), "two different barriers")); }
  SUBCASE("a lane stays away from a shuffle") {
    text = report(2);
    CHECK_THROWS_AS(start(2), executor::deadlock);
    CHECK(holds(text, "deadlock in kernel misuse, grid (1,1,1), block size (64,1,1)"));
    CHECK(holds(text, "block (0,0,0), threads 0-4: waits in shuffle_xor at executor_test.cpp:"));
    CHECK(holds(text, "with members 0-31, for lanes 5"));
    CHECK(holds(text, "thread 5: waits at the block barrier executor_test.cpp:"));
    CHECK(holds(text, "33 of 64 threads are there"));
  }
  SUBCASE("a caller outside its members") {
    text = report(3);
    CHECK(holds(text, "shuffle_xor at executor_test.cpp:"));
    CHECK(holds(text, "which is not in its members 0-15"));
  }
  SUBCASE("a source outside the members") { CHECK(holds(report(4), "reads lane 9, which is not in the members 0-7")); }
  SUBCASE("lanes that do not exist") {
    shape.block = 40;
    CHECK(holds(report(2), "names lanes 0-31, but the warp has only 8"));
  }
  SUBCASE("two collectives at once") {
    text = report(8);
    CHECK(holds(text, "waits in ballot at"));
    CHECK(holds(text, "waits in shuffle_xor at"));
  }
  SUBCASE("two masks at once") { CHECK(holds(report(9), "in sync_warp at")); }
  SUBCASE("writes past the end of shared memory") {
    if (guards_throw()) CHECK(holds(report(5), "wrote 0 bytes past the end of its 256 bytes of shared memory"));
  }
  SUBCASE("writes before shared memory") {
    if (guards_throw()) CHECK(holds(report(6), "wrote 12 bytes before the start of its shared memory"));
  }
  SUBCASE("a kernel's own exception") { CHECK_THROWS_WITH_AS(start(7), "thrown by thread 3", std::out_of_range); }
  SUBCASE("an offset outside shared memory") { CHECK(holds(report(10), "offset 260 into 256 bytes")); }
  SUBCASE("a shuffle argument outside the warp") { CHECK(holds(report(11), "argument 40 is outside 0..31")); }
  SUBCASE("an atomic on a crooked address") { CHECK(holds(report(12), "not a multiple of 4")); }
  SUBCASE("a launch in a kernel") { CHECK(holds(report(13), "kernel inner was launched from inside kernel misuse")); }
  SUBCASE("a grid barrier without words") {
    shape.cooperative = true;
    CHECK(holds(report(14), "has no words"));
  }
  SUBCASE("impossible shapes") {
    shape.block = 1025;
    CHECK(holds(report(-1), "misuse: block 1025 x 1 x 1"));
    shape.block = 32;
    shape.shared = 300000;
    CHECK(holds(report(-1), "misuse: 300000 bytes of shared memory, the device has 232448"));
    shape.grid = -1;
    CHECK(holds(report(-1), "misuse: grid -1 x 1 x 1"));
  }
  SUBCASE("outside kernels") {
    CHECK(holds(message_of([] { device::sync_block(); }), "sync_block is for kernels, and no kernel runs"));
  }
  // Whatever happened, the next launch is whole.
  shape = {.kernel = "block_sum", .block = 32, .shared = 256};
  std::vector<float> ones(32, 1.0f);
  device::launch(shape, block_sum<float>, out.data(), ones.data(), 32);
  CHECK(out[0] == 32.0f);
  shape.grid = 0;
  CHECK_NOTHROW(start(7));
}

template <class T>
POLYMOE_KERNEL void leave_early(T* out) {
  if (device::thread_rank() >= 16) return;
  device::sync_block();
  out[device::thread_rank()] = T(1);
}

TEST_CASE("executor: threads that left are missed at a barrier, unless the settings let them pass") {
  if (no_fibers()) return;
  std::vector<float> out(32);
  const device::launch_shape shape{.kernel = "leave_early", .grid = {2, 2}, .block = {8, 4}};
  const std::string text = message_of([&] { device::launch(shape, leave_early<float>, out.data()); });
  CHECK(holds(text, "deadlock in kernel leave_early, grid (2,2,1), block size (8,4,1)"));
  CHECK(holds(text, "threads 0-15: waits at the block barrier executor_test.cpp:"));
  CHECK(holds(text, "16 of 32 threads are there"));
  CHECK(holds(text, "threads 16-31: left the kernel"));
  executor::scope with({.exited_threads_pass = true});
  CHECK_NOTHROW(device::launch(shape, leave_early<float>, out.data()));
  CHECK(out[15] == 1);
}

template <class T>
POLYMOE_KERNEL void show_shared(T* out) {
  out[device::block_rank()] = device::shared<T>()[3];
  device::sync_block();
  device::shared<T>()[3] = T(5);
}
// Thread 1 uses about depth * 4 KiB of its stack.
template <class T>
POLYMOE_KERNEL void deep(T* out, int depth) {
  if (device::thread_rank() == 0) return;
  volatile T frame[1024];
  for (int i = 0; i < 1024; ++i) frame[i] = static_cast<T>(depth);
  if (depth > 0) deep(out, depth - 1);
  else
    device::sync_warp(2u);
  *out = frame[depth];
}

TEST_CASE("executor: shared memory is poisoned for every block, stacks are watched") {
  if (no_fibers()) return;
  std::vector<int> out(5);
  device::launch({.kernel = "show_shared", .grid = 5, .block = 1, .shared = 64}, show_shared<int>, out.data());
  CHECK(out == std::vector<int>(5, -1));
  std::vector<float> real(5);
  device::launch({.kernel = "show_shared", .grid = 5, .block = 1, .shared = 64}, show_shared<float>, real.data());
  for (float v : real) CHECK(v != v);

  // Thread 1 overflows into the stack of thread 0, which has left.
  const int depth = static_cast<int>(executor::default_stack_bytes / 4096) + 3;
  const auto dive = [&] { device::launch({.kernel = "deep", .block = 2}, deep<int>, out.data(), depth); };
  executor::settings s{.threads = executor::order::ascending};
  if (guards_throw()) {
    executor::scope with(s);
    CHECK(holds(message_of(dive), "kernel deep, block (0,0,0), thread (1,0,0): its stack of "));
  }
  s.stack_bytes *= 4;
  executor::scope with(s);
  CHECK_NOTHROW(dive());
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
