// The golden file of feature maps on backend B: convolutions, group and batch norms and pools in one small network,
// against PyTorch in float64.  maps_test.cpp runs it on the CPU, executor/golden_cuda_test.cpp on CUDA.
#pragma once

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

namespace polymoe::inline v0 {
namespace golden_cases {

template <class B, class T = double>
using map_network =
    nn::sequential<nn::pixels<T, B>, nn::named<"conv1", nn::conv2d<T, B>>, nn::named<"norm1", nn::group_norm<T, B>>,
                   nn::activation<act::relu, T, B>, nn::pool2d<T, B>, nn::named<"dw", nn::conv2d<T, B>>,
                   nn::named<"norm2", nn::group_norm<T, B>>, nn::activation<act::silu, T, B>,
                   nn::named<"conv2", nn::conv2d<T, B>>, nn::named<"norm3", nn::batch_norm<T, B>>, nn::pool2d<T, B>,
                   nn::pool<T, B>, nn::named<"head", nn::linear<T, B>>>;

template <class B>
void feature_maps() {
  using network = map_network<B>;
  golden g("maps");
  // 14 x 11 -> 7 x 6 -> 4 x 3 -> 3 x 2 -> 4 x 3 -> 1
  typename network::config c{{{3, 14, 11},
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
  const auto& stream = w.ctx().stream;
  const std::vector<double> nothing_in(images * 462, std::nan("")), nothing_out(images * 5, std::nan(""));
  const numbers_on<B, double> x(stream, numbers("maps/x", images * 3 * 14 * 11, 2)),
      dy(stream, numbers("maps/dy", images * 5, 1)), y(stream, nothing_out), dx(stream, nothing_in);
  w.forward(x.rows(images), y.rows(images));
  w.backward(dy.rows(images), dx.rows(images));
  g.check_tensor("y", y.host(stream).data(), images * 5);
  g.check_tensor("dx", dx.host(stream).data(), images * 462);
  g.check_all("grad", w, w.grads_on_host());
  // Running statistics are floats: their first commit, and what an evaluation makes of them, agree to float rounding.
  w.module().template get<9>().commit(w.ctx());
  w.ctx().mode = run_mode::eval;
  w.forward(x.rows(images), y.rows(images));
  g.check_tensor("y_eval", y.host(stream).data(), images * 5, 1e-6);
  g.check_complete();
}

}  // namespace golden_cases
}  // namespace polymoe
