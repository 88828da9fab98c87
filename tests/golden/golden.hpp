// Reading golden files, and the numbers that their generators (generate.py) and the tests make from names.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include <polymoe/core/workspace.hpp>

#ifndef POLYMOE_SOURCE_DIR
#define POLYMOE_SOURCE_DIR "."
#endif

namespace polymoe::inline v0 {

inline constexpr double golden_tolerance = 1e-10;

// ---- numbers both sides can make ------------------------------------------------------------------------------------

/// FNV-1a.
inline std::uint64_t name_hash(const std::string& name) {
  std::uint64_t h = 0xCBF29CE484222325u;
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return h;
}
/// The splitmix64 finaliser of hash + (i + 1) * golden ratio.
inline std::uint64_t golden_hash(std::uint64_t hash, index i) {
  std::uint64_t z = hash + static_cast<std::uint64_t>(i + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}
/// offset + scale * u, u in [-1, 1) a multiple of 2^-23.
inline void numbers(const std::string& name, double* out, index n, double scale, double offset = 0) {
  const std::uint64_t h = name_hash(name);
  for (index i = 0; i < n; ++i)
    out[i] = offset + scale * (static_cast<double>(golden_hash(h, i) >> 40) / 8388608.0 - 1.0);
}
inline std::vector<double> numbers(const std::string& name, index n, double scale) {
  std::vector<double> v(static_cast<std::size_t>(n));
  numbers(name, v.data(), n, scale);
  return v;
}
/// Overwrites the parameters with those of the case.
template <class Workspace>
void fill_parameters(Workspace& w, const std::string& name_of_case) {
  std::vector<double> values = w.values_on_host();
  for (const param_entry& e : w.entries()) {
    const bool bias = e.name.size() >= 4 && e.name.compare(e.name.size() - 4, 4, "bias") == 0;
    const bool norm = e.name.find("norm") != std::string::npos, router = e.name.find("router") != std::string::npos;
    const double scale = bias || norm ? 0.25 : (router ? 1.0 : 0.5);
    numbers(name_of_case + "/" + e.name, values.data() + e.offset, e.size, scale, norm && !bias ? 1.0 : 0.0);
  }
  w.set_values(values);
  w.refresh();
}

// ---- golden files ---------------------------------------------------------------------------------------------------

class golden {
 public:
  explicit golden(const std::string& name) {
    const std::string path = std::string(POLYMOE_SOURCE_DIR) + "/tests/golden/" + name + ".txt";
    std::ifstream in(path);
    REQUIRE_MESSAGE(in.good(), "cannot read ", path);
    for (std::string line, key, word; std::getline(in, line);) {
      if (line.empty() || line[0] == '#') continue;
      std::istringstream words(line);
      words >> key;
      auto& values = lines_[key];
      REQUIRE_MESSAGE(values.empty(), path, " has ", key, " twice");
      while (words >> word) values.push_back(std::strtod(word.c_str(), nullptr));
    }
  }
  /// Numbers that were stored as they are.
  const std::vector<double>& values(const std::string& key, std::size_t n) {
    const auto it = lines_.find(key);
    REQUIRE_MESSAGE(it != lines_.end(), "no golden ", key);
    REQUIRE_MESSAGE(it->second.size() == n, "golden ", key, " has ", it->second.size(), " numbers, not ", n);
    used_.insert(key);
    return it->second;
  }
  void check(const std::string& key, double got) {
    const double want = values(key, 1)[0];
    CHECK_MESSAGE(std::abs(got - want) <= golden_tolerance * std::abs(want), key, ": ", got, ", PyTorch ", want);
  }
  void check_values(const std::string& key, const std::vector<double>& got) {
    const std::vector<double>& want = values(key, got.size());
    double error = 0, norm = 0;
    for (std::size_t i = 0; i < got.size(); ++i)
      error += (got[i] - want[i]) * (got[i] - want[i]), norm += want[i] * want[i];
    CHECK_MESSAGE(std::sqrt(error) <= golden_tolerance * std::sqrt(norm), key);
  }
  /// A tensor by its digest.
  void check_tensor(const std::string& key, const double* x, index n, double allowed = golden_tolerance) {
    const std::vector<double>& want = values(key, 4 + samples);
    REQUIRE_MESSAGE(static_cast<double>(n) == want[0], key, " has ", n, " elements");
    const std::uint64_t h = name_hash("signs");
    double norm = 0, sums[2] = {};
    for (index i = 0; i < n; ++i) {
      norm += x[i] * x[i];
      for (int s = 0; s < 2; ++s) sums[s] += (golden_hash(h, i) >> (20 + 20 * s)) & 1 ? -x[i] : x[i];
    }
    const auto compare = [&](const std::string& what, double got, double expected) {
      CHECK_MESSAGE(std::abs(got - expected) <= allowed * want[1], key, " ", what, ": ", got, ", PyTorch ", expected,
                    ", norm ", want[1]);
    };
    compare("norm", std::sqrt(norm), want[1]);
    compare("first sum", sums[0], want[2]), compare("second sum", sums[1], want[3]);
    for (int i = 0; i < samples; ++i)
      compare("element", x[i * (n - 1) / (samples - 1)], want[static_cast<std::size_t>(4 + i)]);
  }
  /// All parameters, or all their gradients.
  template <class Workspace>
  void check_all(const std::string& what, const Workspace& w, const std::vector<double>& flat) {
    for (const param_entry& e : w.entries()) check_tensor(what + ":" + e.name, flat.data() + e.offset, e.size);
  }
  /// Nothing PyTorch has is missing here.
  void check_complete() const {
    for (const auto& [key, values] : lines_) CHECK_MESSAGE(used_.count(key), key, " was not compared");
  }

 private:
  static constexpr int samples = 6;
  std::map<std::string, std::vector<double>> lines_;
  std::set<std::string> used_;
};

/// Numbers in the memory of backend B, at first those of a vector.
template <class B, class N>
class numbers_on {
 public:
  using stream = typename B::stream;
  numbers_on(const stream& s, const std::vector<N>& from)
      : size_(static_cast<index>(from.size())), block_(from.size() * sizeof(N)) {
    put(s, from);
  }
  void put(const stream& s, const std::vector<N>& from) {
    B::memory::write(s, block_.data(), from.data(), block_.size());
  }
  std::vector<N> host(const stream& s) const {
    std::vector<N> to(static_cast<std::size_t>(size_));
    B::memory::read(s, to.data(), block_.data(), block_.size());
    return to;
  }
  N* data() const { return static_cast<N*>(block_.data()); }
  view<N> rows(index n) const { return {data(), n, size_ / n}; }

 private:
  index size_;
  owned_block<typename B::memory> block_;
};

}  // namespace polymoe
