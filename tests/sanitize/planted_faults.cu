// One fault for each tool of compute-sanitizer, to prove that the tool sees what it is run for: the kernels are written
// on the wrappers of device.cuh and started by its launch, as all kernels of the library are.
//
//   planted_faults memcheck     reads one element behind an array
//   planted_faults racecheck    reads what another warp writes, without a barrier between
//   planted_faults initcheck    reads device memory that nobody wrote
//   planted_faults synccheck    half of a warp waits for the whole block
//   planted_faults none         the same kernels without the faults: no tool may say a word
//
// Status 0: the kernel ran; a tool ends the program with a status of its own.  77: no GPU here.  2: wrong arguments.
#include <cstdio>
#include <cstring>
#include <polymoe/backend/cuda/backend.cuh>

namespace planted_faults {
namespace device = polymoe::device;

constexpr int threads = 128;
enum class fault { none, memcheck, racecheck, initcheck, synccheck };
constexpr const char* names[] = {"none", "memcheck", "racecheck", "initcheck", "synccheck"};

/// to[i] = from[i], from [n]; with the fault the last thread reads from[n].
template <class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(threads) copy_kernel(T* to, const T* from, int n, int beyond) {
  const int i = device::thread_rank();
  if (i < n) to[i] = from[i == n - 1 ? i + beyond : i];
}
/// to[i] = from[i + 32 of the block, in a ring], through shared memory.
template <class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(threads) ring_kernel(T* to, const T* from, bool wait) {
  T* const all = device::shared<T>();
  const int i = device::thread_rank();
  all[i] = from[i];
  if (wait) device::sync_block();
  to[i] = all[(i + device::warp_size) % threads];
}
/// to[i] = from[i]; with the fault only the lower lanes of each warp reach the barrier of the block.
template <class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(threads) barrier_kernel(T* to, const T* from, int lanes) {
  T* const all = device::shared<T>();
  const int i = device::thread_rank();
  all[i] = from[i];
  if (device::lane() < lanes) device::sync_block();
  to[i] = all[i];
}

/// Memory as the driver gives it: device::allocate() fills what it gives, which would hide a read before a write.
class raw_memory {
 public:
  explicit raw_memory(std::size_t bytes) { device::detail::check(cudaMalloc(&data_, bytes), "cudaMalloc"); }
  ~raw_memory() { cudaFree(data_); }
  raw_memory(const raw_memory&) = delete;
  raw_memory& operator=(const raw_memory&) = delete;
  float* get() const { return static_cast<float*>(data_); }

 private:
  void* data_ = nullptr;
};

void run(fault f) {
  polymoe::cuda::runtime own(1, 0);
  const device::stream_handle stream = own.get().handle;
  constexpr std::size_t bytes = threads * sizeof(float);
  raw_memory from(bytes), to(bytes);
  if (f != fault::initcheck) device::clear(from.get(), bytes, stream);
  const device::launch_shape shape{
      .kernel = "planted fault", .grid = 1, .block = threads, .shared = bytes, .stream = stream};
  const bool all = f == fault::none;
  if (all || f == fault::memcheck || f == fault::initcheck)
    device::launch(shape, copy_kernel<float>, to.get(), from.get(), threads, f == fault::memcheck ? 1 : 0);
  if (all || f == fault::racecheck)
    device::launch(shape, ring_kernel<float>, to.get(), from.get(), f != fault::racecheck);
  if (all || f == fault::synccheck)
    device::launch(shape, barrier_kernel<float>, to.get(), from.get(), f == fault::synccheck ? 16 : 32);
  device::wait(stream);
}
}  // namespace planted_faults

int main(int argc, char** argv) {
  using namespace planted_faults;
  int chosen = -1;
  for (int i = 0; i < 5; ++i)
    if (argc == 2 && std::strcmp(argv[1], names[i]) == 0) chosen = i;
  if (chosen < 0) {
    std::fprintf(stderr, "planted_faults none | memcheck | racecheck | initcheck | synccheck\n");
    return 2;
  }
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("SKIPPED: no GPU here\n");
    return 77;
  }
  try {
    run(static_cast<fault>(chosen));
  } catch (const std::exception& e) {
    std::printf("%s: %s\n", names[chosen], e.what());
    return 1;
  }
  std::printf("%s ran\n", names[chosen]);
  return 0;
}
