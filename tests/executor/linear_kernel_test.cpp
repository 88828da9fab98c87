// Dense products of the CUDA backend: prepared products against plain loops, and linear, mlp_block and patch_embed as
// whole modules against the CPU backend.  Run by the host executor with a stand-in for cuBLASLt, and in tests/gpu on a
// GPU; what only the stand-in can tell comes last.
// with: nn
#if !defined(__CUDACC__)
#include "host_blaslt.hpp"
#include "host_executor.hpp"
#endif

#include <doctest/doctest.h>
#include <polymoe/backend/cuda/dispatch/linear.cuh>
#include <polymoe/backend/cuda/dispatch/pool.cuh>
#include <polymoe/nn/mlp_block.hpp>
#include <polymoe/nn/patch_embed.hpp>

#include "device_module.hpp"
#include "helpers.hpp"

namespace {
using namespace polymoe::executor_test;
using polymoe::bf16;
using polymoe::cpu;
using polymoe::cuda;
using polymoe::index;
using polymoe::view;
namespace act = polymoe::act;
namespace backend = polymoe::backend;
namespace nn = polymoe::nn;

#if defined(__CUDACC__)
/// The library does not say how often it cut a sum, or rounded to tf32.
constexpr bool counts_products = false;
int products_cut() { return 0; }
int tf32_products() { return 0; }
#else
namespace host_blaslt = polymoe::host_blaslt;
constexpr bool counts_products = true;
int products_cut() { return host_blaslt::counts().split; }
int tf32_products() { return host_blaslt::counts().tf32; }
#endif

template <class T>
double at(const std::vector<T>& v, index i) {
  return static_cast<double>(polymoe::value_of(v[static_cast<std::size_t>(i)]));
}

/// alpha op(A) op(B) + add, in double.
template <class T, class Out>
std::vector<double> reference(const backend::blaslt_shape& s, const std::vector<T>& a, const std::vector<T>& b,
                              const std::vector<Out>& add, double alpha) {
  std::vector<double> d(static_cast<std::size_t>(s.batch * s.m * s.n));
  for (index e = 0; e < s.batch; ++e)
    for (index i = 0; i < s.m; ++i)
      for (index j = 0; j < s.n; ++j) {
        double sum = 0;
        for (index k = 0; k < s.k; ++k)
          sum += at(a, e * s.stride_a + (s.transpose_a ? k * s.m + i : i * s.k + k)) *
                 at(b, e * s.stride_b + (s.transpose_b ? j * s.k + k : k * s.n + j));
        const index to = e * s.m * s.n + i * s.n + j;
        d[static_cast<std::size_t>(to)] = alpha * sum + (add.empty() ? 0 : at(add, to));
      }
  return d;
}
template <class T>
std::vector<double> widened(const std::vector<T>& v) {
  std::vector<double> to;
  for (const T& x : v) to.push_back(static_cast<double>(polymoe::value_of(x)));
  return to;
}

template <class T, class Out>
void check_product(index m, index n, index k, bool ta, bool tb, index batch, bool add, double bound) {
  CAPTURE(m);
  CAPTURE(n);
  CAPTURE(k);
  CAPTURE(ta);
  CAPTURE(tb);
  CAPTURE(batch);
  CAPTURE(add);
  backend::blaslt_shape s;
  s.m = m, s.n = n, s.k = k, s.transpose_a = ta, s.transpose_b = tb, s.batch = batch;
  if (batch > 1) s.stride_a = m * k, s.stride_b = k * n, s.stride_d = m * n;
  tensor<T> a(batch, m * k, 1), b(batch, k * n, 2);
  tensor<Out> d(batch, m * n), c(batch, m * n, 3);
  const backend::blaslt_product<T, Out> p(s);
  const backend::cuda_device::stream stream;
  using S = polymoe::compute_t<T>;
  backend::blaslt_extras<T, Out> e;
  e.alpha = S(0.5);
  if (add) e.add = view<const Out>(c.v.ptr[0], m, n);
  p.run(stream, view<const T>(a.v.ptr[0], ta ? k : m, ta ? m : k), view<const T>(b.v.ptr[0], tb ? n : k, tb ? k : n),
        view<Out>(d.v.ptr[0], m, n), e);
  CHECK(distance(widened(d.host()),
                 reference<T, Out>(s, a.host(), b.host(), add ? c.host() : std::vector<Out>{}, 0.5)) <= bound);
}

template <class T>
void check_epilogues(index rows, index in, index out, double bound) {
  CAPTURE(rows);
  CAPTURE(in);
  CAPTURE(out);
  const backend::cuda_device::stream stream;
  tensor<T> x(rows, in, 1), w(out, in, {2, 0.2}), bias(1, out, 3), pre(rows, out), y(rows, out), dy(rows, in, 4),
      dx(rows, out);
  using epilogue = backend::blaslt_epilogue;
  // Member by member: nvcc may take a designated list of a template in order.
  backend::blaslt_shape shape;
  shape.m = rows, shape.n = out, shape.k = in, shape.transpose_b = true, shape.epilogue = epilogue::bias_gelu;
  const backend::blaslt_product<T> up(shape);
  backend::blaslt_extras<T, T> extras;
  extras.bias = bias.v.ptr[0], extras.before = pre.v;
  up.run(stream, x.v, w.v, y.v, extras);
  auto z = reference<T, T>(up.shape(), x.host(), w.host(), {}, 1);
  for (index i = 0; i < rows * out; ++i) z[static_cast<std::size_t>(i)] += at(bias.host(), i % out);
  CHECK(distance(widened(pre.host()), z) <= bound);
  for (double& v : z) v = act::gelu_tanh{}(v);
  CHECK(distance(widened(y.host()), z) <= bound);
  // dx [rows, out] = (dy [rows, in] V [in, out]) gelu'(pre).
  tensor<T> v(in, out, 5);
  shape.transpose_b = false, shape.epilogue = epilogue::dgelu;
  const backend::blaslt_product<T> down(shape);
  extras = {};
  extras.pre = pre.v;
  down.run(stream, dy.v, v.v, dx.v, extras);
  auto g = reference<T, T>(down.shape(), dy.host(), v.host(), {}, 1);
  const auto before = pre.host();
  for (index i = 0; i < rows * out; ++i) g[static_cast<std::size_t>(i)] *= act::gelu_tanh{}.grad(at(before, i));
  CHECK(distance(widened(dx.host()), g) <= bound);
  for (const auto* p : {&up, &down}) CHECK(holds(p->describe(), p->fused() ? ", fused" : "NOT FUSED"));
}

template <class T>
void check_linear(index max_rows, index rows, index in, index out) {
  using on_cuda = nn::linear<T, cuda>;
  using on_cpu = nn::linear<T, cpu>;
  CAPTURE(in);
  CAPTURE(out);
  compare_module_twice<on_cuda, on_cpu>({in, out}, {in, out}, max_rows, rows, bound<T>());
}
template <class T, class Act>
void check_mlp(index max_rows, index rows, index dim, index hidden) {
  CAPTURE(dim);
  CAPTURE(hidden);
  CAPTURE(Act::name);
  compare_module_twice<nn::mlp_block<T, Act, cuda>, nn::mlp_block<T, Act, cpu>>({dim, hidden}, {dim, hidden}, max_rows,
                                                                                rows, bound<T>());
}
template <class T>
void check_patch_embed(index height, index patch, index stride, index padding, index rows) {
  CAPTURE(height);
  CAPTURE(patch);
  CAPTURE(stride);
  const auto config = [&](auto c) {
    c.channels = 3, c.height = height, c.width = height + 4, c.patch = patch, c.stride = stride, c.padding = padding;
    c.dim = 24;
    return c;
  };
  using device = nn::patch_embed<T, cuda>;
  using host = nn::patch_embed<T, cpu>;
  compare_module_twice<device, host>(config(typename device::config{}), config(typename host::config{}), 5, rows,
                                     bound<T>());
}

TEST_CASE("products equal plain loops: transpositions, batches, summands, odd sizes") {
  for (const bool ta : {false, true})
    for (const bool tb : {false, true})
      for (const index batch : {1, 3})
        for (const bool add : {false, true}) {
          check_product<double, double>(5, 7, 9, ta, tb, batch, add, 1e-14);
          check_product<float, float>(16, 24, 8, ta, tb, batch, add, 1e-6);
          check_product<bf16, bf16>(10, 3, 33, ta, tb, batch, add, 4e-3);
          check_product<bf16, float>(8, 17, 65, ta, tb, batch, add, 1e-6);
        }
}

TEST_CASE("epilogues in the product equal those after it") {
  if (no_fibers()) return;
  for (const index out : {48, 40}) {
    check_epilogues<bf16>(19, 32, out, 6e-3);
    check_epilogues<float>(19, 32, out, 1e-6);
    check_epilogues<double>(19, 32, out, 1e-14);
  }
  check_epilogues<bf16>(19, 30, 34, 6e-3);  // rows that do not start on 16-byte borders
}

TEST_CASE("tf32 is a policy, and shows") {
  tensor<float> a(8, 32, 1), b(32, 8, 2), exact(8, 8), rough(8, 8);
  const backend::blaslt_shape s{.m = 8, .n = 8, .k = 32};
  backend::blaslt_product<float>(s).run({}, a.v, b.v, exact.v);
  const backend::blaslt_product<float> fast(s, {.tf32 = true});
  fast.run({}, a.v, b.v, rough.v);
  CHECK(holds(fast.describe(), "tf32"));
  CHECK(distance(rough.host(), exact.host()) > 1e-6);
  CHECK(distance(rough.host(), exact.host()) < 2e-3);
}

TEST_CASE("products of views whose rows are apart") {
  const tensor<bf16> a(16, 64, 1), b(32, 40, 2), before(16, 48, 3), d(16, 48, 3);
  const auto all_a = a.host(), all_b = b.host();
  std::vector<bf16> used_a, used_b;
  for (index i = 0; i < 16; ++i) used_a.insert(used_a.end(), all_a.begin() + 64 * i + 16, all_a.begin() + 64 * i + 48);
  for (index i = 0; i < 32; ++i) used_b.insert(used_b.end(), all_b.begin() + 40 * i + 8, all_b.begin() + 40 * i + 32);
  const backend::blaslt_product<bf16> p({.m = 16, .n = 24, .k = 32});
  p.run({}, fixed(a).cols_at(16, 32), fixed(b).cols_at(8, 24), d.v.cols_at(24, 24));
  const auto want = reference<bf16, bf16>(p.shape(), used_a, used_b, {}, 1);
  const auto got = d.host(), kept = before.host();
  std::vector<double> written;
  for (index i = 0; i < 16 * 48; ++i) {
    if (i % 48 >= 24) written.push_back(at(got, i));
    else CHECK(at(got, i) == at(kept, i));
  }
  CHECK(distance(written, want) <= 4e-3);
}

TEST_CASE("a workspace starts on a 256-byte border wherever the arena is") {
  const backend::device_block block(4096);
  polymoe::arena a = block.as_arena();
  for (int i = 0; i < 5; ++i) {
    a.take_raw<float>(1);
    const std::size_t before = a.used();
    const auto w = backend::blaslt_workspace::take(a, 300);
    CHECK(reinterpret_cast<std::uintptr_t>(w.data) % 256 == 0);
    CHECK(static_cast<std::byte*>(w.data) >= static_cast<std::byte*>(block.data()) + before);
    CHECK(static_cast<std::byte*>(w.data) + 300 <= static_cast<std::byte*>(block.data()) + a.used());
  }
}

TEST_CASE("a layer needs bind and pack before a product") {
  const backend::dense<float, cuda> layer(8, 16);
  polymoe::context<cuda> c;
  tensor<float> x(4, 8, 1), y(4, 16);
  CHECK(holds(message_of([&] { layer.forward(c, x.v, nullptr, {}, y.v); }), "bind"));
  polymoe::binder<cuda> b;
  layer.bind(b, 4);
  CHECK(holds(message_of([&] { layer.forward(c, x.v, nullptr, {}, y.v); }), "pack"));
}

TEST_CASE("linear on CUDA equals the CPU's") {
  if (no_fibers()) return;
  for (const index rows : {0, 1, 63, 65}) {
    check_linear<double>(65, rows, 20, 10);
    check_linear<float>(65, rows, 192, 10);
    check_linear<bf16>(65, rows, 10, 200);
  }
  check_linear<bf16>(65, 65, 384, 192);
  check_linear<bf16>(65, 65, 200, 10);
  check_linear<double>(65, 65, 192, 200);
}
TEST_CASE("linear on CUDA: long sums are cut, short ones are not") {
  if (no_fibers()) return;
  int before = products_cut();
  check_linear<bf16>(1100, 1100, 16, 24);
  check_linear<double>(1100, 1100, 8, 5);
  if (counts_products) CHECK(products_cut() > before);
  before = products_cut();
  check_linear<float>(1100, 300, 16, 24);
  CHECK(products_cut() == before);
}
TEST_CASE("linear on CUDA without bias, and with a summand") {
  if (no_fibers()) return;
  compare_module_twice<nn::linear<float, cuda>, nn::linear<float, cpu>>(
      {.in = 24, .out = 40, .bias = false}, {.in = 24, .out = 40, .bias = false}, 9, 9, 1e-5);
  device_module<nn::linear<bf16, cuda>> d(nn::linear<bf16, cuda>({.in = 24, .out = 40}), 9);
  polymoe::workspace<nn::linear<bf16, cpu>> w(nn::linear<bf16, cpu>({.in = 24, .out = 40}), {.max_rows = 9, .seed = 5});
  d.load(host_copy<float>(w.values()));
  tensor<bf16> x(9, 24, 1), skip(9, 40, 2), y(9, 40);
  const host_tensor<bf16> host_x(x), host_skip(skip), y2(9, 40);
  d.begin();
  d.module.forward_add(d.c, x.v, skip.v, y.v, d.saved);
  w.module().forward_add(w.ctx(), host_x.v, host_skip.v, y2.v, w.saved());
  CHECK(distance(y.host(), y2.host()) <= 6e-3);
}
TEST_CASE("weights and bias are rounded once per refresh, not in every call") {
  if (no_fibers()) return;
  device_module<nn::linear<bf16, cuda>> d(nn::linear<bf16, cuda>({.in = 24, .out = 40}), 9);
  std::vector<float> values(static_cast<std::size_t>(d.elements), 0.125f);
  d.load(values);
  tensor<bf16> x(9, 24, 1), y(9, 40), y2(9, 40), y3(9, 40);
  d.forward(x.v, y.v);
  for (index i = 24 * 40; i < d.elements; ++i) values[static_cast<std::size_t>(i)] = 3;  // the bias lies last
  polymoe::device::upload(d.values.data(), values.data(), values.size() * sizeof(float), nullptr);
  d.forward(x.v, y2.v);
  CHECK(same_bits(y.host(), y2.host()));
  d.begin(), d.module.refresh(d.c);
  d.forward(x.v, y3.v);
  const auto before = y.host(), after = y3.host();
  for (std::size_t i = 0; i < before.size(); ++i)
    CHECK(polymoe::value_of(after[i]) == doctest::Approx(polymoe::value_of(before[i]) + 2.875f).epsilon(0.02));
}

namespace {
/// How far outputs and gradients of a float module are off when its products may be tf32, and how many of them were.
template <class Module>
void check_tf32(typename Module::config config, index rows, int products) {
  std::vector<float> y[2], dx[2], grads[2];
  for (const bool fast : {false, true}) {
    config.products = fast ? nn::float_products::tf32 : nn::float_products::exact;
    device_module<Module> d(Module(config), rows);
    std::vector<float> values(static_cast<std::size_t>(d.elements));
    const auto draw = polymoe::random_root{4}.stream(1, 0);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = 0.2f * draw.normal(i);
    d.load(values);
    const index out_rows = nn::rows_after(d.module, rows);
    tensor<float> x(rows, d.module.in_cols(), 1), dy(out_rows, d.module.out_cols(), 2),
        out(out_rows, d.module.out_cols()), d_in(rows, d.module.in_cols());
    const int before = tf32_products();
    d.forward(x.v, out.v);
    d.backward(dy.v, d_in.v);
    if (counts_products) CHECK(tf32_products() - before == (fast ? products : 0));
    y[fast] = out.host(), dx[fast] = d_in.host(), grads[fast] = d.gradients();
  }
  // Operands are off by 2^-11 of their size at most, 2^-12.8 on average (uniform over the last place, over magnitudes).
  for (const auto* r : {&y, &dx, &grads}) {
    const double off = distance((*r)[1], (*r)[0]);
    CHECK(off > 1e-5);
    CHECK(off < 1e-3);
  }
}
}  // namespace
TEST_CASE("tf32 is one choice of a float module, off by default") {
  if (no_fibers()) return;
  check_tf32<nn::linear<float, cuda>>({.in = 48, .out = 40}, 33, 3);
  check_tf32<nn::mlp_block<float, act::gelu_tanh, cuda>>({.dim = 24, .hidden = 40}, 33, 6);
  check_tf32<nn::patch_embed<float, cuda>>({.channels = 3, .height = 8, .width = 8, .patch = 4, .dim = 24}, 5, 3);
  // Other types have one way to multiply.
  for (const auto how : {nn::float_products::exact, nn::float_products::tf32}) {
    device_module<nn::linear<bf16, cuda>> b(nn::linear<bf16, cuda>({.in = 24, .out = 40, .products = how}), 9);
    device_module<nn::linear<double, cuda>> d(nn::linear<double, cuda>({.in = 24, .out = 40, .products = how}), 9);
    CHECK(b.module.kernel().describe().find("tf32") == std::string::npos);
    CHECK(d.module.kernel().describe().find("tf32") == std::string::npos);
    const nn::linear<float, cuda> f({.in = 24, .out = 40, .products = how});
    polymoe::binder<cuda> dry;
    f.bind(dry, 9);
    CHECK((f.kernel().describe().find("tf32") != std::string::npos) == (how == nn::float_products::tf32));
  }
}
TEST_CASE_TEMPLATE("mlp_block on CUDA equals the CPU's", T, double, float, bf16) {
  if (no_fibers()) return;
  for (const index rows : {0, 1, 63}) check_mlp<T, act::gelu_tanh>(65, rows, 24, 40);
  check_mlp<T, act::gelu_tanh>(65, 65, 10, 34);
  check_mlp<T, act::relu>(65, 33, 24, 40);
  check_mlp<T, act::gelu_erf>(65, 33, 24, 40);
  check_mlp<T, act::silu>(65, 33, 12, 20);
}
TEST_CASE("mlp_block on CUDA with a wide hidden layer") {
  if (no_fibers()) return;
  check_mlp<bf16, act::gelu_tanh>(65, 65, 192, 200);
}
TEST_CASE("mlp_block on CUDA with many rows: long sums are cut, behind other scratch") {
  if (no_fibers()) return;
  const int before = products_cut();
  check_mlp<bf16, act::gelu_tanh>(1100, 1100, 12, 20);
  check_mlp<float, act::relu>(1100, 1100, 8, 12);
  if (counts_products) CHECK(products_cut() > before);
}

TEST_CASE_TEMPLATE("patch_embed on CUDA equals the CPU's", T, double, float, bf16) {
  if (no_fibers()) return;
  for (const index rows : {0, 1, 5}) check_patch_embed<T>(12, 4, 0, 0, rows);
  check_patch_embed<T>(16, 8, 8, 8, 3);  // whole accesses in the image
  check_patch_embed<T>(11, 3, 2, 1, 3);  // overlapping patches over the border
  check_patch_embed<T>(9, 7, 4, 3, 2);
}

#if !defined(__CUDACC__)
// ---- what only the stand-in for the library can tell ----------------------------------------------------------------

TEST_CASE("epilogues are in the product where the library has them, and after it where it refuses") {
  if (no_fibers()) return;
  for (const index out : {48, 40}) {
    const int before = host_blaslt::counts().fused;
    check_epilogues<bf16>(19, 32, out, 6e-3);
    check_epilogues<float>(19, 32, out, 1e-6);
    CHECK(host_blaslt::counts().fused == before + 4);
    check_epilogues<double>(19, 32, out, 1e-14);  // the library has none for double
    CHECK(host_blaslt::counts().fused == before + 4);
  }
  const host_blaslt::scope refuse({.no_fusion = true});
  check_epilogues<bf16>(19, 32, 48, 6e-3);
  check_epilogues<float>(19, 32, 48, 1e-6);
}
TEST_CASE_TEMPLATE("mlp_block on CUDA equals the CPU's where nothing is fused", T, double, float, bf16) {
  if (no_fibers()) return;
  const host_blaslt::scope refuse({.no_fusion = true});
  check_mlp<T, act::gelu_tanh>(65, 33, 24, 40);
}

TEST_CASE("bias gradient as an epilogue") {
  const index rows = 70, in = 24, out = 16;
  tensor<bf16> dy(rows, out, 1), x(rows, in, 2);
  tensor<float> dw(out, in), db(1, out);
  const backend::blaslt_product<bf16, float> p(
      {.m = out, .n = in, .k = rows, .transpose_a = true, .epilogue = backend::blaslt_epilogue::bias_gradient});
  REQUIRE(p.fused());
  p.run({}, dy.v, x.v, dw.v, {.bias_gradient = db.v.ptr[0]});
  CHECK(distance(widened(dw.host()), reference<bf16, float>(p.shape(), dy.host(), x.host(), {}, 1)) <= 1e-6);
  std::vector<double> sums(static_cast<std::size_t>(out));
  const auto d = dy.host();
  for (index i = 0; i < rows * out; ++i) sums[static_cast<std::size_t>(i % out)] += at(d, i);
  CHECK(distance(widened(db.host()), sums) <= 1e-6);
}

TEST_CASE("products say what is wrong, with sizes") {
  tensor<bf16> a(16, 32, 1), b(32, 24, 2), d(16, 24);
  const backend::blaslt_product<bf16> p({.m = 16, .n = 24, .k = 32});
  CHECK(holds(message_of([&] { p.run({}, a.v, a.v, d.v); }), "A is [16, 32], B is [16, 32], D is [16, 24]"));
  CHECK(holds(message_of([&] { p.run({}, a.v.cols_at(1, 31), b.v.rows_at(0, 31), d.v); }),
              "multiples of 16 (A), 16 (B)"));
  tensor<bf16> long_a(17, 32, 1), long_d(17, 24);
  CHECK(holds(message_of([&] { p.run({}, long_a.v, b.v, long_d.v); }), "[17 x 24 x 32]"));
  const backend::blaslt_product<bf16> with_bias(
      {.m = 16, .n = 24, .k = 32, .epilogue = backend::blaslt_epilogue::bias});
  CHECK(holds(message_of([&] { with_bias.run({}, a.v, b.v, d.v); }), "no bias"));
  CHECK(holds(message_of([] { backend::blaslt_product<bf16>({.m = 0, .n = 24, .k = 32}); }), "must be positive"));
  CHECK(holds(message_of([&] { backend::blaslt_product<bf16>{}.run({}, a.v, b.v, d.v); }), "before it was prepared"));
  // A split product without its workspace.
  tensor<bf16> tall(1024, 16, 3), wide(1024, 8, 4);
  tensor<float> g(16, 8);
  const backend::blaslt_product<bf16, float> split({.m = 16, .n = 8, .k = 1024, .transpose_a = true}, {.split = true});
  REQUIRE(split.workspace_bytes() > 0);
  CHECK(holds(message_of([&] { split.run({}, tall.v, wide.v, g.v); }), "CUBLAS_STATUS_INVALID_VALUE"));
  const host_blaslt::scope refuse({.no_algorithms = true});
  const std::string text = message_of([] { backend::blaslt_product<bf16>({.m = 16, .n = 24, .k = 32}); });
  CHECK(holds(text, "[16 x 24 x 32] bf16"));
  CHECK(holds(text, "CUBLAS_STATUS_NOT_SUPPORTED"));
}

TEST_CASE("runs ask for no algorithm, and make no handle") {
  if (no_fibers()) return;
  device_module<nn::mlp_block<bf16, act::gelu_tanh, cuda>> d(nn::mlp_block<bf16, act::gelu_tanh, cuda>({24, 40}), 9);
  d.load(std::vector<float>(static_cast<std::size_t>(d.elements), 0.125f));
  tensor<bf16> x(9, 24, 1), y(9, 24), dx(9, 24);
  const auto before = host_blaslt::counts();
  d.forward(x.v, y.v);
  d.backward(y.v, dx.v);
  CHECK(host_blaslt::counts().searches == before.searches);
  CHECK(host_blaslt::counts().handles == before.handles);
  CHECK(host_blaslt::counts().products == before.products + 6);
  CHECK(host_blaslt::counts().fused == before.fused + 3);  // up with GELU, down with bias, GELU's derivative
}
TEST_CASE("a copy of a layer keeps its products when another is bound anew") {
  if (no_fibers()) return;
  device_module<nn::linear<float, cuda>> d(nn::linear<float, cuda>({16, 24}), 1100);
  const std::vector<float> ones(static_cast<std::size_t>(d.elements), 0.5f);
  d.load(ones);
  auto copy = d.module;
  polymoe::binder<cuda> dry;
  copy.bind(dry, 4);
  tensor<float> x(1100, 16, 1), y(1100, 24);
  d.forward(x.v, y.v);
  CHECK(polymoe::value_of(y.host().back()) == polymoe::value_of(y.host().back()));
  CHECK(holds(message_of([&] { d.begin(), copy.forward(d.c, x.v, y.v, d.saved); }), "[1100 x 24 x 16]"));
  CHECK(holds(d.module.kernel().describe(), "split allowed"));
}
#endif

}  // namespace
