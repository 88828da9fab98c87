// The sections of the page that only this experiment has.
#pragma once

#include "paper_b.hpp"

namespace paper_b {

/// The Hessian's figures and curves whose names begin with `before`: "" or "equal."; nothing where no arm has them.
void add_sharpness(polymoe::report&, const std::vector<experiment::arm>&, const std::vector<result>&,
                   const std::string& before, const std::string& title, const std::string& text);
/// The loss over random directions.
void add_landscapes(polymoe::report&, const std::vector<experiment::arm>&, const std::vector<result>&);
/// Gates per expert and per class beside the published ones.
void add_gate_tables(polymoe::report&, const std::vector<experiment::arm>&, const std::vector<result>&,
                     const std::vector<std::string>& class_names);

/// Two arms' whole models over batch sizes: when one is faster than the other.
struct crossing {
  std::string arm, against;
  std::vector<double> batches{}, measured{}, modelled{};  ///< times of `against` over those of `arm`
  std::vector<bool> open{};                               ///< whether the quartiles of the two times overlap
  double from = 0, modelled_from = 0;                     ///< analysis::break_even of the two
  double worst = 0;                                       ///< largest relative error of the model's times of `arm`
};
/// Of every arm of experts and the dense one, and of sparse and soft arms.  The model has the times of the dense arm
/// alone, as a + b B: an arm takes a times its share of the dense arm's weights that are read, and b B times that of
/// the MACs.
std::vector<crossing> crossings_of(const std::vector<result>&);
void add_timing(polymoe::report&, const std::vector<experiment::arm>&, const std::vector<result>&);
/// Member "break_even" of summary.json.
void write_crossings(polymoe::json_writer&, const std::vector<result>&);

}  // namespace paper_b
