// Times bf16 layers on a GPU, stage by stage and whole, beside the floor of each (rows.hpp): one table, and JSON.
//
//   gpu_bench --rows R1,V3 --seconds 1 --json layer.json
//
// Softmax top-K router, MLP experts with tanh GELU, no balance loss; every row dropless, with capacity 1.0, and with
// capacity 1.0 in a padded plan (products by cuBLASLt), each with experts chosen about equally often and with
// popularity like 1 / rank (Zipf).  Rates of a large product and a large copy are measured first and, as a check of the
// clock, again at the end.  How: timing.cuh.  Status 77: no GPU here; 1: something failed.
#include <cstring>
#include <iostream>

#include "ceilings.cuh"
#include "report.hpp"

namespace gpu_bench {

template <int K, bool Bounded>
void measure_row(const row_shape&, bool padded, const std::vector<std::string>&, const ceilings&, double,
                 const std::function<void(block)>&);
block measure_libraries(const row_shape&, const ceilings&, double);  // library_rows.cu
block measure_routers(const row_shape&, const ceilings&, double);    // router_rows.cu
std::vector<row_shape> soft_rows();                                  // soft_rows.cu
block measure_soft(const row_shape&, const ceilings&, double);       // soft_rows.cu

namespace {

struct options {
  std::vector<row_shape> rows = all_rows();
  std::vector<std::string> capacities{"unlimited", "1.0", "padded"}, routings{"uniform", "zipf"};
  double seconds = 1;
  std::string json;
  bool soft = true;
};

constexpr const char* help =
    "gpu_bench [--rows R1,R2,...] [--capacities LIST] [--routings LIST] [--seconds S] [--soft yes|no] [--json FILE]\n"
    "  --rows        R1 to R4 (general), V1 to V7 (vision), or TxDxHxExK with K 1, 2 or 4; default: all eleven\n"
    "  --capacities  of unlimited,1.0,padded (1.0 with products by cuBLASLt); default: all\n"
    "  --routings    of uniform,zipf; default: both\n"
    "  --soft        also Soft MoE, rows S1 to S7; default: yes\n"
    "  --seconds     GPU time per row, capacity and routing, at least 5 rounds; default 1\n"
    "  --json        file for all figures, written after every block\n";

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

/// False: help was asked for.
bool read(int argc, char** argv, options& o) {
  const auto chosen = [](const char* flag, const std::string& text, const std::vector<std::string>& from) {
    const auto parts = split(text);
    for (const std::string& p : parts)
      polymoe::require(std::find(from.begin(), from.end(), p) != from.end(), flag, ": '", p, "' is not one of ",
                       from[0], ", ", from[1], from.size() > 2 ? ", " + from[2] : "");
    return parts;
  };
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--help" || flag == "-h") return false;
    const char* const flags[] = {"--rows", "--capacities", "--routings", "--seconds", "--soft", "--json"};
    polymoe::require(std::find(std::begin(flags), std::end(flags), flag) != std::end(flags), "unknown flag '", flag,
                     "', see --help");
    polymoe::require(i + 1 < argc, flag, " needs a value, see --help");
    const std::string value = argv[++i];
    if (flag == "--rows") {
      o.rows.clear();
      for (const std::string& r : split(value)) o.rows.push_back(find_row(r));
    } else if (flag == "--capacities") {
      o.capacities = chosen("--capacities", value, {"unlimited", "1.0", "padded"});
    } else if (flag == "--soft") {
      o.soft = chosen("--soft", value, {"yes", "no"}).front() == "yes";
    } else if (flag == "--routings") {
      o.routings = chosen("--routings", value, {"uniform", "zipf"});
    } else if (flag == "--seconds") {
      char* end = nullptr;
      o.seconds = std::strtod(value.c_str(), &end);
      polymoe::require(end != value.c_str() && *end == 0 && o.seconds >= 0 && o.seconds <= 3600, "--seconds: '", value,
                       "' is no number in [0, 3600]");
    } else {
      o.json = value;
    }
  }
  return true;
}

machine describe() {
  machine m;
  cudaDeviceProp p{};
  must(cudaGetDeviceProperties(&p, 0), "cudaGetDeviceProperties");
  must(cudaDriverGetVersion(&m.driver), "cudaDriverGetVersion");
  must(cudaRuntimeGetVersion(&m.runtime), "cudaRuntimeGetVersion");
  m.gpu = p.name, m.multiprocessors = p.multiProcessorCount, m.capability = 10 * p.major + p.minor;
  m.memory_gib = static_cast<double>(p.totalGlobalMem) / (1 << 30);
  m.l2_mib = static_cast<double>(p.l2CacheSize) / (1 << 20);
  return m;
}

void print(const char* when, const ceilings& c) {
  std::printf(
      "# %s: bf16 product 8192^3 %.1f TFLOP/s, multiply-adds in float %.1f TFLOP/s; copy of 256 MiB, read + written: "
      "cudaMemcpyAsync %.2f TB/s, kernel %.2f TB/s, of 8 MiB in L2 %.2f TB/s\n",
      when, 1e-12 * c.flops, 1e-12 * c.scalar_flops, 1e-12 * c.copy_api, 1e-12 * c.copy_kernel, 1e-12 * c.copy_cached);
  std::fflush(stdout);
}

int run(const options& o) {
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status != cudaSuccess || devices == 0) {
    std::cerr << "gpu_bench: no GPU here (" << (status == cudaSuccess ? "0 devices" : cudaGetErrorString(status))
              << "); nothing was measured\n";
    return 77;
  }
  report all;
  all.on = describe();
  std::printf("# %s, %d multiprocessors, compute capability %d.%d, %.0f GiB, L2 %.0f MiB, driver %d, runtime %d\n",
              all.on.gpu.c_str(), all.on.multiprocessors, all.on.capability / 10, all.on.capability % 10,
              all.on.memory_gib, all.on.l2_mib, all.on.driver, all.on.runtime);
  polymoe::cuda::runtime own(1, 0);
  const cudaStream_t stream = own.get().handle;
  all.start = measure_ceilings(stream);
  print("ceilings", all.start);
  print_head();
  for (const row_shape& r : o.rows)
    for (const std::string& capacity : o.capacities) {
      const bool padded = capacity == "padded", bounded = padded || capacity == "1.0";
      const auto done = [&](block b) {
        print(b);
        all.blocks.push_back(std::move(b));
        write_json(all, o.json);
      };
      try {
        const auto measure = r.k == 1   ? (bounded ? measure_row<1, true> : measure_row<1, false>)
                             : r.k == 2 ? (bounded ? measure_row<2, true> : measure_row<2, false>)
                                        : (bounded ? measure_row<4, true> : measure_row<4, false>);
        measure(r, padded, o.routings, all.start, o.seconds, done);
      } catch (const std::exception& e) {
        // The next row may run all the same.
        all.failures.push_back(r.name + ", capacity " + capacity + ": " + e.what());
        std::cerr << "gpu_bench: " << all.failures.back() << "\n";
        write_json(all, o.json);
      }
    }
  const auto beside = [&](const char* what, auto measure, double seconds, std::vector<block>& to) {
    for (const row_shape& r : o.rows)
      try {
        to.push_back(measure(r, all.start, seconds));
        print(to.back());
        write_json(all, o.json);
      } catch (const std::exception& e) {
        all.failures.push_back(r.name + ", " + what + ": " + e.what());
        std::cerr << "gpu_bench: " << all.failures.back() << "\n";
      }
  };
  beside("routers", measure_routers, o.seconds, all.routers);
  beside("libraries", measure_libraries, 0.25 * o.seconds, all.libraries);
  if (o.soft)
    for (const row_shape& r : soft_rows())
      try {
        all.blocks.push_back(measure_soft(r, all.start, o.seconds));
        print(all.blocks.back());
        write_json(all, o.json);
      } catch (const std::exception& e) {
        all.failures.push_back(r.name + ", Soft MoE: " + e.what());
        std::cerr << "gpu_bench: " << all.failures.back() << "\n";
      }
  try {
    all.end = measure_ceilings(stream);
    print("ceilings at the end", *all.end);
  } catch (const std::exception& e) {
    all.failures.push_back(std::string("ceilings at the end: ") + e.what());
    std::cerr << "gpu_bench: " << all.failures.back() << "\n";
  }
  write_json(all, o.json);
  return all.failures.empty() ? 0 : 1;
}

}  // namespace
}  // namespace gpu_bench

int main(int argc, char** argv) {
  try {
    gpu_bench::options o;
    if (!gpu_bench::read(argc, argv, o)) {
      std::cout << gpu_bench::help;
      return 0;
    }
    return gpu_bench::run(o);
  } catch (const std::exception& e) {
    std::cerr << "gpu_bench: " << e.what() << "\n";
    return 1;
  }
}
