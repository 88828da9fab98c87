// What the objects of a program of several CUDA files tell its main function.
#pragma once

#include <string>

namespace polymoe::linked {

struct answer {
  std::string recipe;
  long long placed = -1;
};
/// The same layer, run by code of two objects.
answer of_sorted();
answer of_initialise();

}  // namespace polymoe::linked
