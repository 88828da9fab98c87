// The loss around what an arm trained, over random directions.
#pragma once

#include <polymoe/analysis/loss_landscape.hpp>

#include "batches.hpp"
#include "paper_b.hpp"

namespace paper_b {
namespace {

/// Lists "landscape.*": the mean loss of the training images over two random directions, -1 to 1 filter lengths away,
/// with gates that choose anew and, for experts, with gates as they are.
template <class Trainer>
void add_landscape(Trainer& t, bool experts, const options& o, const images& data, result& r) {
  using polymoe::analysis::gates;
  auto& w = t.work();
  const index n = std::min(o.landscape_images, data.fit.train.size()), batch = std::min<index>(t.options().batch, n);
  const batches of = first_batches(w.ctx().stream, data.fit.train, n, batch);
  polymoe::analysis::loss_landscape scape(w, of.rows, data.test.classes());
  const auto u = scape.random_direction(2 * r.seed), v = scape.random_direction(2 * r.seed + 1);
  const auto axis = [](index points) {
    std::vector<double> at;
    for (index i = 0; i < points; ++i) at.push_back(2.0 * static_cast<double>(i) / static_cast<double>(points - 1) - 1);
    return at;
  };
  const std::vector<double> line = axis(2 * o.landscape_points - 1), side = axis(o.landscape_points);
  r.lists["landscape.alpha"] = line, r.lists["landscape.side"] = side;
  for (const auto& [how, name] : {std::pair{gates::free, "free"}, {gates::frozen, "frozen"}}) {
    if (how == gates::frozen && !experts) break;
    r.lists[std::string("landscape.line_") + name] = scape.along(u, line, how);
    r.lists[std::string("landscape.plane_") + name] = scape.over(u, v, side, side, how);
  }
  std::printf("%s, seed %llu: loss over two random directions, %lld images\n", r.arm.c_str(),
              static_cast<unsigned long long>(r.seed), static_cast<long long>(n));
}

/// List "train.loss_along_frozen": the loss along the first eigenvector, at the steps of "train.alpha" and over the images
/// of the Hessian, with gates as they are.
template <class Trainer>
void add_frozen_curve(Trainer& t, const std::vector<float>& along, const options& o, const images& data, result& r) {
  auto& w = t.work();
  const index n = std::min(o.hessian_images, data.fit.train.size()), batch = std::min<index>(t.options().batch, n);
  const batches of = first_batches(w.ctx().stream, data.fit.train, n, batch);
  polymoe::analysis::loss_landscape scape(w, of.rows, data.test.classes());
  r.lists["train.loss_along_frozen"] = scape.along(along, r.lists.at("train.alpha"), polymoe::analysis::gates::frozen);
}

}  // namespace
}  // namespace paper_b
