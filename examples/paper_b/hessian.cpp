// The Hessian of a trained model's mean loss: the same model over dual numbers.
#include <polymoe/analysis/lanczos.hpp>
#include <polymoe/analysis/loss_hessian.hpp>
#include <polymoe/analysis/power_iteration.hpp>
#include <polymoe/analysis/spectral_density.hpp>
#include <polymoe/analysis/trace.hpp>

#include <algorithm>

#include "batches.hpp"
#include "heads.hpp"
#include "network.hpp"

namespace paper_b {
namespace {

using S = polymoe::dual<float>;

bool of_router(const std::string& name) { return name.find("router") != std::string::npos; }

/// Lists "<part>.density_at" and "<part>.density": the share of eigenvalues near a point, over that of its width.
template <class Hessian>
void add_density(Hessian& h, index probes, index steps, const std::string& part, result& r) {
  const auto measure = polymoe::analysis::spectral_density(h, {.probes = probes, .steps = steps, .seed = r.seed});
  const double low = measure.smallest(), high = measure.largest(), width = std::max(0.01 * (high - low), 1e-12);
  auto &at = r.lists[part + ".density_at"], &density = r.lists[part + ".density"];
  for (int i = -5; i <= 105; ++i) {
    at.push_back(low + 0.01 * i * (high - low));
    density.push_back(measure.smoothed(at.back(), width));
  }
}

template <class Model>
void set_trained(polymoe::workspace<Model>& w, const trained& model) {
  std::copy(model.values.begin(), model.values.end(), w.values().ptr[0]);
  w.set_state(model.state);
  w.refresh();
}

/// Figures "<part>.lambda_noisy" of the sparse head: the paper took its Hessian with the noise of the gate, drawn anew
/// for every product.  Here every product has the same draws: it is the Hessian of one loss.
void add_noisy(const trained& model, const settings& s, const options& o, const images& data,
               const polymoe::dataset& from, const std::string& part, result& r) {
  const nn::resnet_sizes z = sizes_of(o, data);
  const index n = std::min(o.hessian_images, from.size()), batch = std::min<index>(s.batch, n);
  polymoe::workspace<experts_classifier<S>> w(
      experts_classifier<S>(experts_model<S>(z, noisy_head<S, polymoe::cpu>(z.features(), data.test.classes()))),
      {.max_rows = batch, .threads = s.threads, .seed = r.seed});
  w.step().balance = 0;  // the head is in training mode, its balance loss is no part of this
  set_trained(w, model);
  const batches images = first_batches(w.ctx().stream, from, n, batch);
  polymoe::analysis::loss_hessian h(w, images.rows, from.classes());
  const auto top =
      polymoe::analysis::lanczos(h, {.count = 1, .products = o.hessian_products, .tolerance = 1e-3, .seed = r.seed});
  r.figures[part + ".lambda_noisy"] = top.largest.front().value;
  r.figures[part + ".lambda_noisy_residual"] = top.largest.front().residual;
}

template <class Model>
std::vector<float> look(const typename Model::config& config, const trained& model, const settings& s, const options& o,
                        const polymoe::dataset& from, const std::string& part, result& r) {
  const index n = std::min(o.hessian_images, from.size()), batch = std::min<index>(s.batch, n);
  polymoe::workspace<Model> w(Model(config), {.max_rows = batch, .threads = s.threads, .seed = r.seed});
  set_trained(w, model);
  const batches images = first_batches(w.ctx().stream, from, n, batch);
  polymoe::analysis::loss_hessian h(w, images.rows, from.classes());
  std::printf("%s, seed %llu: Hessian over %lld %s images, %lld parameters\n", r.arm.c_str(),
              static_cast<unsigned long long>(r.seed), static_cast<long long>(n), part.c_str(),
              static_cast<long long>(h.size()));
  std::fflush(stdout);
  const auto top = polymoe::analysis::lanczos(
      h, {.count = o.hessian_pairs, .products = o.hessian_products, .tolerance = 1e-3, .seed = r.seed});
  auto& values = r.lists[part + ".eigenvalues"];
  auto& residuals = r.lists[part + ".residuals"];
  for (const auto& pair : top.largest) values.push_back(pair.value), residuals.push_back(pair.residual);
  const auto power = polymoe::analysis::power_iteration(h, {.count = 1, .seed = r.seed});
  const auto trace = polymoe::analysis::trace(h, {.probes = o.trace_probes, .seed = r.seed});
  r.figures[part + ".lambda"] = values.front(), r.figures[part + ".lambda_residual"] = residuals.front();
  r.figures[part + ".lambda_power"] = power.front().value;
  r.figures[part + ".trace"] = trace.mean, r.figures[part + ".trace_error"] = trace.standard_error;
  r.figures[part + ".loss"] = h.loss();
  r.figures[part + ".hessian_images"] = static_cast<double>(n);
  std::vector<double> alphas;
  for (int i = -10; i <= 10; ++i) alphas.push_back(0.05 * i);
  r.lists[part + ".alpha"] = alphas;
  r.lists[part + ".loss_along"] = h.loss_along(top.largest.front().vector, alphas);
  const auto& entries = h.entries();
  if (std::any_of(entries.begin(), entries.end(), [](const auto& e) { return of_router(e.name); })) {
    // Gates are held as they are: how much of the sharpness is the router's?
    polymoe::analysis::loss_hessian rest(w, images.rows, from.classes(),
                                         {.includes = [](const std::string& name) { return !of_router(name); }});
    const auto frozen = polymoe::analysis::lanczos(
        rest, {.count = 1, .products = o.hessian_products, .tolerance = 1e-3, .seed = r.seed});
    r.figures[part + ".lambda_frozen"] = frozen.largest.front().value;
    r.figures[part + ".lambda_frozen_residual"] = frozen.largest.front().residual;
  }
  if (o.density_probes > 0) add_density(h, o.density_probes, std::min<index>(40, o.hessian_products), part, r);
  std::printf("  largest eigenvalue %.4g (within %.2g; power iteration %.4g), trace %.4g +- %.2g\n", values.front(),
              residuals.front(), power.front().value, trace.mean, trace.standard_error);
  return top.largest.front().vector;
}

}  // namespace

std::vector<float> add_hessian(head which, const trained& model, const settings& s, const options& o,
                               const images& data, result& r) {
  const nn::resnet_sizes z = sizes_of(o, data);
  const index classes = data.test.classes();
  const auto of_spec = [&]<class Spec>(std::type_identity<Spec>) {
    return any_head<Spec>(experts_config<Spec>(z.features(), classes));  // balance losses have no part in evaluation
  };
  const auto head_of_experts = [&] {
    return which == head::soft             ? of_spec(std::type_identity<soft_coded<S>>())
           : which == head::soft_published ? of_spec(std::type_identity<soft_published<S>>())
           : which == head::sparse         ? of_spec(std::type_identity<sparse_coded<S>>())
                                           : of_spec(std::type_identity<sparse_published<S>>());
  };
  const auto over = [&](const polymoe::dataset& from, const char* part) {
    return which == head::dense
               ? look<dense_classifier<S>>(dense_model<S>(z, classes), model, s, o, from, part, r)
               : look<experts_classifier<S>>(experts_model<S>(z, head_of_experts()), model, s, o, from, part, r);
  };
  if (which == head::sparse) {
    add_noisy(model, s, o, data, data.test, "test", r);
    add_noisy(model, s, o, data, data.fit.train, "train", r);
  }
  over(data.test, "test");
  return over(data.fit.train, "train");
}

}  // namespace paper_b
