# cmake -DFOLDER=<sources> -DOUTPUT=<file.cpp> -P write_commit.cmake
#
# Writes what the sources are into a source file: `git describe --always --dirty`, or "unknown" where git does not know.
# The file is left alone when it says so already, so that nothing is compiled again.
set(commit unknown)
find_program(git_program git)
if(git_program)
  execute_process(COMMAND "${git_program}" -C "${FOLDER}" describe --always --dirty --abbrev=12
                  OUTPUT_VARIABLE said ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
  if(NOT failed AND said MATCHES "^[A-Za-z0-9._/-]+$")
    set(commit "${said}")
  endif()
endif()
set(text "// Written by cmake/write_commit.cmake.
namespace experiment {
extern const char* const built_from_commit;
const char* const built_from_commit = \"${commit}\";
}  // namespace experiment
")
set(before "")
if(EXISTS "${OUTPUT}")
  file(READ "${OUTPUT}" before)
endif()
if(NOT before STREQUAL text)
  file(WRITE "${OUTPUT}" "${text}")
endif()
