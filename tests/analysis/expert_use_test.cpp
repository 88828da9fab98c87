// How experts are used: plans written by hand, counts whose answer is known.
// with: hessian
#include <doctest/doctest.h>

#include <polymoe/analysis/expert_use.hpp>
#include <polymoe/analysis/routing_choices.hpp>
#include <polymoe/analysis/slot_similarity.hpp>
#include <polymoe/core/rng.hpp>
#include <polymoe/train/telemetry.hpp>

#include "support/close_to.hpp"

namespace polymoe {
namespace {

using namespace analysis;

/// A packed plan of four units, three experts and a fallback expert (id 3), K = 2:
///   unit 0: experts 2 (weight 0.6), 0 (0.4)     unit 1: expert 0 (0.3), its second choice 1 in the fallback
///   unit 2: expert 1 (0.2), then 2 (0.7)        unit 3: not finite
struct planned {
  int begin[5] = {0, 2, 3, 5, 6}, token[6] = {0, 1, 2, 0, 2, 1};
  int slot_of[8] = {3, 0, 1, 5, 2, 4, -1, -1}, expert_of[8] = {2, 0, 0, 1, 1, 2, -1, -1};
  double gate[6] = {0.4, 0.3, 0.2, 0.6, 0.7, 0.1};
  unsigned char bad[4] = {0, 0, 0, 1};
  sparse_plan<double> plan() {
    sparse_plan<double> p;
    p.tokens = p.group_size = 4, p.experts = 3, p.all_experts = 4, p.groups = 1, p.k = 2, p.max_slots = 6;
    p.begin = begin, p.token = token, p.slot_of = slot_of, p.expert_of = expert_of, p.bad = bad;
    p.gate = {gate, 1, 6};
    return p;
  }
};

double entropy(std::vector<double> p) {
  double h = 0;
  for (const double x : p) h -= x > 0 ? x * std::log(x) : 0;
  return h;
}

}  // namespace

TEST_CASE("choices are those that experts served, of a plan with a stride, with lists, of a mixture and of slots") {
  planned of;
  const sparse_plan<double> p = of.plan();
  routing_choices c;
  c.add(p), c.add(p);
  REQUIRE(c.units() == 8);
  CHECK(c.first_experts() == std::vector<std::int32_t>{2, 0, 2, -1, 2, 0, 2, -1});
  CHECK(c.sets() == std::vector<std::uint64_t>{5, 1, 6, 0, 5, 1, 6, 0});
  CHECK(c.together() == std::vector<double>{4, 0, 2, 0, 2, 2, 2, 2, 4});
  CHECK(c.units_by_experts() == std::vector<index>{2, 2, 4, 0});
  const double shares[] = {1, 0.75, 0.5, 0, 0};
  for (int n = 0; n < 5; ++n) CHECK(c.share_served_by(n) == shares[n]);
  CHECK_THROWS_AS(c.share_served_by(-1), error);
  CHECK_THROWS_AS(routing_choices{}.share_served_by(1), error);
  CHECK(routing_choices::from(3, false, c.first_experts(), c.sets()).together() == c.together());
  CHECK_THROWS_AS(routing_choices::from(65, false, {0}, {1}), error);

  // Two images of two units each, of classes 1 and 0.
  const std::int32_t labels[2] = {1, 0};
  std::vector<double> counts(6, 0.0);
  count_class_expert(p, labels, 2, counts);
  CHECK(counts == std::vector<double>{0, 1, 1, 2, 0, 1});

  // The same as lists of slots, without the fallback.
  int list[5] = {0, 3, 1, 2, 4}, from[5] = {0, 2, 3, 5, 5};
  sparse_plan<double> picked = p;
  picked.expert_of = nullptr, picked.k = 0, picked.slot_of = list, picked.slots_begin = from;
  routing_choices same;
  same.add(picked);
  CHECK(same.sets() == std::vector<std::uint64_t>{5, 1, 6, 0});
  CHECK(same.first_experts() == std::vector<std::int32_t>{2, 0, 2, -1});

  sparse_plan<double> mixture = p;
  mixture.layout = plan_layout::identity, mixture.tokens = 2, mixture.bad = nullptr;
  routing_choices all;
  all.add(mixture);  // weights (0.4, 0.2, 0.7), (0.3, 0.6, 0.1)
  CHECK(all.mixture());
  CHECK(all.first_experts() == std::vector<std::int32_t>{2, 1});
  CHECK(all.sets() == std::vector<std::uint64_t>{7, 7});

  slot_layout sizes;
  sizes.tokens = sizes.group_size = 1, sizes.experts = 2, sizes.groups = 1, sizes.capacity = 2;
  owned_dense_plan<double> slots(sizes);
  const double combine[4] = {0.3, 0.3, 0.4, 0};
  for (int s = 0; s < 4; ++s) slots.combine.set(0, s, combine[s]);
  routing_choices soft;
  soft.add(slots);
  CHECK(soft.first_experts() == std::vector<std::int32_t>{0});
  std::vector<double> taken(4, 0.0);
  count_class_expert(slots, labels, 1, taken);
  CHECK(taken == std::vector<double>{0, 0, 0.6, 0.4});
  CHECK_THROWS_AS(soft.add(p), error);
}

TEST_CASE("a unit switches when its first expert is another, or its set is") {
  const auto of = [](std::vector<std::int32_t> first, std::vector<std::uint64_t> sets, bool mixture = false) {
    return routing_choices::from(3, mixture, std::move(first), std::move(sets));
  };
  const auto a = of({0, 1, 2, -1}, {3, 6, 6, 0});
  CHECK(switching_between(a, a).first == 0);
  CHECK(switching_between(a, a).set == 0);
  // Unit 0: same set in the other order; unit 1: another second expert; unit 3: found an expert.
  const auto s = switching_between(a, of({1, 1, 2, 0}, {3, 3, 6, 1}));
  CHECK(s.first == 0.5);
  CHECK(s.set == 0.5);
  CHECK(std::isnan(switching_between(of({0}, {7}, true), of({0}, {7}, true)).set));
  CHECK_THROWS_WITH_AS(switching_between(a, of({0}, {1})), "switching_between: 4 units of 3 experts and 1 of 3", error);
  // More experts than a word has bits.
  const auto wide = routing_choices::from(70, false, {0, 69}, {1, 0, 0, 32});
  CHECK(wide.serves(1, 69));
  CHECK(!wide.serves(1, 68));
  CHECK(switching_between(wide, routing_choices::from(70, false, {0, 68}, {1, 0, 0, 16})).set == 0.5);
}

TEST_CASE("utilisation: equal loads use all experts, one load uses one") {
  CHECK(utilisation_of(std::vector<double>{2, 2, 2, 2}).effective == doctest::Approx(4));
  const auto u = utilisation_of(std::vector<double>{3, 1, 0});
  CHECK(u.share == std::vector<double>{0.75, 0.25, 0});
  CHECK(u.effective == doctest::Approx(std::exp(entropy({0.75, 0.25}))));
  CHECK(u.unused == 1);
  CHECK(utilisation_of(std::vector<double>{0, 0}).effective == 0);
  CHECK_THROWS_AS(utilisation_of(std::vector<double>{-1}), error);
}

TEST_CASE("co-activation against independence: every pair alike, two couples, three experts, unequal weights") {
  // Couples 0-1 and 2-3 are met 6 times each, every other pair once: each expert is in 8 pairs, 8/3 with each other
  // one.
  const std::vector<double> couples = {9, 6, 1, 1, 6, 9, 1, 1, 1, 1, 9, 6, 1, 1, 6, 9};
  const auto c = coactivation_of(couples, 4);
  CHECK(c.pairs == 16);
  CHECK(c.expected[1] == doctest::Approx(8.0 / 3));
  CHECK(c.lift[1] == doctest::Approx(6 / (8.0 / 3)));
  CHECK(c.lift[2] == doctest::Approx(3.0 / 8));
  CHECK(c.distance == doctest::Approx(2 * (6 - 8.0 / 3) / 16));
  CHECK(std::isnan(c.lift[0]));
  // The pairs of three experts follow from how often each is met.
  const auto three = coactivation_of(std::vector<double>{0, 5, 1, 5, 0, 2, 1, 2, 0}, 3);
  for (const std::size_t i : {1, 2, 5}) CHECK(three.lift[i] == doctest::Approx(1).epsilon(1e-9));
  CHECK(three.distance < 1e-9);
  // Pairs made of weights are independent, whatever the weights; an expert without pairs stays out.
  const double w[5] = {1, 2, 3, 5, 0};
  std::vector<double> made(25, 0.0);
  for (std::size_t a = 0; a < 5; ++a)
    for (std::size_t b = 0; b < 5; ++b) made[5 * a + b] = a == b ? 50 : w[a] * w[b];
  const auto m = coactivation_of(made, 5);
  for (std::size_t a = 0; a < 5; ++a)
    for (std::size_t b = 0; b < 5; ++b)
      if (a != b) CHECK(m.expected[5 * a + b] == doctest::Approx(made[5 * a + b]).epsilon(1e-9));
  CHECK(m.distance < 1e-9);
  CHECK(coactivation_of(std::vector<double>{3, 0, 0, 4}, 2).pairs == 0);
  CHECK_THROWS_AS(coactivation_of(std::vector<double>{0, 1, 2, 0}, 2), error);
}

TEST_CASE("specialisation: an expert a class is 1, the same mixture for all is 0, half of each is the closed form") {
  const auto own = specialisation_of(std::vector<double>{4, 0, 0, 0, 4, 0, 0, 0, 4}, 3, 3, 12);
  CHECK(own.information == doctest::Approx(std::log(3)));
  CHECK(own.normalised == doctest::Approx(1));
  CHECK(own.classes_of_expert == std::vector<double>{0, 0, 0});
  CHECK(own.chance == doctest::Approx(4.0 / 24 / std::log(3)));
  const auto none = specialisation_of(std::vector<double>{3, 1, 6, 2}, 2, 2, 12);
  CHECK(none.information == doctest::Approx(0).scale(1));
  CHECK(none.experts_of_class[0] == doctest::Approx(entropy({0.75, 0.25})));
  CHECK(none.classes_of_expert[1] == doctest::Approx(entropy({1.0 / 3, 2.0 / 3})));
  // Classes 0 and 1 on expert 0, classes 2 and 3 on expert 1; the third has nothing.
  const auto half = specialisation_of(std::vector<double>{5, 0, 0, 5, 0, 0, 0, 5, 0, 0, 5, 0}, 4, 3, 20);
  CHECK(half.information == doctest::Approx(std::log(2)));
  CHECK(half.normalised == doctest::Approx(std::log(2) / ((std::log(4) + std::log(2)) / 2)));
  CHECK(std::isnan(half.classes_of_expert[2]));
  CHECK(half.chance == doctest::Approx(3.0 / 40 / (1.5 * std::log(2))));
  // One expert for all tells nothing, and no load neither.
  CHECK(specialisation_of(std::vector<double>{5, 0, 7, 0}, 2, 2, 12).normalised == 0);
  CHECK(specialisation_of(std::vector<double>{0, 0, 0, 0}, 2, 2, 12).normalised == 0);
  CHECK_THROWS_AS(specialisation_of(std::vector<double>{1, 2}, 2, 2, 3), error);

  // Experts that know nothing of classes: the mean over draws is what `chance` says.
  double mean = 0, chance = 0;
  for (std::uint64_t run = 0; run < 200; ++run) {
    const random_stream draw = random_root{run}.stream(1, 0);
    std::vector<double> counts(40, 0.0);
    for (std::uint64_t i = 0; i < 400; ++i) counts[(i % 10) * 4 + draw.below(i, 4)] += 1;
    const auto s = specialisation_of(counts, 10, 4, 400);
    mean += s.normalised / 200, chance += s.chance / 200;
  }
  CHECK(mean == moe_test::close_to(chance, 0.1));
}

TEST_CASE("slots: extremes, means and cosines of a plan written by hand, two images, a unit that is not finite") {
  // Unit vectors at 0, 60 and 90 degrees, longer and shorter: cosines 1/2, 0, sqrt(3)/2.
  const double root = std::sqrt(3.0);
  double rows[] = {2, 0, 1, root, 0, 5, 0, 0};
  CHECK(mean_cosine(view<double>(rows, 3, 2)) == doctest::Approx((0.5 + root / 2) / 3).epsilon(1e-14));
  CHECK(mean_cosine(view<double>(rows, 4, 2)) == doctest::Approx((0.5 + root / 2) / 3).epsilon(1e-14));  // a row of 0
  CHECK(std::isnan(mean_cosine(view<double>(rows, 1, 2))));

  slot_layout sizes;
  sizes.tokens = 5, sizes.group_size = 3, sizes.groups = 2, sizes.experts = 3, sizes.capacity = 1;
  unsigned char bad[5] = {0, 1, 0, 0, 0};
  owned_dense_plan<double> p(sizes);
  p.bad = bad;
  // Image 0: slots 0 and 1 read unit 0, slot 2 reads unit 2; units 0 and 2 take the same.  Image 1: every slot reads
  // both units alike; its units take from different slots.
  const double dispatch[5][3] = {{1, 1, 0}, {0, 0, 0}, {0, 0, 1}, {0.5, 0.5, 0.5}, {0.5, 0.5, 0.5}};
  const double combine[5][3] = {{0.2, 0.2, 0.6}, {0, 0, 0}, {0.2, 0.2, 0.6}, {1, 0, 0}, {0, 0.5, 0.5}};
  for (index t = 0; t < 5; ++t)
    for (index s = 0; s < 3; ++s) p.dispatch.set(t, s, dispatch[t][s]), p.combine.set(t, s, combine[t][s]);
  slot_similarity similar;
  CHECK_THROWS_AS(similar.dispatch(), error);
  similar.add(p);
  CHECK(similar.dispatch().least == 0);
  CHECK(similar.dispatch().most == 1);
  CHECK(similar.dispatch().mean == doctest::Approx(6.0 / 12));
  CHECK(similar.combine().least == 0);
  CHECK(similar.combine().most == 1);
  CHECK(similar.combine().mean == doctest::Approx(4.0 / 12));
  // Of three pairs of slots one is alike in image 0, all in image 1; of one pair of units each, 1 and 0.
  CHECK(similar.dispatch_cosine() == doctest::Approx((1.0 + 3.0) / 6));
  CHECK(similar.combine_cosine() == doctest::Approx(0.5));
}

}  // namespace polymoe
