// Layer normalisation on CUDA, run by the host executor and in tests/gpu on a GPU, against the CPU backend.
// sanitize: yes
// with: nn
#include "helpers.hpp"
#include "tensors.hpp"

#include <polymoe/backend/cpu/norm.hpp>
#include <polymoe/backend/cuda/dispatch/norm.cuh>

namespace polymoe::executor_test {
namespace {

template <class T>
void compare_norm(index rows, index dim, bool with_skip, index gap = 0) {
  using M = master_t<T>;
  using C = compute_t<T>;
  CAPTURE(rows);
  CAPTURE(dim);
  tensor<T> x(rows, dim, 1, gap), dy(rows, dim, 2, gap), skip(rows, dim, 3, gap);
  tensor<M> weight(1, dim, 4), bias(1, dim, 5), dw(1, dim, 6), db(1, dim, 7);
  tensor<T> y(rows, dim, 0, gap), dx(rows, dim, 0, gap);
  tensor<C> stats(rows, 2, 0);
  const auto before = x.memory();
  const auto bind = [&](auto& b) { backend::layer_norm_bind<T>(b, rows, dim); };
  runner<cpu> one(bind);
  runner<cuda> two(bind);
  const view<const T> add = with_skip ? fixed(skip) : view<const T>{};
  const host_tensor<T> host_x(x), host_dy(dy), host_skip(skip), want(rows, dim), want_dx(rows, dim);
  const host_tensor<M> host_weight(weight), host_bias(bias), want_dw(dw), want_db(db);
  const host_tensor<C> want_stats(rows, 2);

  backend::layer_norm_forward<T>(one.c, host_x, host_weight, host_bias, 1e-6, want, want_stats);
  backend::layer_norm_backward<T>(one.c, host_dy, host_x, want_stats, host_weight, want_dw, want_db, want_dx,
                                  with_skip ? view<const T>(host_skip) : view<const T>{});
  {
    const grid_order with(static_cast<std::uint64_t>(rows + dim));
    backend::layer_norm_forward<T>(two.c, x, weight, bias, 1e-6, y, stats);
    backend::layer_norm_backward<T>(two.c, dy, x, stats, weight, dw, db, dx, add);
  }
  constexpr double sums = sizeof(T) == 8 ? 1e-12 : 1e-5;
  CHECK(distance(y.host(), want.host()) <= bound<T>(1e-3));
  CHECK(distance(stats.host(), want_stats.host()) <= sums);
  CHECK(distance(dx.host(), want_dx.host()) <= bound<T>(1e-3));
  CHECK(distance(dw.host(), want_dw.host()) <= sums);
  CHECK(distance(db.host(), want_db.host()) <= sums);
  CHECK(same_bits(x.memory(), before));

  // Another grid in another order, with dx over dy; and parameters only.
  const grid_order again(1);
  runner<cuda> other(bind);
  other.c.stream.blocks = 1;
  tensor<T> over(rows, dim, 2, gap);
  tensor<M> dw2(1, dim, 6), db2(1, dim, 7), dw3(1, dim, 6), db3(1, dim, 7);
  backend::layer_norm_backward<T>(other.c, fixed(over), x, stats, weight, dw2, db2, over, add);
  CHECK(same_bits(over.host(), dx.host()));
  CHECK(same(dw2, dw));
  CHECK(same(db2, db));
  backend::layer_norm_backward<T>(other.c, dy, x, stats, weight, dw3, db3, view<T>{}, add);
  CHECK(same(dw3, dw));
}
}  // namespace

TEST_CASE("layer_norm on CUDA equals the CPU's: rows and widths of any size") {
  if (no_fibers()) return;
  for (const index rows : {0, 1, 63, 65})
    for (const index dim : {192, 200, 10, 1}) {
      compare_norm<float>(rows, dim, rows == 63);
      compare_norm<bf16>(rows, dim, rows == 65);
    }
  compare_norm<double>(130, 24, true);
  compare_norm<double>(65, 7, false);
  compare_norm<float>(9, 384, true, 4);
  compare_norm<bf16>(9, 384, true, 3);
}
TEST_CASE("layer_norm on CUDA equals the CPU's: rows wider than registers") {
  if (no_fibers()) return;
  compare_norm<float>(3, 2500, true);
  compare_norm<float>(3, 1301, false);
  compare_norm<bf16>(3, 1544, true);
  compare_norm<double>(2, 1200, true);
}
TEST_CASE("layer_norm on CUDA: the bound on blocks holds for every number of rows") {
  for (index rows = 1; rows < 200000; rows = rows * 9 / 8 + 1) {
    const index each = backend::kernel::norm_block_rows(rows), blocks = ceil_div(rows, each);
    CHECK(blocks <= backend::kernel::norm_blocks(rows));
    CHECK(backend::kernel::norm_blocks(rows) <= backend::kernel::norm_blocks(rows + 1));
    CHECK(blocks <= 512);
  }
}
}  // namespace polymoe::executor_test
