// What a training program does around its work: options, errors, exit statuses.
#pragma once

#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>

#include <CLI/CLI.hpp>

#include <polymoe/core/error.hpp>

#include "interrupt.hpp"

namespace program {

/// -1 to go on, else the exit status: 0 after --help, 2 after a wrong option.
inline int parse(CLI::App& app, const char* name, int argc, char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);
    std::fprintf(stderr, "%s: %s (--help lists the options)\n", name, e.what());
    return 2;
  }
  return -1;
}

/// The body of main(): what `run` returns, or 1 and a line on stderr when it throws.
template <class Run>
int main_of(const char* name, Run run) {
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on files (ulimit -f) is an error of the write, as a full disk
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // lines appear in order with those of the training, also in a file
  try {
    return run();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", name, e.what());
    return 1;
  }
}

inline void make_folder(const std::string& path) {
  std::error_code failed;
  std::filesystem::create_directories(path, failed);
  polymoe::require(!failed, "cannot create the folder ", path, ": ", failed.message());
}

}  // namespace program
