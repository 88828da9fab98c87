// Experts whose products are batched through cuBLASLt (padded plans, mixtures), with the stand-in for the library: the
// layout of the products, their epilogues, and whole layers against the CPU backend, with and without fusion.
// timeout: 600
// with: experts
#include "layer_harness.hpp"

#if !defined(__CUDACC__)
#include "device_module.hpp"
#include "helpers.hpp"
#endif

namespace {
using namespace layer_test;
namespace act = polymoe::act;
namespace backend = polymoe::backend;
namespace batched = polymoe::backend::batched;
namespace expert = polymoe::expert;
namespace save = polymoe::save;
using backend::blaslt_epilogue;
using polymoe::index;
using polymoe::product_path;
using polymoe::view;
using polymoe::executor_test::number;
#if !defined(__CUDACC__)
namespace host_blaslt = polymoe::host_blaslt;
#endif

// ---- layout ---------------------------------------------------------------------------------------------------------

constexpr batched::map_sizes sizes{.experts = 6, .rows = 40, .in = 24, .out = 72};
constexpr batched::map_sizes shared{.experts = 6, .rows = 40, .in = 24, .out = 72, .shared_input = true};

constexpr bool same(const backend::blaslt_shape& a, const backend::blaslt_shape& b) {
  return a.m == b.m && a.n == b.n && a.k == b.k && a.transpose_a == b.transpose_a && a.transpose_b == b.transpose_b &&
         a.epilogue == b.epilogue && a.lda == b.lda && a.ldb == b.ldb && a.ldd == b.ldd && a.batch == b.batch &&
         a.stride_a == b.stride_a && a.stride_b == b.stride_b && a.stride_d == b.stride_d &&
         a.stride_bias == b.stride_bias;
}
constexpr backend::blaslt_shape shape(index m, index n, index k, bool ta, bool tb, blaslt_epilogue e, index a, index b,
                                      index d, index bias) {
  backend::blaslt_shape s;
  s.m = m, s.n = n, s.k = k, s.transpose_a = ta, s.transpose_b = tb, s.epilogue = e, s.batch = 6;
  s.stride_a = a, s.stride_b = b, s.stride_d = d, s.stride_bias = bias;
  return s;
}
using enum blaslt_epilogue;
// [40, 24] [72, 24]^T -> [40, 72] and the two gradients; a mixture's rows are read by all experts.
static_assert(same(batched::forward_shape(sizes, bias_gelu, 72),
                   shape(40, 72, 24, false, true, bias_gelu, 960, 1728, 2880, 72)));
static_assert(same(batched::forward_shape(shared, bias, 72), shape(40, 72, 24, false, true, bias, 0, 1728, 2880, 72)));
static_assert(same(batched::data_shape(sizes, dgelu), shape(40, 24, 72, false, false, dgelu, 2880, 1728, 960, 0)));
static_assert(same(batched::data_shape(shared, none), shape(40, 24, 72, false, false, none, 2880, 1728, 960, 0)));
static_assert(same(batched::weight_shape(sizes, bias_gradient, 72),
                   shape(72, 24, 40, true, false, bias_gradient, 2880, 960, 1728, 72)));
static_assert(same(batched::weight_shape(shared, none, 0), shape(72, 24, 40, true, false, none, 2880, 0, 1728, 0)));
// Biases on 16-byte borders.
static_assert(batched::bias_stride(72, 2) == 72 && batched::bias_stride(33, 2) == 40 &&
              batched::bias_stride(33, 4) == 36);
static_assert(batched::bias_stride(33, 8) == 34 && batched::bias_stride(1, 2) == 8);
// Epilogues.
static_assert(batched::activation_epilogue<act::gelu_tanh>(true, false) == bias_gelu);
static_assert(batched::activation_epilogue<act::gelu_tanh>(false, true) == gelu);
static_assert(batched::activation_epilogue<act::relu>(true, true) == bias_relu);
static_assert(batched::activation_epilogue<act::relu>(false, true) == relu);
static_assert(batched::activation_epilogue<act::relu>(true, false) == bias);
static_assert(batched::activation_epilogue<act::gelu_erf>(true, true) == bias);
static_assert(batched::activation_epilogue<act::silu>(false, true) == none);
static_assert(batched::gradient_epilogue<act::gelu_tanh>() == dgelu && batched::gradient_epilogue<act::relu>() == none);
// The sums of an expert's rows: every row once, memory for the most rows serves fewer.
constexpr bool pieces_are_right() {
  for (const index experts : {1, 3, 8, 100, 300})
    for (index rows = 0, most = 0; rows < 5000; rows += 37) {
      const auto p = backend::detail::row_pieces_of(rows, experts);
      if (p.each * p.count < rows || (rows > 0 && (p.count - 1) * p.each >= rows)) return false;
      const index room = backend::detail::most_row_pieces(rows, experts);
      if (p.count > room || room < most) return false;
      most = room;
    }
  return true;
}
static_assert(pieces_are_right());
// The decision.
static_assert(polymoe::choose_products(product_path::automatic, true).path == product_path::batched);
static_assert(polymoe::choose_products(product_path::automatic, false).path == product_path::grouped);
static_assert(polymoe::choose_products(product_path::grouped, true).path == product_path::grouped);
static_assert(polymoe::choose_products(product_path::batched, false).path == product_path::automatic);

// ---- layers ---------------------------------------------------------------------------------------------------------

struct one_expert : expert_spec<float> {
  using router = polymoe::top_k<1>;
};
struct forced_grouped : expert_spec<float> {
  static constexpr product_path products = product_path::grouped;
};
struct forced_batched : expert_spec<float> {
  static constexpr product_path products = product_path::batched;
};

/// A layer on both backends; `expect` parts of what the CUDA one says of itself.
template <class Spec>
void check_batched(const setup& s, std::vector<std::string> expect = {"cuBLASLt batched"}) {
  both<Spec> b(s);
  const std::string text = b.device().module().describe();
  for (const std::string& part : expect) CHECK_MESSAGE(text.find(part) != std::string::npos, part, " in ", text);
}

}  // namespace

TEST_CASE("padded layers with batched products equal the CPU's: capacity binds, experts without rows, bad units") {
  both<expert_spec<double>> a({.units = 70, .padded = true, .with_bad = true, .factor = 0.8f, .seed = 1});
  CHECK(a.dropped > 0);
  check_batched<expert_spec<double>>({.units = 3, .experts = 9, .dim = 10, .hidden = 7, .padded = true, .seed = 2});
  both<expert_spec<float>> b({.units = 90,
                               .experts = 5,
                               .dim = 33,
                               .hidden = 17,
                               .group_size = 32,
                               .padded = true,
                               .with_bad = true,
                               .factor = 0.7f,
                               .seed = 3});
  CHECK(b.dropped > 0);
  check_batched<expert_spec<float>>(
      {.units = 64, .dim = 32, .hidden = 48, .padded = true, .factor = 2.0f, .seed = 4},
      {"cuBLASLt batched (every expert owns as many rows", "fc1: bias_gelu", "fc2: bias"});
  // Fewer units than memory is bound for: other strides than were prepared; evaluation; one unit; none; one expert.
  check_batched<expert_spec<float>>({.units = 40, .padded = true, .mode = run_mode::eval, .seed = 5, .max_units = 100});
  check_batched<expert_spec<float>>({.units = 1, .dim = 32, .padded = true, .seed = 6, .max_units = 64});
  check_batched<expert_spec<float>>({.units = 0, .padded = true, .seed = 7, .max_units = 10});
  check_batched<one_expert>(
      {.units = 40, .experts = 1, .dim = 32, .padded = true, .with_bad = true, .factor = 0.8f, .seed = 10});
  check_batched<expert_spec<bf16>>(
      {.units = 96, .dim = 64, .hidden = 72, .group_size = 40, .padded = true, .with_bad = true, .seed = 8});
  check_batched<expert_spec<bf16>>({.units = 50, .dim = 20, .hidden = 30, .padded = true, .seed = 9});
}

TEST_CASE("either kind of product can be asked for; batched ones need equally many slots") {
  check_batched<forced_grouped>({.units = 64, .padded = true, .factor = 0.8f, .seed = 11},
                                {"grouped kernel (asked for)"});
  check_batched<forced_batched>({.units = 64, .padded = true, .factor = 0.8f, .seed = 12},
                                {"cuBLASLt batched (asked for"});
  check_batched<expert_spec<float>>({.units = 40, .seed = 13},
                                    {"grouped kernel (experts own different numbers of rows"});
  using Layer = polymoe::layer<forced_batched, polymoe::cuda>;
  Layer::config c;
  c.dim = 8, c.hidden = 8, c.experts = 4;
  std::string text;
  try {
    Layer packed(c);
  } catch (const polymoe::error& e) {
    text = e.what();
  }
  CHECK_MESSAGE(text.find("batched products need a plan in which every expert owns as many slots") != std::string::npos,
                text);
  c.padded = true;
  CHECK(Layer(c).describe().find("looked for at bind") != std::string::npos);
  // The recipe knows before there is a configuration; the CPU has one kind of product for either layout.
  CHECK(Layer::recipe.dispatch == polymoe::dispatch_path::gather_padded);
  CHECK(polymoe::layer<Layer::spec, polymoe::cpu>::recipe.dispatch == polymoe::dispatch_path::gather_packed);
}

namespace {
template <class Save>
using relu_spec = expert_spec<float, expert::mlp<act::relu>, Save>;
}  // namespace
TEST_CASE(
    "ReLU is fused where its output stays, other activations and gated experts take one kernel after the product") {
  const setup s{.units = 48, .dim = 32, .hidden = 48, .padded = true, .factor = 0.8f, .seed = 21};
  check_batched<relu_spec<save::everything>>(s, {"fc1: bias_relu"});
  check_batched<relu_spec<save::pre_activation>>(s, {"fc1: bias fused"});
  check_batched<expert_spec<float, expert::mlp<act::gelu_erf>>>(s, {"fc1: bias fused"});
  check_batched<expert_spec<float, expert::mlp<act::gelu_tanh, false>>>(s, {"fc1: gelu"});
  check_batched<expert_spec<float, expert::gated_mlp<act::silu, true>>>(s, {"gate: bias fused", "down: bias fused"});
}

#if !defined(__CUDACC__)
TEST_CASE(
    "without a kernel for an epilogue a separate one runs, without any product the grouped one does; said aloud") {
  const setup s{.units = 64, .dim = 32, .hidden = 48, .padded = true, .factor = 0.8f, .seed = 31};
  const auto run = [&](std::vector<std::string> expect) {
    host_blaslt::counts() = {};
    check_batched<expert_spec<float>>(s, std::move(expect));
    return host_blaslt::counts();
  };
  // Two forward and two backward passes: four products forward, four data and four weight gradients.
  const auto fused =
      run({"fc1: bias_gelu fused, bias gradient fused; fc2: bias fused, dgelu fused, bias gradient fused"});
  CHECK(fused.batched == 12);
  CHECK(fused.batched_fused == 10);
  {
    host_blaslt::scope off({.no_batched_fusion = true});
    const auto plain = run({"fc1: bias_gelu NOT fused, bias gradient NOT fused; fc2: bias NOT fused, dgelu NOT fused"});
    CHECK(plain.batched == 12);
    CHECK(plain.batched_fused == 0);
    check_batched<expert_spec<bf16>>({.units = 50, .dim = 20, .hidden = 30, .padded = true, .seed = 32}, {"NOT fused"});
    check_batched<relu_spec<save::everything>>(s, {"fc1: bias_relu NOT fused"});
  }
  {
    host_blaslt::scope off({.no_algorithms = true});
    const auto none = run({"grouped kernel (NOT batched: cuBLASLt has no product of these shapes)"});
    CHECK(none.products == 0);
    CHECK_THROWS_AS(check_batched<forced_batched>(s), polymoe::error);
  }
  // All searches come at bind, once for the measuring pass and the real one.
  polymoe::workspace<polymoe::layer<expert_spec<float>, cuda>> w(
      [&] {
        polymoe::layer<expert_spec<float>, cuda>::config c;
        c.dim = s.dim, c.hidden = s.hidden, c.experts = s.experts, c.padded = true;
        return polymoe::layer<expert_spec<float>, cuda>(c);
      }(),
      {.max_rows = 64});
  const auto before = host_blaslt::counts();
  polymoe::executor_test::tensor<float> x(64, s.dim, 1), y(64, s.dim), dx(64, s.dim);
  w.forward(x.v, y.v), w.backward(x.v, dx.v);
  CHECK(host_blaslt::counts().searches == before.searches);
  CHECK(host_blaslt::counts().products == before.products + 6);
}

namespace {
/// D of a batched product with an epilogue against plain loops, for fewer rows than were prepared.
template <class T>
void check_epilogue(blaslt_epilogue e, bool fusion, index n, double bound) {
  host_blaslt::scope scope({.no_batched_fusion = !fusion});
  const index E = 3, most = 12, rows = 7, k = 16;
  INFO(std::string(backend::name_of(e)), fusion ? ", fused" : ", apart");
  const batched::map_sizes s{E, most, k, n};
  const index stride = batched::bias_stride(n, sizeof(T));
  const auto p = backend::blaslt_product<T>::offered(batched::forward_shape(s, e, stride), {.roomy = true});
  REQUIRE(p.prepared());
  polymoe::executor_test::tensor<T> a(E * rows, k, 1), b(E * n, k, 2), bias_rows(E, stride, 3),
      pre(E * rows, n, 4);
  polymoe::executor_test::tensor<T> d(E * rows, n), before(E * rows, n);
  backend::blaslt_extras<T, T> x;
  x.bias = bias_rows.v.ptr[0], x.before = before.v.rows_at(0, rows), x.pre = pre.v.rows_at(0, rows);
  if (!backend::writes_before(e)) x.before = {};
  if (e != dgelu) x.pre = {};
  x.strides.a = rows * k, x.strides.d = rows * n;
  const polymoe::cuda::runtime runtime(1, 0);
  p.run(runtime.get(), a.v.rows_at(0, rows), b.v.rows_at(0, n), d.v.rows_at(0, rows), x);
  const auto A = a.host(), B = b.host(), V = bias_rows.host(), P = pre.host();
  std::vector<double> want, wanted_before;
  const act::gelu_tanh g;
  for (index r = 0; r < E * rows; ++r)
    for (index j = 0; j < n; ++j) {
      double z = 0;
      for (index i = 0; i < k; ++i)
        z += number(A[static_cast<std::size_t>(r * k + i)]) *
             number(B[static_cast<std::size_t>((r / rows * n + j) * k + i)]);
      if (backend::adds_bias(e)) z += number(V[static_cast<std::size_t>(r / rows * stride + j)]);
      wanted_before.push_back(z);
      if (backend::writes_before(e)) z = g(z);
      if (e == relu || e == bias_relu) z = std::max(z, 0.0);
      if (e == dgelu) z *= g.grad(number(P[static_cast<std::size_t>(r * n + j)]));
      want.push_back(z);
    }
  const auto numbers = [](const std::vector<T>& v) {
    std::vector<double> to;
    for (const T& t : v) to.push_back(number(t));
    return to;
  };
  CHECK(layer_test::distance(numbers(d.host()), want) <= bound);
  if (backend::writes_before(e)) CHECK(layer_test::distance(numbers(before.host()), wanted_before) <= bound);
}
}  // namespace
TEST_CASE("batched epilogues against plain loops, fused and apart, for fewer rows than prepared") {
  for (const bool fusion : {true, false})
    for (const blaslt_epilogue e : {none, bias, gelu, bias_gelu, relu, bias_relu, dgelu}) {
      check_epilogue<float>(e, fusion, 24, 2e-6);
      check_epilogue<float>(e, fusion, 9, 2e-6);
      check_epilogue<bf16>(e, fusion, 16, 8e-3);
      check_epilogue<double>(e, fusion, 5, 1e-13);
    }
}
#endif
