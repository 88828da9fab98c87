// Images as routed units: a block of token rows moves as a whole, its router sees the mean or the class token.
// with: mixtures
#include "support/moe_layer.hpp"

namespace moe_test {
namespace {

namespace overflow = polymoe::overflow;
using polymoe::cpu;
using polymoe::layer;

template <class T>
struct image_head : polymoe::spec {
  using scalar = T;
  using unit = polymoe::unit::image<polymoe::unit::mean>;
  using router = polymoe::top_k<1>;
  using capacity = polymoe::capacity::bounded<overflow::drop_to_zero>;
  using expert = polymoe::expert::head<polymoe::act::gelu_tanh>;
  using balance = polymoe::balance::switch_loss;
};
struct class_token : polymoe::spec {
  using scalar = double;
  using unit = polymoe::unit::image<polymoe::unit::class_token>;
  using router = polymoe::top_k<2>;
  using capacity = polymoe::capacity::bounded<overflow::identity>;
  using balance = polymoe::balance::importance;
};
using image_head_layer = layer<image_head<double>, cpu>;
using bf16_images = layer<image_head<polymoe::bf16>, cpu>;
using token_layer = layer<class_token, cpu>;

template <class ImageLayer = image_head_layer>
layer_case<ImageLayer> head_case(int unit_rows = 3) {
  typename ImageLayer::config c;
  c.dim = 4, c.hidden = 3, c.experts = 3, c.classes = 5, c.unit_rows = unit_rows;
  c.capacity.factor = 0.7f;
  c.balance.first.weight = 3;
  return {c, 9 * unit_rows, 51};
}
layer_case<token_layer> token_case() {
  token_layer::config c;
  c.dim = 4, c.hidden = 3, c.experts = 4, c.unit_rows = 3, c.group_size = 5;
  c.capacity.factor = 0.8f;
  c.balance.first.weight = 10;
  return {c, 27, 52};
}

}  // namespace

TEST_CASE("whole images to head experts by the mean of their rows: forward and every gradient") {
  for (const int unit_rows : {1, 3}) {
    auto c = head_case(unit_rows);
    c.forward();
    reference r;
    r.k = 1;
    CHECK(c.w.module().out_cols() == 5);
    CHECK(reference_error(c, r) < 1e-11);
    CHECK(c.stats().drop_rate() > 0);
    CHECK(c.stats().units == 9);
    // Dropped images have exactly zero logits.
    for (int u = 0; u < 9; ++u)
      if (c.plan().expert_of[u] < 0)
        for (index j = 0; j < 5; ++j) CHECK(c.y.at(u * unit_rows, j) == 0);
    const auto g = check_gradients(c);
    CHECK(g.worst < 1e-6);
    CHECK(g.flipped < g.checked / 50);
  }
}

TEST_CASE("whole images by their class token, the image itself on overflow, groups: forward and every gradient") {
  auto c = token_case();
  c.forward();
  reference r;
  r.k = 2, r.class_token = true, r.overflow = ref_overflow::identity;
  CHECK(reference_error(c, r) < 1e-11);
  CHECK(c.stats().overflow > 0);
  const auto g = check_gradients(c);
  CHECK(g.worst < 1e-6);
  CHECK(g.flipped < g.checked / 50);
}

TEST_CASE("images in bf16 follow the double layer") {
  auto low = head_case<bf16_images>();
  auto high = head_case();
  for (index i = 0; i < low.w.values().cols; ++i)
    high.w.values().ptr[0][i] = static_cast<double>(low.w.values().ptr[0][i]);
  high.w.refresh();
  for (index t = 0; t < 27; ++t) {
    for (index j = 0; j < 4; ++j) high.x.put(t, j, low.x.at(t, j));
    for (index j = 0; j < 5; ++j) high.dy.put(t, j, low.dy.at(t, j));
  }
  low.forward(), high.forward();
  low.backward(), high.backward();
  REQUIRE(decisions(low.plan()) == decisions(high.plan()));
  std::vector<double> y, dx;
  for (index t = 0; t < 27; ++t) {
    for (index j = 0; j < 5; ++j) y.push_back(low.y.at(t, j));
    for (index j = 0; j < 4; ++j) dx.push_back(low.dx.at(t, j));
  }
  CHECK(norm_ratio(y, high.y.plane[0]) < 2e-2);
  CHECK(norm_ratio(dx, high.dx.plane[0]) < 2e-2);
  const auto got = grads_of(low.w), want = grads_of(high.w);
  for (const auto& [name, g] : got) CHECK_MESSAGE(norm_ratio(g, want.at(name)) < 3e-2, name);
}

TEST_CASE("a bad number anywhere in an image makes that image bad and no other, also outside the class token") {
  for (const int row : {12, 13, 14}) {
    auto c = token_case(), clean = token_case();
    c.x.put(row, 1, row == 13 ? HUGE_VAL : not_a_number);
    c.forward();
    c.backward();
    CHECK(c.stats().bad_rows == 1);
    for (index t = 12; t < 15; ++t)
      for (index j = 0; j < 4; ++j) CHECK((std::isnan(c.y.at(t, j)) && c.dx.at(t, j) == 0));
    for (index t = 0; t < 27; ++t)
      for (index j = 0; j < 4; ++j) CHECK((t / 3 == 4 || std::isfinite(c.y.at(t, j))));
    for (const auto& [name, g] : grads_of(c.w))
      for (const double v : g) CHECK_MESSAGE(std::isfinite(v), name);
    // The other group does not notice.
    clean.forward();
    for (index t = 15; t < 27; ++t) CHECK(c.y.row_same_bits(t, clean.y, t));
  }
}

}  // namespace moe_test
