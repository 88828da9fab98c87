// The machine-readable record of a run: one CSV row per epoch, one JSON object per line and step.
//
// Both files only grow, and every row is handed to the system at once, so a killed run leaves whole rows (a row cut by
// a full disk is dropped when the log is opened again).  A resumed run names the step it starts from; later rows of the
// interrupted run are then removed.  Schema version 1 is the first field of every row.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <variant>

#include "file.hpp"
#include "json_reader.hpp"

namespace polymoe::inline v0 {

inline constexpr int log_schema = 1;
/// Keep every row there is.
inline constexpr index log_keep_all = std::numeric_limits<index>::max();

/// A number, a text or yes/no.
class log_value {
 public:
  template <std::floating_point F>
  log_value(F x) : v_(static_cast<double>(x)), single_(std::is_same_v<F, float>) {}
  template <std::integral I>
  requires(!std::is_same_v<I, bool>) log_value(I x) : v_(static_cast<std::int64_t>(x)) {}
  template <std::same_as<bool> B>
  log_value(B x) : v_(x) {}
  log_value(const char* s) : v_(std::string(s)) {}
  log_value(std::string s) : v_(std::move(s)) {}

  void write(json_writer& w) const {
    if (const auto* d = std::get_if<double>(&v_); d && single_)
      w.value(static_cast<float>(*d));  // a float is written as short as a float can be read back
    else
      std::visit([&](const auto& x) { w.value(x); }, v_);
  }
  /// As a CSV cell (RFC 4180); NaN is "nan", infinities are "inf" and "-inf".
  std::string csv() const {
    if (const auto* s = std::get_if<std::string>(&v_)) {
      if (s->find_first_of(",\"\r\n") == std::string::npos) return *s;
      std::string out = "\"";
      for (const char c : *s) {
        if (c == '"') out += c;
        out += c == '\n' || c == '\r' ? ' ' : c;  // one row stays one line
      }
      return out + '"';
    }
    if (const auto* d = std::get_if<double>(&v_)) {
      if (!std::isfinite(*d)) return std::isnan(*d) ? "nan" : *d > 0 ? "inf" : "-inf";
      return single_ ? json_number(static_cast<float>(*d)) : json_number(*d);
    }
    if (const auto* b = std::get_if<bool>(&v_)) return *b ? "1" : "0";
    return std::to_string(std::get<std::int64_t>(v_));
  }

 private:
  std::variant<double, std::int64_t, bool, std::string> v_;
  bool single_ = false;
};

struct log_field {
  std::string name;
  log_value value;
};

namespace detail {

/// Calls keep(line, number) for every whole line; rewrites the file when a line is refused or the last one is cut.
template <class Keep>
void prune_lines(const std::string& path, Keep keep) {
  if (!file_exists(path)) return;
  const std::string text = read_text(path);
  std::string kept;
  std::size_t number = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    if (end == std::string::npos) break;
    const std::string_view line(text.data() + at, end - at);
    if (keep(line, ++number)) kept.append(line) += '\n';
    at = end + 1;
  }
  if (kept != text) write_text(path, kept);
}

/// The unsigned number a CSV cell or line starts with.
inline std::optional<index> leading_number(std::string_view s) {
  index n = 0;
  const auto r = std::from_chars(s.data(), s.data() + s.size(), n);
  if (r.ec != std::errc() || (r.ptr != s.data() + s.size() && *r.ptr != ',')) return std::nullopt;
  return n;
}

}  // namespace detail

/// One row per epoch: schema, epoch, then the columns.
class csv_log {
 public:
  /// Opens or creates the file; rows of epoch >= `keep_below` are removed (0: start afresh).  Throws when the file has
  /// other columns.
  csv_log(std::string path, std::vector<std::string> columns, index keep_below = log_keep_all)
      : columns_(columns.size()), out_(prepared(path, columns, keep_below)) {
    if (empty_) out_.line(header(columns));
  }
  void row(index epoch, std::span<const log_value> values) {
    require(values.size() == columns_, out_.path(), ": ", values.size(), " values for ", columns_, " columns");
    std::string line = std::to_string(log_schema) + "," + std::to_string(epoch);
    for (const auto& v : values) (line += ',') += v.csv();
    out_.line(line);
  }
  void row(index epoch, std::initializer_list<log_value> values) {
    row(epoch, std::span<const log_value>(values.begin(), values.size()));
  }

 private:
  static std::string header(const std::vector<std::string>& columns) {
    std::string h = "schema,epoch";
    for (const auto& c : columns) (h += ',') += log_value(c).csv();
    return h;
  }
  std::string prepared(const std::string& path, const std::vector<std::string>& columns, index keep_below) {
    if (keep_below <= 0) {
      write_text(path, "");
      return path;
    }
    const std::string want = header(columns);
    detail::prune_lines(path, [&](std::string_view line, std::size_t number) {
      if (number == 1) {
        require(line == want, path, ": line 1: the columns are ", line, ", expected ", want);
        empty_ = false;
        return true;
      }
      const auto schema = detail::leading_number(line);
      const auto comma = line.find(',');
      const auto epoch = comma == line.npos ? std::nullopt : detail::leading_number(line.substr(comma + 1));
      require(schema == log_schema && epoch, path, ": line ", number, ": expected ", log_schema, ",<epoch>, found ",
              line);
      return *epoch < keep_below;
    });
    return path;
  }

  std::size_t columns_;
  bool empty_ = true;
  append_file out_;
};

/// One JSON object per line: {"schema":1,"step":7,...}.
class jsonl_log {
 public:
  /// Opens or creates the file; lines of step >= `keep_below` are removed (0: start afresh).
  explicit jsonl_log(const std::string& path, index keep_below = log_keep_all) : out_(prepared(path, keep_below)) {}

  void row(index step, std::span<const log_field> fields) {
    json_writer w;
    w.begin_object().field("schema", log_schema).field("step", step);
    for (const auto& f : fields) {
      w.key(f.name);
      f.value.write(w);
    }
    out_.line(w.end_object().str());
  }
  void row(index step, std::initializer_list<log_field> fields) {
    row(step, std::span<const log_field>(fields.begin(), fields.size()));
  }

 private:
  static std::string prepared(const std::string& path, index keep_below) {
    if (keep_below <= 0) {
      write_text(path, "");
      return path;
    }
    detail::prune_lines(path, [&](std::string_view line, std::size_t number) {
      json_reader r(line, path + ": line " + std::to_string(number));
      std::uint64_t schema = 0, step = 0;
      std::string key;
      int seen = 0;
      for (r.begin_object(); r.next_key(key);) {
        if (key == "schema")
          schema = r.unsigned_integer(), ++seen;
        else if (key == "step")
          step = r.unsigned_integer(), ++seen;
        else
          r.skip();
      }
      r.end();
      require(seen == 2 && schema == std::uint64_t{log_schema}, path, ": line ", number, ": schema ", schema,
              ", expected ", log_schema, " and a step");
      return step < static_cast<std::uint64_t>(keep_below);
    });
    return path;
  }

  append_file out_;
};

}  // namespace polymoe
