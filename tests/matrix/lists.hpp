// The tests of compositions as files: what they hold, and what they say.
#pragma once

#include "cover.hpp"

namespace matrix {

/// The compositions of the tests "tests/matrix/<name>_<n>_test.cpp" in the project's folder, in the order of the files:
/// lines "  X(identifier, ...)" with a value for each axis but the backend.  Lines with identifiers that no axis has
/// are left out; none where there is no such file.
std::vector<point> committed(const std::string& name, int backend);

/// A file in the project's folder.
struct file_text {
  std::string name, text;
};
/// All tests of compositions as `support_matrix write` writes them.  The list for the CPU begins with the committed
/// one, so that compositions stay where they are; what it does not meet is added, what has become needless is left out.
std::vector<file_text> tests_of_compositions();

}  // namespace matrix
