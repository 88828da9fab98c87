// Paper B's sparse head with the noise of its gate in evaluation: the noise, and nothing else, makes it another layer.
#include <doctest/doctest.h>

#include <paper_b/heads.hpp>

namespace {

using polymoe::cpu;
using polymoe::index;
using clean_head = paper_b::head_layer<paper_b::sparse_coded<float>, cpu>;
using noisy_head = paper_b::always_noisy<clean_head>;

constexpr index noisy_rows = 40, noisy_dim = 12, noisy_classes = 5;

auto noisy_config() {
  auto c = paper_b::experts_config<paper_b::sparse_coded<float>>(noisy_dim, noisy_classes);
  c.expert_dropout = 0, c.router.input_dropout = 0, c.router.dropout = 0;
  return c;
}
/// What a head gives for the same rows; all heads of a seed have the same numbers.
template <class Head>
std::vector<float> logits_of(polymoe::workspace<Head>& w) {
  std::vector<float> x(noisy_rows * noisy_dim), y(noisy_rows * noisy_classes);
  const auto draw = polymoe::random_root{5}.stream(polymoe::stream_id("rows"), 0);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(draw.normal(i));
  w.forward({x.data(), noisy_rows, noisy_dim}, {y.data(), noisy_rows, noisy_classes});
  return y;
}

TEST_CASE("paper_b: the noisy head is the clean one without noise, and a draw of its training with it") {
  polymoe::workspace<clean_head> clean(clean_head(noisy_config()), {.max_rows = noisy_rows, .seed = 2});
  polymoe::workspace<noisy_head> noisy(noisy_head(noisy_config()), {.max_rows = noisy_rows, .seed = 2});
  clean.ctx().mode = noisy.ctx().mode = polymoe::run_mode::eval;
  const std::vector<float> plain = logits_of(clean);
  noisy.step().noise = 0;
  CHECK(logits_of(noisy) == plain);
  noisy.step().noise = 1, noisy.step().micro = 3;
  const std::vector<float> third = logits_of(noisy);
  CHECK(third != plain);
  CHECK(logits_of(noisy) == third);
  CHECK(noisy.ctx().mode == polymoe::run_mode::eval);
  clean.step().micro = 3;
  CHECK(logits_of(clean) == plain);
  clean.ctx().mode = polymoe::run_mode::train;
  CHECK(logits_of(clean) == third);
  noisy.step().micro = 4;
  CHECK(logits_of(noisy) != third);
}

}  // namespace
