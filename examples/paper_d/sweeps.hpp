// The arms of paper D at every value that is swept, and what its page shows over these values.
#pragma once

#include "paper_d.hpp"

namespace paper_d {

/// Where an arm stands on an axis of the sweep.
struct place {
  std::string axis;    ///< "experts E"
  std::string beside;  ///< the arm without its value there
  double value = 0;
};
struct swept_arm {
  experiment::arm arm;
  routing how = routing::dense;
  std::string way{};            ///< its name without values: super_class
  options o{};                  ///< its own values
  std::string twin{};           ///< the dense arm of equal compute
  std::vector<place> places{};  ///< on axes of several values
};

/// The dense arm, then every way to route at every combination of values that matter to it, or, one by one, at those
/// that differ from the first ones on one axis.  `coarse`: the data have coarse labels.
std::vector<swept_arm> arms_of(const options&, bool coarse);
/// In --arms the name of a way stands for all its arms.
void spell_out(experiment::settings&, const std::vector<swept_arm>&);

/// What the paper reports, as a table of the page.
void add_published(polymoe::report&);
/// One table with a row for every arm, also printed, and for every axis of several values test accuracy, gaps to dense
/// arms and the router's accuracy over it.  Nothing where nothing is swept.
void add_sweeps(polymoe::report&, const options&, const std::vector<swept_arm>&, const std::vector<result>&);

}  // namespace paper_d
