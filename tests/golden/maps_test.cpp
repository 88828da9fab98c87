// Feature maps against PyTorch in float64: convolutions, group and batch norms and pools in one small network, by the
// golden file that generate.py wrote.
#include "golden.hpp"

#include <polymoe/nn/activation.hpp>
#include <polymoe/nn/batch_norm.hpp>
#include <polymoe/nn/conv2d.hpp>
#include <polymoe/nn/group_norm.hpp>
#include <polymoe/nn/linear.hpp>
#include <polymoe/nn/pixels.hpp>
#include <polymoe/nn/pool.hpp>
#include <polymoe/nn/pool2d.hpp>
#include <polymoe/nn/sequential.hpp>

namespace polymoe {
namespace {

using T = double;
using network = nn::sequential<nn::pixels<T>, nn::named<"conv1", nn::conv2d<T>>, nn::named<"norm1", nn::group_norm<T>>,
                               nn::activation<act::relu, T>, nn::pool2d<T>, nn::named<"dw", nn::conv2d<T>>,
                               nn::named<"norm2", nn::group_norm<T>>, nn::activation<act::silu, T>,
                               nn::named<"conv2", nn::conv2d<T>>, nn::named<"norm3", nn::batch_norm<T>>, nn::pool2d<T>,
                               nn::pool<T>, nn::named<"head", nn::linear<T>>>;

TEST_CASE("a network of feature maps computes what PyTorch computes") {
  golden g("maps");
  // 14 x 11 -> 7 x 6 -> 4 x 3 -> 3 x 2 -> 4 x 3 -> 1
  network::config c{{{3, 14, 11},
                     {3, 12, 14, 11, 3, 1, 1},
                     {12, 4, 154},
                     {12},
                     {12, 14, 11, 3, 2, 1},
                     {12, 12, 7, 6, 5, 2, 2, true, true},
                     {12, 3, 12},
                     {12},
                     {12, 10, 4, 3, 2, 1, 0, false},
                     {10},
                     {10, 3, 2, 2, 1, 1, nn::pool2d_kind::mean},
                     {10, 12},
                     {10, 5}}};
  const index images = 3;
  workspace<network> w(network(c), {.max_rows = images});
  fill_parameters(w, "maps");
  const std::vector<double> x = numbers("maps/x", images * 3 * 14 * 11, 2), dy = numbers("maps/dy", images * 5, 1);
  std::vector<double> y(dy.size(), std::nan("")), dx(x.size(), std::nan(""));
  w.forward({x.data(), images, 462}, {y.data(), images, 5});
  w.backward({dy.data(), images, 5}, {dx.data(), images, 462});
  g.check_tensor("y", y.data(), images * 5);
  g.check_tensor("dx", dx.data(), images * 462);
  g.check_all("grad", w, w.grads().ptr[0]);
  // Running statistics are floats: their first commit, and what an evaluation makes of them, agree to float rounding.
  w.module().get<9>().commit(w.ctx());
  w.ctx().mode = run_mode::eval;
  w.forward({x.data(), images, 462}, {y.data(), images, 5});
  g.check_tensor("y_eval", y.data(), images * 5, 1e-6);
  g.check_complete();
}

}  // namespace
}  // namespace polymoe
