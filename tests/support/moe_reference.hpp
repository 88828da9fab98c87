// A Mixture-of-Experts layer written a second time: plain double loops from the definitions in docs and papers, no code
// of the library but its random numbers (the noise of a call is part of the contract).
#pragma once

#include <algorithm>
#include <set>

#include "moe.hpp"

namespace moe_test {

using matrix = std::vector<std::vector<double>>;

enum class ref_overflow { drop, identity, fallback, reroute };
enum class ref_priority { position, gate, probability };
enum class ref_combine { affinity, sum, over_chosen, over_kept };
enum class ref_noise { none, constant, learned };

/// Who computes what: per unit and choice.
struct ref_places {
  std::vector<std::vector<int>> expert;      ///< that has a place for the choice; -1 when none has
  std::vector<std::vector<int>> position;    ///< inside the run, -1
  std::vector<int> fallback_position;        ///< -1
};

/// Gives places one by one.  wish[t] are the experts of unit t, best first; empty for units that are not finite.
inline ref_places give_places(const std::vector<std::vector<int>>& wish, const matrix& score, int k, int group_size,
                              int capacity, ref_overflow overflow, ref_priority priority, int rounds) {
  const int T = static_cast<int>(wish.size());
  ref_places out;
  out.expert.assign(wish.size(), std::vector<int>(static_cast<std::size_t>(k), -1));
  out.position = out.expert;
  out.fallback_position.assign(wish.size(), -1);
  for (int t0 = 0; t0 < T; t0 += group_size) {
    const int t1 = std::min(T, t0 + group_size);
    struct choice {
      int unit, rank;
      double key;
    };
    std::vector<choice> queue;
    for (int t = t0; t < t1; ++t)
      for (int j = 0; j < static_cast<int>(wish[t].size()); ++j) {
        double key = 0;
        if (priority == ref_priority::gate) key = score[t][wish[t][0]];
        if (priority == ref_priority::probability) key = score[t][wish[t][j]];
        queue.push_back({t, j, key});
      }
    std::stable_sort(queue.begin(), queue.end(), [&](const choice& a, const choice& b) {
      if (priority != ref_priority::probability && a.rank != b.rank) return a.rank < b.rank;
      if (a.key != b.key) return a.key > b.key;
      return a.unit != b.unit ? a.unit < b.unit : a.rank < b.rank;
    });
    std::map<int, int> held;
    const auto give = [&](const choice& c, int e) {
      if (held[e] >= capacity) return false;
      out.expert[c.unit][c.rank] = e, out.position[c.unit][c.rank] = held[e]++;
      return true;
    };
    std::vector<choice> left;
    for (const choice& c : queue)
      if (!give(c, wish[c.unit][c.rank])) left.push_back(c);
    if (overflow == ref_overflow::reroute) {
      std::map<int, std::set<int>> asked;
      for (int t = t0; t < t1; ++t) asked[t].insert(wish[t].begin(), wish[t].end());
      for (int r = 0; r < rounds; ++r) {
        std::vector<int> proposal;
        for (const choice& c : left) {
          int best = -1;
          for (int e = 0; e < static_cast<int>(score[c.unit].size()); ++e)
            if (!asked[c.unit].count(e) && (best < 0 || score[c.unit][e] > score[c.unit][best])) best = e;
          if (best >= 0) asked[c.unit].insert(best);
          proposal.push_back(best);
        }
        std::vector<choice> still;
        for (std::size_t i = 0; i < left.size(); ++i)
          if (proposal[i] < 0 || !give(left[i], proposal[i])) still.push_back(left[i]);
        left = still;
      }
    }
    if (overflow == ref_overflow::fallback) {
      std::set<int> units;
      for (const choice& c : left) units.insert(c.unit);
      int n = 0;
      for (const int t : units) out.fallback_position[t] = n++;
    }
  }
  return out;
}

/// The K largest of a row by full sort; ties to the lower index.
inline std::vector<int> best_k(const std::vector<double>& x, int k) {
  std::vector<int> order(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) order[i] = static_cast<int>(i);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return x[a] > x[b]; });
  order.resize(static_cast<std::size_t>(k));
  return order;
}

struct reference {
  int dim = 0, hidden = 0, experts = 0, out = 0, k = 0;  ///< k = 0: every expert (mixture)
  int unit_rows = 1;
  bool class_token = false;  ///< router input of a block: its first row instead of the mean
  bool sigmoid = false;
  ref_noise noise_kind = ref_noise::none;
  double scale = 1;            ///< s of constant noise
  double noise = 1;            ///< multiplier; 0 in evaluation
  double inverse_temperature = 1;
  polymoe::random_stream draw{};
  std::vector<double> bias;    ///< of the selection
  int group_size = 0, capacity = 1 << 30, rounds = 0;
  ref_overflow overflow = ref_overflow::drop;
  ref_priority priority = ref_priority::position;
  ref_combine combine = ref_combine::affinity;
  enum class expert_kind { mlp_tanh, mlp_erf, gated, identity } expert = expert_kind::mlp_tanh;
  bool has_fallback() const { return overflow == ref_overflow::fallback; }

  struct result {
    matrix logits, raw, noisy, std, scores, clean;
    std::vector<std::vector<int>> wish;
    ref_places places;
    matrix weight;  ///< [T][K] or [T][E]
    matrix y;
    index dropped = 0, choices = 0;
  };

  static std::vector<double> linear(const std::vector<double>& w, const double* b, const double* x, int in, int n) {
    std::vector<double> y(static_cast<std::size_t>(n));
    for (int i = 0; i < n; ++i) {
      long double s = b ? b[i] : 0;
      for (int j = 0; j < in; ++j) s += static_cast<long double>(w[static_cast<std::size_t>(i * in + j)]) * x[j];
      y[static_cast<std::size_t>(i)] = static_cast<double>(s);
    }
    return y;
  }
  static double gelu_tanh(double x) {
    return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  }
  std::vector<double> scores_of(const std::vector<double>& z) const {
    std::vector<double> p(z.size());
    double sum = 0, top = *std::max_element(z.begin(), z.end());
    for (std::size_t e = 0; e < z.size(); ++e) {
      p[e] = sigmoid ? 1 / (1 + std::exp(-z[e])) : std::exp(z[e] - top);
      sum += p[e];
    }
    if (!sigmoid)
      for (double& x : p) x /= sum;
    return p;
  }
  std::vector<double> run_expert(const named& p, int e, const double* x) const {
    const std::string at = "experts." + std::to_string(e) + ".";
    if (expert == expert_kind::identity) return {x, x + dim};
    if (expert == expert_kind::gated) {
      auto g = linear(p.at(at + "gate.weight"), nullptr, x, dim, hidden);
      const auto u = linear(p.at(at + "up.weight"), nullptr, x, dim, hidden);
      for (int j = 0; j < hidden; ++j) g[j] = g[j] / (1 + std::exp(-g[j])) * u[j];
      return linear(p.at(at + "down.weight"), nullptr, g.data(), hidden, out);
    }
    auto h = linear(p.at(at + "fc1.weight"), p.at(at + "fc1.bias").data(), x, dim, hidden);
    for (double& v : h) v = expert == expert_kind::mlp_tanh ? gelu_tanh(v) : 0.5 * v * std::erfc(-v / std::sqrt(2.0));
    return linear(p.at(at + "fc2.weight"), p.at(at + "fc2.bias").data(), h.data(), hidden, out);
  }

  /// x [T * unit_rows][dim], all finite.
  result forward(const named& p, const matrix& x) const {
    result r;
    const int T = static_cast<int>(x.size()) / unit_rows, E = experts;
    const double none = 0;
    for (int t = 0; t < T; ++t) {
      std::vector<double> in(static_cast<std::size_t>(dim), 0.0);
      for (int row = 0; row < unit_rows; ++row)
        for (int j = 0; j < dim; ++j) {
          if (class_token) in[j] += row == 0 ? x[t * unit_rows][j] : none;
          else in[j] += x[t * unit_rows + row][j] / unit_rows;
        }
      const auto z = linear(p.at("router.weight"), nullptr, in.data(), dim, E);
      std::vector<double> raw, std(static_cast<std::size_t>(E), 0.0), noisy = z;
      if (noise_kind == ref_noise::learned) {
        raw = linear(p.at("router.noise_weight"), nullptr, in.data(), dim, E);
        for (int e = 0; e < E; ++e) std[e] = std::log(1 + std::exp(raw[e]));
      } else if (noise_kind == ref_noise::constant) {
        std.assign(std.size(), scale / E);
      }
      std::vector<double> hot(z.size()), cold(z.size());
      for (int e = 0; e < E; ++e) {
        if (noise_kind != ref_noise::none && noise != 0)
          noisy[e] += std[e] * static_cast<double>(static_cast<float>(noise) *
                                                   draw.normal(static_cast<std::uint64_t>(t) * E + e));
        hot[e] = noisy[e] * inverse_temperature, cold[e] = z[e] * inverse_temperature;
      }
      r.logits.push_back(z), r.raw.push_back(raw), r.noisy.push_back(noisy), r.std.push_back(std);
      r.scores.push_back(scores_of(hot)), r.clean.push_back(scores_of(cold));
      if (k > 0) {
        auto key = r.scores.back();
        for (int e = 0; e < E && !bias.empty(); ++e) key[e] += bias[e];
        r.wish.push_back(best_k(key, k));
      }
    }
    if (k > 0)
      r.places = give_places(r.wish, r.scores, k, group_size ? group_size : std::max(T, 1), capacity, overflow,
                             priority, rounds);
    r.y.assign(x.size(), std::vector<double>(static_cast<std::size_t>(out), 0.0));
    for (int t = 0; t < T; ++t) {
      const int n = k > 0 ? k : E;
      std::vector<double> s(static_cast<std::size_t>(n)), w(static_cast<std::size_t>(n));
      std::vector<bool> served(static_cast<std::size_t>(n), true);
      double chosen = 0, kept = 0;
      for (int j = 0; j < n; ++j) {
        const int by = k > 0 ? r.places.expert[t][j] : j;
        const bool overflowed = overflow == ref_overflow::fallback || overflow == ref_overflow::identity;
        served[j] = by >= 0 || overflowed;
        s[j] = r.scores[t][by >= 0 ? by : r.wish[t][j]];
        chosen += s[j], kept += served[j] ? s[j] : 0;
        ++r.choices, r.dropped += !served[j];
      }
      for (int j = 0; j < n; ++j) {
        w[j] = combine == ref_combine::affinity ? s[j]
               : combine == ref_combine::sum    ? 1
                                                : s[j] / (combine == ref_combine::over_chosen ? chosen : kept);
        if (!served[j]) {
          w[j] = 0;
          continue;
        }
        const int by = k > 0 ? r.places.expert[t][j] : j;
        for (int row = t * unit_rows; row < (t + 1) * unit_rows; ++row) {
          const auto o =
              by < 0 && overflow == ref_overflow::identity ? x[row] : run_expert(p, by >= 0 ? by : E, x[row].data());
          for (int c = 0; c < out; ++c) r.y[row][c] += w[j] * o[c];
        }
      }
      r.weight.push_back(w);
    }
    return r;
  }
};

template <class T>
matrix rows_of(const tensor<T>& t) {
  matrix m(static_cast<std::size_t>(t.rows), std::vector<double>(static_cast<std::size_t>(t.cols)));
  for (index r = 0; r < t.rows; ++r)
    for (index c = 0; c < t.cols; ++c) m[r][c] = t.at(r, c);
  return m;
}

/// Squared coefficient of variation with the population variance.
inline double squared_cv(const std::vector<double>& x) {
  double mean = 0, var = 0;
  for (const double v : x) mean += v / static_cast<double>(x.size());
  for (const double v : x) var += (v - mean) * (v - mean) / static_cast<double>(x.size());
  return var / (mean * mean);
}

}  // namespace moe_test
