// The demo's table, summary.json and report.html, all from the same figures.
#include <cmath>
#include <cstdio>

#include "demo.hpp"

namespace demo {
namespace {

std::string number(const char* format, double x) {
  char text[64];
  std::snprintf(text, sizeof text, format, x);
  return text;
}
/// With a comma between thousands.
std::string grouped(index n) {
  std::string s = std::to_string(n);
  for (auto at = static_cast<std::ptrdiff_t>(s.size()) - 3; at > (n < 0 ? 1 : 0); at -= 3)
    s.insert(static_cast<std::size_t>(at), 1, ',');
  return s;
}
bool sparse(const arm_result& a) { return a.test.experts.any(); }
/// Of the last training epoch.
double last_drop_rate(const arm_result& a) {
  return a.epochs.empty() ? 0.0 : a.epochs.back().train.experts.drop_rate();
}

/// One row per figure, one column per arm.
std::vector<std::vector<std::string>> figures(const std::vector<arm_result>& arms) {
  std::vector<std::vector<std::string>> rows;
  const auto row = [&](const char* name, auto f) {
    std::vector<std::string> r{name};
    for (const arm_result& a : arms) r.push_back(f(a));
    rows.push_back(std::move(r));
  };
  const auto routed = [](const arm_result& a, std::string s) { return sparse(a) ? s : std::string("-"); };
  row("test accuracy", [](const auto& a) { return number("%.4f", a.test.accuracy); });
  row("test loss", [](const auto& a) { return number("%.4f", a.test.loss); });
  row("parameters, total", [](const auto& a) { return grouped(a.cost.params); });
  row("parameters, active per token", [](const auto& a) { return grouped(a.cost.active_params); });
  row("MFLOPs per image (2 per MAC)", [](const auto& a) { return number("%.2f", 1e-6 * a.cost.flops()); });
  row("rho_static", [&](const auto& a) { return routed(a, number("%.3f", a.rho_static)); });
  row("rho_active (served choices, measured)", [&](const auto& a) { return routed(a, number("%.3f", a.rho_active)); });
  row("rho_capacity", [&](const auto& a) { return routed(a, number("%.3f", a.rho_capacity)); });
  row("images/s, training", [](const auto& a) { return grouped(std::llround(a.train_images_per_second)); });
  row("images/s, inference", [](const auto& a) { return grouped(std::llround(a.test.images_per_second)); });
  row("training time, s", [](const auto& a) { return number("%.1f", a.seconds); });
  row("drop rate, last training epoch", [&](const auto& a) { return routed(a, number("%.4f", last_drop_rate(a))); });
  row("drop rate, test", [&](const auto& a) { return routed(a, number("%.4f", a.test.experts.drop_rate())); });
  row("load CV, test", [&](const auto& a) { return routed(a, number("%.4f", a.test.experts.load_cv())); });
  row("router entropy, test (nats)",
      [&](const auto& a) { return routed(a, number("%.3f", a.test.experts.entropy())); });
  row("dead experts, test", [&](const auto& a) { return routed(a, number("%.0f", a.test.experts.dead_experts())); });
  return rows;
}

std::string config_line(const settings& s) {
  char text[448];
  std::snprintf(text, sizeof text,
                "ViT %lldx%lld, patch %lld stride %lld (%lld tokens), heads %lld, E=%lld, K=%lld, H=%lld, "
                "capacity %.2f, every block, Fashion-MNIST, "
                "%lld epochs, batch %lld, AdamW %.1e cosine, flips, %s, %s, %d threads, seed %llu",
                static_cast<long long>(s.vit.depth), static_cast<long long>(s.vit.dim),
                static_cast<long long>(s.vit.patch), static_cast<long long>(s.vit.stride ? s.vit.stride : s.vit.patch),
                static_cast<long long>(s.vit.tokens()), static_cast<long long>(s.vit.heads),
                static_cast<long long>(s.experts), static_cast<long long>(choices_per_token),
                static_cast<long long>(s.hidden), static_cast<double>(capacity_factor),
                static_cast<long long>(s.epochs), static_cast<long long>(s.batch), s.learning_rate,
                s.bf16 ? "bf16" : "f32", s.device.c_str(), s.threads, static_cast<unsigned long long>(s.seed));
  return text;
}

void write_summary(const std::string& path, const settings& s, const std::vector<arm_result>& arms) {
  polymoe::json_writer w;
  w.begin_object().field("schema", 1).field("config", config_line(s)).field("device", s.device);
  w.key("arms").begin_array();
  for (const arm_result& a : arms) {
    w.begin_object().field("name", a.name).field("description", a.description);
    w.field("test_accuracy", a.test.accuracy).field("test_loss", a.test.loss);
    w.field("parameters", a.cost.params).field("active_parameters", a.cost.active_params);
    w.field("flops_per_image", a.cost.flops());
    if (sparse(a)) {
      w.field("rho_static", a.rho_static).field("rho_active", a.rho_active);
      w.field("rho_capacity", a.rho_capacity);
    }
    w.field("train_images_per_second", a.train_images_per_second);
    w.field("test_images_per_second", a.test.images_per_second);
    w.field("train_seconds", a.seconds).field("epochs", static_cast<index>(a.epochs.size()));
    if (sparse(a)) {
      const auto& experts = a.test.experts;
      w.field("drop_rate", experts.drop_rate()).field("train_drop_rate", last_drop_rate(a));
      w.field("load_cv", experts.load_cv()).field("router_entropy", experts.entropy());
      w.field("dead_experts", static_cast<index>(experts.dead_experts()));
    }
    w.key("test_accuracy_per_epoch").begin_array();
    for (const epoch_row& e : a.epochs) w.value(e.test_accuracy);
    w.end_array().end_object();
  }
  w.end_array().end_object();
  polymoe::write_text(path, w.str() + "\n");
}

/// Load, drops, who serves which class, and the expert of every patch.
void write_experts(polymoe::report& r, const polymoe::train_test& data, const arm_result& a) {
  r.section("Experts");
  const auto& classes = data.test.class_names;
  const std::size_t last = a.test.class_expert.size() - 1;
  const auto& test_load = a.test.experts.layers[last].load;
  const std::size_t experts = test_load.size();
  std::vector<polymoe::series> load;
  polymoe::series dropped{"dropped", {}, {}}, cv{"load CV", {}, {}};
  for (std::size_t e = 0; e < experts; ++e) load.push_back({"expert " + std::to_string(e), {}, {}});
  for (std::size_t i = 0; i < a.epochs.size(); ++i) {
    const auto& told = a.epochs[i].train.experts;
    const double epoch = static_cast<double>(i + 1);
    for (std::size_t e = 0; e < experts; ++e) {
      load[e].x.push_back(epoch);
      const bool known = told.layers.size() > last && told.layers[last].load.size() > e;
      load[e].y.push_back(known ? told.layers[last].load[e] : 0.0);
    }
    dropped.x.push_back(epoch), dropped.y.push_back(told.drop_rate());
    cv.x.push_back(epoch), cv.y.push_back(told.load_cv());
  }
  r.stacked({.title = "Load of each expert in training, last block",
             .x_label = "epoch",
             .y_label = "share of choices",
             .share = true},
            load);
  double sum = 0;
  for (const double x : test_load) sum += x;
  std::vector<std::string> names;
  std::vector<double> shares;
  for (std::size_t e = 0; e < experts; ++e)
    names.push_back("expert " + std::to_string(e)), shares.push_back(sum > 0 ? test_load[e] / sum : 0);
  r.bars({.title = "Load of each expert on the test images, last block",
          .x_label = "share of choices",
          .share = true,
          .note = number("Even load would be %.3g %% each.", 100.0 / static_cast<double>(experts))},
         names, shares);
  r.lines({.title = "Dropped choices in training, all blocks",
           .x_label = "epoch",
           .y_label = "share of choices",
           .share = true,
           .note = "A choice is dropped when its expert has no slot left."},
          {dropped});
  r.lines({.title = "Spread of the load in training, mean of the blocks", .x_label = "epoch", .y_label = "load CV",
           .note = "CV: standard deviation of the experts' loads over their mean; 0 is even."}, {cv});

  std::vector<polymoe::matrix> shown;
  double darkest = 0;
  for (const auto& counts : a.test.class_expert) {
    polymoe::matrix m;
    m.rows = classes;
    for (std::size_t e = 0; e < experts; ++e) m.cols.push_back(std::to_string(e));
    for (std::size_t c = 0; c < classes.size(); ++c) {
      double all = 0;
      for (std::size_t e = 0; e < experts; ++e) all += counts[c * experts + e];
      for (std::size_t e = 0; e < experts; ++e) m.values.push_back(all > 0 ? counts[c * experts + e] / all : 0);
    }
    for (const double v : m.values) darkest = std::max(darkest, v);
    shown.push_back(std::move(m));
  }
  for (std::size_t l = 0; l < shown.size(); ++l)
    r.heatmap({.title = "Who serves which class, block " + std::to_string(l + 1),
               .x_label = "expert",
               .y_label = "class",
               .share = true,
               .note = l == 0 ? "Per cent of the served choices of each class (rows add up to 100), test images; "
                                "one colour scale for all blocks."
                              : "",
               .darkest = darkest},
              shown[l]);
  if (!a.examples.empty())
    r.images("First choice of every patch, last block: test images and the numbers of the experts", a.examples);
}

void write_report(const std::string& path, const settings& s, const polymoe::train_test& data,
                  const std::vector<arm_result>& arms) {
  polymoe::report r("Sparse MoE against its dense twin", config_line(s));
  std::vector<std::string> header{"figure"};
  for (const arm_result& a : arms) header.push_back(a.name);
  r.section("Result");
  std::vector<std::pair<std::string, std::string>> facts;
  for (const arm_result& a : arms)
    facts.push_back({a.name + ": test accuracy", number("%.2f %%", 100 * a.test.accuracy)});
  for (const arm_result& a : arms) facts.push_back({a.name + ": training time", number("%.0f s", a.seconds)});
  r.facts(facts);
  r.table("Both arms", header, figures(arms));
  for (const arm_result& a : arms) r.text(a.name + ": " + a.description);

  r.section("Learning");
  std::vector<polymoe::series> accuracy, loss;
  for (std::size_t arm = 0; arm < arms.size(); ++arm) {
    const arm_result& a = arms[arm];
    // One colour per arm; the training curves are dashed.
    polymoe::series test{.name = a.name + ", test", .y = {}, .color = static_cast<index>(arm)};
    polymoe::series train{.name = a.name + ", training", .y = {}, .color = static_cast<index>(arm), .dashed = true};
    polymoe::series test_loss = test, train_loss = train;
    for (std::size_t i = 0; i < a.epochs.size(); ++i) {
      for (auto* x : {&test, &train, &test_loss, &train_loss}) x->x.push_back(static_cast<double>(i + 1));
      test.y.push_back(a.epochs[i].test_accuracy), train.y.push_back(a.epochs[i].train.accuracy);
      test_loss.y.push_back(a.epochs[i].test_loss), train_loss.y.push_back(a.epochs[i].train.loss);
    }
    accuracy.push_back(test), accuracy.push_back(train), loss.push_back(test_loss), loss.push_back(train_loss);
  }
  const std::string averaged =
      "Training figures are means over the epoch, while the weights change; test figures follow it.";
  r.lines(
      {.title = "Accuracy", .x_label = "epoch", .y_label = "right answers", .share = true, .note = averaged}, accuracy);
  r.lines({.title = "Loss", .x_label = "epoch", .y_label = "cross-entropy (nats)"}, loss);

  for (const arm_result& a : arms)
    if (sparse(a)) write_experts(r, data, a);
  r.section("Mistakes");
  for (const arm_result& a : arms)
    r.confusion("Confusion of " + a.name + ", test images", data.test.class_names, a.test.confusion);
  r.write(path);
}

}  // namespace

std::vector<std::string> write_results(const settings& s, const polymoe::train_test& data,
                                       const std::vector<arm_result>& arms) {
  std::printf("\n%-40s", "");
  for (const arm_result& a : arms) std::printf("%14s", a.name.c_str());
  std::printf("\n");
  for (const auto& row : figures(arms)) {
    std::printf("%-40s", row[0].c_str());
    for (std::size_t i = 1; i < row.size(); ++i) std::printf("%14s", row[i].c_str());
    std::printf("\n");
  }
  const std::string summary = s.out + "/summary.json", page = s.out + "/report.html";
  write_summary(summary, s, arms);
  write_report(page, s, data, arms);
  return {summary, page};
}

}  // namespace demo
