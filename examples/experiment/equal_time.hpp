// Arms that train for the same time, beside those of a program, which train for the same number of steps.
//
// A short calibration times steps of every arm, the arms in turns; an arm then trains as many steps as fit into the
// time. These numbers are kept in <out>/calibration.json: a run that goes on takes the same steps, whatever else its
// machine does meanwhile, and so does a run elsewhere that is given the file and --resume.
#pragma once

#include "experiment.hpp"

namespace experiment {

/// What the names of such arms end in.
inline constexpr const char* timed_mark = "-timed";

struct equal_time {
  double seconds = 0;       ///< of training steps, evaluation not counted; 0: none was asked for
  std::vector<arm> arms{};  ///< "<name>-timed", with their steps
};
/// Arm i of a program once more, under another name.
using again = std::function<arm(std::size_t i, const std::string& name)>;
/// `wish`: a number of seconds, or the name of an arm, as long as that one takes for its epochs; "": nothing is done.
/// Every one of `arms` that --arms picks has a timed one, and --arms may name timed ones themselves.  Under --resume
/// the numbers are read, and those of arms that are new are measured.  Under --plan nothing is done; see
/// print_equal_time().
equal_time arms_of_equal_time(settings&, const std::string& wish, const std::vector<arm>&, const again&, const images&);
/// What they would take, by the rates that --plan measured.
void print_equal_time(const settings&, const std::string& wish, const std::vector<result>& measured, const images&);

}  // namespace experiment
