// nn::vit_named: parameters and compute of published vision transformers, asserted when the code is compiled, and what
// comes of a name that there is not.
// with: blocks
#include <doctest/doctest.h>

#include <polymoe/nn/vit.hpp>

namespace polymoe {
namespace vit_names {
namespace {

using dense = nn::named<"mlp", nn::mlp_block<float>>;
constexpr cost cost_of(const nn::vit_sizes& s) { return nn::vit<dense>::count(nn::vit_config<dense>(s), 1); }
constexpr cost cost_of(const char* name) { return cost_of(nn::vit_named(name)); }
constexpr bool rounds_to(double x, double shown, double unit) { return x >= shown - unit / 2 && x < shown + unit / 2; }

// Parameters with 1000 classes, as timm and torchvision count them.
static_assert(cost_of("Ti/16").params == 5'717'416);
static_assert(cost_of("S/16").params == 22'050'664);
static_assert(cost_of("S/32").params == 22'878'952);
static_assert(cost_of("B/16").params == 86'567'656);
static_assert(cost_of("B/32").params == 88'224'232);
static_assert(cost_of("L/16").params == 304'326'632);
static_assert(cost_of("H/14").params == 632'045'800);
// 10^9 MACs of an image of 224 x 224 (Touvron et al. 2021 print them as FLOPs).
static_assert(rounds_to(1e-9 * static_cast<double>(cost_of("Ti/16").macs), 1.3, .1));
static_assert(rounds_to(1e-9 * static_cast<double>(cost_of("S/16").macs), 4.6, .1));
static_assert(rounds_to(1e-9 * static_cast<double>(cost_of("B/16").macs), 17.6, .1));
// V-MoE's S/32, by hand: per layer two norms, projections and MLP; patches, class token, 50 positions, norm, head.
static_assert(cost_of("V-MoE-S/32").params == 8 * (4 * 512 + 4 * 512 * 512 + 4 * 512 + 2 * 512 * 2048 + 2048 + 512) +
                                                  (3 * 32 * 32 + 1) * 512 + 512 + 50 * 512 + 2 * 512 + 513 * 1000);
// Mobile V-MoE (papers.md 4.5): 10^6 FLOPs, two a MAC; 6.13 M parameters of the dense 12x192.
constexpr bool mobile(const char* name, double mega_flops) {
  return rounds_to(1e-6 * cost_of(name).flops(), mega_flops, 1);
}
static_assert(mobile("12x192/32", 612) && mobile("9x192/32", 474) && mobile("6x192/32", 335) &&
              mobile("12x96/32", 173) && mobile("9x96/32", 137) && mobile("6x96/32", 101) && mobile("12x64/32", 86) &&
              mobile("9x64/32", 69) && mobile("6x64/32", 53) && mobile("12x384/32", 2286));
static_assert(rounds_to(1e-6 * static_cast<double>(cost_of("12x192/32").params), 6.13, .01));
static_assert(cost_of("12x192/32") == cost_of("Ti/32"));

// The mean of the tokens in place of a class token: one token, one position less.
constexpr cost without_class_token() {
  nn::vit_sizes s = nn::vit_named("Ti/16");
  s.class_token = false;
  return cost_of(s);
}
static_assert(without_class_token().params == 5'717'416 - 2 * 192 && nn::vit_named("Ti/16").tokens() == 197);
// Heads of 64, of 80 in H; 3 of 32 for the width 96.
static_assert(nn::vit_named("L/16").heads == 16 && nn::vit_named("H/14").heads == 16 &&
              nn::vit_named("V-MoE-S/32").heads == 8 && nn::vit_named("12x384/16").heads == 6 &&
              nn::vit_named("6x96/32").heads == 3 && nn::vit_named("2x30/8").heads == 15);

TEST_CASE("vit: a name that there is not is refused and says which there are") {
  for (const char* name : {"", "Ti", "Ti/", "ti/16", "XL/16", "x192/32", "12x/32", "0x192/32", "12x0/32", "12x192/0",
                           "12x192/-4", "12x192x3/32", "Ti/16/2"})
    CHECK_THROWS_WITH_AS(nn::vit_named(name),
                         doctest::Contains(("vit '" + std::string(name) + "': expected Ti, S, B, L, H").c_str()),
                         error);
}

}  // namespace
}  // namespace vit_names
}  // namespace polymoe
