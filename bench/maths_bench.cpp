// GFLOP/s of the CPU backend's dense products, beside one plain oneDNN matmul of the same whole shape.
//
// 4096 rows stream through in tiles of 256 (product) or as one run per output block (outer_product).  Arguments: k, n,
// threads.  "plain" lets oneDNN thread the whole shape itself, weights in its preferred format for the forward shape
// and both operands as stored for the gradient.
#include <benchmark/benchmark.h>

#include <vector>

#include <polymoe/backend/cpu/maths.hpp>

namespace {

using polymoe::bf16;
using polymoe::index;
using polymoe::master_t;
using polymoe::worker;
namespace maths = polymoe::maths;

constexpr index rows = 4096;

struct crew {
  crew(int threads, std::size_t bytes) {
    const std::size_t each = static_cast<std::size_t>(polymoe::round_up(static_cast<index>(bytes), 4096));
    block = polymoe::aligned_block(each * static_cast<std::size_t>(threads));
    stream.threads = threads, stream.worker_bytes = each;
    stream.worker_scratch = static_cast<std::byte*>(block.data());
  }
  polymoe::aligned_block block;
  polymoe::backend::cpu_with<maths::automatic>::stream stream;
};

template <class R>
std::vector<R> ones(index n) {
  return std::vector<R>(static_cast<std::size_t>(n), static_cast<R>(static_cast<master_t<R>>(1)));
}

void report(benchmark::State& state, double flops) {
  state.counters["GFLOP/s"] =
      benchmark::Counter(flops * 1e-9 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

template <class R, class Lib>
void product(benchmark::State& state) {
  const index k = state.range(0), n = state.range(1);
  const maths::product<R, Lib> p(k, n);
  crew c(static_cast<int>(state.range(2)), p.worker_bytes());
  polymoe::aligned_block packed(p.packed_bytes());
  const auto x = ones<R>(rows * k);
  const auto w = ones<master_t<R>>(k * n), bias = ones<master_t<R>>(n);
  auto y = ones<R>(rows * n);
  worker first = c.stream.at(0);
  p.pack(w.data(), n, false, packed.data(), first);
  for (auto _ : state)
    polymoe::parallel_rows(c.stream, rows, 256, [&](index r, index count, worker& me) {
      p.run(me, x.data() + r * k, k, count, packed.data(), bias.data(), y.data() + r * n, n);
    });
  report(state, 2.0 * static_cast<double>(rows * k * n));
}

template <class R, class Lib>
void outer(benchmark::State& state) {
  const index k = state.range(0), n = state.range(1);
  const maths::outer_product<R, Lib> p(n, k);
  crew c(static_cast<int>(state.range(2)), p.worker_bytes());
  const auto a = ones<R>(rows * n), x = ones<R>(rows * k);
  const index cuts = p.preferred_pieces(rows), each = rows / cuts;
  auto g = ones<master_t<R>>(cuts * n * k);
  for (auto _ : state)
    polymoe::parallel_for(c.stream, p.blocks() * cuts, [&](index task, worker& me) {
      const index cut = task / p.blocks();
      p.run(me, task % p.blocks(), a.data() + cut * each * n, n, x.data() + cut * each * k, k, each,
            g.data() + cut * n * k, k);
    });
  report(state, 2.0 * static_cast<double>(rows * k * n));
}

template <class R, class Lib>
void pack(benchmark::State& state) {
  const index k = state.range(0), n = state.range(1);
  const maths::product<R, Lib> p(k, n);
  crew c(1, p.worker_bytes());
  polymoe::aligned_block packed(p.packed_bytes());
  const auto w = ones<master_t<R>>(k * n);
  worker first = c.stream.at(0);
  const bool transposed = state.range(2) != 0;
  for (auto _ : state) p.pack(w.data(), transposed ? k : n, transposed, packed.data(), first);
  state.SetBytesProcessed(state.iterations() * k * n * static_cast<index>(sizeof(master_t<R>)));
}

/// Attention of 64 heads: scores [t, d] x [d, t] (trans_b), then [t, t] x [t, d]; heads interleaved in rows of 6 heads.
template <class R, class Lib>
void batched(benchmark::State& state) {
  maths::batched_shape s;
  s.m = state.range(0), s.batch = 6;
  const index d = state.range(1), images = 16;
  const bool scores = state.range(2) != 0;
  s.trans_b = scores, s.n = scores ? s.m : d, s.k = scores ? d : s.m;
  if (scores)
    s.lda = s.ldb = 3 * 6 * d, s.stride_a = s.stride_b = d;
  else
    s.ldb = 3 * 6 * d, s.stride_b = d, s.ldc = 6 * d, s.stride_c = d;
  const maths::batched_product<R, Lib> p(s);
  crew c(1, p.worker_bytes());
  const index large = images * 6 * s.m * std::max(s.m, 3 * d);
  const auto a = ones<R>(large), b = ones<R>(large);
  auto out = ones<R>(large);
  worker first = c.stream.at(0);
  for (auto _ : state)
    for (index i = 0; i < images; ++i)
      p.run(first, a.data() + i * s.m * d, b.data() + i * s.m * d, out.data() + i * s.m * d);
  report(state, 2.0 * static_cast<double>(images * 6 * s.m * s.n * s.k));
}

#if defined(POLYMOE_WITH_ONEDNN) && defined(_OPENMP)
template <class R, bool Gradient>
void plain(benchmark::State& state) {
  using dnnl::memory;
  const index k = state.range(0), n = state.range(1);
  const int before = omp_get_max_threads();
  omp_set_num_threads(static_cast<int>(state.range(2)));
  const auto type = maths::detail::dnnl_type<R>;
  const auto a = ones<R>(rows * std::max(n, k)), b = ones<R>(rows * std::max(n, k));
  auto y = ones<float>(std::max(rows * n, n * k));
  const memory::desc src = Gradient ? memory::desc({n, rows}, type, memory::dims{1, n})
                                    : memory::desc({rows, k}, type, memory::format_tag::ab);
  const memory::desc weights = Gradient ? memory::desc({rows, k}, type, memory::format_tag::ab)
                                        : memory::desc({k, n}, type, memory::format_tag::any);
  const memory::desc dst = Gradient ? memory::desc({n, k}, memory::data_type::f32, memory::format_tag::ab)
                                    : memory::desc({rows, n}, type, memory::format_tag::ab);
  dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const dnnl::matmul::primitive_desc pd({src, weights, dst}, engine);
  const dnnl::matmul m(pd);
  const memory w(pd.weights_desc(), engine);
  memory sm(src, engine, const_cast<R*>(a.data())), dm(dst, engine, y.data());
  memory wm = Gradient ? memory(weights, engine, const_cast<R*>(b.data())) : w;
  for (auto _ : state) m.execute(stream, {{DNNL_ARG_SRC, sm}, {DNNL_ARG_WEIGHTS, wm}, {DNNL_ARG_DST, dm}});
  omp_set_num_threads(before);
  report(state, 2.0 * static_cast<double>(rows * k * n));
}
#endif

void shapes(benchmark::internal::Benchmark* b) {
  for (int threads : {1, 2})
    for (auto [k, n] : {std::pair{64, 128}, {64, 256}, {192, 768}, {384, 1536}, {1536, 384}}) b->Args({k, n, threads});
  b->UseRealTime();
}
void weights(benchmark::internal::Benchmark* b) {
  for (int transposed : {0, 1}) b->Args({384, 1536, transposed});
}
void heads(benchmark::internal::Benchmark* b) {
  for (int scores : {1, 0})
    for (int t : {64, 65, 197}) b->Args({t, 64, scores});
}

BENCHMARK(product<float, maths::automatic>)->Apply(shapes);
BENCHMARK(product<bf16, maths::automatic>)->Apply(shapes);
BENCHMARK(product<double, maths::automatic>)->Args({384, 1536, 1});
BENCHMARK(product<float, maths::builtin>)->Args({384, 1536, 1});
BENCHMARK(product<double, maths::builtin>)->Args({384, 1536, 1});
BENCHMARK(product<bf16, maths::builtin>)->Args({384, 1536, 1});
BENCHMARK(outer<float, maths::automatic>)->Apply(shapes);
BENCHMARK(outer<bf16, maths::automatic>)->Apply(shapes);
BENCHMARK(outer<float, maths::builtin>)->Args({384, 1536, 1});
BENCHMARK(pack<float, maths::automatic>)->Apply(weights);
BENCHMARK(pack<bf16, maths::automatic>)->Apply(weights);
BENCHMARK(batched<float, maths::automatic>)->Apply(heads);
BENCHMARK(batched<bf16, maths::automatic>)->Apply(heads);
BENCHMARK(batched<float, maths::builtin>)->Apply(heads);
#if defined(POLYMOE_WITH_ONEDNN) && defined(_OPENMP)
BENCHMARK(plain<float, false>)->Apply(shapes);
BENCHMARK(plain<bf16, false>)->Apply(shapes);
BENCHMARK(plain<float, true>)->Apply(shapes);
BENCHMARK(plain<bf16, true>)->Apply(shapes);
#endif

}  // namespace

BENCHMARK_MAIN();
