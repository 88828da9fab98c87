// The arms of paper A by their names, and what is swept.
#pragma once

#include "paper_a.hpp"

namespace paper_a {

struct named_kind {
  kind which;
  const char* name;
  const char* about;
  const char* paper = "";  ///< points over the dense model that the paper reports; over the constant temperature of one
                           ///< with another
  const char* temperature = nullptr;  ///< in the place of --temperature, to `least`
  double least = 0;
  bool floor = false;  ///< stops falling where the router's entropy is half of what it can be
};
inline constexpr named_kind kinds[] = {
    {kind::dense, "dense", "no experts, active FLOPs of k = 2, width 2 H"},
    {kind::dense_wide, "dense_wide", "no experts, its parameters, width E H"},
    {kind::dense_one, "dense_one", "no experts, active FLOPs of k = 1, width H"},
    {kind::dense_total, "dense_total", "no experts, FLOPs of all its slots"},
    {kind::k1, "k1", "one of E experts, hard capacity", "-2.08 at rho 0.38"},
    {kind::k1_free, "k1_free", "one of E experts, no capacity"},
    {kind::k1_wide, "k1_wide", "one of E wider experts, active FLOPs of k = 2"},
    {kind::k1_few, "k1_few", "one of fewer, wider experts, active FLOPs and parameters of k = 2"},
    {kind::k2, "k2", "two of E experts, hard capacity", "+1.17 at rho 0.38"},
    {kind::k2_free, "k2_free", "two of E experts, no capacity"},
    {kind::k2_identity, "k2_identity", "overflow is its own expert"},
    {kind::k2_reroute, "k2_reroute", "overflow goes to the next best expert"},
    {kind::k2_fallback, "k2_fallback", "overflow goes to one more expert"},
    {kind::k2, "k2_linear_01", "k2, temperature falls linearly to 0.1", "+0.92 at its peak, then late collapse",
     "linear", 0.1},
    {kind::k2, "k2_linear_03", "k2, temperature falls linearly to 0.3", "no collapse", "linear", 0.3},
    {kind::k2, "k2_sigmoid", "k2, temperature falls to 0.1 by a sigmoid", "+0.03, no collapse", "sigmoid", 0.1},
    {kind::k2, "k2_floor", "as k2_linear_01, until the router's entropy is half of log E", "", "linear", 0.1, true},
    {kind::soft, "soft", "all experts, weighted per image"},
    {kind::soft_batch, "soft_batch", "slots mixed over the batch"},
    {kind::head_dense, "head_dense", "a dense head of two layers, active FLOPs of head_k2"},
    {kind::head_dense_wide, "head_dense_wide", "the same, its parameters"},
    {kind::head_dense_total, "head_dense_total", "the same, FLOPs of all its slots"},
    {kind::head_k1, "head_k1", "experts in the head only, one of E, hard capacity"},
    {kind::head_k2, "head_k2", "experts in the head only, hard capacity", "-1.29 to -1.90"},
    {kind::head_k2_free, "head_k2_free", "experts in the head only, no capacity"},
    {kind::head_k2_fallback, "head_k2_fallback", "head only, overflow goes to one more expert"},
    {kind::head_soft, "head_soft", "all experts in the head only"},
    {kind::head_batch, "head_batch", "slots mixed over the batch, in the head only"}};

/// The dense arms that one with experts is compared with; the first is the twin that gaps over rho are to.
inline std::vector<std::string> twins_of(kind k) {
  if (is_dense(k)) return {"dense"};
  if (is_head(k)) return {"head_dense", "head_dense_wide", "head_dense_total", "dense"};
  if (k == kind::k1 || k == kind::k1_free) return {"dense", "dense_one", "dense_wide", "dense_total"};
  return {"dense", "dense_wide", "dense_total"};
}

/// One backbone with experts at one placement, and the widths that are swept there.
struct sweep {
  options o;  ///< with its backbone and placement
  polymoe::routed_shape shape;
  std::vector<index> widths;
  bool in_body = true, in_head = true;  ///< which kinds of experts it has
  std::string where{};  ///< in the names of arms that depend on the placement: "", or of several which it is
  std::string mark{};   ///< at their end: "", or where there are several backbones which it is
  std::vector<std::vector<std::string>> solved{};  ///< rows: what came of --rho

  bool has(kind k) const { return k == kind::dense || (is_head(k) ? in_head : in_body); }
  std::string title() const {
    return o.backbone + " convolutions" + (where.empty() ? "" : ", experts in " + o.placement);
  }
  /// "k2-h16-last-1-depthwise".
  std::string name_of(const named_kind& k, index h) const {
    const bool placed = k.which != kind::dense && !is_head(k.which);
    return std::string(k.name) + "-h" + std::to_string(h) + (placed ? where : "") + mark;
  }
  std::string name_of(const std::string& kind_name, index h) const {
    for (const named_kind& k : kinds)
      if (k.name == kind_name) return name_of(k, h);
    return kind_name;
  }
};

}  // namespace paper_a
