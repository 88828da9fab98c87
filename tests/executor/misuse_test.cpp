// What the host executor must find and name: standstills, wrong masks, overruns, calls in the wrong place.
// sanitize: yes
// with: plans
#include "helpers.hpp"

#include <stdexcept>

namespace polymoe::executor_test {
namespace {

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

// Uses the machine well: every thread gets the sum of all ranks.
template <class T>
POLYMOE_KERNEL void sound(T* out) {
  T* sum = device::shared<T>();
  if (device::thread_rank() == 0) *sum = T(0);
  device::sync_block();
  device::atomic_add(sum, device::thread_rank());
  device::sync_block();
  out[device::thread_rank()] = device::shuffle_idx(*sum, 7);
}

TEST_CASE("executor: misuse is found and named") {
  if (no_fibers()) return;
  std::vector<float> out(80);
  std::vector<int> counts(64);
  device::launch_shape shape{.kernel = "misuse", .grid = 1, .block = 64, .shared = 256};
  const auto start = [&](int what) { device::launch(shape, misuse<float>, out.data(), what); };
  const auto report = [&](int what) { return message_of([&] { start(what); }); };

  std::string text;
  SUBCASE("threads that leave before a barrier") {
    shape.grid = {2, 3};
    text = report(0);
    // Ten threads are at the inner barrier, the others at the last: two places, reported as such.
    CHECK(holds(text, "kernel misuse, block ("));
    CHECK(holds(text, "two different barriers, misuse_test.cpp:"));
  }
  SUBCASE("two barriers in two branches") { CHECK(holds(report(1), "two different barriers")); }
  SUBCASE("a lane stays away from a shuffle") {
    text = report(2);
    CHECK_THROWS_AS(start(2), executor::deadlock);
    CHECK(holds(text, "deadlock in kernel misuse, grid (1,1,1), block size (64,1,1)"));
    CHECK(holds(text, "block (0,0,0), threads 0-4: waits in shuffle_xor at misuse_test.cpp:"));
    CHECK(holds(text, "with members 0-31, for lanes 5"));
    CHECK(holds(text, "thread 5: waits at the block barrier misuse_test.cpp:"));
    CHECK(holds(text, "33 of 64 threads are there"));
  }
  SUBCASE("a caller outside its members") {
    text = report(3);
    CHECK(holds(text, "shuffle_xor at misuse_test.cpp:"));
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
    if (guards_throw()) CHECK(holds(report(6), "wrote 9 bytes before the start of its shared memory"));
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
    CHECK(holds(report(-1), "misuse: launch of grid 1 x 1 x 1, 300000 bytes of shared memory, the device has 232448"));
    shape.grid = -1;
    CHECK(holds(report(-1), "misuse: grid -1 x 1 x 1"));
  }
  SUBCASE("a grid beyond the limit of its second or third dimension") {
    shape.grid = {1, 65536};
    CHECK(holds(report(-1), "misuse: grid 1 x 65536 x 1, the limit is 2147483647 x 65535 x 65535"));
    shape.grid = {1, 1, 65536};
    CHECK(holds(report(-1), "misuse: grid 1 x 1 x 65536, the limit is 2147483647 x 65535 x 65535"));
  }
  SUBCASE("outside kernels") {
    CHECK(holds(message_of([] { device::sync_block(); }), "sync_block is for kernels, and no kernel runs"));
  }
  // Whatever happened, the next launch is whole.
  shape = {.kernel = "sound", .grid = 1, .block = 64, .shared = 256};
  device::launch(shape, sound<int>, counts.data());
  CHECK(counts == std::vector<int>(64, 63 * 64 / 2));
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
  CHECK(holds(text, "threads 0-15: waits at the block barrier misuse_test.cpp:"));
  CHECK(holds(text, "16 of 32 threads are there"));
  CHECK(holds(text, "threads 16-31: left the kernel"));
  executor::scope with({.exited_threads_pass = true});
  CHECK_NOTHROW(device::launch(shape, leave_early<float>, out.data()));
  CHECK(out[15] == 1);
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

TEST_CASE("executor: a stack that is too small is found") {
  if (no_fibers()) return;
  std::vector<int> out(1);
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

}  // namespace
}  // namespace polymoe::executor_test
