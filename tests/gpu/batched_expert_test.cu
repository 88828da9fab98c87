// Experts with products batched through cuBLASLt on a GPU against the CPU backend: the text that runs with a stand-in
// for the library elsewhere, sizes only a GPU is quick enough for, and what the library fuses.
#include "../executor/batched_expert_test.cpp"

namespace {
template <class T>
struct large_spec : bounded_spec<T> {
  static constexpr int most_experts = 64;
};
}  // namespace

TEST_CASE("padded layers of real sizes, and what the library has kernels for") {
  both<large_spec<bf16>> a({.units = 4096, .experts = 64, .dim = 384, .hidden = 1536, .padded = true, .seed = 41});
  MESSAGE(a.device().module().describe());
  both<large_spec<bf16>> b({.units = 2000,
                            .experts = 8,
                            .dim = 192,
                            .hidden = 768,
                            .group_size = 250,
                            .padded = true,
                            .factor = 0.9f,
                            .seed = 42});
  MESSAGE(b.device().module().describe());
  both<large_spec<float>> c({.units = 1025, .experts = 33, .dim = 200, .hidden = 384, .padded = true, .seed = 43});
  MESSAGE(c.device().module().describe());
  both<large_spec<double>> d({.units = 511, .experts = 60, .dim = 192, .hidden = 200, .padded = true, .seed = 44});
  MESSAGE(d.device().module().describe());
}
