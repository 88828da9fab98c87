// Example programs from the outside, as a user runs them.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include <polymoe/train/file.hpp>

#include "../train/temp_folder.hpp"

/// Beside this program's build folder (../examples/<name>), or where the environment variable `told` says.
inline std::string program_path(const char* name, const char* told) {
  if (const char* path = std::getenv(told)) return path;
  std::error_code failed;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", failed);
  return (self.parent_path().parent_path() / "examples" / name).string();
}

struct outcome {
  int status = -1;  ///< exit status, 1000 + the signal that ended it
  std::string out, err;
  double seconds = 0;
};

/// The program with arguments; `stop` is asked every few milliseconds and true sends `signal`, once.  No file it writes
/// may be longer than `most_bytes`, if that is not 0: the limit acts like a full disk, also for root.
template <class Stop>
outcome run_program(const std::string& path, const std::vector<std::string>& arguments, Stop stop, int signal = SIGINT,
                    rlim_t most_bytes = 0) {
  temp_folder t;
  const auto begin = std::chrono::steady_clock::now();
  const std::string out = t.file("out"), err = t.file("err");
  std::vector<char*> argv{const_cast<char*>(path.c_str())};
  for (const auto& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return {};
  if (child == 0) {
    ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
    ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
    ::setenv("OMP_WAIT_POLICY", "PASSIVE", 1);
    if (most_bytes > 0) {
      const rlimit small{most_bytes, most_bytes};
      ::setrlimit(RLIMIT_FSIZE, &small);
    }
    ::execv(path.c_str(), argv.data());
    ::_exit(127);
  }
  int status = 0;
  bool stopped = false;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    if (!stopped && stop()) stopped = ::kill(child, signal) == 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  outcome o;
  o.status = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  o.out = t.get("out"), o.err = t.get("err");
  o.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return o;
}

inline std::vector<std::string> with(std::vector<std::string> a, const std::vector<std::string>& more) {
  a.insert(a.end(), more.begin(), more.end());
  return a;
}
inline std::ptrdiff_t lines_in(const std::string& path) {
  if (!polymoe::file_exists(path)) return 0;
  const std::string text = polymoe::read_text(path);
  return std::count(text.begin(), text.end(), '\n');
}
