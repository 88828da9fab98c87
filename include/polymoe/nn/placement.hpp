// Where the Mixture-of-Experts layers of a network sit: in which of its blocks, or in its head.
//
//   placement::every(2, 12)       blocks 1, 3, .. 11 of 12 (V-MoE's "every n")    "every-2"
//   placement::last(2, 12)        blocks 10 and 11 (Soft MoE, Mobile V-MoE)       "last-2"
//   placement::last_odd(2, 12)    blocks 9 and 11 (V-MoE's "last n")              "last-odd-2"
//   placement::at({3, 5}, 12)     these blocks                                    "3+5"
//   placement::head()             no block, the classifier                        "head"
//
// Blocks are numbered from 0 through the whole network.  What has blocks takes one: mixed_blocks, and with it mixed_vit
// (MLP blocks), mixed_resnet_config and mixed_small_cnn (convolution blocks).
#pragma once

#include <bit>
#include <initializer_list>

#include "../core/error.hpp"
#include "../core/number_text.hpp"

namespace polymoe::inline v0 {
namespace nn {

/// Which of up to 64 blocks have experts.  Throws polymoe::error, with both numbers, for what does not fit the blocks.
class placement {
 public:
  static constexpr index most = 64;  ///< blocks of a network

  constexpr placement() = default;
  static constexpr placement head() {
    placement p;
    p.head_ = true;
    return p;
  }
  /// Every n-th block: n - 1, 2 n - 1, ...
  static constexpr placement every(index n, index depth) {
    check(n >= 1 && n <= depth, "every-", n, depth);
    placement p;
    for (index i = n - 1; i < depth; i += n) p.set(i);
    return p;
  }
  /// The last n of the blocks 1, 3, 5, ...
  static constexpr placement last_odd(index n, index depth) {
    check(n >= 0 && n <= depth / 2, "last-odd-", n, depth);
    placement p;
    for (index i = depth / 2 * 2 - 1; n > 0; i -= 2, --n) p.set(i);
    return p;
  }
  /// The last n blocks, each of them.
  static constexpr placement last(index n, index depth) {
    check(n >= 0 && n <= depth, "last-", n, depth);
    placement p;
    for (index i = depth - n; i < depth; ++i) p.set(i);
    return p;
  }
  static constexpr placement at(std::initializer_list<index> blocks, index depth = most) {
    placement p;
    for (const index i : blocks) p.set(checked_block(i, depth));
    return p;
  }
  /// As programs take it from their users; see the top of this file.
  static constexpr placement named(std::string_view text, index depth) {
    const auto number = [text](std::string_view digits) {
      const index n = polymoe::detail::number_in(digits);
      if (n < 0)
        polymoe::detail::fail("placement '", text,
                              "': expected head, every-N, last-N, last-odd-N or blocks such as 1+3");
      return n;
    };
    const auto after = [text](std::string_view word) { return text.substr(word.size()); };
    if (text == "head") return head();
    if (text.starts_with("every-")) return every(number(after("every-")), depth);
    if (text.starts_with("last-odd-")) return last_odd(number(after("last-odd-")), depth);
    if (text.starts_with("last-")) return last(number(after("last-")), depth);
    placement p;
    for (std::string_view rest = text;;) {
      const auto plus = rest.find('+');
      p.set(checked_block(number(rest.substr(0, plus)), depth));
      if (plus == rest.npos) return p;
      rest = rest.substr(plus + 1);
    }
  }

  constexpr bool operator[](index block) const { return block < most && (bits_ >> block & 1); }
  constexpr bool in_head() const { return head_; }
  /// Blocks with experts.
  constexpr index count() const { return std::popcount(bits_); }
  /// One more than the last block with experts.
  constexpr index reach() const { return most - std::countl_zero(bits_); }
  /// Of the blocks from number `first` on, which then is number 0; `count` of them.
  constexpr placement part(index first, index count) const {
    placement p;
    for (index i = 0; i < count; ++i)
      if ((*this)[first + i]) p.set(i);
    return p;
  }
  friend constexpr bool operator==(const placement&, const placement&) = default;

 private:
  static constexpr void check_depth(index depth) {
    if (depth < 1 || depth > most)
      polymoe::detail::fail("placement: a network of ", depth, " blocks, 1 to ", most, " are supported");
  }
  static constexpr void check(bool fits, const char* name, index n, index depth) {
    check_depth(depth);
    if (!fits) polymoe::detail::fail("placement ", name, n, " does not fit ", depth, " blocks");
  }
  static constexpr index checked_block(index i, index depth) {
    check_depth(depth);
    if (i < 0 || i >= depth)
      polymoe::detail::fail("placement: there is no block ", i, ", the ", depth, " blocks are 0 to ", depth - 1);
    return i;
  }
  constexpr void set(index i) { bits_ |= std::uint64_t{1} << i; }

  std::uint64_t bits_ = 0;
  bool head_ = false;
};

}  // namespace nn
}  // namespace polymoe
