// How a run looks while it trains: one live line on a terminal, one plain line every N steps elsewhere.
//
//   epoch 3/10  145/469  8123 img/s  eta 1m02s  loss 0.5123  lr 1.0e-3  |g| 1.23  drop 2.1%  load 1.34
//
// Fields stand in order of importance.  A terminal that is too narrow for this gets shorter words, then fewer digits
// (all nine fields fit in 80 columns); below that whole fields go, the last first.  A wide one also gets a bar.
#pragma once

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <string>
#include <vector>

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
  int columns = 0;                     ///< of the terminal; 0: ask it
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

/// "1e-3" instead of "1.0e-03", with `digits` after the point.
inline std::string short_power(double x, int digits) {
  std::string s = printed("%.*e", digits, x);
  const std::size_t e = s.find('e');
  if (e == std::string::npos) return s;  // inf
  std::string power = s.substr(e + 1);
  const bool minus = power[0] == '-';
  power.erase(0, power.find_first_not_of("+-0"));
  return s.substr(0, e) + (power.empty() ? "" : (minus ? "e-" : "e") + power);
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
  /// A step, or `steps` of them, over `images` images together is done.
  void step(index images, const step_report& r, index steps = 1) {
    const double now = options_.clock();
    if (warm_) {
      time_ += now - last_;
      images_ += images;
      timed_ += steps;
    }
    warm_ = true;
    last_ = left_ = now;
    const index before = step_;
    step_ += steps;
    const bool last_step = step_ >= steps_;
    if (options_.mode == progress_mode::live) {
      if (!last_step && drawn_ >= 0 && now - drawn_ < 0.1) return;  // a terminal need not be written more often
      drawn_ = now;
      const std::size_t width = live_columns();
      draw(line(r, width), width);
    } else if (options_.mode == progress_mode::plain &&
               (step_ / options_.every != before / options_.every || last_step)) {
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
  /// The line without line end, in at most `columns` characters; in full when 0.
  std::string line(const step_report& r, std::size_t columns = 0) const {
    for (int form = 0; form < forms; ++form) {
      const auto all = fields(r, form);
      std::string s;
      for (const auto& f : all) s += (s.empty() ? "" : form < tight ? "  " : " ") + f;
      if (columns == 0 && form == usual) return s;
      if (columns > 0 && s.size() <= columns) return s;
    }
    std::string s;
    for (const auto& f : fields(r, forms - 1)) {
      if (!s.empty() && s.size() + 1 + f.size() > columns) break;
      s += (s.empty() ? "" : " ") + f;
    }
    return s.substr(0, columns);
  }

 private:
  // How much is written: 0 long words and a bar, 1 as in the file's head, 2 short words, 3 fewer digits.
  static constexpr int usual = 1, tight = 2, forms = 4;

  /// The parts of the line, the most important first.
  std::vector<std::string> fields(const step_report& r, int form) const {
    using detail::printed;
    const auto pick = [&](auto... texts) {
      return std::array<const char*, forms>{texts...}[static_cast<std::size_t>(form)];
    };
    const auto epoch = static_cast<long long>(epoch_ + 1), epochs = static_cast<long long>(epochs_);
    const index done = step_ < steps_ ? step_ : steps_;
    const std::string total = std::to_string(steps_);
    std::vector<std::string> all;
    all.push_back(printed(pick("epoch %lld/%lld", "epoch %lld/%lld", "ep %lld/%lld", "e%lld/%lld"), epoch, epochs));
    if (form == 0) {
      const auto filled = static_cast<std::size_t>(10 * done / steps_);
      all.back() += " [" + std::string(filled, '#') + std::string(10 - filled, '-') + "] " +
                    printed("%3d%%", static_cast<int>(100 * done / steps_));
    }
    const int width = form < tight ? static_cast<int>(total.size()) : 0;
    all.push_back(printed("%*lld/%s", width, static_cast<long long>(step_), total.c_str()));
    if (timed_ > 0) {
      all.push_back(printed(pick("%.0f images/s", "%.0f img/s", "%.0f/s", "%.0f/s"), images_per_second()));
      all.push_back("eta " + detail::duration_text(eta()));
    }
    // A loss that is NaN has to be seen: it is left out only when it was never given, which no trainer does.
    all.push_back(printed(pick("loss %.4f", "loss %.4f", "loss %.3f", "loss %.3f"), r.loss));
    if (!std::isnan(r.lr)) all.push_back("lr " + detail::short_power(r.lr, form <= tight ? 1 : 0));
    if (!std::isnan(r.grad_norm))
      all.push_back(printed(pick("gradient norm %.3g", "|g| %.3g", "g %.3g", "g %.2g"), r.grad_norm));
    if (!std::isnan(r.dropped))
      all.push_back(printed(pick("dropped %.1f%%", "drop %.1f%%", "drop %.1f%%", "drop %.0f%%"), 100 * r.dropped));
    if (!std::isnan(r.load_spread))
      all.push_back(printed(pick("load %.2fx", "load %.2f", "ld %.2f", "ld %.1f"), r.load_spread));
    return all;
  }
  /// Width the live line may take: one column stays free, because a wrapped line cannot be overwritten.
  std::size_t live_columns() const {
    if (options_.columns > 1) return static_cast<std::size_t>(options_.columns - 1);
    winsize size{};
    const bool known = ::ioctl(::fileno(options_.out), TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
    return known ? size.ws_col - 1u : 79u;
  }
  /// Overwrites the line.
  void draw(std::string s, std::size_t width) {
    const std::size_t shown = s.size();
    if (shown < width_) s.append(std::min(width_, width) - shown, ' ');
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
