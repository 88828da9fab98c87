// The calibration behind arms of equal time, and its file.
#include "equal_time.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include <polymoe/train/json_reader.hpp>

namespace experiment {
namespace {

using polymoe::require;

/// A calibration as it is kept; rates in images per second.
struct calibration {
  double seconds = 0;
  std::map<std::string, double> rates{};
  std::map<std::string, index> steps{};
};

/// The number that `wish` is, or 0 where it is a name.
double number_in(const std::string& wish) {
  double x = 0;
  const auto end = std::from_chars(wish.data(), wish.data() + wish.size(), x);
  if (end.ec != std::errc() || end.ptr != wish.data() + wish.size()) return 0;
  require(x > 0 && std::isfinite(x), "--equal-time ", wish, ": the seconds must be positive");
  return x;
}
index steps_per_epoch(const settings& s, const images& data) {
  return std::max<index>(data.fit.train.size() / s.batch, 1);
}
/// What an arm of this rate takes for all epochs.
double seconds_of_epochs(const settings& s, const images& data, double rate) {
  return static_cast<double>(s.epochs * steps_per_epoch(s, data) * s.batch) / rate;
}

calibration read_calibration(const std::string& path, const std::string& identity, const std::string& wish) {
  const std::string text = polymoe::read_text(path);
  polymoe::json_reader in(text, path);
  calibration c;
  std::string key, arm, figure, found_identity, found_wish;
  for (in.begin_object(); in.next_key(key);) {
    if (key == "identity") {
      found_identity = in.string();
    } else if (key == "equal_time") {
      found_wish = in.string();
    } else if (key == "seconds") {
      c.seconds = in.number();
    } else if (key == "arms") {
      for (in.begin_object(); in.next_key(arm);)
        for (in.begin_object(); in.next_key(figure);) {
          if (figure == "steps")
            c.steps[arm] = static_cast<index>(in.unsigned_integer());
          else
            c.rates[arm] = in.number();
        }
    } else {
      in.skip();
    }
  }
  in.end();
  require(found_identity == identity && found_wish == wish, path, ": the calibration belongs to another run: it has ",
          found_identity, ", --equal-time ", found_wish, "; this run has ", identity, ", --equal-time ", wish,
          "; choose another --out or leave --resume out");
  require(c.seconds > 0, path, ": seconds is ", c.seconds, ", it must be positive");
  for (const auto& [name, n] : c.steps) require(n >= 1, path, ": ", name, " has ", n, " steps, at least 1 is needed");
  return c;
}
void write_calibration(const std::string& path, const calibration& c, const std::string& identity,
                       const std::string& wish) {
  polymoe::json_writer w;
  w.begin_object().field("identity", identity).field("equal_time", wish).field("seconds", c.seconds);
  w.key("arms").begin_object();
  for (const auto& [name, steps] : c.steps)
    w.key(name).begin_object().field("images_per_second", c.rates.at(name)).field("steps", steps).end_object();
  w.end_object().end_object();
  polymoe::write_text(path, w.str() + "\n");
}

/// Adds the rates of arms that have none: the median of three rounds, so that what disturbs the machine for a while
/// disturbs all arms alike, or none.
void measure(const settings& s, const std::vector<const arm*>& arms, const images& data, calibration& c) {
  settings timing = s;
  timing.plan = true;
  std::map<std::string, std::vector<double>> rounds;
  for (int round = 0; round < 3; ++round)
    for (const arm* a : arms)
      if (!c.rates.count(a->name))
        rounds[a->name].push_back(a->run(timing, s.seeds.front(), data).figures.at("plan_train"));
  for (auto& [name, rates] : rounds) std::sort(rates.begin(), rates.end()), c.rates[name] = rates[rates.size() / 2];
}

}  // namespace

equal_time arms_of_equal_time(settings& s, const std::string& wish, const std::vector<arm>& arms, const again& make,
                              const images& data) {
  equal_time timed;
  if (wish.empty() || s.plan) return timed;
  const double seconds = number_in(wish);
  const auto whole = std::find_if(arms.begin(), arms.end(), [&](const arm& a) { return a.name == wish; });
  if (seconds == 0) {
    std::string known;
    for (const arm& a : arms) known += (known.empty() ? "" : ", ") + a.name;
    require(whole != arms.end(), "--equal-time ", wish, ": neither a number of seconds nor an arm; there are ", known);
  }
  const std::vector<std::string> asked = s.arms;
  for (const std::string& name : asked)
    if (std::any_of(arms.begin(), arms.end(), [&](const arm& a) { return a.name == name; }))
      s.arms.push_back(name + timed_mark);
  std::vector<const arm*> wanted;
  for (const arm& a : arms)
    if (is_wanted(s, a.name + timed_mark)) wanted.push_back(&a);

  const std::string path = s.out + "/calibration.json", identity = identity_of(s);
  calibration c;
  if (s.resume && std::filesystem::exists(path)) c = read_calibration(path, identity, wish);
  std::vector<const arm*> unknown;
  for (const arm* a : wanted)
    if (!c.steps.count(a->name)) unknown.push_back(a);
  if (c.seconds == 0 && seconds == 0 && std::find(unknown.begin(), unknown.end(), &*whole) == unknown.end())
    unknown.push_back(&*whole);
  measure(s, unknown, data, c);
  if (c.seconds == 0) c.seconds = seconds > 0 ? seconds : seconds_of_epochs(s, data, c.rates.at(wish));
  for (const auto& [name, rate] : c.rates)
    if (!c.steps.count(name))
      // The arm whose own time it is takes its own steps, whatever the divisions round to.
      c.steps[name] =
          std::max<index>(1, static_cast<index>(c.seconds * rate / static_cast<double>(s.batch) * (1 + 1e-12)));
  if (!unknown.empty()) write_calibration(path, c, identity, wish);

  timed.seconds = c.seconds;
  std::printf("Equal time: %.1f s of training steps, kept in %s\n", c.seconds, path.c_str());
  for (const arm* a : wanted) {
    arm own = make(static_cast<std::size_t>(a - arms.data()), a->name + timed_mark);
    own.steps = c.steps.at(a->name);
    std::printf("  %-24s %10lld steps\n", own.name.c_str(), static_cast<long long>(own.steps));
    timed.arms.push_back(std::move(own));
  }
  return timed;
}

void print_equal_time(const settings& s, const std::string& wish, const std::vector<result>& measured,
                      const images& data) {
  if (wish.empty()) return;
  double seconds = number_in(wish);
  for (const result& r : measured)
    if (r.arm == wish) seconds = seconds_of_epochs(s, data, r.figures.at("plan_train"));
  const auto arms = static_cast<double>(measured.size()), seeds = static_cast<double>(s.seeds.size());
  if (seconds > 0)
    std::printf("Arms of equal time besides: %s of steps each, %s for all, and their evaluations.\n",
                duration(seconds).c_str(), duration(arms * seeds * seconds).c_str());
}

}  // namespace experiment
