// Whole layers on a GPU against the CPU backend: the text that the host executor runs, and sizes only a GPU is quick
// enough for.
#include "../executor/layer_kernel_test.cpp"

namespace {
template <class T>
struct large_spec : polymoe::spec {
  using scalar = T;
  using router = polymoe::top_k<2, polymoe::score::noisy_constant<>>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>;
  static constexpr int most_experts = 256;
};
struct dropless : polymoe::spec {
  using scalar = bf16;
  static constexpr int most_experts = 256;
};
}  // namespace

TEST_CASE("layers of real sizes, and sizes around tiles") {
  both<large_spec<bf16>>({.units = 4096, .experts = 64, .dim = 384, .hidden = 1536, .seed = 31});
  both<large_spec<float>>({.units = 1025, .experts = 33, .dim = 200, .hidden = 384, .seed = 32});
  both<large_spec<double>>({.units = 511, .experts = 130, .dim = 192, .hidden = 200, .seed = 33});
  both<dropless>({.units = 8193, .experts = 8, .dim = 192, .hidden = 768, .seed = 34});
  both<dropless>({.units = 63, .experts = 200, .dim = 1000, .hidden = 384, .seed = 35});
}
