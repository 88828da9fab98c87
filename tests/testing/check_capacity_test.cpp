// The capacity checker: it accepts the shipped policies and names what is wrong with broken ones.
// sanitize: yes
// with: checks
#include <doctest/doctest.h>

#include <polymoe/testing/check_capacity.hpp>

using namespace polymoe;
using polymoe::testing::check_capacity;

namespace {

struct base {
  static constexpr bool limited = true;
  using overflow_policy = overflow::drop;
  using priority_policy = priority::position;
};
struct wraps : base {  // 32 bits where 64 are needed
  polymoe::index slots(const capacity_query& q) const {
    const auto wide = static_cast<std::uint32_t>(q.tokens) * static_cast<std::uint32_t>(q.k) * 3u;
    return std::min<polymoe::index>(q.tokens,
                                    static_cast<polymoe::index>(wide / static_cast<std::uint32_t>(q.experts)));
  }
};
struct negative : base {
  polymoe::index slots(const capacity_query& q) const { return q.tokens - q.experts; }
};
struct too_many : base {
  polymoe::index slots(const capacity_query& q) const { return q.tokens * q.k; }
};
struct falls : base {
  polymoe::index slots(const capacity_query& q) const { return q.tokens > 40 ? 40 : q.tokens > 20 ? 10 : q.tokens; }
};
struct falls_really : base {
  polymoe::index slots(const capacity_query& q) const { return q.tokens > 20 ? 10 : q.tokens; }
};
struct only_evaluation : base {
  polymoe::index slots(const capacity_query& q) const { return q.training ? q.tokens : q.tokens + 1; }
};
struct moody : base {
  polymoe::index slots(const capacity_query& q) const { return q.tokens ? (calls++ & 1) : 0; }
  mutable int calls = 0;
};
struct limited_unlimited : capacity::unlimited {
  polymoe::index slots(const capacity_query& q) const { return q.tokens / 2; }
};
struct drop_in_rounds {
  static constexpr overflow::kind value = overflow::kind::drop;
  static constexpr int rounds = 2;
};
struct odd_overflow : base {
  using overflow_policy = drop_in_rounds;
  polymoe::index slots(const capacity_query& q) const { return q.tokens; }
};

template <class C>
void refuses(const char* promise) {
  const auto r = check_capacity<C>();
  CHECK_FALSE(r.ok);
  CHECK_MESSAGE(r.text.find(promise) != std::string::npos, r.text);
}

}  // namespace

TEST_CASE("check_capacity accepts the shipped policies") {
  CHECK(check_capacity<capacity::unlimited>().ok);
  CHECK(check_capacity<capacity::bounded<>>().ok);
  CHECK(check_capacity<capacity::bounded<overflow::identity, priority::gate, capacity::rounding::nearest>>().ok);
  CHECK(check_capacity<capacity::bounded<overflow::fallback>>().ok);
  CHECK(check_capacity<capacity::bounded<overflow::reroute<3>, priority::random>>().ok);
  CHECK(check_capacity<capacity::bounded<overflow::reroute<3>, priority::probability>>().ok);
  for (const float factor : {1e-3f, 0.1f, 1.0f, 1.05f, 2.0f, 100.0f, 1e6f})
    for (const std::optional<float> eval : {std::optional<float>{}, std::optional<float>{2.0f}})
      for (const polymoe::index multiple : {1, 4, 128}) {
        capacity::bounded<> c;
        c.factor = factor, c.eval_factor = eval, c.multiple_of = multiple;
        const auto r = check_capacity(c);
        CHECK_MESSAGE(r.ok, r.text);
      }
  capacity::bounded<> fixed;
  fixed.absolute = 12;
  CHECK(check_capacity(fixed).ok);
}
TEST_CASE("check_capacity finds broken policies") {
  refuses<wraps>("do not fall");
  refuses<negative>("not negative");
  refuses<too_many>("do not exceed");
  refuses<falls>("do not fall");
  refuses<falls_really>("do not fall");
  refuses<only_evaluation>("evaluation");
  refuses<moody>("equal questions");
  refuses<limited_unlimited>("unlimited");
  refuses<odd_overflow>("rounds");
}
TEST_CASE("check_capacity asks a policy whether its numbers make sense") {
  const auto r = check_capacity(capacity::bounded<>{.multiple_of = 0});
  CHECK_FALSE(r.ok);
  CHECK_MESSAGE(r.text.find("multiple_of is 0") != std::string::npos, r.text);
  CHECK_THROWS_AS(check_capacity(capacity::bounded<>{}, {.multiple = 0}), polymoe::error);
}
TEST_CASE("check_capacity: a multiple that the policy does not name is said by the caller") {
  struct fours : base {
    polymoe::index slots(const capacity_query& q) const { return round_up(q.tokens, 4); }
  };
  CHECK_FALSE(check_capacity<fours>().ok);
  CHECK(check_capacity<fours>({}, {.multiple = 4}).ok);
}
