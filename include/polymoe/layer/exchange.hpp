// exchange::none: all experts live in this process; payload rows stay where gather put them.
//
// The seam for expert parallelism: an exchange policy moves gathered rows to the process that owns their expert and the
// results back.  Expert ids are global in plans and checkpoints whatever the policy.
#pragma once

#include "../core/config.hpp"

namespace polymoe::inline v0::exchange {

struct none {
  static constexpr const char* name = "none";
  static constexpr bool trivial = true;  ///< no buffers, no code
};

}  // namespace polymoe::exchange
