// The pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x)) (Dosovitskiy et al. 2021, eq. 2, 3).
#pragma once

#include "attention.hpp"
#include "layer_norm.hpp"
#include "mlp_block.hpp"
#include "residual.hpp"
#include "sequential.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// Rows images * tokens, width D.  `Mlp` is the module of the second half with its name, for example
/// named<"mlp", mlp_block<T>>; a Mixture-of-Experts layer goes there too.  Names: norm1, attn, norm2, mlp.
template <class Mlp>
using encoder_block = sequential<
    named<"", residual<sequential<named<"norm1", layer_norm<typename Mlp::scalar, typename Mlp::backend>>,
                                  named<"attn", attention<typename Mlp::scalar, typename Mlp::backend>>>>>,
    named<"", residual<sequential<named<"norm2", layer_norm<typename Mlp::scalar, typename Mlp::backend>>, Mlp>>>>;

/// The dense block of a vision transformer.
template <class T, class Act = act::gelu_tanh, class B = cpu>
using dense_block = encoder_block<named<"mlp", mlp_block<T, Act, B>>>;

/// The configuration of an encoder_block from those of its parts.
template <class Mlp, class T = typename Mlp::scalar, class B = typename Mlp::backend>
constexpr typename encoder_block<Mlp>::config encoder_config(typename attention<T, B>::config a,
                                                             typename Mlp::config mlp, double eps = 1e-6) {
  typename layer_norm<T, B>::config norm{a.dim, eps};
  return {{{{norm, a}}, {{norm, mlp}}}};
}

}  // namespace nn
}  // namespace polymoe
