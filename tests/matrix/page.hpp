// docs/support.md, made of the verdicts.
#pragma once

#include "cover.hpp"

namespace matrix {

/// The text of the page.
std::string support_page();

}  // namespace matrix
