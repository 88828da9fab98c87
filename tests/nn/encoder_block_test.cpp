// nn::encoder_block: the module contract and the names of a vision transformer.
// thread: yes
// with: blocks
#include <doctest/doctest.h>

#include <polymoe/nn/vit.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

template <class T>
using block = nn::dense_block<T>;

template <class T>
typename block<T>::config config() {
  return nn::encoder_config<nn::named<"mlp", nn::mlp_block<T>>>({8, 2, 5}, {8, 12});
}

TEST_CASE("encoder_block keeps the module contract") {
  testing::check_module<block>([](auto t) { return config<decltype(t)>(); },
                               {.rows = 15, .float_error = 5e-5, .param_scale = 0.5}, 5);
}

TEST_CASE("encoder_block has the names of a vision transformer") {
  block<float> m(config<float>());
  visitor<float> v;
  m.visit(v);
  std::vector<std::string> names;
  for (const auto& e : v.params()) names.push_back(e.name);
  CHECK(names == std::vector<std::string>{"norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias",
                                          "attn.proj.weight", "attn.proj.bias", "norm2.weight", "norm2.bias",
                                          "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight", "mlp.fc2.bias"});
  CHECK(block<float>::count(config<float>(), 5).params == v.param_count());
}

TEST_CASE("the products of a vision transformer's dense layers are one choice") {
  using mlp = nn::named<"mlp", nn::mlp_block<float>>;
  for (const auto how : {nn::float_products::exact, nn::float_products::tf32}) {
    nn::vit_sizes s;
    s.products = how;
    mlp::config m;
    m.dim = s.dim, m.hidden = 32;
    const auto c = nn::vit_config<mlp>(s, m);
    const auto& block = std::get<2>(c.parts).block.parts;
    CHECK(std::get<0>(c.parts).products == how);
    CHECK(std::get<1>(std::get<0>(block).parts).products == how);
    CHECK(std::get<1>(std::get<1>(block).parts).products == how);
    CHECK(std::get<5>(c.parts).products == how);
    // What an MLP block asks for by itself stays.
    m.products = nn::float_products::tf32;
    const auto own = nn::vit_config<mlp>(s, m);
    CHECK(std::get<1>(std::get<1>(std::get<2>(own.parts).block.parts).parts).products == nn::float_products::tf32);
  }
}

}  // namespace
}  // namespace polymoe
