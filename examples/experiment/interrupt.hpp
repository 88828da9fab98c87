// Ctrl-C in a training program: the first one asks the training loops to save and stop, a second one ends the program.
#pragma once

#include <csignal>
#include <cstdio>

namespace program {

/// Set by Ctrl-C and SIGTERM after watch_interrupts(): training loops look at it after every step.
inline volatile std::sig_atomic_t stop_requested = 0;

extern "C" inline void program_on_interrupt(int signal) {
  stop_requested = 1;
  std::signal(signal, SIG_DFL);
}
inline void watch_interrupts() {
  std::signal(SIGINT, program_on_interrupt), std::signal(SIGTERM, program_on_interrupt);
}

/// The last line of a run that was stopped; its exit status, which is a shell's for Ctrl-C.
inline int stopped() {
  std::printf("Stopped. The same options and --resume continue the run.\n");
  return 130;
}

}  // namespace program
