// The loss around what an arm trained: the same model over plain numbers, on the CPU wherever it was trained.
#include <polymoe/analysis/loss_landscape.hpp>

#include "batches.hpp"
#include "network.hpp"
#include "seconds.hpp"

namespace paper_b {
namespace {

using polymoe::analysis::gates;

template <class Model, class F>
auto with_landscape(const typename Model::config& config, const trained& model, const settings& s,
                    const polymoe::dataset& from, index images, F f) {
  const index n = std::min(images, from.size()), batch = std::min<index>(s.batch, n);
  polymoe::workspace<Model> w(Model(config), {.max_rows = batch, .threads = s.threads});
  set_trained(w, model);
  const batches of = first_batches(w.ctx().stream, from, n, batch);
  polymoe::analysis::loss_landscape scape(w, of.rows, from.classes());
  return f(scape);
}
/// f(landscape) over the first `images` images of `from`.
template <class F>
auto with_landscape_of(head which, const trained& model, const settings& s, const options& o, const images& data,
                       const polymoe::dataset& from, index images, F f) {
  const nn::resnet_sizes z = sizes_of(o, data);
  const index classes = from.classes();
  if (which == head::dense)
    return with_landscape<dense_classifier<float>>(dense_model<float>(z, classes), model, s, from, images, f);
  return with_landscape<experts_classifier<float>>(
      experts_model<float>(z, head_of<float, polymoe::cpu>(which, z.features(), classes)), model, s, from, images, f);
}
std::vector<double> axis(index points) {
  std::vector<double> at;
  for (index i = 0; i < points; ++i) at.push_back(2.0 * static_cast<double>(i) / static_cast<double>(points - 1) - 1);
  return at;
}

}  // namespace

/// The mean loss of the training images over two random directions, -1 to 1 filter lengths away, with gates that choose
/// anew and, for experts, with gates as they are.
void add_landscape(head which, const trained& model, const settings& s, const options& o, const images& data,
                   result& r) {
  const std::vector<double> line = axis(2 * o.landscape_points - 1), side = axis(o.landscape_points);
  const index images = std::min(o.landscape_images, data.fit.train.size());
  if (s.plan) {
    const index batch = std::min<index>(s.batch, images);
    const double seconds = with_landscape_of(which, model, s, o, data, data.fit.train, batch, [&](auto& scape) {
      const auto u = scape.random_direction(0);
      return seconds_of([&] { scape.along(u, {0}); });
    });
    // Frozen gates take the plans of the middle before each line and plane.
    const double calls = static_cast<double>(line.size() + side.size() * side.size());
    r.figures["plan_look"] += seconds * (which == head::dense ? calls : 2 * calls + 2) * static_cast<double>(images) /
                              static_cast<double>(batch);
    return;
  }
  with_landscape_of(which, model, s, o, data, data.fit.train, images, [&](auto& scape) {
    const auto u = scape.random_direction(2 * r.seed), v = scape.random_direction(2 * r.seed + 1);
    r.lists["landscape.alpha"] = line, r.lists["landscape.side"] = side;
    for (const auto& [how, name] : {std::pair{gates::free, "free"}, {gates::frozen, "frozen"}}) {
      if (how == gates::frozen && which == head::dense) break;
      r.lists[std::string("landscape.line_") + name] = scape.along(u, line, how);
      r.lists[std::string("landscape.plane_") + name] = scape.over(u, v, side, side, how);
    }
  });
  std::printf("%s, seed %llu: loss over two random directions, %lld images\n", r.arm.c_str(),
              static_cast<unsigned long long>(r.seed), static_cast<long long>(images));
}

std::vector<double> frozen_curve(head which, const trained& model, const settings& s, const options& o,
                                 const images& data, const polymoe::dataset& from, const std::vector<float>& along,
                                 const std::vector<double>& alphas) {
  return with_landscape_of(which, model, s, o, data, from, o.hessian_images,
                           [&](auto& scape) { return scape.along(along, alphas, gates::frozen); });
}

}  // namespace paper_b
