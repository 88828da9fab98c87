// The same shape of source as the failing cases, with nothing wrong: all policies at their defaults.
#include <polymoe/polymoe.hpp>

struct good : polymoe::spec {};
template class polymoe::layer<good, polymoe::cpu>;
