// How a run looks while it trains: one live line on a terminal, one plain line every N steps elsewhere.
//
//   epoch 3/10 [######--------------]  31%  145/469  loss 0.5123  lr 1.0e-03  |g| 1.23  drop 2.1%  load 1.34x
//   8123 img/s  eta 1m02s                                                              (on the same line)
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <string>

#include "../core/error.hpp"

namespace polymoe::inline v0 {

/// What is shown of one step; NaN leaves a field out.
struct step_report {
  double loss = std::numeric_limits<double>::quiet_NaN();
  double lr = std::numeric_limits<double>::quiet_NaN();
  double grad_norm = std::numeric_limits<double>::quiet_NaN();
  double dropped = std::numeric_limits<double>::quiet_NaN();      ///< share of choices without a slot, 0..1
  double load_spread = std::numeric_limits<double>::quiet_NaN();  ///< largest load over mean load, >= 1
};

/// Live on a terminal unless NO_COLOR is set (no-color.org), or as told.
enum class progress_mode { automatic, live, plain, silent };

struct progress_options {
  index every = 50;  ///< steps between plain lines
  progress_mode mode = progress_mode::automatic;
  std::FILE* out = stderr;
  std::function<double()> clock = {};  ///< seconds, rising; the steady clock when empty
};

namespace detail {

/// "47s", "3m05s", "2h07m".
inline std::string duration_text(double seconds) {
  if (!(seconds >= 0) || seconds > 1e9) return "?";
  const auto s = static_cast<long long>(seconds + 0.5);
  char text[48];
  if (s < 60)
    std::snprintf(text, sizeof text, "%llds", s);
  else if (s < 3600)
    std::snprintf(text, sizeof text, "%lldm%02llds", s / 60, s % 60);
  else
    std::snprintf(text, sizeof text, "%lldh%02lldm", s / 3600, s / 60 % 60);
  return text;
}

template <class... Numbers>
std::string printed(const char* format, Numbers... numbers) {
  char text[96];
  std::snprintf(text, sizeof text, format, numbers...);
  return text;
}

}  // namespace detail

/// Counts steps, measures throughput and prints.  The very first step of a run (which allocates and warms caches) is
/// left out of every rate, and so is what happens between epochs.
class progress {
 public:
  progress(index epochs, index steps_per_epoch, progress_options options = {})
      : epochs_(epochs), steps_(steps_per_epoch), options_(std::move(options)) {
    require(epochs > 0 && steps_per_epoch > 0, "progress: ", epochs, " epochs of ", steps_per_epoch, " steps");
    require(options_.every > 0, "progress: a line every ", options_.every, " steps");
    if (!options_.clock)
      options_.clock = [] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
      };
    if (options_.mode == progress_mode::automatic) {
      const char* no_color = std::getenv("NO_COLOR");
      const bool plain = (no_color && *no_color) || !::isatty(::fileno(options_.out));
      options_.mode = plain ? progress_mode::plain : progress_mode::live;
    }
  }
  ~progress() { finish_line(); }
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;

  /// Starts an epoch (from 0) at `first_step`, which is not 0 when a run is resumed.
  void begin_epoch(index epoch, index first_step = 0) {
    const double now = options_.clock();
    if (left_ >= 0) pause_ += now - left_, ++pauses_;
    epoch_ = epoch, step_ = first_step;
    last_ = now;
    drawn_ = -1;
  }
  /// One step over `images` images is done.
  void step(index images, const step_report& r) {
    const double now = options_.clock();
    if (warm_) {
      time_ += now - last_;
      images_ += images;
      ++timed_;
    }
    warm_ = true;
    last_ = left_ = now;
    ++step_;
    const bool last_step = step_ >= steps_;
    if (options_.mode == progress_mode::live) {
      if (!last_step && drawn_ >= 0 && now - drawn_ < 0.1) return;  // a terminal need not be written more often
      drawn_ = now;
      draw(line(r));
    } else if (options_.mode == progress_mode::plain && (step_ % options_.every == 0 || last_step)) {
      std::fprintf(options_.out, "%s\n", line(r).c_str());
      std::fflush(options_.out);
    }
  }
  /// Prints a line of its own (results of an epoch, a saved checkpoint).
  void message(const std::string& text) {
    if (options_.mode == progress_mode::silent) return;
    finish_line();
    std::fprintf(options_.out, "%s\n", text.c_str());
    std::fflush(options_.out);
  }

  /// Images per second of training, the first step of the run left out; 0 before the second step.
  double images_per_second() const { return time_ > 0 ? static_cast<double>(images_) / time_ : 0; }
  /// Seconds to the end of the run: steps at their mean time, and the mean pause between epochs; NaN when unknown.
  double eta() const {
    if (timed_ == 0) return std::numeric_limits<double>::quiet_NaN();
    const double steps_left = static_cast<double>((epochs_ - epoch_) * steps_ - step_);
    const double pause = pauses_ > 0 ? pause_ / static_cast<double>(pauses_) : 0;
    return steps_left * time_ / static_cast<double>(timed_) + pause * static_cast<double>(epochs_ - epoch_ - 1);
  }
  /// The line without line end.
  std::string line(const step_report& r) const {
    const index done = step_ < steps_ ? step_ : steps_;
    std::string s =
        detail::printed("epoch %lld/%lld ", static_cast<long long>(epoch_ + 1), static_cast<long long>(epochs_));
    if (options_.mode == progress_mode::live) {
      const auto filled = static_cast<std::size_t>(20 * done / steps_);
      s += "[" + std::string(filled, '#') + std::string(20 - filled, '-') + "] ";
    }
    const std::string total = std::to_string(steps_);
    s += detail::printed("%3d%%  %*lld/%s", static_cast<int>(100 * done / steps_), static_cast<int>(total.size()),
                         static_cast<long long>(step_), total.c_str());
    // A loss that is NaN has to be seen: it is left out only when it was never given, which no trainer does.
    s += detail::printed("  loss %.4f", r.loss);
    if (!std::isnan(r.lr)) s += detail::printed("  lr %.1e", r.lr);
    if (!std::isnan(r.grad_norm)) s += detail::printed("  |g| %.3g", r.grad_norm);
    if (!std::isnan(r.dropped)) s += detail::printed("  drop %.1f%%", 100 * r.dropped);
    if (!std::isnan(r.load_spread)) s += detail::printed("  load %.2fx", r.load_spread);
    if (timed_ > 0) {
      s += detail::printed("  %.0f img/s", images_per_second());
      s += "  eta " + detail::duration_text(eta());
    }
    return s;
  }

 private:
  /// Overwrites the line; cut to the terminal's width, because a wrapped line cannot be overwritten.
  void draw(std::string s) {
    winsize size{};
    const bool known = ::ioctl(::fileno(options_.out), TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
    const std::size_t width = known ? size.ws_col - 1u : 119u;
    if (s.size() > width) s.resize(width);
    const std::size_t shown = s.size();
    if (shown < width_) s.append(width_ - shown < width - shown ? width_ - shown : width - shown, ' ');
    width_ = shown;
    std::fprintf(options_.out, "\r%s", s.c_str());
    std::fflush(options_.out);
  }
  void finish_line() {
    if (width_ > 0) std::fputc('\n', options_.out);
    width_ = 0;
  }

  index epochs_, steps_;
  progress_options options_;
  index epoch_ = 0, step_ = 0, images_ = 0, timed_ = 0, pauses_ = 0;
  double last_ = 0, left_ = -1, drawn_ = -1, time_ = 0, pause_ = 0;
  bool warm_ = false;
  std::size_t width_ = 0;
};

}  // namespace polymoe
