// float and bf16 layers against the double layer; bitwise repeats for any number of threads; bad rows; router in float.
#include "support/moe_layer.hpp"

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
struct outcome {
  tensor<T> y, dx;
  std::vector<float> grads, values;
  double loss, entropy;
  std::vector<int> plan;
};
template <class T>
outcome<T> run(typename plain_layer<T>::config c, index rows, int threads) {
  layer_case<plain_layer<T>> a(c, rows, 81, threads);
  // Twice, so that the second call meets used memory.
  a.forward(), a.backward();
  const auto first = a.y;
  a.forward(), a.backward();
  CHECK(a.y.same_bits(first));
  const auto g = a.w.grads(), v = a.w.values();
  return {a.y, a.dx, {g.ptr[0], g.ptr[0] + g.cols}, {v.ptr[0], v.ptr[0] + v.cols},
          static_cast<double>(a.w.module().balance_loss(a.w.saved())), a.stats().entropy, decisions(a.plan())};
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
    CHECK(std::memcmp(one.grads.data(), many.grads.data(), one.grads.size() * sizeof(float)) == 0);
    CHECK(one.loss == many.loss);
    CHECK(one.entropy == many.entropy);
    CHECK(one.plan == many.plan);
  }
}

/// Rows of T against double: the same parameters and inputs, rows whose routing margin is small left out.
template <class T>
void check_precision(double bound, double margin, int most_skipped) {
  constexpr index rows = 400, dim = 24;
  layer_case<plain_layer<T>> low(config<T>(dim, 40, 6, 100), rows, 91);
  layer_case<plain_layer<double>> high(config<double>(dim, 40, 6, 100), rows, 91);
  low.w.step().balance = high.w.step().balance = 0;
  for (const auto& e : low.w.entries())
    for (index i = 0; i < e.size; ++i)
      high.w.values().ptr[0][e.offset + i] = static_cast<double>(low.w.values().ptr[0][e.offset + i]);
  high.w.refresh();
  for (index t = 0; t < rows; ++t)
    for (index j = 0; j < dim; ++j) high.x.put(t, j, low.x.at(t, j)), high.dy.put(t, j, low.dy.at(t, j));
  high.forward();
  // Rows near a tie may choose other experts in T: they are skipped, and their gradient is switched off in both.
  int skipped = 0;
  std::vector<bool> skip(rows);
  for (index t = 0; t < rows; ++t) {
    std::vector<double> s;
    for (int e = 0; e < 6; ++e) s.push_back(high.w.saved().routing.scores.get(t, e));
    std::sort(s.rbegin(), s.rend());
    skip[static_cast<std::size_t>(t)] = s[1] - s[2] < margin || s[0] - s[1] < margin;
    if (!skip[static_cast<std::size_t>(t)]) continue;
    ++skipped;
    for (index j = 0; j < dim; ++j) low.dy.put(t, j, 0), high.dy.put(t, j, 0);
  }
  CHECK(skipped <= most_skipped);
  MESSAGE(skipped << " of " << rows << " rows skipped: margin below " << margin);
  low.forward(), low.backward();
  high.forward(), high.backward();
  std::vector<double> a[2], b[2];
  for (index t = 0; t < rows; ++t) {
    if (skip[static_cast<std::size_t>(t)]) continue;
    for (int j = 0; j < 2; ++j) CHECK(low.plan().expert_of[2 * t + j] == high.plan().expert_of[2 * t + j]);
    for (index j = 0; j < dim; ++j) {
      a[0].push_back(low.y.at(t, j)), b[0].push_back(high.y.at(t, j));
      a[1].push_back(low.dx.at(t, j)), b[1].push_back(high.dx.at(t, j));
    }
  }
  CHECK(norm_ratio(a[0], b[0]) < bound);
  CHECK(norm_ratio(a[1], b[1]) < bound);
  const auto got = grads_of(low.w), want = grads_of(high.w);
  for (const auto& [name, g] : got) CHECK_MESSAGE(norm_ratio(g, want.at(name)) < bound, name);
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
        if (t != row) changed += !c.y.row_same_bits(t, clean.y, t);
        else
          for (index j = 0; j < dim; ++j) CHECK((std::isnan(c.y.at(t, j)) && c.dx.at(t, j) == 0));
      }
      CHECK(changed == 0);
      CHECK(std::isfinite(c.w.module().balance_loss(c.w.saved())));
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

TEST_CASE("float: threads 1, 2 and 3 give the same bits, forward and backward") {
  check_threads<float>(25000, 0);
  check_threads<float>(9001, 700);
}

TEST_CASE("bf16: threads 1, 2 and 3 give the same bits, forward and backward") {
  check_threads<bf16>(25000, 0);
  check_threads<bf16>(9001, 700);
}

TEST_CASE("float against double") { check_precision<float>(1e-5, 1e-5, 10); }
TEST_CASE("bf16 against double") { check_precision<bf16>(2e-2, 1e-3, 40); }

TEST_CASE("bad rows: own output NaN, other rows keep every bit, gradients finite and without them; float") {
  check_bad_rows<float>(10);
}
TEST_CASE("bad rows: own output NaN, other rows keep every bit, gradients finite and without them; bf16") {
  check_bad_rows<bf16>(32);
}

}  // namespace moe_test
