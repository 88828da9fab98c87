// Colours, numbers, escapes and the style sheet of a report.  No public names but `expert_color`.
#pragma once

#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "json.hpp"

namespace polymoe::inline v0 {

namespace detail {
struct rgb {
  int r, g, b;
};

inline std::string css(rgb c) {
  constexpr char hex[] = "0123456789abcdef";
  std::string s = "#";
  for (const int v : {c.r, c.g, c.b}) (s += hex[v >> 4 & 15]) += hex[v & 15];
  return s;
}

/// The other way round, for "#rrggbb".
inline rgb rgb_of(const std::string& s) {
  const auto part = [&](std::size_t at) {
    int v = 0;
    std::from_chars(s.data() + at, s.data() + at + 2, v, 16);
    return v;
  };
  return {part(1), part(3), part(5)};
}

inline rgb hsl(double hue, double saturation, double lightness) {
  const double a = saturation * std::fmin(lightness, 1 - lightness);
  const auto channel = [&](double n) {
    const double k = std::fmod(n + hue / 30, 12);
    return static_cast<int>(255 * (lightness - a * std::fmax(-1, std::fmin(std::fmin(k - 3, 9 - k), 1))) + 0.5);
  };
  return {channel(0), channel(8), channel(4)};
}

/// Text that may stand in an element or a quoted attribute.  Control characters and bad UTF-8 become U+FFFD.
inline std::string html(std::string_view s) {
  std::string out;
  while (true) {
    const std::size_t bad = find_bad_utf8(s);
    for (const char c : s.substr(0, bad)) {
      switch (c) {
        case '&':
          out += "&amp;";
          break;
        case '<':
          out += "&lt;";
          break;
        case '>':
          out += "&gt;";
          break;
        case '"':
          out += "&quot;";
          break;
        default:
          if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t')
            out += c;
          else
            out += "\xEF\xBF\xBD";
      }
    }
    if (bad == std::string_view::npos) return out;
    out += "\xEF\xBF\xBD";
    s.remove_prefix(bad + 1);
  }
}

/// A number for people: `digits` significant ones, "1.2M" and "34k" for large numbers, "-" for NaN.
inline std::string short_number(double x, int digits = 4) {
  if (std::isnan(x)) return "-";
  if (std::isinf(x)) return x > 0 ? "inf" : "-inf";
  const char* suffix = "";
  if (std::fabs(x) >= 1e9 && std::fabs(x) < 1e14)
    x /= 1e9, suffix = "G";
  else if (std::fabs(x) >= 1e6 && std::fabs(x) < 1e9)
    x /= 1e6, suffix = "M";
  else if (std::fabs(x) >= 1e4 && std::fabs(x) < 1e6)
    x /= 1e3, suffix = "k";
  char text[48];
  const auto r = std::to_chars(text, text + sizeof text, x, std::chars_format::general, digits);
  return std::string(text, r.ptr) + suffix;
}

/// A coordinate: two decimals at most.
inline std::string px(double x) {
  char text[48];
  const auto r = std::to_chars(text, text + sizeof text, std::round(x * 100) / 100);
  return {text, r.ptr};
}

/// `max` characters at most, the rest as an ellipsis; cuts between UTF-8 characters.
inline std::string clipped(const std::string& s, std::size_t max) {
  std::size_t chars = 0;
  for (std::size_t i = 0; i < s.size(); ++i)
    if ((static_cast<unsigned char>(s[i]) & 0xC0) != 0x80 && ++chars > max) {
      std::size_t cut = i;
      for (std::size_t back = 0; back < 1 && cut > 0; ++back) do
          --cut;
        while (cut > 0 && (static_cast<unsigned char>(s[cut]) & 0xC0) == 0x80);
      return s.substr(0, cut) + "\xE2\x80\xA6";
    }
  return s;
}

/// Sequential colours from light to dark, t in [0, 1]: 0 blue, 1 orange, a pair that colour-blind readers tell apart.
/// Readable text on it: `ink`.
inline rgb ramp(double t, int which) {
  static constexpr rgb from[] = {{236, 242, 251}, {253, 241, 230}};
  static constexpr rgb middle[] = {{107, 155, 220}, {242, 153, 74}};
  static constexpr rgb to[] = {{16, 56, 120}, {140, 52, 4}};
  t = !(t > 0) ? 0 : t > 1 ? 1 : t;
  const rgb &a = t < 0.5 ? from[which] : middle[which], &b = t < 0.5 ? middle[which] : to[which];
  const double u = t < 0.5 ? 2 * t : 2 * t - 1;
  const auto mix = [&](int x, int y) { return static_cast<int>(x + (y - x) * u + 0.5); };
  return {mix(a.r, b.r), mix(a.g, b.g), mix(a.b, b.b)};
}
inline const char* ink(rgb c) { return 0.299 * c.r + 0.587 * c.g + 0.114 * c.b > 140 ? "#10151f" : "#ffffff"; }

/// Whether a value can be drawn: finite, and far enough from the largest double that sums and ranges stay finite.
inline bool plottable(double v) { return std::isfinite(v) && std::fabs(v) <= 1e300; }

/// The tick positions of an axis: multiples of 1, 2 or 5 times a power of ten inside [low, high]; with `whole`, of
/// whole numbers only.
inline std::vector<double> axis_ticks(double low, double high, bool whole = false, int about = 5) {
  std::vector<double> at;
  const double raw = (high - low) / about;
  // A range below the precision of its ends (1e9 to 1e9 + 1e-7) has no round numbers inside.
  if (!(raw > std::fabs(high) * 1e-13)) return {low};
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  const double f = raw / power, round = power * (f < 1.5 ? 1 : f < 3.5 ? 2 : f < 7.5 ? 5 : 10);
  const double step = whole ? std::fmax(1, std::round(round)) : round;
  const double first = std::ceil(low / step - 1e-9);
  for (int i = 0; i <= 2 * about && (first + i) * step <= high + step * 1e-9; ++i) at.push_back((first + i) * step);
  return at;
}

/// The ticks of a logarithmic axis, 0 < low < high: powers of ten, with 2 and 5 between them when there are few.
inline std::vector<double> log_ticks(double low, double high) {
  std::vector<double> at;
  const double first = std::floor(std::log10(low)), last = std::ceil(std::log10(high));
  const double step = std::fmax(1, std::ceil((last - first) / 8));
  for (double p = first; p <= last; p += step)
    for (const double f : {1.0, 2.0, 5.0})
      if (const double v = f * std::pow(10.0, p); v >= low && v <= high && (f == 1.0 || last - first < 3))
        at.push_back(v);
  return at;
}

inline constexpr std::string_view report_css = R"css(
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--fg:#1a2233;--soft:#5c677d;
--line:#dfe3ea;--grid:#e9ecf1;--accent:#2563c9}
@media (prefers-color-scheme:dark){:root{--bg:#0f141c;--card:#171e29;--fg:#e6eaf1;--soft:#98a3b6;
--line:#2a3443;--grid:#232c3a;--accent:#7fb0ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1120px;margin:0 auto;padding:24px 16px 64px}
h1{font-size:1.7rem;line-height:1.2;margin:.4em 0 .1em}
h2{font-size:1.2rem;margin:2em 0 .6em;padding-bottom:.25em;border-bottom:1px solid var(--line)}
h3{font-size:.95rem;margin:0 0 .5em}
p{max-width:75ch;margin:.5em 0;white-space:pre-line}
.soft{color:var(--soft)}
.grid{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr));gap:16px;margin:16px 0}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px;min-width:0;margin:0}
.wide{grid-column:1/-1}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(130px,1fr));gap:12px;margin:16px 0}
.facts div{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px 14px;min-width:0}
.facts b{display:block;font-size:1.25rem;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.facts span{color:var(--soft);font-size:.8rem}
.scroll{overflow-x:auto;-webkit-overflow-scrolling:touch}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums;width:100%;max-width:760px}
th,td{padding:5px 10px;border-bottom:1px solid var(--grid);text-align:right;white-space:nowrap}
tbody tr:hover{background:var(--grid)}
th{color:var(--soft);font-weight:600}
th:first-child,td:first-child{text-align:left;white-space:normal}
svg{display:block;width:100%;height:auto;margin:0 auto}
svg text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--soft)}
svg .cell{font-size:11px;font-variant-numeric:tabular-nums}
svg .name{fill:var(--fg)}
svg .band{font-size:11px}
svg .patch{fill:#fff;stroke:#000;stroke-opacity:.75;paint-order:stroke;stroke-linejoin:round}
.axis{stroke:var(--line);fill:none}
.rule{stroke:var(--grid);fill:none}
.curve{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.whisker{fill:none;stroke-width:1.4}
.code{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:10px 14px;font-size:.82rem;
overflow-x:auto;margin:.5em 0}
.legend{display:flex;flex-wrap:wrap;gap:2px 12px;margin:8px 0 0;font-size:.8rem;color:var(--soft)}
.legend i{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:5px}
.legend .stroke{width:22px;height:0;border-radius:0;border-top:3px solid;vertical-align:middle}
.legend .dashed{border-top-style:dashed}
.key{display:flex;align-items:center;justify-content:center;gap:8px;margin:8px 0 0;font-size:.8rem;color:var(--soft)}
.key i{width:min(40%,180px);height:10px;border-radius:3px}
.note{font-size:.8rem;margin:8px 0 0;color:var(--soft)}
.images{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,155px),1fr));gap:12px}
.images figure{margin:0;min-width:0}
.images figcaption{font-size:.78rem;color:var(--soft);overflow-wrap:anywhere;margin-top:3px}
.images svg{border-radius:4px;image-rendering:pixelated}
@media (max-width:560px){main{padding:12px 10px 48px}.card{padding:12px 10px}th,td{padding:5px 6px}
svg text{font-size:15px}svg .cell,svg .band{font-size:13px}svg .name{font-size:14px}}
)css";
}  // namespace detail

/// The colour of expert (or series) i, "#rrggbb": ten distinct ones, then hues a golden angle apart.  They have middle
/// lightness, so they show on light and dark ground.  The first six and the ninth are those that Okabe and Ito chose
/// for readers with any kind of colour vision (Color Universal Design, 2008; the yellow darkened for white ground);
/// charts do not rely on colour alone: bands and patches carry their number.
inline std::string expert_color(index i) {
  static constexpr detail::rgb first[] = {{0, 114, 178},  {213, 94, 0},   {0, 158, 115},  {204, 121, 167},
                                          {230, 159, 0},  {86, 180, 233}, {116, 92, 190}, {150, 110, 70},
                                          {196, 180, 20}, {120, 128, 140}};
  if (i >= 0 && i < 10) return detail::css(first[i]);
  return detail::css(detail::hsl(std::fmod(137.508 * static_cast<double>(i < 0 ? -i : i), 360), 0.6,
                                 i % 3 == 0   ? 0.45
                                 : i % 3 == 1 ? 0.56
                                              : 0.38));
}

}  // namespace polymoe
