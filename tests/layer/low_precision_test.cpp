// float and bf16 layers against the double layer with its plan; bitwise repeats for any number of threads; bad rows;
// router in float.
// thread: yes
// with: tokens
#include <atomic>
#include <cstdio>
#include <filesystem>

#include <polymoe/nn/conv2d.hpp>
#include <polymoe/nn/vit.hpp>
#include <polymoe/testing/check_module.hpp>

#include "support/moe_layer.hpp"
#include "support/moe_parts.hpp"

#if defined(POLYMOE_WITH_ONEDNN) && defined(__linux__)
#include <dlfcn.h>

namespace {
std::atomic<long> primitives_made{0};
}
// oneDNN's own function for this program's calls, counted on the way.
extern "C" dnnl_status_t dnnl_primitive_create(dnnl_primitive_t* made, const_dnnl_primitive_desc_t desc) {
  ++primitives_made;
  static const auto real =
      reinterpret_cast<decltype(&dnnl_primitive_create)>(::dlsym(RTLD_NEXT, "dnnl_primitive_create"));
  return real(made, desc);
}
#endif

namespace moe_test {
namespace {

namespace overflow = polymoe::overflow;
using polymoe::bf16;
using polymoe::cpu;
using polymoe::layer;

template <class T>
struct plain : polymoe::spec {
  using scalar = T;
  using router = polymoe::top_k<2, polymoe::score::noisy_learned<>>;
  using capacity = polymoe::capacity::bounded<overflow::identity>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>;
};
template <class T>
using plain_layer = layer<plain<T>, cpu>;

// The router stays in float whatever the activations are: its matrix, its logits and its gates.
static_assert(std::is_same_v<plain_layer<bf16>::routing_type::M, float>);
static_assert(std::is_same_v<decltype(plain_layer<bf16>::routing_type::saved::logits), polymoe::view<float>>);
static_assert(std::is_same_v<decltype(polymoe::sparse_plan<polymoe::compute_t<bf16>>::gate), polymoe::view<float>>);

template <class T>
typename plain_layer<T>::config config(index dim, index hidden, index experts, float factor) {
  typename plain_layer<T>::config c;
  c.dim = dim, c.hidden = hidden, c.experts = experts;
  c.capacity.factor = factor;
  c.balance.template get<polymoe::balance::importance>().weight = 1,
                     c.balance.template get<polymoe::balance::load>().weight = 1;
  return c;
}
template <class T>
struct rounded_outcome {
  tensor<T> y, dx;
  std::vector<polymoe::master_t<T>> grads, values;
  double loss, entropy;
  std::vector<int> plan;
};
template <class T>
rounded_outcome<T> run(typename plain_layer<T>::config c, index rows, int threads) {
  layer_case<plain_layer<T>> a(c, rows, 81, threads);
  // Twice, so that the second call meets used memory.
  a.forward(), a.backward();
  const auto first = a.y;
  a.forward(), a.backward();
  CHECK(a.y.same_bits(first));
  const auto g = a.w.grads(), v = a.w.values();
  return {a.y,
          a.dx,
          {g.ptr[0], g.ptr[0] + g.cols},
          {v.ptr[0], v.ptr[0] + v.cols},
          static_cast<double>(a.w.module().balance_loss(a.w.ctx(), a.w.saved())),
          a.stats().entropy,
          decisions(a.plan())};
}
template <class T>
void check_threads(index rows, index group_size) {
  auto c = config<T>(8, 12, 3, 1.0f);  // so that one expert has 2/3 of the rows
  c.group_size = group_size;
  const auto one = run<T>(c, rows, 1);
  for (const int threads : {2, 3}) {
    const auto many = run<T>(c, rows, threads);
    CHECK(one.y.same_bits(many.y));
    CHECK(one.dx.same_bits(many.dx));
    CHECK(std::memcmp(one.grads.data(), many.grads.data(), one.grads.size() * sizeof(one.grads[0])) == 0);
    CHECK(one.loss == many.loss);
    CHECK(one.entropy == many.entropy);
    CHECK(one.plan == many.plan);
  }
}

#if defined(__linux__)
/// What this program says when it runs the case of that name alone, with so many threads in the environment.
std::string said_by(const std::string& name, int threads) {
  std::error_code failed;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", failed).string();
  const std::string n = std::to_string(threads);
  std::FILE* p = ::popen(("OPENBLAS_NUM_THREADS=" + n + " OMP_NUM_THREADS=" + n + " '" + self +
                          "' --no-skip --no-intro --test-case='" + name + "'")
                             .c_str(),
                         "r");
  REQUIRE(p != nullptr);
  std::string text;
  char part[256];
  while (std::fgets(part, sizeof part, p)) text += part;
  CHECK(::pclose(p) == 0);
  const auto at = text.find("bits: ");
  return at == std::string::npos ? "no bits: " + text : text.substr(at, text.find('\n', at) - at);
}
#endif

// ---- against double, with the plan of the double layer --------------------------------------------------------------

template <class T>
struct smooth : polymoe::spec {
  using scalar = T;
  using router = polymoe::top_k<2, polymoe::score::noisy_learned<>>;
  using capacity = polymoe::capacity::bounded<overflow::identity>;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_chosen>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::z_loss>;
};
template <class T>
using smooth_parts = routed_apply<smooth<T>>;

/// Routing and experts with inputs and outputs; parameters and inputs are numbers that every type has.
template <class T>
struct parts_case {
  static constexpr index rows = 400, dim = 24, hidden = 40, experts = 6;
  static auto config() {
    typename smooth_parts<T>::routing_type::config c;
    c.dim = dim, c.experts = experts, c.group_size = 150;
    c.capacity.factor = 0.8f;
    c.balance.template get<polymoe::balance::importance>().weight = 3,
                       c.balance.template get<polymoe::balance::z_loss>().weight = 0.5f;
    return c;
  }
  polymoe::workspace<smooth_parts<T>> w{smooth_parts<T>(config(), hidden),
                                        {.max_rows = rows, .threads = 2, .seed = 91}};
  tensor<T> x{rows, dim}, dy{rows, dim}, y{rows, dim}, dx{rows, dim};
  tensor<polymoe::compute_t<T>> d_gate{1, 1};
  parts_case() {
    for (const auto& e : w.entries())
      for (index i = 0; i < e.size; ++i)
        w.values().ptr[0][e.offset + i] =
            static_cast<float>(0.5 * noise(91 ^ polymoe::stream_id(e.name), static_cast<std::uint64_t>(i)));
    w.refresh();
    for (index t = 0; t < rows; ++t)
      for (index j = 0; j < dim; ++j) {
        const auto i = static_cast<std::uint64_t>(t * dim + j);
        x.put(t, j, static_cast<float>(bf16(static_cast<float>(noise(92, i)))));
        dy.put(t, j, static_cast<float>(bf16(static_cast<float>(noise(93, i)))));
      }
  }
  auto& routing() { return w.saved().routing; }
  void route() { w.module().routing.forward(w.ctx(), x.get(), routing()); }
  void rest() {
    auto& s = w.saved();
    w.zero_grads();
    w.refresh();  // also gives the scratch back that an earlier call used
    w.module().apply.forward(w.ctx(), x.get(), s.routing.plan, y.get(), s.apply);
    w.module().routing.open_backward(w.ctx(), s.routing);
    w.module().apply.backward(w.ctx(), dy.get(), s.routing.plan, s.routing.d_gate, s.routing.d_skip, dx.get(), s.apply);
    w.module().routing.backward(w.ctx(), dx.get(), s.routing, true);
  }
  /// Every tensor of the call by name, as doubles.
  named all() {
    named out = grads_of(w);
    const auto add = [&](const char* name, const auto& v) {
      for (index r = 0; r < v.rows; ++r)
        for (index c = 0; c < v.cols; ++c) out[name].push_back(as_double(v.get(r, c)));
    };
    auto& r = routing();
    const index slots = r.plan.begin[experts];
    add("y", y.get()), add("dx", dx.get());
    add("logits", r.logits), add("raw", r.raw), add("noisy", r.noisy), add("scores", r.scores);
    add("skip", r.plan.skip), add("d_skip", r.d_skip), add("balance values", r.values);
    add("gate", r.plan.gate.cols_at(0, slots)), add("d_gate", r.d_gate.cols_at(0, slots));
    add("d_logits", r.d_logits), add("d_raw", r.d_raw);
    return out;
  }
};

/// Gives `low` every decision of `high`: who was chosen, who is served, and where.  The weights are made again, from
/// the scores that `low` computed.
template <class T>
void inject(parts_case<T>& low, parts_case<double>& high) {
  auto& to = low.routing();
  const auto& from = high.routing();
  const auto& p = from.plan;
  const auto copy = [](int* out, const int* in, index n) {
    std::memset(out, 0xFF, static_cast<std::size_t>(n) * sizeof(int));  // nothing of its own is left
    std::copy_n(in, n, out);
  };
  const index choices = index{p.tokens} * p.k, runs = index{p.all_experts} * p.groups;
  copy(to.plan.begin, p.begin, p.all_experts + 1), copy(to.plan.count, p.count, runs);
  copy(to.plan.run_begin, p.run_begin, runs), copy(to.plan.token, p.token, p.begin[p.all_experts]);
  copy(to.plan.slot_of, p.slot_of, choices), copy(to.plan.expert_of, p.expert_of, choices);
  copy(to.place.wish, from.place.wish, choices), copy(to.place.position, from.place.position, choices);
  polymoe::route_weights<typename smooth<T>::router>(low.w.ctx().stream, low.w.module().routing.settings().combine, to);
}

/// Rows whose choice is not decided by more than the rounding of float can move, and whether all others agree.
///
/// A logit is a sum of D products of numbers that float holds, so its error is at most D u sum|w x|, u = 2^-24, for any
/// order of the sum.  Noise adds softplus(raw) n with slope at most 1; exp, the division of the softmax and the
/// additions are a handful of roundings relative to numbers of the size of the logits.  A choice can only differ where
/// two noisy logits are closer than twice that.
template <class T>
int count_undecided(parts_case<T>& low, parts_case<double>& high) {
  const auto params = values_of(high.w);
  constexpr index D = parts_case<T>::dim, E = parts_case<T>::experts;
  int undecided = 0, differ = 0;
  for (index t = 0; t < parts_case<T>::rows; ++t) {
    double size = 1, draw = 0;
    for (const char* name : {"router.weight", "router.noise_weight"})
      for (index e = 0; e < E; ++e) {
        double sum = 0;
        for (index j = 0; j < D; ++j)
          sum += std::abs(params.at(name)[static_cast<std::size_t>(e * D + j)] * high.x.at(t, j));
        size = std::max(size, sum);
      }
    std::vector<double> z;
    for (index e = 0; e < E; ++e) {
      z.push_back(high.routing().noisy.get(t, e));
      const double std = std::log1p(std::exp(high.routing().raw.get(t, e)));
      draw = std::max(draw, std::abs(z.back() - high.routing().logits.get(t, e)) / std);
    }
    std::sort(z.rbegin(), z.rend());
    const double error = (D + 16) * 0x1p-24 * size * (1 + draw);
    if (std::min(z[0] - z[1], z[1] - z[2]) <= 2 * error) {
      ++undecided;
      continue;
    }
    for (int j = 0; j < 2; ++j) differ += low.routing().place.wish[2 * t + j] != high.routing().place.wish[2 * t + j];
  }
  CHECK(differ == 0);
  return undecided;
}

/// Bounds are on the norm of the difference over the norm, per tensor.  `routing` holds for what the router computes
/// before it hears of the experts: it is float in every layer.
template <class T>
void check_precision(double routing, double rest) {
  const std::set<std::string> by_router = {"logits", "raw",  "noisy",  "scores",
                                           "gate",   "skip", "d_skip", "balance values"};
  parts_case<T> low;
  parts_case<double> high;
  low.route(), high.route();
  REQUIRE(high.routing().stats.overflow > 50);  // capacity binds
  const int undecided = count_undecided(low, high);
  MESSAGE(undecided << " of " << low.rows << " rows are closer to a tie than float can tell");
  CHECK(undecided <= 4);
  inject(low, high);
  low.rest(), high.rest();
  const auto got = low.all(), want = high.all();
  CHECK(got.size() == want.size());
  for (const auto& [name, v] : want) {
    const double error = norm_ratio(got.at(name), v), bound = by_router.count(name) ? routing : rest;
    CHECK_MESSAGE(error < bound, name, ": ", error);
    double size = 0;
    for (const double n : v) size += n * n;
    CHECK_MESSAGE(size > 0, name);  // a ratio to nothing would prove nothing
  }
}

template <class T>
void check_bad_rows(index dim) {
  for (const double bad : {not_a_number, HUGE_VAL, -HUGE_VAL})
    for (const index row : {0, 37, 299}) {
      layer_case<plain_layer<T>> c(config<T>(dim, 16, 5, 100), 300, 95, 2), clean(config<T>(dim, 16, 5, 100), 300, 95);
      for (index j = 0; j < dim; ++j) clean.dy.put(row, j, 0);
      for (index j = 0; j < dim; ++j) c.x.put(row, j, j % 3 == 1 ? bad : c.x.at(row, j));
      c.forward(), c.backward();
      clean.forward(), clean.backward();
      CHECK(c.stats().bad_rows == 1);
      CHECK(polymoe::plan_violation(c.plan()) == "");
      int changed = 0;
      for (index t = 0; t < 300; ++t) {
        if (t != row)
          changed += !c.y.row_same_bits(t, clean.y, t);
        else
          for (index j = 0; j < dim; ++j) CHECK((std::isnan(c.y.at(t, j)) && c.dx.at(t, j) == 0));
      }
      CHECK(changed == 0);
      CHECK(std::isfinite(c.w.module().balance_loss(c.w.ctx(), c.w.saved())));
      for (const auto& [name, g] : grads_of(c.w))
        for (const double v : g) CHECK_MESSAGE(std::isfinite(v), name);
      // Without balance losses the row's share is what its own gradient would have added: none here, dy is zero.
      c.w.step().balance = clean.w.step().balance = 0;
      c.forward(), c.backward();
      clean.forward(), clean.backward();
      const auto a = grads_of(c.w), b = grads_of(clean.w);
      for (const auto& [name, g] : a) CHECK_MESSAGE(norm_ratio(g, b.at(name)) < 1e-5, name);
    }
}

}  // namespace

TEST_CASE("double: threads 1, 2 and 3 give the same bits, forward and backward") { check_threads<double>(25000, 0); }

#if defined(__linux__)
// A library that has read its number of threads before main began must not cut sums by it.
TEST_CASE("double: the bits of a layer for another process" * doctest::skip()) {
  // One expert gets most of 17000 rows: its weight gradients are sums longer than 16384.
  auto c = config<double>(8, 12, 2, 4.0f);
  const auto r = run<double>(c, 17000, 2);
  std::uint64_t hash = 14695981039346656037ull;
  const auto mix = [&](const double* p, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) hash = (hash ^ polymoe::bit_cast<std::uint64_t>(p[i])) * 1099511628211ull;
  };
  mix(r.y.plane[0].data(), r.y.plane[0].size()), mix(r.dx.plane[0].data(), r.dx.plane[0].size());
  mix(r.grads.data(), r.grads.size());
  std::printf("bits: %016llx\n", static_cast<unsigned long long>(hash));
}
TEST_CASE("double: whatever OPENBLAS_NUM_THREADS is, a layer's output and gradients keep their bits") {
  const char* name = "double: the bits of a layer for another process";
  const std::string one = said_by(name, 1);
  CHECK(one.rfind("bits: ", 0) == 0);
  CHECK(said_by(name, 2) == one);
  CHECK(said_by(name, 3) == one);
}
#endif

TEST_CASE("float: threads 1, 2 and 3 give the same bits, forward and backward") {
  check_threads<float>(25000, 0);
  check_threads<float>(9001, 700);
}

TEST_CASE("layers: rows that lie apart give the same bits, rows that overlap are refused") {
  for (const index group_size : {0, 100}) {
    const auto check = [&]<class T>(T) {
      auto c = config<T>(10, 12, 3, 0.8f);
      c.group_size = group_size;
      polymoe::testing::detail::check_strides<plain_layer<T>>(c, {.rows = 300});
    };
    check(double{}), check(float{}), check(bf16{});
  }
  polymoe::workspace<plain_layer<float>> w(plain_layer<float>(config<float>(10, 12, 3, 1.0f)), {.max_rows = 4});
  tensor<float> x(4, 10), y(4, 10);
  using in = polymoe::view<const float>;
  float *const from = x.get().ptr[0], *const to = y.get().ptr[0];
  CHECK(refuses([&] { w.forward(in(from, 4, 10, 0), {to, 4, 10}); }, {"x", "0 numbers apart", "10 columns"}));
  CHECK(refuses([&] { w.forward(in(from, 4, 10), {to, 4, 10, 9}); }, {"y", "9 numbers apart", "10 columns"}));
  w.forward(x.get(), y.get());
  CHECK(refuses([&] { w.backward(in(to, 4, 10, 0), {from, 4, 10}); }, {"dy", "0 numbers apart", "10 columns"}));
  CHECK(refuses([&] { w.backward(in(to, 4, 10), {from, 4, 10, 9}); }, {"dx", "9 numbers apart", "10 columns"}));
}

TEST_CASE("bf16: threads 1, 2 and 3 give the same bits, forward and backward") {
  check_threads<bf16>(25000, 0);
  check_threads<bf16>(9001, 700);
}

#if defined(POLYMOE_WITH_ONEDNN) && defined(__linux__)
template <class T>
void check_primitives() {
  primitives_made = 0;
  layer_case<plain_layer<T>> a(config<T>(24, 40, 5, 1.0f), 700, 83, 2);
  CHECK(primitives_made > 0);
  a.forward(), a.backward();
  primitives_made = 0;
  for (const index rows : {700, 301, 1, 0, 700}) {
    a.w.forward(a.x.get().rows_at(0, rows), a.y.get().rows_at(0, rows));
    a.w.backward(a.dy.get().rows_at(0, rows), a.dx.get().rows_at(0, rows));
    a.w.module().commit(a.w.ctx());
    a.w.refresh();
  }
  a.w.ctx().mode = polymoe::run_mode::eval;
  a.forward();
  CHECK(primitives_made == 0);
}
TEST_CASE("oneDNN makes its primitives before a layer runs, whatever number of rows comes") {
  check_primitives<float>();
  check_primitives<bf16>();
}

/// The same of a module of nn: `units` of `unit` rows of x each, the first of them what memory is bound for.
template <class Module>
void check_module_primitives(const typename Module::config& c, index unit, std::initializer_list<index> units) {
  using T = typename Module::scalar;
  const index most = *units.begin() * unit;
  const auto out_rows = [&](index rows) {
    if constexpr (requires { Module::out_rows(c, rows); }) return Module::out_rows(c, rows);
    else return rows;
  };
  primitives_made = 0;
  polymoe::workspace<Module> w(Module(c), {.max_rows = most, .threads = 2, .seed = 84});
  CHECK(primitives_made > 0);
  tensor<T> x(most, w.module().in_cols()), dx(most, x.cols);
  tensor<T> y(out_rows(most), w.module().out_cols()), dy(y.rows, y.cols);
  x.randomise(85), dy.randomise(86);
  primitives_made = 0;
  for (const index n : units) {
    const index rows = n * unit, out = out_rows(rows);
    w.forward(x.get().rows_at(0, rows), y.get().rows_at(0, out));
    w.backward(dy.get().rows_at(0, out), dx.get().rows_at(0, rows));
    w.refresh();
  }
  w.ctx().mode = polymoe::run_mode::eval;
  w.forward(x.get(), y.get());
  CHECK(primitives_made == 0);
  CHECK(y.all_finite());
}
template <class T>
void check_nn_primitives() {
  namespace nn = polymoe::nn;
  using mlp = nn::named<"mlp", nn::mlp_block<T>>;
  nn::vit_sizes s;
  s.height = s.width = 12, s.dim = 24, s.heads = 3, s.depth = 2;
  check_module_primitives<nn::vit<mlp>>(nn::vit_config<mlp>(s), 1, {70, 33, 1, 0, 70});
  typename nn::attention<T>::config heads;
  heads.dim = 32, heads.heads = 4, heads.tokens = 9;
  check_module_primitives<nn::attention<T>>(heads, 9, {40, 17, 1, 0, 40});
  typename nn::linear<T>::config map;
  map.in = 40, map.out = 24;
  check_module_primitives<nn::linear<T>>(map, 1, {700, 301, 1, 0, 700});
  typename nn::conv2d<T>::config conv;
  conv.in = 8, conv.out = 16, conv.height = conv.width = 8, conv.padding = 1;
  for (const index stride : {1, 2}) {
    conv.stride = stride;
    check_module_primitives<nn::conv2d<T>>(conv, 64, {21, 10, 1, 0, 21});
  }
}
TEST_CASE("oneDNN makes the primitives of attention, linear layers and convolutions before they run") {
  check_nn_primitives<float>();
  check_nn_primitives<bf16>();
}
#endif

// A rounding is off by at most u = 2^-24 in float and 2^-9 in bf16.  Independent roundings add up like their squares:
// the longest chain (x, weights, pre-activation, hidden, output, combine and the same way back) has about a dozen, so 4
// to 8 u.
TEST_CASE("float against double, tensor by tensor, with the plan of double") {
  check_precision<float>(8 * 0x1p-24, 8 * 0x1p-24);
}
TEST_CASE("bf16 against double, tensor by tensor, with the plan of double; the router is float") {
  check_precision<bf16>(8 * 0x1p-24, 4 * 0x1p-9);
}

TEST_CASE("bad rows: own output NaN, other rows keep every bit, gradients finite and without them; float") {
  check_bad_rows<float>(10);
}
TEST_CASE("bad rows: own output NaN, other rows keep every bit, gradients finite and without them; bf16") {
  check_bad_rows<bf16>(32);
}

}  // namespace moe_test
