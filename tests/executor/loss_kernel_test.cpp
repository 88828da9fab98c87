// Softmax cross-entropy on CUDA, run by the host executor and in tests/gpu on a GPU, against the CPU backend.
// sanitize: yes
// with: nn
#include "helpers.hpp"
#include "tensors.hpp"

#include <polymoe/backend/cpu/loss.hpp>
#include <polymoe/backend/cuda/dispatch/loss.cuh>

namespace polymoe::executor_test {
namespace {

std::vector<std::int32_t> draw_labels(index rows, index classes) {
  std::vector<std::int32_t> labels(static_cast<std::size_t>(rows));
  const auto draw = random_root{5}.stream(1, 0);
  for (std::size_t r = 0; r < labels.size(); ++r)
    labels[r] = static_cast<std::int32_t>(draw.below(r, static_cast<std::uint32_t>(classes)));
  return labels;
}

/// own: share of the label where every row has a second one, which for every third row is the same; 1: none has.
template <class T>
void compare_loss(index rows, index classes, double smoothing, double weight, double own = 1) {
  CAPTURE(rows);
  CAPTURE(classes);
  CAPTURE(own);
  tensor<T> x(rows, classes, 1), dx(rows, classes, 0);
  auto labels = draw_labels(rows, classes);
  if (rows > 2 && classes > 3) {  // equal largest logits: the first one counts
    std::vector<T> logits = x.host();
    for (const index k : {1, 3}) store(logits[static_cast<std::size_t>(classes + k)], compute_t<T>(9));
    x.put(logits);
    labels[1] = 3;
  }
  std::vector<std::int32_t> second(labels);
  for (std::size_t r = 0; r < second.size(); ++r)
    if (r % 3 != 0) second[r] = static_cast<std::int32_t>((labels[r] + 1 + static_cast<index>(r)) % classes);
  const auto before = x.memory();
  const host_tensor<T> host_x(x), want(rows, classes);
  const on_device<std::int32_t> there(labels), second_there(second);
  const on_device<double> own_there(own);
  label_mix mix, mix_there;
  if (own < 1)
    mix.second = second, mix.own = &own, mix_there.second = second_there.all(), mix_there.own = own_there.data();
  const auto bind = [&](auto& b) { backend::cross_entropy_bind<T>(b, rows); };
  runner<cpu> one(bind);
  runner<cuda> two(bind), other(bind);
  const grid_order with(9);
  loss_report a, b;
  on_device<loss_report> report(b), again(b);
  backend::softmax_cross_entropy<T>(one.c, host_x, labels, smoothing, weight, want, &a, mix);
  backend::softmax_cross_entropy<T>(two.c, x, there.all(), smoothing, weight, dx, report.data(), mix_there);
  b = report.get();
  CHECK(b.loss == doctest::Approx(a.loss).epsilon(sizeof(T) == 8 ? 1e-12 : 1e-5));
  CHECK(b.loss_tangent == 0);
  CHECK(b.rows == rows);
  CHECK(b.correct == a.correct);
  CHECK(distance(dx.host(), want.host()) <= bound<T>(1e-3));
  CHECK(same_bits(x.memory(), before));
  other.c.stream.blocks = 1;
  backend::softmax_cross_entropy<T>(other.c, x, there.all(), smoothing, weight, view<T>{}, again.data(), mix_there);
  const loss_report c = again.get();
  CHECK((c.loss == b.loss && c.rows == b.rows && c.correct == b.correct));
}
/// The report of one call on logits and labels of the host, and the gradient; `own` as above.
struct loss_outcome {
  loss_report report;
  std::vector<float> dx;
};
loss_outcome loss_of(const std::vector<float>& logits, const std::vector<std::int32_t>& labels, double smoothing,
                     const std::vector<std::int32_t>& second = {}, double own = 1) {
  const auto rows = static_cast<index>(labels.size()), classes = static_cast<index>(logits.size()) / rows;
  runner<cuda> two([&](auto& b) { backend::cross_entropy_bind<float>(b, rows); });
  tensor<float> x(rows, classes), dx(rows, classes);
  x.put(logits);
  const on_device<std::int32_t> there(labels), second_there(second);
  const on_device<double> own_there(own);
  on_device<loss_report> report{loss_report{}};
  label_mix mix;
  if (!second.empty()) mix.second = second_there.all(), mix.own = own_there.data();
  backend::softmax_cross_entropy<float>(two.c, x, there.all(), smoothing, 1, dx, report.data(), mix);
  return {report.get(), dx.host()};
}
}  // namespace

TEST_CASE("cross_entropy on CUDA equals the CPU's") {
  if (no_fibers()) return;
  for (const index rows : {0, 1, 63, 300}) {
    compare_loss<float>(rows, 10, 0.1, 0.5);
    compare_loss<bf16>(rows, 16, 0, 1);
  }
  compare_loss<float>(5, 1000, 0.1, 1);
  compare_loss<float>(5, 1501, 0.1, 1);
  compare_loss<bf16>(5, 1003, 0.2, 1);
  compare_loss<double>(65, 12, 0.1, 2);
  compare_loss<double>(3, 1, 0, 1);
}
TEST_CASE("cross_entropy on CUDA equals the CPU's: second labels with shares, equal ones too") {
  if (no_fibers()) return;
  for (const double own : {0.7, 0.0}) {
    compare_loss<double>(65, 12, 0.1, 2, own);
    compare_loss<float>(63, 10, 0, 1, own);
    compare_loss<bf16>(7, 1003, 0.2, 0.5, own);
  }
  compare_loss<float>(0, 10, 0, 1, 0.5);
}
TEST_CASE("cross_entropy on CUDA: bad labels, shares and NaN logits make their row NaN and not correct") {
  if (no_fibers()) return;
  const std::vector<float> x = drawn<float>(4 * 7, 1);
  std::vector<std::int32_t> best(4);
  for (std::size_t r = 0; r < 4; ++r)
    for (std::size_t k = 0; k < 7; ++k)
      if (x[7 * r + k] > x[7 * r + static_cast<std::size_t>(best[r])]) best[r] = static_cast<std::int32_t>(k);
  const auto only_row_2 = [](const loss_outcome& o) {
    CHECK(std::isnan(o.report.loss));
    CHECK(o.report.rows == 4);
    CHECK(o.report.correct == 3);
    for (std::size_t i = 0; i < 28; ++i) CHECK(std::isnan(o.dx[i]) == (i / 7 == 2));
  };
  for (const std::int32_t wrong : {-1, 7}) {
    std::vector<std::int32_t> labels = best;
    labels[2] = wrong;
    only_row_2(loss_of(x, labels, 0.1));
    only_row_2(loss_of(x, best, 0.1, labels, 0.5));
  }
  for (const double share : {-0.25, 1.5, std::nan("")}) {
    const loss_outcome o = loss_of(x, best, 0, best, share);
    CHECK(o.report.correct == 0);
    for (const float g : o.dx) CHECK(std::isnan(g));
  }
  std::vector<float> with_nan = x;
  with_nan[7 + 4] = std::nanf("");
  const loss_outcome o = loss_of(with_nan, std::vector<std::int32_t>(4, 0), 0);
  CHECK(std::isnan(o.report.loss));
  CHECK(std::isnan(o.dx[7]));
  CHECK_FALSE(std::isnan(o.dx[0]));

  runner<cuda> two([](auto& b) { backend::cross_entropy_bind<float>(b, 4); });
  tensor<float> logits(4, 7, 1), dx(4, 7, 0);
  const on_device<std::int32_t> labels(best);
  const on_device<double> half(0.5);
  const auto refused = [&](std::span<const std::int32_t> first, const label_mix& mix) {
    return message_of([&] { backend::softmax_cross_entropy<float>(two.c, logits, first, 0, 1, dx, nullptr, mix); });
  };
  CHECK(holds(refused(labels.all().first(3), {}), "3 labels for 4 rows"));
  label_mix mix;
  mix.second = labels.all().first(2), mix.own = half.data();
  CHECK(holds(refused(labels.all(), mix), "2 second labels for 4 rows"));
  mix.second = labels.all(), mix.own = nullptr;
  CHECK(holds(refused(labels.all(), mix), "4 second labels without the share of the first ones"));
}
}  // namespace polymoe::executor_test
