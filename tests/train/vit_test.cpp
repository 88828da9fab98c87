// nn::vit: what its count promises against the parameters a model really has and a formula by hand, and its names.
// with: trainer
#include <doctest/doctest.h>

#include "tiny_vit.hpp"

namespace polymoe {
namespace {

template <class Model>
index parameters(const typename Model::config& c) {
  Model m(c);
  visitor<typename Model::M> v;
  m.visit(v);
  index n = 0;
  for (const param_entry& e : v.params()) n += e.size;
  CHECK(n == v.param_count());
  return n;
}

/// Multiply-accumulates of one image by hand: patches, per block 4 D^2 n + 2 n^2 D and the MLP, head.
constexpr index macs_by_hand(const nn::vit_sizes& s, index tokens, index mlp_of_one_token) {
  const index patches = tokens - (s.class_token ? 1 : 0);
  const index block = 4 * s.dim * s.dim * tokens + 2 * tokens * tokens * s.dim + tokens * mlp_of_one_token;
  return patches * s.channels * s.patch * s.patch * s.dim + s.depth * block + s.dim * s.classes;
}

// The tiny model: a program can state what it costs while it is compiled.
using tiny_moe = tiny::moe_layer<float>;
constexpr tiny_moe::config moe_config(index hidden) {
  tiny_moe::config c;
  c.dim = 16, c.hidden = hidden, c.experts = 4;
  return c;
}
constexpr cost sparse = tiny::moe_vit<float>::count(nn::vit_config<tiny_moe>(tiny::sizes(), moe_config(16)), 1);
constexpr nn::mlp_block<float>::config twin{16, 32};
constexpr cost dense =
    nn::vit<tiny::dense_mlp<float>>::count(nn::vit_config<tiny::dense_mlp<float>>(tiny::sizes(), twin), 1);
static_assert(sparse.macs == macs_by_hand(tiny::sizes(), 16, 16 * 4 + 2 * 2 * 16 * 16),
              "router and two experts a token");
static_assert(dense.macs == macs_by_hand(tiny::sizes(), 16, 2 * 16 * 32), "one MLP of twice the width a token");
static_assert(sparse.routed_macs == 2 * 16 * 2 * 2 * 16 * 16 && dense.routed_macs == 0,
              "depth, tokens, K, both products");
static_assert(sparse.macs - dense.macs == 2 * 16 * 16 * 4, "equal active work apart from the routers");
static_assert(sparse.params - sparse.active_params == 2 * 2 * (2 * 16 * 16 + 16 + 16), "two of four experts are met");

TEST_CASE("vit: the number of parameters is that of the model, for every form") {
  CHECK(parameters<tiny::moe_vit<float>>(nn::vit_config<tiny_moe>(tiny::sizes(), moe_config(16))) == sparse.params);
  using dense_vit = nn::vit<tiny::dense_mlp<float>>;
  CHECK(parameters<dense_vit>(nn::vit_config<tiny::dense_mlp<float>>(tiny::sizes(), twin)) == dense.params);
  CHECK(dense.active_params == dense.params);
  // bf16 is trained in fp32 masters.
  using half = nn::vit<tiny::dense_mlp<bf16>>;
  const auto halves = nn::vit_config<tiny::dense_mlp<bf16>>(tiny::sizes(), {16, 32});
  half m(halves);
  visitor<half::M> v;
  m.visit(v);
  CHECK(half::count(halves, 1).param_bytes<bf16>() == v.param_count() * static_cast<index>(sizeof(half::M)));

  for (const bool class_token : {false, true})
    for (const index stride : {0, 2}) {
      nn::vit_sizes s = tiny::sizes();
      s.channels = 3, s.height = 12, s.width = 8, s.patch = 4, s.stride = stride, s.padding = stride ? 1 : 0;
      s.depth = 3, s.class_token = class_token;
      CAPTURE(class_token);
      CAPTURE(stride);
      const index tokens = (stride ? 6 * 4 : 3 * 2) + class_token;
      CHECK(s.tokens() == tokens);
      const auto c = nn::vit_config<tiny_moe>(s, moe_config(20));
      const cost n = tiny::moe_vit<float>::count(c, 5);
      CHECK(n.params == parameters<tiny::moe_vit<float>>(c));
      CHECK(n.macs == 5 * macs_by_hand(s, tokens, 16 * 4 + 2 * 2 * 16 * 20));
      CHECK(tiny::moe_vit<float>::out_rows(c, 5) == 5);
    }
}

TEST_CASE("vit: its parts have the names of a vision transformer, and the head begins with zeros") {
  tiny::moe_vit<float> m = tiny::moe_model<float>();
  CHECK(m.in_cols() == 64);
  CHECK(m.out_cols() == 4);
  visitor<float> v;
  m.visit(v);
  std::vector<std::string> names;
  for (const param_entry& e : v.params()) names.push_back(e.name);
  const auto count = [&](const char* name) { return std::count(names.begin(), names.end(), name); };
  for (const char* name : {"patch_embed.proj.weight", "pos_embed", "blocks.0.norm1.weight", "blocks.1.attn.qkv.weight",
                           "blocks.1.norm2.bias", "blocks.0.moe.router.weight", "norm.weight", "head.weight"})
    CHECK_MESSAGE(count(name) == 1, name);
  CHECK(count("cls_token") == 0);
  for (const param_entry& e : v.params())
    if (e.name == "head.weight" || e.name == "head.bias") CHECK(e.init.how == init_rule::kind::zeros);
  std::sort(names.begin(), names.end());
  CHECK(std::unique(names.begin(), names.end()) == names.end());
}

TEST_CASE("vit: sizes that do not fit are refused with both numbers") {
  const auto refused = [](auto change) {
    nn::vit_sizes s = tiny::sizes();
    change(s);
    try {
      tiny::moe_vit<float> m(nn::vit_config<tiny_moe>(s, moe_config(16)));
    } catch (const error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  CHECK(refused([](auto&) {}) == "");
  CHECK(refused([](auto& s) { s.heads = 3; }).find("dim 16 is not a multiple of heads 3") != std::string::npos);
  CHECK(refused([](auto& s) { s.patch = 9; }).find("patch of 9 does not fit an image of 8 x 8") != std::string::npos);
  CHECK(refused([](auto& s) { s.dim = 24; }).find("24") != std::string::npos);
  CHECK(refused([](auto& s) { s.depth = 0; }).find("count = 0") != std::string::npos);
}

}  // namespace
}  // namespace polymoe
