// Linear probes of paper C: how well features that were learned tell classes apart from few labels.
#include <polymoe/analysis/linear_probe.hpp>

#include "paper_c.hpp"

void paper_c::add_probes(const features& known, const features& asked, index classes, const options& o, result& r) {
  const index dim = o.sizes().dim;
  const auto examples = [&](const features& f) {
    return polymoe::analysis::labelled_features{{f.rows.data(), static_cast<index>(f.labels.size()), dim}, f.labels};
  };
  for (const index shots : o.shots) {
    const auto p = polymoe::analysis::linear_probe(examples(known), examples(asked),
                                                   {.classes = classes, .shots = shots, .seed = r.seed});
    r.figures["probe_" + std::to_string(shots)] = p.best;
  }
}
