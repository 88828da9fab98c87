// The drawings of a report as inline SVG.  Coordinates are those of a 460 wide box that scales with its card; the style
// sheet writes larger on a narrow screen, so that text stays readable on a phone.  Hover texts are <title> elements,
// there is no script.
#pragma once

#include <algorithm>
#include <limits>

#include "report_style.hpp"

namespace polymoe::inline v0 {

/// One curve or area.  Values that are not finite leave a gap.
struct series {
  std::string name;
  std::vector<double> y;
  std::vector<double> x = {};  ///< as long as y; empty: 0, 1, 2, ...
  index color = -1;            ///< index of its colour; -1: its place among the series
  bool dashed = false;         ///< lines only
  std::vector<double> errors = {};  ///< lines only: a whisker from y - error to y + error; empty: none
};

/// What is written around a chart.
struct chart_options {
  std::string title;
  std::string x_label = {};
  std::string y_label = {};
  bool log_y = false;     ///< lines only; values <= 0 leave a gap
  bool share = false;     ///< values are shares, shown in per cent; stacked: each x is scaled to 100 %
  bool wide = false;      ///< the whole width of the page
  std::string note = {};  ///< a sentence below: what is to be seen
  double darkest = 0;     ///< heat map: the value of the darkest colour; 0: the largest value
};

/// Rows of numbers with their names.
struct matrix {
  std::vector<std::string> rows, cols;
  std::vector<double> values;  ///< [rows, cols]
};

namespace detail {

inline double at_x(const series& s, std::size_t i) { return s.x.empty() ? static_cast<double>(i) : s.x[i]; }

/// A chart area with axes: data to pixels.
struct frame {
  double x0 = 0, x1 = 1, y0 = 0, y1 = 1;
  bool log_y = false, whole_x = false;  ///< whole_x: ticks at whole numbers only
  static constexpr double width = 460, height = 270, left = 62, right = 12, top = 10, bottom = 42;

  double x(double v) const { return left + (v - x0) / (x1 - x0) * (width - left - right); }
  double y(double v) const {
    const double t =
        log_y ? (std::log10(v) - std::log10(y0)) / (std::log10(y1) - std::log10(y0)) : (v - y0) / (y1 - y0);
    return height - bottom - t * (height - top - bottom);
  }
  static std::string begin(const std::string& label, double h = height) {
    return "<svg viewBox=\"0 0 " + px(width) + " " + px(h) + "\" role=\"img\" aria-label=\"" + html(label) + "\">";
  }
  std::string axes(const chart_options& o, bool percent) const {
    std::string s;
    const std::vector<double> at = log_y ? log_ticks(y0, y1) : axis_ticks(y0, y1);
    for (const double v : at) {
      s += "<line class=\"rule\" x1=\"" + px(left) + "\" x2=\"" + px(width - right) + "\" y1=\"" + px(y(v)) +
           "\" y2=\"" + px(y(v)) + "\"/><text x=\"" + px(left - 6) + "\" y=\"" + px(y(v) + 4) +
           "\" text-anchor=\"end\">" + (percent ? short_number(100 * v, 3) + "%" : short_number(v)) + "</text>";
    }
    for (const double v : axis_ticks(x0, x1, whole_x))
      s += "<text x=\"" + px(x(v)) + "\" y=\"" + px(height - bottom + 16) + "\" text-anchor=\"middle\">" +
           short_number(v) + "</text>";
    s += "<path class=\"axis\" d=\"M" + px(left) + " " + px(top) + "V" + px(height - bottom) + "H" + px(width - right) +
         "\"/><text x=\"" + px((left + width - right) / 2) + "\" y=\"" + px(height - 5) + "\" text-anchor=\"middle\">" +
         html(o.x_label) + "</text>";
    if (!o.y_label.empty())
      s += "<text transform=\"translate(11 " + px((height - bottom + top) / 2) +
           ") rotate(-90)\" text-anchor=\"middle\">" + html(o.y_label) + "</text>";
    return s;
  }
};

inline index color_index(const std::vector<series>& all, std::size_t i) {
  return all[i].color >= 0 ? all[i].color : static_cast<index>(i);
}

/// Names beside squares, or beside strokes for curves.
inline std::string legend(const std::vector<series>& all, bool strokes = false) {
  if (all.size() < 2) return {};
  std::string s = "<div class=\"legend\">";
  constexpr std::size_t most = 24;
  for (std::size_t i = 0; i < all.size() && i < most; ++i)
    s += (strokes
              ? std::string("<span><i class=\"stroke") + (all[i].dashed ? " dashed" : "") + "\" style=\"border-color:"
              : std::string("<span><i style=\"background:")) +
         expert_color(color_index(all, i)) + "\"></i>" + html(all[i].name) + "</span>";
  if (all.size() > most) s += "<span>and " + std::to_string(all.size() - most) + " more</span>";
  return s + "</div>";
}

inline std::string no_data() { return "<p class=\"soft\">no data</p>"; }

/// A point of a curve and half the length of its whisker; 0: it has none.
struct chart_point {
  double x = 0, y = 0, error = 0;
};
inline double error_at(const series& s, std::size_t i) {
  return !s.errors.empty() && plottable(s.errors[i]) && s.errors[i] > 0 ? s.errors[i] : 0;
}

/// Curves of more than 800 points keep the smallest and the largest of every bucket, so spikes stay visible.
inline std::vector<chart_point> thinned(const series& s) {
  std::vector<chart_point> all;
  for (std::size_t i = 0; i < s.y.size(); ++i) all.push_back({at_x(s, i), s.y[i], error_at(s, i)});
  if (all.size() <= 800) return all;
  std::vector<chart_point> out;
  const std::size_t buckets = 400;
  for (std::size_t b = 0; b < buckets; ++b) {
    const auto first = all.begin() + static_cast<std::ptrdiff_t>(b * all.size() / buckets);
    const auto last = all.begin() + static_cast<std::ptrdiff_t>((b + 1) * all.size() / buckets);
    const auto less = [](const auto& p, const auto& q) {
      return (std::isnan(p.y) ? std::numeric_limits<double>::infinity() : p.y) <
             (std::isnan(q.y) ? std::numeric_limits<double>::infinity() : q.y);
    };
    auto [low, high] = std::minmax_element(first, last, less);
    if (low > high) std::swap(low, high);
    out.push_back(*low);
    if (low != high) out.push_back(*high);
  }
  return out;
}

inline std::string line_chart(const chart_options& o, const std::vector<series>& all) {
  frame f;
  f.log_y = o.log_y;
  constexpr double inf = std::numeric_limits<double>::infinity();
  double x0 = inf, x1 = -inf, y0 = inf, y1 = -inf;
  const auto shown = [&](double x, double y) { return plottable(x) && plottable(y) && (!o.log_y || y > 1e-290); };
  f.whole_x = true;
  for (const auto& s : all)
    for (std::size_t i = 0; i < s.y.size(); ++i)
      if (const double x = at_x(s, i), y = s.y[i], e = error_at(s, i); shown(x, y)) {
        x0 = std::min(x0, x), x1 = std::max(x1, x), y0 = std::min(y0, y), y1 = std::max(y1, y + e);
        if (shown(x, y - e)) y0 = std::min(y0, y - e);  // on a log scale a whisker may have no lower end
        f.whole_x = f.whole_x && x == std::round(x);
      }
  if (!(x0 <= x1)) return no_data();
  // A range that the precision of its ends cannot resolve is drawn as one value.
  const auto flat = [](double low, double high) {
    return !(high - low > 1e-12 * std::fmax(std::fabs(low), std::fabs(high)));
  };
  if (const double room = std::fmax(0.5, 0.01 * std::fabs(x0)); flat(x0, x1)) x0 -= room, x1 += room;
  if (o.log_y) {
    const double room = flat(y0, y1) ? 2 : std::fmin(10, std::pow(10.0, 0.05 * (std::log10(y1) - std::log10(y0))));
    y0 /= room, y1 *= room;
  } else {
    const double room = flat(y0, y1) ? std::fmax(std::fabs(y0) * 0.1, 1e-9) : (y1 - y0) * 0.05;
    y0 = y0 >= 0 && y0 < (y1 - y0) * 0.3 ? 0 : y0 - room;  // a scale that almost starts at zero starts at zero
    y1 += room;
  }
  f.x0 = x0, f.x1 = x1, f.y0 = y0, f.y1 = y1;
  const auto number = [&](double v) { return o.share ? short_number(100 * v) + "%" : short_number(v); };
  std::string out = frame::begin(o.title) + f.axes(o, o.share);
  for (std::size_t k = 0; k < all.size(); ++k) {
    const std::string color = expert_color(color_index(all, k));
    const auto points = thinned(all[k]);
    std::string d, dots, whiskers;
    bool pen = false;
    std::size_t run = 0;
    for (std::size_t i = 0; i < points.size(); ++i) {
      const auto [x, y, error] = points[i];
      if (!shown(x, y)) {
        pen = false;
        continue;
      }
      ((((d += pen ? 'L' : 'M') += px(f.x(x))) += ' ') += px(f.y(y)));
      run = pen ? run + 1 : 1;
      pen = true;
      const bool alone = run == 1 && (i + 1 == points.size() || !shown(points[i + 1].x, points[i + 1].y));
      if (error > 0) {
        const double up = f.y(y + error), down = f.y(shown(x, y - error) ? y - error : y0), at = f.x(x);
        whiskers += "M" + px(at - 3) + " " + px(up) + "h6m-3 0V" + px(down) + "m-3 0h6";
      }
      if (points.size() <= 60 || alone)
        dots += "<circle cx=\"" + px(f.x(x)) + "\" cy=\"" + px(f.y(y)) + "\" r=\"2.6\" fill=\"" + color + "\"><title>" +
                html(all[k].name) + ": " + number(y) + (error > 0 ? " \u00b1 " + number(error) : "") + " at " +
                short_number(x) + "</title></circle>";
    }
    if (!d.empty())
      out += "<path class=\"curve\" stroke=\"" + color + "\"" + (all[k].dashed ? " stroke-dasharray=\"7 5\"" : "") +
             " d=\"" + d + "\"><title>" + html(all[k].name) + "</title></path>" +
             (whiskers.empty() ? "" : "<path class=\"whisker\" stroke=\"" + color + "\" d=\"" + whiskers + "\"/>") +
             dots;
  }
  return out + "</svg>" + legend(all, true);
}

inline std::string area_chart(const chart_options& o, const std::vector<series>& all) {
  const std::size_t n = all.empty() ? 0 : all[0].y.size();
  for (const auto& s : all)
    require(s.y.size() == n, "report: ", o.title, ": the series ", s.name, " has ", s.y.size(), " values, the first ",
            n);
  if (n == 0) return no_data();
  // More than 300 positions are averaged in buckets.
  const std::size_t shown = std::min<std::size_t>(n, 300);
  const auto value = [&](const series& s, std::size_t bucket) {
    const std::size_t first = bucket * n / shown, last = (bucket + 1) * n / shown;
    double sum = 0;
    for (std::size_t i = first; i < last; ++i) sum += plottable(s.y[i]) && s.y[i] > 0 ? s.y[i] : 0;
    return sum / static_cast<double>(last - first);
  };
  std::vector<double> x(shown), total(shown, 0.0), base(shown, 0.0);
  for (std::size_t b = 0; b < shown; ++b) {
    x[b] = at_x(all[0], shown == 1 ? 0 : b * (n - 1) / (shown - 1));
    for (const auto& s : all) total[b] += value(s, b);
  }
  frame f;
  f.x0 = x.front(), f.x1 = x.back();
  f.whole_x = std::all_of(x.begin(), x.end(), [](double v) { return v == std::round(v); });
  if (shown == 1) x = {x[0] - 0.5, x[0] + 0.5}, f.x0 = x[0], f.x1 = x[1];
  if (!std::all_of(x.begin(), x.end(), plottable) || !(f.x1 - f.x0 > 1e-12 * std::fabs(f.x1))) return no_data();
  f.y1 = o.share ? 1 : *std::max_element(total.begin(), total.end());
  if (!(f.y1 > 0)) f.y1 = 1;
  std::string out = frame::begin(o.title) + f.axes(o, o.share);
  std::string names;
  for (std::size_t k = 0; k < all.size(); ++k) {
    // A band that is high enough at its left or right end carries its name there, so that colour is not all there is.
    const auto height = [&](std::size_t b) {
      return total[b] > 0 || !o.share ? value(all[k], b) / (o.share ? total[b] : 1) : 0;
    };
    const bool at_end = height(shown - 1) >= height(0);
    const std::size_t b_name = at_end ? shown - 1 : 0;
    if (const double v = height(b_name); v / f.y1 * (frame::height - frame::top - frame::bottom) >= 14)
      names += "<text class=\"band\" x=\"" + px(at_end ? frame::width - frame::right - 6 : frame::left + 6) +
               "\" y=\"" + px(f.y(base[b_name] + v / 2) + 4) + "\" text-anchor=\"" + (at_end ? "end" : "start") +
               "\" style=\"fill:" + ink(rgb_of(expert_color(color_index(all, k)))) + "\">" +
               html(clipped(all[k].name, 24)) + "</text>";
    std::string up, down;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::size_t b = std::min(i, shown - 1);
      const double scale = !o.share ? 1 : total[b] > 0 ? 1 / total[b] : 0, v = value(all[k], b) * scale;
      const std::string px_x = px(f.x(x[i]));
      up += (i ? "L" : "M") + px_x + " " + px(f.y(base[b] + v));
      down.insert(0, "L" + px_x + " " + px(f.y(base[b])));
      if (i + 1 == x.size() || i < shown - 1) base[b] += v;
    }
    out += "<path fill=\"" + expert_color(color_index(all, k)) + "\" d=\"" + up + down + "Z\"><title>" +
           html(all[k].name) + "</title></path>";
  }
  return out + names + "</svg>" + legend(all);
}

/// A grid of coloured cells.  `color(r, c, value)` gives the ground, `text` what is written, `hover` the title.
template <class Color, class Text, class Hover>
std::string cell_grid(const chart_options& o, const std::vector<std::string>& rows,
                      const std::vector<std::string>& cols, Color color, Text text, Hover hover) {
  const std::size_t R = rows.size(), C = cols.size();
  std::size_t row_chars = 0, col_chars = 0, cell_chars = 1;
  for (const auto& s : rows) row_chars = std::max(row_chars, std::min<std::size_t>(s.size(), 16));
  for (const auto& s : cols) col_chars = std::max(col_chars, std::min<std::size_t>(s.size(), 16));
  const bool numbers = R * C <= 1600 && C <= 48;
  if (numbers)
    for (std::size_t r = 0; r < R; ++r)
      for (std::size_t c = 0; c < C; ++c) cell_chars = std::max(cell_chars, text(r, c).size());
  const double cell_h = numbers ? 22 : R > 128 ? 4 : 12;
  const bool row_names = cell_h >= 12;
  const double left = (o.y_label.empty() ? 8 : 24) + (row_names ? 7.4 * static_cast<double>(row_chars) : 0);
  // Few columns fill the width of the other charts.
  const double room = std::min(40.0, (frame::width - left - 4) / static_cast<double>(std::max<std::size_t>(C, 1)));
  const double cell_w = numbers ? std::max({26.0, room, 7.4 * static_cast<double>(cell_chars) + 6}) : C > 128 ? 4 : 12;
  const bool turned = 7.0 * static_cast<double>(col_chars) > cell_w, col_names = cell_w >= 12;
  const double head = col_names ? (turned ? 7.0 * static_cast<double>(col_chars) + 8 : 18) : 4;
  const double grid_w = cell_w * static_cast<double>(C), grid_h = cell_h * static_cast<double>(R);
  const double w = left + grid_w + 4, h = head + grid_h + (o.x_label.empty() ? 4 : 20);
  // Hardly blown up, never so small that its numbers cannot be read: a wide one scrolls.
  std::string s = "<div class=\"scroll\"><svg style=\"min-width:" + px(w * 0.7) + "px;max-width:" + px(w * 1.1) +
                  "px\" viewBox=\"0 0 " + px(w) + " " + px(h) + "\" role=\"img\" aria-label=\"" + html(o.title) + "\">";
  for (std::size_t c = 0; c < C && col_names; ++c) {
    const double x = left + cell_w * (static_cast<double>(c) + 0.5);
    s += turned ? "<text transform=\"translate(" + px(x + 4) + " " + px(head - 4) + ") rotate(-90)\">"
                : "<text x=\"" + px(x) + "\" y=\"" + px(head - 5) + "\" text-anchor=\"middle\">";
    s += html(clipped(cols[c], 16)) + "</text>";
  }
  for (std::size_t r = 0; r < R; ++r) {
    const double y = head + cell_h * static_cast<double>(r);
    if (row_names)
      s += "<text class=\"name\" x=\"" + px(left - 5) + "\" y=\"" + px(y + cell_h / 2 + 4) + "\" text-anchor=\"end\">" +
           html(clipped(rows[r], 16)) + "</text>";
    for (std::size_t c = 0; c < C; ++c) {
      const double x = left + cell_w * static_cast<double>(c);
      const rgb ground = color(r, c);
      s += "<g><title>" + html(hover(r, c)) + "</title><rect x=\"" + px(x + 0.5) + "\" y=\"" + px(y + 0.5) +
           "\" width=\"" + px(cell_w - 1) + "\" height=\"" + px(cell_h - 1) + "\" rx=\"" + (numbers ? "3" : "1") +
           "\" fill=\"" + css(ground) + "\"/>";
      if (numbers)
        s += "<text class=\"cell\" x=\"" + px(x + cell_w / 2) + "\" y=\"" + px(y + 15) +
             "\" text-anchor=\"middle\" style=\"fill:" + ink(ground) + "\">" + html(text(r, c)) + "</text>";
      s += "</g>";
    }
  }
  if (!o.x_label.empty())
    s += "<text x=\"" + px(left + grid_w / 2) + "\" y=\"" + px(h - 5) + "\" text-anchor=\"middle\">" + html(o.x_label) +
         "</text>";
  if (!o.y_label.empty())
    s += "<text transform=\"translate(12 " + px(head + grid_h / 2) + ") rotate(-90)\" text-anchor=\"middle\">" +
         html(o.y_label) + "</text>";
  return s + "</svg></div>";
}

inline std::string bar_chart(const chart_options& o, const std::vector<std::string>& names,
                             const std::vector<double>& values, const std::vector<double>& errors) {
  if (names.empty()) return no_data();
  double low = 0, high = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!plottable(values[i])) continue;
    const double e = !errors.empty() && plottable(errors[i]) ? errors[i] : 0;
    low = std::min(low, values[i] - e), high = std::max(high, values[i] + e);
  }
  if (!(high > low)) high = low + 1;
  std::size_t chars = 0;
  for (const auto& n : names) chars = std::max(chars, std::min<std::size_t>(n.size(), 24));
  const double left = 8 + 7.4 * static_cast<double>(chars), right = 64, row = names.size() > 40 ? 17 : 22;
  const double h = row * static_cast<double>(names.size()) + (o.x_label.empty() ? 6 : 24);
  const auto x = [&](double v) { return left + (v - low) / (high - low) * (frame::width - left - right); };
  std::string s = frame::begin(o.title, h);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const double y = row * static_cast<double>(i) + 2, v = values[i];
    s += "<text class=\"name\" x=\"" + px(left - 6) + "\" y=\"" + px(y + row / 2 + 2) + "\" text-anchor=\"end\">" +
         html(clipped(names[i], 24)) + "</text>";
    double end = x(0);
    if (plottable(v)) {
      const double a = std::min(x(0), x(v)), b = std::max(x(0), x(v));
      s += "<rect x=\"" + px(a) + "\" y=\"" + px(y) + "\" width=\"" + px(b - a) + "\" height=\"" + px(row - 6) +
           "\" rx=\"3\" fill=\"" + expert_color(0) + "\"><title>" + html(names[i]) + ": " + short_number(v) +
           "</title></rect>";
      end = b;
      if (!errors.empty() && plottable(errors[i])) {
        const double mid = y + (row - 6) / 2;
        s += "<path d=\"M" + px(x(v - errors[i])) + " " + px(mid) + "H" + px(x(v + errors[i])) +
             "\" style=\"stroke:var(--fg);stroke-width:1.5\"/>";
        end = std::max(end, x(v + errors[i]));
      }
    }
    s += "<text x=\"" + px(end + 5) + "\" y=\"" + px(y + row / 2 + 2) + "\">" +
         (o.share ? short_number(100 * v, 3) + "%" : short_number(v)) + "</text>";
  }
  s += "<path class=\"axis\" d=\"M" + px(x(0)) + " 0V" + px(row * static_cast<double>(names.size())) + "\"/>";
  if (!o.x_label.empty())
    s += "<text x=\"" + px((left + frame::width - right) / 2) + "\" y=\"" + px(h - 6) + "\" text-anchor=\"middle\">" +
         html(o.x_label) + "</text>";
  return s + "</svg>";
}

}  // namespace detail

}  // namespace polymoe
