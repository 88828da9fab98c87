// A report of a run: one HTML file that needs nothing else (no network, no script), with charts, tables and images.
//
//     report r("Fashion-MNIST, 8 experts, top-2");
//     r.facts({{"test accuracy", "91.4 %"}, {"params", "1.2 M"}});
//     r.section("Training").lines({.title = "loss", .x_label = "epoch"}, {{"train", train_loss}, {"test", test_loss}});
//     r.write("report.html");
//
// Programs that include this link zlib.
#pragma once

#include <span>

#include "dataset.hpp"
#include "file.hpp"
#include "png.hpp"
#include "report_charts.hpp"

namespace polymoe::inline v0 {

/// A picture, and which expert each of its patches went to.
struct report_image {
  index height = 0, width = 0;
  int channels = 3;                  ///< 1 or 3
  std::vector<std::uint8_t> pixels;  ///< [height, width, channels]
  std::string caption = {};
  index patch_rows = 0, patch_cols = 0;  ///< 0: no overlay
  std::vector<index> expert = {};        ///< [patch_rows, patch_cols]; -1: dropped, drawn black with a cross

  /// Image i of a data set (its first channel, or the first three).
  static report_image of(const dataset& d, index i, std::string caption = {}) {
    require(i >= 0 && i < d.size(), "report: image ", i, " of ", d.size());
    report_image r;
    r.height = d.height, r.width = d.width, r.channels = d.channels >= 3 ? 3 : 1, r.caption = std::move(caption);
    std::vector<std::uint8_t> in(static_cast<std::size_t>(d.features()));
    d.copy_image(i, in);
    const index plane = d.height * d.width;
    for (index p = 0; p < plane; ++p)
      for (int c = 0; c < r.channels; ++c) r.pixels.push_back(in[static_cast<std::size_t>(c * plane + p)]);
    return r;
  }
};

/// Collects blocks and writes them as one page.  Every text is escaped; every call returns the report.
class report {
 public:
  explicit report(std::string title, std::string subtitle = {})
      : title_(std::move(title)), subtitle_(std::move(subtitle)) {}

  /// Starts a chapter.
  report& section(const std::string& heading) {
    close_grid();
    body_ += "<h2>" + detail::html(heading) + "</h2>\n";
    return *this;
  }
  /// A paragraph; line ends are kept.
  report& text(const std::string& paragraph) {
    close_grid();
    body_ += "<p>" + detail::html(paragraph) + "</p>\n";
    return *this;
  }
  /// Lines as they are: a command, a file.
  report& code(const std::string& lines) {
    close_grid();
    body_ += "<pre class=\"code\">" + detail::html(lines) + "</pre>\n";
    return *this;
  }
  /// Tiles of a name and a large value.
  report& facts(const std::vector<std::pair<std::string, std::string>>& name_and_value) {
    close_grid();
    body_ += "<div class=\"facts\">";
    for (const auto& [name, value] : name_and_value)
      body_ += "<div><b>" + detail::html(value) + "</b><span>" + detail::html(name) + "</span></div>";
    body_ += "</div>\n";
    return *this;
  }
  /// A table; every row as long as the header.  Throws otherwise.
  report& table(const std::string& title, const std::vector<std::string>& header,
                const std::vector<std::vector<std::string>>& rows) {
    std::string s = "<div class=\"scroll\"><table><thead><tr>";
    for (const auto& h : header) s += "<th>" + detail::html(h) + "</th>";
    s += "</tr></thead><tbody>";
    for (std::size_t i = 0; i < rows.size(); ++i) {
      require(rows[i].size() == header.size(), "report: ", title, ": row ", i, " has ", rows[i].size(),
              " cells, the header ", header.size());
      s += "<tr>";
      for (const auto& cell : rows[i]) s += "<td>" + detail::html(cell) + "</td>";
      s += "</tr>";
    }
    return card(title, s + "</tbody></table></div>", header.size() > 5);
  }
  /// Curves over a common axis.  Throws when x and y of a series differ in length.
  report& lines(const chart_options& o, const std::vector<series>& all) {
    check(o, all);
    return card(o.title, detail::line_chart(o, all), o.wide, o.note);
  }
  /// Areas on top of each other (the load of each expert over time), all of one length.
  report& stacked(const chart_options& o, const std::vector<series>& all) {
    check(o, all);
    return card(o.title, detail::area_chart(o, all), o.wide, o.note);
  }
  /// Horizontal bars; `errors` (standard deviations) is empty or as long as `values`.
  report& bars(const chart_options& o, const std::vector<std::string>& names, const std::vector<double>& values,
               const std::vector<double>& errors = {}) {
    require(names.size() == values.size() && (errors.empty() || errors.size() == values.size()), "report: ", o.title,
            ": ", names.size(), " names, ", values.size(), " values, ", errors.size(), " errors");
    return card(o.title, detail::bar_chart(o, names, values, errors), o.wide, o.note);
  }
  /// Coloured cells with their numbers: colours from the smallest (0 when none is negative) to the largest value, or to
  /// o.darkest.  Shares are whole per cents, "<1" for what is more than nothing but less than a half.
  report& heatmap(const chart_options& o, const matrix& m) {
    check(o, m);
    double low = 0, high = 0;
    for (const double v : m.values)
      if (std::isfinite(v)) low = std::min(low, v), high = std::max(high, v);
    if (o.darkest > 0) high = o.darkest;
    const auto at = [&](std::size_t r, std::size_t c) { return m.values[r * m.cols.size() + c]; };
    const auto number = [&](double v) {
      if (!o.share || !std::isfinite(v)) return detail::short_number(v, 3);
      return v > 0 && v < 0.005 ? std::string("<1") : detail::short_number(std::round(100 * v), 3);
    };
    const auto end = [&](double v) { return number(v) + (o.share ? " %" : ""); };
    std::string key;
    if (!m.values.empty() && high > low)
      key = "<div class=\"key\"><span>" + detail::html(end(low)) +
            "</span><i style=\"background:linear-gradient(90deg," + detail::css(detail::ramp(0, 0)) + "," +
            detail::css(detail::ramp(0.5, 0)) + "," + detail::css(detail::ramp(1, 0)) + ")\"></i><span>" +
            detail::html(end(high)) + "</span></div>";
    return card(
        o.title,
        detail::cell_grid(
            o, m.rows, m.cols,
            [&](std::size_t r, std::size_t c) {
              return detail::ramp(high > low ? (at(r, c) - low) / (high - low) : 0, 0);
            },
            [&](std::size_t r, std::size_t c) { return number(at(r, c)); },
            [&](std::size_t r, std::size_t c) {
              return m.rows[r] + ", " + m.cols[c] + ": " +
                     (o.share ? detail::short_number(100 * at(r, c)) + " %" : detail::short_number(at(r, c), 6));
            }) +
            key,
        o.wide || m.cols.size() > 16, o.note);
  }
  /// Counts `[true class, predicted class]`: right answers blue, mistakes orange, shaded by their share of the row.
  report& confusion(const std::string& title, const std::vector<std::string>& classes, std::span<const index> counts) {
    const std::size_t n = classes.size();
    require(counts.size() == n * n, "report: ", title, ": ", counts.size(), " counts for ", n, " classes");
    std::vector<index> row(n, 0);
    for (std::size_t i = 0; i < counts.size(); ++i) row[i / n] += counts[i];
    chart_options o{.title = title, .x_label = "predicted", .y_label = "true"};
    return card(title,
                detail::cell_grid(
                    o, classes, classes,
                    [&](std::size_t r, std::size_t c) {
                      const double share =
                          row[r] > 0 ? static_cast<double>(counts[r * n + c]) / static_cast<double>(row[r]) : 0;
                      // Mistakes are rare: the root makes one per cent visible.
                      return r == c ? detail::ramp(share, 0) : detail::ramp(std::sqrt(share), 1);
                    },
                    [&](std::size_t r, std::size_t c) { return std::to_string(counts[r * n + c]); },
                    [&](std::size_t r, std::size_t c) {
                      return classes[r] + " taken for " + classes[c] + ": " + std::to_string(counts[r * n + c]) +
                             " of " + std::to_string(row[r]);
                    }),
                n > 12, "Counts. Right answers blue, mistakes orange; darker: a larger share of the true class.");
  }
  /// A grid of pictures.  One with patches stands beside a copy whose patches are tinted by expert and numbered.
  report& images(const std::string& title, const std::vector<report_image>& pictures) {
    std::string s = "<div class=\"images\">";
    index experts = 0;
    bool dropped = false;
    for (const auto& p : pictures) {
      s += picture(p);
      for (const index e : p.expert) experts = std::max(experts, e + 1), dropped = dropped || e < 0;
    }
    s += "</div>";
    std::vector<series> names;
    for (index e = 0; e < experts; ++e) names.push_back({"expert " + std::to_string(e), {}});
    return card(title, s + detail::legend(names), true,
                dropped ? "Black with a cross: the choice was dropped, its expert had no slot left." : "");
  }

  /// The page.
  std::string html() const {
    return "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>"
           "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"/><title>" +
           detail::html(title_) + "</title><style>" + std::string(detail::report_css) +
           "</style></head>\n<body><main><h1>" + detail::html(title_) + "</h1>" +
           (subtitle_.empty() ? "" : "<p class=\"soft\">" + detail::html(subtitle_) + "</p>") + "\n" + body_ +
           (in_grid_ ? "</div>\n" : "") + "</main></body></html>\n";
  }
  /// Writes the page, atomically.
  void write(const std::string& path) const { write_text(path, html()); }

 private:
  report& card(const std::string& title, const std::string& content, bool wide, const std::string& note = {}) {
    if (!in_grid_) body_ += "<div class=\"grid\">\n";
    in_grid_ = true;
    body_ += std::string("<section class=\"card") + (wide ? " wide" : "") + "\">" +
             (title.empty() ? "" : "<h3>" + detail::html(title) + "</h3>") + content +
             (note.empty() ? "" : "<p class=\"note\">" + detail::html(note) + "</p>") + "</section>\n";
    return *this;
  }
  void close_grid() {
    if (in_grid_) body_ += "</div>\n";
    in_grid_ = false;
  }
  static void check(const chart_options& o, const std::vector<series>& all) {
    for (const auto& s : all)
      require((s.x.empty() || s.x.size() == s.y.size()) && (s.errors.empty() || s.errors.size() == s.y.size()),
              "report: ", o.title, ": the series ", s.name, " has ", s.x.size(), " x, ", s.y.size(), " y and ",
              s.errors.size(), " errors");
  }
  static void check(const chart_options& o, const matrix& m) {
    require(m.values.size() == m.rows.size() * m.cols.size(), "report: ", o.title, ": ", m.values.size(),
            " values for ", m.rows.size(), " rows and ", m.cols.size(), " columns");
  }
  std::string picture(const report_image& p) {
    using detail::px;
    require(p.channels == 1 || p.channels == 3, "report: an image of ", p.channels, " channels, expected 1 or 3");
    require(static_cast<index>(p.expert.size()) == p.patch_rows * p.patch_cols, "report: ", p.expert.size(),
            " patches, expected ", p.patch_rows, "x", p.patch_cols);
    const auto w = static_cast<double>(p.width), h = static_cast<double>(p.height);
    const std::string size = "width=\"" + px(w) + "\" height=\"" + px(h) + "\"";
    const std::string id = "picture" + std::to_string(++pictures_);
    const double second = w * 1.06;  // where the tinted copy begins
    std::string s = "<figure><svg viewBox=\"0 0 " + px(p.patch_rows > 0 ? second + w : w) + " " + px(h) +
                    "\" role=\"img\" aria-label=\"" + detail::html(p.caption) + "\"><image id=\"" + id + "\" " + size +
                    " href=\"data:image/png;base64," + base64(encode_png(p.pixels, p.height, p.width, p.channels)) +
                    "\"/>";
    if (p.patch_rows > 0) {
      s += "<g transform=\"translate(" + px(second) + " 0)\"><use href=\"#" + id + "\"/>";
      const double pw = w / static_cast<double>(p.patch_cols), ph = h / static_cast<double>(p.patch_rows);
      for (index r = 0; r < p.patch_rows; ++r)
        for (index c = 0, n = 1; c < p.patch_cols; c += n) {
          const auto at = [&](index col) { return p.expert[static_cast<std::size_t>(r * p.patch_cols + col)]; };
          const index e = at(c);
          for (n = 1; c + n < p.patch_cols && at(c + n) == e; ++n) {
          }  // neighbours of one expert share a rectangle
          const double x = pw * static_cast<double>(c), y = ph * static_cast<double>(r),
                       run = pw * static_cast<double>(n);
          s += "<g><title>" + (e < 0 ? std::string("dropped") : "expert " + std::to_string(e)) + "</title><rect x=\"" +
               px(x) + "\" y=\"" + px(y) + "\" width=\"" + px(run) + "\" height=\"" + px(ph) + "\" fill=\"" +
               (e < 0 ? std::string("#000") : expert_color(e)) + "\" fill-opacity=\"0.55\"/>";
          for (index k = 0; e < 0 && k < n; ++k) {
            const double a = x + pw * static_cast<double>(k);
            s += "<path d=\"M" + px(a) + " " + px(y) + "L" + px(a + pw) + " " + px(y + ph) + "M" + px(a + pw) + " " +
                 px(y) + "L" + px(a) + " " + px(y + ph) + "\" stroke=\"#fff\" stroke-opacity=\"0.7\" stroke-width=\"" +
                 px(w / 100) + "\"/>";
          }
          if (e >= 0 && p.patch_cols <= 8)
            s += "<text class=\"patch\" style=\"font-size:" + px(0.6 * ph) + "px;stroke-width:" + px(0.12 * ph) +
                 "\" x=\"" + px(x + run / 2) + "\" y=\"" + px(y + 0.72 * ph) + "\" text-anchor=\"middle\">" +
                 std::to_string(e) + "</text>";
          s += "</g>";
        }
      s += "</g>";
    }
    return s + "</svg><figcaption>" + detail::html(p.caption) + "</figcaption></figure>";
  }

  std::string title_, subtitle_, body_;
  bool in_grid_ = false;
  index pictures_ = 0;
};

}  // namespace polymoe
