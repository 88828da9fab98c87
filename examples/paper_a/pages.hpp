// What paper A's page shows.
#pragma once

#include "kinds.hpp"

namespace paper_a {

/// Gaps of the arms with experts to their dense twins, over rho.
void add_gaps(polymoe::report&, const std::vector<result>&, const sweep&);
/// Experts in the body against experts in the head alone, each beside its dense twin.
void add_places(polymoe::report&, const std::vector<result>&, const sweep&);
/// k = 1 against k = 2 at the same share.
void add_choices_of_k(polymoe::report&, const std::vector<result>&, const sweep&);
/// How much of a gap is dropping: what the same experts gain where nothing, or less, is dropped.
void add_dropping(polymoe::report&, const std::vector<result>&, const sweep&);
/// Temperatures that fall against the constant one.
void add_temperatures(polymoe::report&, const std::vector<result>&, const sweep&);
/// What the dense arms have of k = 2, and how nearly.
void add_twins(polymoe::report&, const sweep&, const images&);
/// Accuracy over the images of a call, for the arms that were evaluated that way: a table, and curves of `drawn`.
void add_calls(polymoe::report&, const std::vector<experiment::arm>&, const std::vector<experiment::arm>& drawn,
               const std::vector<result>&, index batch);
/// What the paper finds, as pairs of arms.
std::vector<experiment::claim> claims_of(const std::vector<sweep>&, const std::vector<result>&);

}  // namespace paper_a
