// Super-classes of paper D: clusters of the confusions of the dense arm, and those that they are compared with.
#include <filesystem>

#include <polymoe/analysis/super_classes.hpp>

#include "paper_d.hpp"

namespace paper_d {

namespace analysis = polymoe::analysis;
using polymoe::require;

std::vector<int> clusters_of(routing how, const settings& s, const options& o, std::uint64_t seed, const images& data,
                             result& r) {
  const int classes = static_cast<int>(data.test.classes()), E = static_cast<int>(o.experts);
  if (how == routing::coarse_class) {
    require(!data.fit.train.coarse.empty(), "coarse_class: ", data.name, " has no coarse labels; CIFAR-100 has");
    require(static_cast<index>(data.fit.train.coarse_names.size()) >= o.experts,
            "coarse_class: ", data.fit.train.coarse_names.size(), " coarse labels for ", E, " experts");
    // Coarse labels in turns where there are more of them than experts.
    std::vector<int> of(static_cast<std::size_t>(classes), -1);
    for (std::size_t i = 0; i < data.fit.train.coarse.size(); ++i)
      of[static_cast<std::size_t>(data.fit.train.labels[i])] = data.fit.train.coarse[i] % E;
    return of;
  }
  if (s.plan) return analysis::at_random(classes, E, seed);  // no arm is trained: any clusters take as long
  const std::string file = experiment::folder_of(s, "dense", seed) + "/result.json";
  require(std::filesystem::exists(file), file,
          ": super-classes come from the dense arm's confusions; run the arm dense first");
  const result dense = experiment::read_result(file, experiment::identity_of(s));
  std::vector<index> counts;
  for (const double n : dense.lists.at("validation_confusion")) counts.push_back(static_cast<index>(n));
  const std::vector<double> graph = analysis::confusion_graph(counts, classes);
  std::vector<int> of;
  if (how == routing::random_class)
    of = analysis::at_random(classes, E, seed);
  else if (o.clustering == "balanced")
    of = analysis::spectral(graph, classes, E, seed, true);
  else if (o.clustering == "agglomerative")
    of = analysis::agglomerative(graph, classes, E);
  else if (o.clustering == "modularity")
    of = analysis::by_modularity(graph, classes, E);
  else
    of = analysis::spectral(graph, classes, E, seed);
  const analysis::cluster_quality q = analysis::quality_of(graph, of, E);
  r.figures["confusion_inside"] = q.inside, r.figures["modularity"] = q.modularity;
  return of;
}

}  // namespace paper_d
