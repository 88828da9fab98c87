// A layer of experts with one of the routers, its sizes set.
#pragma once

#include <polymoe/polymoe.hpp>

#include "paper_c.hpp"

namespace paper_c {
namespace {

/// `change(config)` sets what the router needs besides.
template <class Spec, class B, class F>
typename layer<typename Spec::scalar, B>::config with(const layer_sizes& z, F change) {
  using own = polymoe::layer<Spec, B>;
  typename own::config c;
  c.dim = z.dim, c.hidden = z.hidden, c.experts = z.experts, c.group_size = z.group_images * z.tokens;
  change(c);
  return layer<typename Spec::scalar, B>::template of<own>(c);
}

}  // namespace
}  // namespace paper_c
