// Softmax cross-entropy on CUDA, run on the CPU by the host executor, against the CPU backend.
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

template <class T>
void compare_loss(index rows, index classes, double smoothing, double weight) {
  CAPTURE(rows);
  CAPTURE(classes);
  tensor<T> x(rows, classes, 1), x0(rows, classes, 1), dx(rows, classes, 0), dx2(rows, classes, 0);
  if (rows > 2 && classes > 3) {  // equal largest logits: the first one counts
    for (tensor<T>* t : {&x, &x0}) store(t->v.row(1)[1], 9.0f), store(t->v.row(1)[3], 9.0f);
  }
  auto labels = draw_labels(rows, classes);
  if (rows > 2 && classes > 3) labels[1] = 3;
  const auto bind = [&](auto& b) { backend::cross_entropy_bind<T>(b, rows); };
  runner<cpu> one(bind);
  runner<cuda> two(bind), other(bind);
  executor::scope with{{.seed = 9}};
  loss_report a, b, again;
  std::memset(static_cast<void*>(&b), 0xFF, sizeof b);
  backend::softmax_cross_entropy<T>(one.c, x, labels, smoothing, weight, dx, &a);
  backend::softmax_cross_entropy<T>(two.c, x, labels, smoothing, weight, dx2, &b);
  CHECK(b.loss == doctest::Approx(a.loss).epsilon(sizeof(T) == 8 ? 1e-12 : 1e-5));
  CHECK(b.loss_tangent == 0);
  CHECK(b.rows == a.rows);
  CHECK(b.correct == a.correct);
  CHECK(distance(dx2.v, dx.v) <= bound<T>(1e-3));
  CHECK(same(x, x0));
  other.c.stream.blocks = 1;
  backend::softmax_cross_entropy<T>(other.c, x, labels, smoothing, weight, view<T>{}, &again);
  CHECK(std::memcmp(&again, &b, sizeof b) == 0);
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
TEST_CASE("cross_entropy on CUDA: bad labels and NaN logits make their row NaN and not correct") {
  if (no_fibers()) return;
  const auto bind = [&](auto& b) { backend::cross_entropy_bind<float>(b, 4); };
  for (const std::int32_t wrong : {-1, 7}) {
    runner<cuda> two(bind);
    tensor<float> x(4, 7, 1), dx(4, 7, 0);
    std::vector<std::int32_t> labels(4);
    for (std::size_t r = 0; r < 4; ++r)
      for (int k = 0; k < 7; ++k)
        if (x.v.get(static_cast<index>(r), k) > x.v.get(static_cast<index>(r), labels[r])) labels[r] = k;
    labels[2] = wrong;
    loss_report report;
    backend::softmax_cross_entropy<float>(two.c, x, labels, 0.1, 1, dx, &report);
    CHECK(std::isnan(report.loss));
    CHECK(report.rows == 4);
    CHECK(report.correct == 3);
    for (index r = 0; r < 4; ++r)
      for (index k = 0; k < 7; ++k) CHECK(std::isnan(dx.v.get(r, k)) == (r == 2));
  }
  runner<cuda> two(bind);
  tensor<float> x(4, 7, 1), dx(4, 7, 0);
  x.v.set(1, 4, std::nanf(""));
  const std::vector<std::int32_t> labels(4, 0);
  loss_report report;
  backend::softmax_cross_entropy<float>(two.c, x, labels, 0, 1, dx, &report);
  CHECK(std::isnan(report.loss));
  CHECK(std::isnan(dx.v.get(1, 0)));
  CHECK_FALSE(std::isnan(dx.v.get(0, 0)));
  const auto few = message_of(
      [&] { backend::softmax_cross_entropy<float>(two.c, x, std::span(labels).first(3), 0, 1, dx, &report); });
  CHECK(holds(few, "3 labels for 4 rows"));
}
}  // namespace polymoe::executor_test
