// The compute shares of papers.md 1.3, asserted at compile time: three digits, as the table prints them.
// with: slots
#include <doctest/doctest.h>
#include <polymoe/layer/flops.hpp>

namespace {
using polymoe::vit_shape;
constexpr bool rounds_to(double x, double shown, double unit) { return x > shown - unit / 2 && x < shown + unit / 2; }
constexpr bool row(vit_shape s, double rho_static, double one, double two) {
  const auto c = s.share();
  return rounds_to(c.rho_static(), rho_static, 1e-3) && rounds_to(c.rho_active(1), one, 1e-3) && rounds_to(c.rho_active(2), two, 1e-3);
}
static_assert(row({.layers = 8, .dim = 512, .mlp = 2048, .patch = 32, .routed_layers = 2}, .155, .155, .268), "V-MoE S/32, last 2");
static_assert(row({.layers = 12, .dim = 768, .mlp = 3072, .patch = 32, .routed_layers = 6}, .321, .321, .486), "V-MoE B/32, every 2");
static_assert(row({.layers = 12, .dim = 768, .mlp = 3072, .patch = 16, .routed_layers = 6}, .318, .317, .482), "V-MoE B/16, every 2");
static_assert(row({.layers = 12, .dim = 768, .mlp = 3072, .patch = 32, .routed_layers = 2}, .107, .107, .193), "V-MoE B/32, last 2");
constexpr vit_shape mobile(polymoe::index layers, polymoe::index dim) {
  return {.layers = layers, .dim = dim, .mlp = 4 * dim, .patch = 32, .routed_layers = 2, .experts = 10, .router_per_layer = false};
}
static_assert(row(mobile(12, 192), .096, .096, .176), "Mobile V-MoE 12x192");
static_assert(row(mobile(6, 64), .124, .124, .221), "Mobile V-MoE 6x64");
// Dense FLOPs at 2 per MAC, papers.md 4.5: 612M and 53M.
static_assert(rounds_to(2e-6 * mobile(12, 192).dense_macs(), 612, 1) && rounds_to(2e-6 * mobile(6, 64).dense_macs(), 53, 1), "Mobile V-MoE FLOPs");

constexpr polymoe::compute_share paper_b_head() {
  polymoe::compute_share s;
  s.rest = 555417600, s.router = 512 * 8, s.block = 512 * 512 + 512 * 10, s.expert = 512 * 64 + 64 * 10;
  return s;
}
static_assert(rounds_to(paper_b_head().rho_static(), .00048, 1e-5) && rounds_to(paper_b_head().rho_active(1), .00006, 1e-5) &&
                  rounds_to(paper_b_head().rho_active(2), .00012, 1e-5),
              "paper B's head on ResNet-18");
}  // namespace

TEST_CASE("flops: rho_static does not depend on K, rho_capacity grows with the slots") {
  const auto s = vit_shape{.layers = 8, .dim = 512, .mlp = 2048, .patch = 32, .routed_layers = 2}.share();
  CHECK(s.rho_capacity(2) == doctest::Approx(s.rho_active(2)));
  CHECK(s.rho_capacity(2.5) > s.rho_active(2));
  CHECK(s.rho_active(2) > s.rho_active(1));
  // A shared expert as wide as a routed one is computed like it, and counts as not routed.
  const auto shared = vit_shape{.layers = 8, .dim = 512, .mlp = 2048, .patch = 32, .routed_layers = 2, .shared_hidden = 2048}.share();
  CHECK(shared.shared == shared.expert);
  CHECK(shared.rho_static() == s.rho_static());
  CHECK(shared.rho_active(1) == doctest::Approx(s.expert / (s.rest + s.router + 2 * s.expert)));
  CHECK(shared.rho_capacity(2) == doctest::Approx(shared.rho_active(2)));
}
