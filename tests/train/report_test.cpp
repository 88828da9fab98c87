// sanitize: yes
// PNG images read back by libpng; reports that are well-formed, self-contained and safe against any text.
// with: files
#include <doctest/doctest.h>
#include <png.h>

#include <limits>
#include <polymoe/core/rng.hpp>
#include <polymoe/train/report.hpp>

#include "temp_folder.hpp"

namespace polymoe::inline v0 {

namespace {

std::vector<std::uint8_t> decode(const std::string& file, index& h, index& w, int channels) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  REQUIRE(png_image_begin_read_from_memory(&image, file.data(), file.size()));
  h = image.height, w = image.width;
  const int formats[] = {PNG_FORMAT_GRAY, PNG_FORMAT_GA, PNG_FORMAT_RGB, PNG_FORMAT_RGBA};
  CHECK(image.format == static_cast<png_uint_32>(formats[channels - 1]));
  image.format = static_cast<png_uint_32>(formats[channels - 1]);
  std::vector<std::uint8_t> out(PNG_IMAGE_SIZE(image));
  REQUIRE(png_image_finish_read(&image, nullptr, out.data(), 0, nullptr));
  REQUIRE(image.warning_or_error == 0);
  return out;
}

/// "" when every tag is closed in order, every attribute quoted, every & an entity; otherwise what is wrong.
std::string malformed(const std::string& page) {
  std::vector<std::string> open;
  for (std::size_t i = 0; i < page.size();) {
    if (page[i] == '&') {
      const std::size_t end = page.find(';', i);
      const std::string name = page.substr(i + 1, end == std::string::npos ? 0 : end - i - 1);
      if (name != "amp" && name != "lt" && name != "gt" && name != "quot") return "a bare & at " + page.substr(i, 20);
    }
    if (page[i] == '>') return "a bare > at " + page.substr(i, 20);
    if (page[i] != '<') {
      ++i;
      continue;
    }
    if (page.compare(i, 9, "<!DOCTYPE") == 0) {
      i = page.find('>', i) + 1;
      continue;
    }
    bool quoted = false;
    std::size_t end = i + 1;
    for (; end < page.size() && (quoted || page[end] != '>'); ++end) {
      if (page[end] == '"') quoted = !quoted;
      if (page[end] == '<') return "< inside a tag: " + page.substr(i, 40);
    }
    if (end >= page.size()) return "an open tag at the end";
    const std::string tag = page.substr(i + 1, end - i - 1);
    const std::string name = tag.substr(0, tag.find_first_of(" /", 1));
    if (tag[0] == '/') {
      if (open.empty() || "/" + open.back() != tag)
        return "</" + tag + "> closes " + (open.empty() ? "nothing" : open.back());
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(name);
    }
    i = end + 1;
    if (name == "style") i = page.find("</style>", i);  // CSS may hold what it likes
  }
  return open.empty() ? "" : open.back() + " is never closed";
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
const std::string nasty = "<script>alert(\"1\")</script> & 'x' \x01 \xFF ]]>";

std::vector<double> curve(std::size_t n, double a, double b) {
  std::vector<double> y(n);
  for (std::size_t i = 0; i < n; ++i)
    y[i] = a + b / static_cast<double>(i + 1) + 0.02 * std::sin(1.7 * static_cast<double>(i));
  return y;
}

report sample() {
  report r("polymoe: a sample report", "made-up numbers that show every kind of block");
  r.facts(
      {{"test accuracy", "91.42 %"}, {"params total", "1.23 M"}, {"params active", "0.41 M"}, {"images/s", "8123"}});
  r.section("Training").text("Loss and accuracy after each epoch; the last batch counts with its own size.");
  r.lines({.title = "loss", .x_label = "epoch", .y_label = "cross-entropy"},
          {{"train", curve(20, 0.2, 1.8)}, {"test", curve(20, 0.3, 1.5)}});
  r.lines({.title = "gradient norm", .x_label = "step", .log_y = true}, {{"|g|", curve(5000, 0.05, 30)}});
  std::vector<series> load;
  for (int e = 0; e < 8; ++e) {
    std::vector<double> y(20);
    for (std::size_t i = 0; i < 20; ++i) y[i] = 1 + 0.6 * std::sin(e + 0.25 * static_cast<double>(i));
    load.push_back({"expert " + std::to_string(e), y});
  }
  r.section("Routing").stacked({.title = "load of each expert", .x_label = "epoch", .share = true}, load);
  r.bars({.title = "accuracy over three seeds", .x_label = "per cent"}, {"top-1", "top-2", "expert choice", "soft"},
         {90.8, 91.4, 91.1, 91.9}, {0.2, 0.1, 0.3, 0.1});
  const std::vector<std::string> classes = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                            "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};
  matrix m{classes, {}, {}};
  for (int e = 0; e < 8; ++e) m.cols.push_back(std::to_string(e));
  for (std::size_t c = 0; c < 10; ++c)
    for (std::size_t e = 0; e < 8; ++e) m.values.push_back(c % 8 == e ? 0.61 : 0.39 / 7);
  r.heatmap({.title = "share of each class by expert (%)", .x_label = "expert", .share = true}, m);
  std::vector<index> counts(100, 0);
  for (std::size_t i = 0; i < 10; ++i)
    for (std::size_t k = 0; k < 10; ++k) counts[i * 10 + k] = i == k ? 912 : (i + k) % 4 == 0 ? 22 : i * k % 5;
  r.confusion("confusion", classes, counts);
  r.table("experts", {"expert", "load", "dropped", "gate"},
          {{"0", "12.4 %", "0.1 %", "0.71"}, {"1", "12.9 %", "0.0 %", "0.69"}});
  std::vector<report_image> images;
  for (int k = 0; k < 12; ++k) {
    report_image p{
        .height = 28, .width = 28, .channels = k % 2 ? 3 : 1, .pixels = {}, .caption = "image " + std::to_string(k)};
    for (int y = 0; y < 28; ++y)
      for (int x = 0; x < 28; ++x)
        for (int c = 0; c < p.channels; ++c)
          p.pixels.push_back(static_cast<std::uint8_t>(std::hypot(x - 14, y - 14) < 4 + k ? 230 - 60 * c : 20 + 5 * x));
    p.patch_rows = p.patch_cols = 7;
    for (int i = 0; i < 49; ++i) p.expert.push_back((i * 5 + k + i / 7) % 9 - 1);
    images.push_back(p);
  }
  r.images("which expert saw which patch", images);
  return r;
}

}  // namespace

TEST_CASE("png: libpng reads back every pixel") {
  for (int channels = 1; channels <= 4; ++channels)
    for (const auto& [h, w] : {std::pair<index, index>{1, 1}, {3, 5}, {28, 28}, {64, 33}}) {
      std::vector<std::uint8_t> pixels(static_cast<std::size_t>(h * w * channels));
      for (std::size_t i = 0; i < pixels.size(); ++i)
        // Flat, sloped and noisy parts, so that every filter is chosen somewhere.
        pixels[i] = static_cast<std::uint8_t>(i % 3 == 0 ? 200 : i % 97 < 50 ? i / 4 : random_stream{1, 0}.bits(i).a);
      index rh = 0, rw = 0;
      CHECK(decode(encode_png(pixels, h, w, channels), rh, rw, channels) == pixels);
      CHECK(rh == h);
      CHECK(rw == w);
    }
  const std::vector<std::uint8_t> p(12);
  CHECK_THROWS_AS(encode_png(p, 2, 2, 5), error);
  CHECK_THROWS_AS(encode_png(p, 2, 3, 3), error);
  CHECK_THROWS_AS(encode_png(p, 0, 3, 3), error);
}

TEST_CASE("base64: the examples of RFC 4648") {
  const char* want[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
  for (std::size_t n = 0; n <= 6; ++n) CHECK(base64(std::string_view("foobar").substr(0, n)) == want[n]);
  CHECK(base64("\xff\xfe\xfd") == "//79");
}

TEST_CASE("report: a full page is well-formed and needs nothing but itself") {
  CHECK(malformed("<p>a<b>c</p></b>") != "");  // the checker can say no
  CHECK(malformed("<p>a & b</p>") != "");
  CHECK(malformed("<p>") != "");
  const std::string page = sample().html();
  CHECK(malformed(page) == "");
  for (const std::string reference : {"http", "<script", "src=", "url(", "@import", "<link", "//cdn"}) {
    CAPTURE(reference);
    CHECK_FALSE(has(page, reference));
  }
  CHECK_FALSE(has(page, "nan"));
  CHECK_FALSE(has(page, "inf"));
  CHECK(count(page, "<svg") == 6 + 12);
  CHECK(count(page, "data:image/png;base64,iVBORw0KGgo") == 12);
  CHECK(has(page, "prefers-color-scheme:dark"));
  CHECK(has(page, "width=device-width"));
  CHECK(page.size() < 300000);
  temp_folder t;
  sample().write(t.file("r.html"));
  CHECK(t.get("r.html") == page);
  CHECK_THROWS_AS(sample().write(t.file("no/r.html")), error);
}

TEST_CASE("report: any text is shown as text") {
  report r(nasty, nasty);
  r.section(nasty).text(nasty).code(nasty).facts({{nasty, nasty}}).table(nasty, {nasty}, {{nasty}});
  const chart_options o{.title = nasty, .x_label = nasty, .y_label = nasty};
  r.lines(o, {{nasty, {1, 2}}, {nasty, {2, 1}}}).stacked(o, {{nasty, {1, 2}}, {nasty, {2, 1}}}).bars(o, {nasty}, {1});
  r.heatmap(o, {{nasty}, {nasty}, {1}}).confusion(nasty, {nasty}, std::vector<index>{1});
  r.images(nasty, {{.height = 1, .width = 1, .channels = 1, .pixels = {7}, .caption = nasty}});
  const std::string page = r.html();
  CHECK(malformed(page) == "");
  CHECK_FALSE(has(page, "<script"));
  CHECK(find_bad_utf8(page) == std::string_view::npos);
  CHECK_FALSE(has(page, "\x01"));
}

TEST_CASE("report: missing, infinite, constant and empty data draw something or say so") {
  const double inf = std::numeric_limits<double>::infinity();
  const std::vector<std::vector<double>> awkward = {
      {},     {1},      {nan},           {nan, nan, 1, nan},  {inf, 1, -inf, 2}, {3, 3, 3},
      {0, 0}, {-1, -2}, {1e300, -1e300}, {1.7e308, -1.7e308}, {1e9, 1e9 + 1e-7}, {1e-300, 2e-300}};
  for (const auto& y : awkward) {
    report r("r");
    std::vector<std::string> names(y.size(), "n");
    for (const bool flag : {false, true}) {
      const chart_options o{.title = "t", .log_y = flag, .share = flag};
      r.lines(o, {{"a", y}}).lines(o, {{"a", y}, {"b", {1, 2}}}).stacked(o, {{"a", y}, {"b", y}}).bars(o, names, y, y);
      r.lines(o, {{.name = "a", .y = y, .errors = y}});
      r.heatmap(o, {names, {"c"}, y});
    }
    r.stacked({}, {{"a", {1, 2, 3}, {0, nan, 2}}})
        .stacked({}, {{"a", {1, 2}, {2, 2}}})
        .stacked({}, {})
        .lines({}, {})
        .bars({}, {}, {})
        .heatmap({}, {})
        .table("", {}, {})
        .images("", {});
    const std::string page = r.html();
    CHECK(malformed(page) == "");
    // No coordinate is ever NaN or infinite.
    for (const std::string bad : {"\"nan", "\"inf", "\"-inf", "\"-nan", "Mnan", "Lnan", " nan", "Minf", " -nan"}) {
      CAPTURE(bad);
      CHECK_MESSAGE(!has(page, bad), page.substr(page.find(bad) > 100 ? page.find(bad) - 100 : 0, 200));
    }
  }
}

TEST_CASE("report: long curves are thinned but keep their spikes") {
  std::vector<double> y(100000, 1.0);
  y[54321] = 50;
  const std::string page = report("r").lines({.title = "t"}, {{"a", y}}).html();
  CHECK(page.size() < 40000);
  const auto points = detail::thinned({"a", y});
  CHECK(points.size() <= 800);
  CHECK(std::any_of(points.begin(), points.end(), [](auto p) { return p.x == 54321 && p.y == 50; }));
  CHECK(std::is_sorted(points.begin(), points.end(), [](auto p, auto q) { return p.x < q.x; }));
}

TEST_CASE("report: patches of one expert in a row share a rectangle, dropped ones are named") {
  report_image p{.height = 4, .width = 4, .channels = 1, .pixels = std::vector<std::uint8_t>(16, 9)};
  p.patch_rows = 2, p.patch_cols = 4;
  p.expert = {0, 0, 0, 1, -1, -1, 2, 2};
  const std::string page = report("r").images("t", {p}).html();
  CHECK(count(page, "<rect") == 4);
  CHECK(count(page, "<title>dropped</title>") == 1);
  CHECK(count(page, "fill=\"" + expert_color(2) + "\"") == 1);
  CHECK(has(page, "expert 2</span>"));
  // The untouched picture stands beside the tinted one, and every rectangle of an expert carries its number.
  CHECK(count(page, "<image id=\"picture1\"") == 1);
  CHECK(count(page, "<use href=\"#picture1\"/>") == 1);
  CHECK(count(page, "<text class=\"patch\"") == 3);
  CHECK(has(page, ">2</text>"));
  CHECK(has(page, "the choice was dropped"));
  p.expert = {0, 0, 0, 1, 1, 1, 2, 2};
  CHECK_FALSE(has(report("r").images("t", {p}).html(), "the choice was dropped"));
}

TEST_CASE("report: shares are per cents, a colour key says the scale, epochs are whole numbers, notes are shown") {
  const chart_options share{.title = "t", .x_label = "epoch", .share = true, .note = "a < b"};
  const std::string heat = report("r").heatmap(share, {{"a", "b"}, {"0", "1"}, {0.996, 0.004, 0, 0.124}}).html();
  for (const char* cell : {">100</text>", ">&lt;1</text>", ">0</text>", ">12</text>"})
    CHECK_MESSAGE(has(heat, cell), cell);
  CHECK(has(heat, "class=\"key\"><span>0 %</span>"));
  CHECK(has(heat, "<span>100 %</span>"));
  CHECK(has(heat, "class=\"note\">a &lt; b</p>"));
  chart_options fixed = share;
  fixed.darkest = 2;
  CHECK(has(report("r").heatmap(fixed, {{"a"}, {"0"}, {0.5}}).html(), "<span>200 %</span>"));
  const std::string lines = report("r").lines(share, {{"a", {0.5, 0.6, 0.7}, {1, 2, 3}}}).html();
  CHECK(has(lines, ">60%</text>"));
  CHECK(has(lines, ">2</text>"));
  CHECK_FALSE(has(lines, ">1.5</text>"));
  CHECK(has(report("r").lines(share, {{"a", {0.5, 0.6, 0.7}, {1, 1.5, 2}}}).html(), ">1.2</text>"));
  CHECK(detail::axis_ticks(1, 3, true) == std::vector<double>{1, 2, 3});
  CHECK(detail::axis_ticks(0, 100, true) == detail::axis_ticks(0, 100));
  const std::vector<series> styled = {{.name = "a", .y = {1, 2}, .color = 3},
                                      {.name = "b", .y = {2, 1}, .color = 3, .dashed = true}};
  const std::string two = report("r").lines({.title = "t"}, styled).html();
  CHECK(count(two, "stroke-dasharray") == 1);
  CHECK(count(two, "stroke=\"" + expert_color(3) + "\"") == 2);
  // Bands that are high enough carry their names; a thin one does not.
  const std::string bands = report("r").stacked(share, {{"wide one", {1, 1}}, {"thin one", {0.01, 0.01}}}).html();
  CHECK(has(bands, ">wide one</text>"));
  CHECK_FALSE(has(bands, ">thin one</text>"));
}

TEST_CASE("report: whiskers are as long as the errors, inside the axes, and said on hover") {
  const auto chart = [](const chart_options& o, std::vector<double> errors) {
    return report("r").lines(o, {{.name = "a", .y = {1, 2}, .x = {0.1, 0.4}, .errors = std::move(errors)}}).html();
  };
  const std::string page = chart({.title = "t"}, {3, nan});
  CHECK(malformed(page) == "");
  CHECK(has(page, "a: 1 \u00b1 3 at 0.1</title>"));
  CHECK(has(page, "a: 2 at 0.4</title>"));
  // The scale goes from 1 - 3 to 1 + 3 and 5 % more; the chart is 270 high, 10 and 42 of it margins.
  const auto px_of = [](double y) { return detail::px(228 - (y + 2.3) / 6.6 * 218); };
  CHECK(has(page, "class=\"whisker\" stroke=\"" + expert_color(0) + "\" d=\"M59 " + px_of(4) + "h6m-3 0V" + px_of(-2) +
                      "m-3 0h6\"/>"));
  CHECK_FALSE(has(chart({.title = "t"}, {0, nan}), "class=\"whisker\""));
  CHECK(has(chart({.title = "t", .share = true}, {0.25, 0}), "a: 100% \u00b1 25% at 0.1</title>"));
  // On a logarithmic scale the lower end of a long one is that of the axis.
  CHECK(malformed(chart({.title = "t", .log_y = true}, {3, 0.1})) == "");
}

TEST_CASE("report: sizes that do not fit are refused") {
  report r("r");
  CHECK_THROWS_AS(r.lines({}, {{.name = "a", .y = {1, 2}, .errors = {1}}}), error);
  CHECK_THROWS_AS(r.table("t", {"a", "b"}, {{"1"}}), error);
  CHECK_THROWS_AS(r.lines({}, {{"a", {1, 2}, {1}}}), error);
  CHECK_THROWS_AS(r.stacked({}, {{"a", {1, 2}}, {"b", {1}}}), error);
  CHECK_THROWS_AS(r.bars({}, {"a"}, {}), error);
  CHECK_THROWS_AS(r.heatmap({}, {{"a"}, {"b"}, {}}), error);
  CHECK_THROWS_AS(r.confusion("t", {"a", "b"}, std::vector<index>(3)), error);
  CHECK_THROWS_AS(r.images("t", {{.height = 2, .width = 2, .channels = 3, .pixels = {1}}}), error);
  CHECK_THROWS_AS(
      r.images("t", {{.height = 1, .width = 1, .channels = 1, .pixels = {1}, .patch_rows = 2, .patch_cols = 2}}),
      error);
}

TEST_CASE("report: expert colours differ") {
  std::vector<std::string> seen;
  for (index e = 0; e < 64; ++e) {
    const std::string c = expert_color(e);
    CHECK(c.size() == 7);
    CHECK(std::find(seen.begin(), seen.end(), c) == seen.end());
    seen.push_back(c);
  }
}

TEST_CASE("report: the sample page, written where POLYMOE_SAMPLE_REPORT says" *
          doctest::skip(std::getenv("POLYMOE_SAMPLE_REPORT") == nullptr)) {
  sample().write(std::getenv("POLYMOE_SAMPLE_REPORT"));
}

}  // namespace polymoe
