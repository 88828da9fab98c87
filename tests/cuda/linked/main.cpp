// A program of several objects that nvcc made: every object of tests/cuda, two of which instantiate the same layer.  It
// links only if the headers define nothing twice; run, both copies are one, with a GPU and without.
#include <cstdio>

#include "../linked.hpp"

int main() {
  const auto a = polymoe::linked::of_sorted(), b = polymoe::linked::of_initialise();
  const bool ok = !a.recipe.empty() && a.recipe == b.recipe && a.placed == b.placed;
  std::printf("polymoe: %s: %s (%s)\n", ok ? "linked" : "the copies differ", a.recipe.c_str(),
              a.placed < 0 ? "no GPU" : "run on a GPU");
  return ok ? 0 : 1;
}
