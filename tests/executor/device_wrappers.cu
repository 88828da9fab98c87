// arch: sm_80
// Every wrapper of device.cuh in one kernel, and a launch of it.  nvcc compiles this file, executor_test.cpp includes
// and runs it: the proof that the host executor offers the interface that nvcc sees.
#include <algorithm>

#include <polymoe/backend/cuda/device.cuh>
#include <polymoe/core/dual.hpp>

namespace polymoe::device_wrappers {

template <class T>
POLYMOE_KERNEL POLYMOE_LAUNCH_BOUNDS(256, 1) void every_wrapper(T* out, index* wide, int* narrow, unsigned* word,
                                                                device::grid_barrier barrier, index n) {
  const device::dim b = device::block_index(), s = device::block_size(), g = device::grid_size();
  index i = index{b.x + b.y + b.z} * s.x * s.y * s.z + g.x + g.y + g.z;
  i += device::thread_rank() + device::block_rank() + device::lane() + device::warp();
  if (i >= n) i = 0;

  T* tile = device::shared<T>();
  int* tail = device::shared<int>(256 * sizeof(T));
  if (device::thread_rank() == 0) device::copy_async(tile, out, 16);
  device::copy_commit();
  device::copy_wait<0>();
  device::sync_block();
  tile[device::thread_rank()] = out[i];
  tail[device::thread_rank()] = narrow[i];
  device::sync_block();
  device::sync_warp();
  device::fence();

  T x = tile[device::thread_rank() ^ 1];
  POLYMOE_UNROLL
  for (int flip = 16; flip > 0; flip /= 2) x += device::shuffle_xor(x, flip);
  x += device::shuffle_up(x, 1) + device::shuffle_up(x, 2, 16) + device::shuffle_idx(x, 3, 8, device::full_warp);
  const dual<T> d = device::shuffle_xor(dual<T>{x, x}, 1);
  index v = device::shuffle_idx(i, 0) + device::shuffle_up(tail[0], 1) + device::shuffle_up(*word, 1);
  const bf16 h = device::shuffle_xor(bf16(1.0f), 4);

  const unsigned votes = device::ballot(x > T(0)), same = device::match(i) ^ device::match(narrow[0]);
  v += device::popcount(votes) + device::find_first(same);

  device::atomic_add(out, d.v + d.t + static_cast<T>(static_cast<float>(h)));
  device::atomic_add(wide, device::atomic_max(wide + 1, v) + device::atomic_min(wide + 2, v));
  device::atomic_add(narrow, device::atomic_max(narrow + 1, 3) + device::atomic_min(tail, 4));
  device::atomic_add(word, device::atomic_max(word + 1, 3u) + device::atomic_min(word + 2, 4u));

  device::sync_grid(barrier);
  if (device::thread_rank() == 0) {
    device::wait_until(word + 3, static_cast<unsigned>(device::block_rank()));
    device::store_release(word + 3, device::load_acquire(word + 3) + 1);
  }
}

template <class T>
void start(T* out, index* wide, int* narrow, unsigned* word, device::stream_handle stream) {
  const std::size_t bytes = 256 * (sizeof(T) + sizeof(int));
  device::clear(word, 16 * sizeof(unsigned), stream);
  device::copy(out, out + 8, 8 * sizeof(T), stream);
  require(bytes <= device::shared_limit() && bytes <= device::shared_of_multiprocessor(), "every_wrapper: ", bytes,
          " bytes of shared memory");
  const int blocks = device::max_cooperative_blocks(every_wrapper<T>, 256, bytes);
  device::launch({.kernel = "every_wrapper",
                  .grid = std::min(blocks, device::multiprocessors()),
                  .block = 256,
                  .shared = bytes,
                  .stream = stream,
                  .cooperative = true},
                 every_wrapper<T>, out, wide, narrow, word, device::grid_barrier{word + 8}, 1000);
}

void start_every_wrapper(float* f, double* d, index* wide, int* narrow, unsigned* word, device::stream_handle stream) {
  start(f, wide, narrow, word, stream);
  start(d, wide, narrow, word, stream);
}
}  // namespace polymoe::device_wrappers
