// Super-classes from what a classifier confuses: classes that are mistaken for each other share an expert (paper D,
// "Mobile V-MoEs", Daxberger et al. 2023, arXiv 2309.04354; the graph of Jin et al. 2017, "Confusion Graph").
//
//   counts [n, n] of (true class, predicted class) -> confusion_graph -> one of the clusterings -> one expert per class
//
// The paper names neither edge weights nor algorithm, so several are offered, with figures to compare them by.  The
// same clusterings of semantic_graph, which knows what classes mean and nothing of any model, are what they have to
// beat.
#pragma once

#include <algorithm>
#include <limits>
#include <numeric>
#include <span>
#include <string>

#include "symmetric_eigen.hpp"
#include "symmetric_operator.hpp"

namespace polymoe::inline v0::analysis {

/// Symmetric weights [n, n] with zero diagonal: half the sum of the two rates at which one class is taken for the
/// other. A class without examples has no edges.
inline std::vector<double> confusion_graph(std::span<const index> counts, int n) {
  require(n >= 1 && static_cast<index>(counts.size()) == index{n} * n, "confusion_graph: ", counts.size(),
          " counts for ", n, " classes");
  const auto at = [n](int i, int j) {
    return static_cast<std::size_t>(i) * static_cast<std::size_t>(n) + static_cast<std::size_t>(j);
  };
  std::vector<double> w(counts.size(), 0.0);
  for (int i = 0; i < n; ++i) {
    double row = 0;
    for (int j = 0; j < n; ++j) {
      require(counts[at(i, j)] >= 0, "confusion_graph: count ", counts[at(i, j)], " of class ", i, " taken for ", j,
              " is negative");
      row += static_cast<double>(counts[at(i, j)]);
    }
    for (int j = 0; row > 0 && j < n; ++j)
      if (i != j) {
        const double half = 0.5 * static_cast<double>(counts[at(i, j)]) / row;
        w[at(i, j)] += half, w[at(j, i)] += half;
      }
  }
  return w;
}

/// Symmetric weights [n, n] with zero diagonal from where classes stand in a hierarchy of meanings: `paths[c]` are the
/// groups that class c is in, the widest first.  The weight is twice the number of groups that two classes share from
/// the top, over the sum of how many each has (Wu and Palmer 1994): 1 in the same innermost group, 0 with nothing in
/// common.
inline std::vector<double> semantic_graph(const std::vector<std::vector<std::string>>& paths) {
  const std::size_t n = paths.size();
  require(n >= 1, "semantic_graph: there are ", n, " classes");
  for (std::size_t i = 0; i < n; ++i)
    require(!paths[i].empty(), "semantic_graph: class ", i, " of ", n, " is in 0 groups, at least 1 is needed");
  std::vector<double> w(n * n, 0.0);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = i + 1; j < n; ++j) {
      const std::size_t least = std::min(paths[i].size(), paths[j].size());
      std::size_t common = 0;
      while (common < least && paths[i][common] == paths[j][common]) ++common;
      w[i * n + j] = w[j * n + i] =
          2.0 * static_cast<double>(common) / static_cast<double>(paths[i].size() + paths[j].size());
    }
  return w;
}

/// How good a clustering is.
struct cluster_quality {
  std::vector<int> sizes;  ///< classes per cluster
  double inside = 0;       ///< share of the graph's weight that lies within clusters
  double modularity = 0;   ///< the same less what it would be with edges at random (Newman 2004)
};

/// `of_class` [n] names a cluster in [0, clusters) for every class.
inline cluster_quality quality_of(std::span<const double> graph, const std::vector<int>& of_class, int clusters) {
  const int n = static_cast<int>(of_class.size());
  require(graph.size() == of_class.size() * of_class.size(), "quality_of: a graph of ", graph.size(), " numbers for ",
          n, " classes");
  cluster_quality q;
  q.sizes.assign(static_cast<std::size_t>(clusters), 0);
  std::vector<double> degree(static_cast<std::size_t>(clusters), 0.0);
  double all = 0;
  for (int i = 0; i < n; ++i) {
    const int c = of_class[static_cast<std::size_t>(i)];
    require(c >= 0 && c < clusters, "quality_of: class ", i, " is in cluster ", c, " of ", clusters);
    ++q.sizes[static_cast<std::size_t>(c)];
    for (int j = 0; j < n; ++j) {
      const double w = graph[static_cast<std::size_t>(i) * static_cast<std::size_t>(n) + static_cast<std::size_t>(j)];
      all += w, degree[static_cast<std::size_t>(c)] += w;
      if (of_class[static_cast<std::size_t>(j)] == c) q.inside += w;
    }
  }
  if (all > 0) {
    q.inside /= all, q.modularity = q.inside;
    for (const double d : degree) q.modularity -= d / all * (d / all);
  }
  return q;
}

namespace detail {
inline void check_clusters(std::span<const double> graph, int n, int clusters) {
  require(n >= 1 && static_cast<index>(graph.size()) == index{n} * n, "super-classes: a graph of ", graph.size(),
          " numbers for ", n, " classes");
  require(clusters >= 1 && clusters <= n, "super-classes: ", clusters, " of them for ", n, " classes");
}
/// Numbers clusters by their first class, so that equal clusterings are equal vectors.
inline std::vector<int> in_order(const std::vector<int>& c) {
  std::vector<int> name(c.size() + 1, -1), out;
  int next = 0;
  for (const int x : c) {
    int& to = name[static_cast<std::size_t>(x)];
    if (to < 0) to = next++;
    out.push_back(to);
  }
  return out;
}
/// Merges clusters two by two, always the pair with the largest gain(sum of weights between, sizes, degrees).
template <class Gain>
std::vector<int> merged(std::span<const double> graph, int n, int clusters, Gain gain) {
  check_clusters(graph, n, clusters);
  const auto N = static_cast<std::size_t>(n);
  std::vector<double> between(graph.begin(), graph.end()), degree(N, 0.0), size(N, 1.0);
  std::vector<int> of_class(N);
  std::vector<char> alive(N, 1);
  double all = 0;
  for (std::size_t i = 0; i < N; ++i) {
    of_class[i] = static_cast<int>(i);
    for (std::size_t j = 0; j < N; ++j) degree[i] += graph[i * N + j];
    all += degree[i];
  }
  for (int left = n; left > clusters; --left) {
    double best = -std::numeric_limits<double>::infinity();
    std::size_t a = 0, b = 0;
    for (std::size_t i = 0; i < N; ++i)
      for (std::size_t j = i + 1; alive[i] && j < N; ++j)
        if (alive[j]) {
          const double g = gain(between[i * N + j], size[i], size[j], degree[i], degree[j], all);
          if (g > best) best = g, a = i, b = j;
        }
    for (std::size_t k = 0; k < N; ++k)
      if (k != a && k != b) between[a * N + k] = between[k * N + a] = between[a * N + k] + between[b * N + k];
    size[a] += size[b], degree[a] += degree[b], alive[b] = 0;
    for (int& c : of_class)
      if (c == static_cast<int>(b)) c = static_cast<int>(a);
  }
  return in_order(of_class);
}
}  // namespace detail

/// Agglomerative clustering by the mean weight between clusters (average linkage); ties to the lower classes.  Where no
/// edges are left, small clusters are joined first.
inline std::vector<int> agglomerative(std::span<const double> graph, int n, int clusters) {
  return detail::merged(graph, n, clusters, [](double w, double a, double b, double, double, double) {
    return w > 0 ? w / (a * b) : -(a + b);
  });
}
/// Agglomerative clustering by the gain in modularity (Clauset, Newman, Moore 2004), carried on to exactly `clusters`.
inline std::vector<int> by_modularity(std::span<const double> graph, int n, int clusters) {
  return detail::merged(graph, n, clusters, [](double w, double a, double b, double da, double db, double all) {
    if (!(all > 0)) return -(a + b);
    return w / all - da / all * (db / all);
  });
}
/// Equal sizes (as far as n divides), drawn by `seed`: the baseline.
inline std::vector<int> at_random(int n, int clusters, std::uint64_t seed) {
  require(clusters >= 1 && clusters <= n, "super-classes: ", clusters, " of them for ", n, " classes");
  const random_stream draw = random_root{seed}.stream(stream_id("super_classes.random"), 0);
  std::vector<int> c(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) c[static_cast<std::size_t>(i)] = i % clusters;
  for (int i = n - 1; i > 0; --i)
    std::swap(c[static_cast<std::size_t>(i)],
              c[draw.below(static_cast<std::uint64_t>(i), static_cast<std::uint32_t>(i + 1))]);
  return detail::in_order(c);
}

/// Spectral clustering (Ng, Jordan, Weiss 2001): rows of the `clusters` leading eigenvectors of D^-1/2 W D^-1/2, each
/// of length 1, by k-means from several starts.  With `balanced` no cluster gets more than ceil(n / clusters) classes.
inline std::vector<int> spectral(std::span<const double> graph, int n, int clusters, std::uint64_t seed = 0,
                                 bool balanced = false) {
  detail::check_clusters(graph, n, clusters);
  const auto N = static_cast<std::size_t>(n), E = static_cast<std::size_t>(clusters);
  std::vector<double> scaled(graph.begin(), graph.end()), root(N, 0.0);
  for (std::size_t i = 0; i < N; ++i) {
    double d = 0;
    for (std::size_t j = 0; j < N; ++j) d += graph[i * N + j];
    root[i] = d > 0 ? 1 / std::sqrt(d) : 0;
  }
  for (std::size_t i = 0; i < N; ++i)
    for (std::size_t j = 0; j < N; ++j) scaled[i * N + j] *= root[i] * root[j];
  const eigen_system s = symmetric_eigen(scaled, n);
  std::vector<double> point(N * E);
  for (std::size_t i = 0; i < N; ++i) {
    double length = 0;
    for (std::size_t k = 0; k < E; ++k)
      point[i * E + k] = s.vectors[k * N + i], length += point[i * E + k] * point[i * E + k];
    for (std::size_t k = 0; length > 0 && k < E; ++k) point[i * E + k] /= std::sqrt(length);
  }
  const auto distance = [&](std::size_t i, const double* c) {
    double d = 0;
    for (std::size_t k = 0; k < E; ++k) d += (point[i * E + k] - c[k]) * (point[i * E + k] - c[k]);
    return d;
  };
  const int room = balanced ? (n + clusters - 1) / clusters : n;
  std::vector<int> best;
  double least = std::numeric_limits<double>::infinity();
  for (std::uint64_t start = 0; start < 16; ++start) {
    // k-means++: the next centre is drawn by squared distance to those there are.
    const random_stream draw = random_root{seed}.stream(stream_id("super_classes.spectral"), start);
    std::vector<double> centre, near(N, std::numeric_limits<double>::infinity());
    for (std::size_t e = 0; e < E; ++e) {
      std::size_t pick = draw.below(e, static_cast<std::uint32_t>(n));
      if (e > 0) {
        double all = 0;
        for (std::size_t i = 0; i < N; ++i)
          near[i] = std::min(near[i], distance(i, centre.data() + (e - 1) * E)), all += near[i];
        double at = static_cast<double>(draw.uniform(1000 + e)) * all;
        if (all > 0)
          for (pick = 0; pick + 1 < N && (at -= near[pick]) >= 0; ++pick) {}
      }
      centre.insert(centre.end(), point.begin() + static_cast<std::ptrdiff_t>(pick * E),
                    point.begin() + static_cast<std::ptrdiff_t>((pick + 1) * E));
    }
    std::vector<int> of_class(N, -1);
    double cost = 0;
    for (int round = 0; round < 100; ++round) {
      // The closest pairs first, where a centre has room.
      std::vector<std::pair<double, std::size_t>> pairs;
      for (std::size_t i = 0; i < N; ++i)
        for (std::size_t e = 0; e < E; ++e) pairs.emplace_back(distance(i, centre.data() + e * E), i * E + e);
      std::sort(pairs.begin(), pairs.end());
      std::vector<int> next(N, -1), held(E, 0);
      cost = 0;
      for (const auto& [d, id] : pairs) {
        if (next[id / E] >= 0 || held[id % E] >= room) continue;
        next[id / E] = static_cast<int>(id % E), ++held[id % E], cost += d;
      }
      // A centre nobody chose takes the class that is furthest from its own.
      for (std::size_t e = 0; e < E; ++e)
        if (held[e] == 0) {
          std::size_t far = N;
          for (std::size_t i = 0; i < N; ++i)
            if (held[static_cast<std::size_t>(next[i])] > 1 &&
                (far == N || distance(i, centre.data() + static_cast<std::size_t>(next[i]) * E) >
                                 distance(far, centre.data() + static_cast<std::size_t>(next[far]) * E)))
              far = i;
          --held[static_cast<std::size_t>(next[far])], ++held[e];
          next[far] = static_cast<int>(e);
        }
      const bool same = next == of_class;
      of_class = std::move(next);
      if (same) break;
      std::fill(centre.begin(), centre.end(), 0.0);
      for (std::size_t i = 0; i < N; ++i)
        for (std::size_t k = 0; k < E; ++k)
          centre[static_cast<std::size_t>(of_class[i]) * E + k] +=
              point[i * E + k] / held[static_cast<std::size_t>(of_class[i])];
    }
    if (cost < least) least = cost, best = of_class;
  }
  return detail::in_order(best);
}

}  // namespace polymoe::analysis
