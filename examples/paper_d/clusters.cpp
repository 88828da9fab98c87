// Super-classes of paper D: clusters of the confusions of the dense arm, and those that they are compared with.
#include <algorithm>
#include <filesystem>
#include <sstream>

#include <polymoe/analysis/super_classes.hpp>
#include <polymoe/train/file.hpp>

#include "paper_d.hpp"

namespace paper_d {

namespace analysis = polymoe::analysis;
using polymoe::require;

std::vector<std::vector<std::string>> read_hierarchy(const std::string& path, const std::vector<std::string>& names) {
  std::istringstream in(polymoe::read_text(path));
  std::vector<std::vector<std::string>> of(names.size());
  std::string line;
  for (index number = 1; std::getline(in, line); ++number) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty() || line.front() == '#') continue;
    const std::size_t colon = line.find(": ");
    require(colon != std::string::npos, path, ": line ", number, " is not \"class: group/.../group\" but ", line);
    const auto at = std::find(names.begin(), names.end(), line.substr(0, colon));
    require(at != names.end(), path, ": line ", number, ": the data have ", names.size(),
            " classes, and none of them is ", line.substr(0, colon));
    auto& groups = of[static_cast<std::size_t>(at - names.begin())];
    require(groups.empty(), path, ": line ", number, ": ", *at, " is there for the second time");
    std::istringstream path_of_class(line.substr(colon + 2));
    for (std::string group; std::getline(path_of_class, group, '/');) groups.push_back(group);
    require(!groups.empty(), path, ": line ", number, ": ", *at, " is in 0 groups");
  }
  for (std::size_t c = 0; c < names.size(); ++c)
    require(!of[c].empty(), path, ": of ", names.size(), " classes ", names[c], " is not there");
  return of;
}

namespace {

std::vector<int> clustered(const std::vector<double>& graph, int classes, int E, const options& o, std::uint64_t seed) {
  if (o.clustering == "balanced") return analysis::spectral(graph, classes, E, seed, true);
  if (o.clustering == "agglomerative") return analysis::agglomerative(graph, classes, E);
  if (o.clustering == "modularity") return analysis::by_modularity(graph, classes, E);
  return analysis::spectral(graph, classes, E, seed);
}

/// Coarse labels in turns where there are more of them than experts.
std::vector<int> coarse_clusters(const polymoe::dataset& d, const std::string& data, index classes, int E) {
  require(!d.coarse.empty(), "coarse_class: ", data, " has no coarse labels; CIFAR-100 has");
  require(static_cast<int>(d.coarse_names.size()) >= E, "coarse_class: ", d.coarse_names.size(), " coarse labels for ",
          E, " experts");
  std::vector<int> of(static_cast<std::size_t>(classes), -1);
  for (std::size_t i = 0; i < d.coarse.size(); ++i) of[static_cast<std::size_t>(d.labels[i])] = d.coarse[i] % E;
  return of;
}

}  // namespace

std::vector<int> clusters_of(routing how, const settings& s, const options& o, std::uint64_t seed, const images& data,
                             result& r) {
  const int classes = static_cast<int>(data.test.classes()), E = static_cast<int>(o.experts);
  if (s.plan) return analysis::at_random(classes, E, seed);  // no arm is trained: any clusters take as long
  // The dense arm's confusions: what clusters are made of, or compared by where it was trained.
  const std::string file = experiment::folder_of(s, "dense", seed) + "/result.json";
  std::vector<double> graph;
  if (std::filesystem::exists(file)) {
    const result dense = experiment::read_result(file, experiment::identity_of(s));
    std::vector<index> counts;
    for (const double n : dense.lists.at("validation_confusion")) counts.push_back(static_cast<index>(n));
    graph = analysis::confusion_graph(counts, classes);
  }
  std::vector<int> of;
  if (how == routing::coarse_class) {
    of = coarse_clusters(data.fit.train, data.name, data.test.classes(), E);
  } else if (how == routing::semantic_class) {
    of = clustered(analysis::semantic_graph(read_hierarchy(o.hierarchy, data.test.class_names)), classes, E, o, seed);
  } else if (how == routing::random_class) {
    of = analysis::at_random(classes, E, seed);
  } else {
    require(!graph.empty(), file, ": super-classes come from the dense arm's confusions; run the arm dense first");
    of = clustered(graph, classes, E, o, seed);
  }
  if (!graph.empty()) {
    const analysis::cluster_quality q = analysis::quality_of(graph, of, E);
    r.figures["confusion_inside"] = q.inside, r.figures["modularity"] = q.modularity;
  }
  return of;
}

}  // namespace paper_d
