// The demo's table, summary.json and report.html, all from the same figures.
#include <cstdio>

#include "demo.hpp"

namespace demo {
namespace {

std::string number(const char* format, double x) {
  char text[64];
  std::snprintf(text, sizeof text, format, x);
  return text;
}
bool sparse(const arm_result& a) { return a.test.experts.any(); }

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
  row("parameters, total", [](const auto& a) { return number("%.0f", static_cast<double>(a.cost.params)); });
  row("parameters, active per token", [](const auto& a) { return number("%.0f", static_cast<double>(a.cost.active_params)); });
  row("MFLOPs per image (2 per MAC)", [](const auto& a) { return number("%.2f", 1e-6 * a.cost.flops()); });
  row("rho_static", [&](const auto& a) { return routed(a, number("%.3f", a.rho_static)); });
  row("rho_active (served choices, measured)", [&](const auto& a) { return routed(a, number("%.3f", a.rho_active)); });
  row("rho_capacity", [&](const auto& a) { return routed(a, number("%.3f", a.rho_capacity)); });
  row("images/s, training", [](const auto& a) { return number("%.0f", a.train_images_per_second); });
  row("images/s, inference", [](const auto& a) { return number("%.0f", a.test.images_per_second); });
  row("training time, s", [](const auto& a) { return number("%.1f", a.seconds); });
  row("drop rate, last training epoch", [&](const auto& a) { return routed(a, number("%.4f", a.epochs.empty() ? 0 : a.epochs.back().train.experts.drop_rate())); });
  row("drop rate, test", [&](const auto& a) { return routed(a, number("%.4f", a.test.experts.drop_rate())); });
  row("load CV, test", [&](const auto& a) { return routed(a, number("%.4f", a.test.experts.load_cv())); });
  row("router entropy, test (nats)", [&](const auto& a) { return routed(a, number("%.3f", a.test.experts.entropy())); });
  row("dead experts, test", [&](const auto& a) { return routed(a, number("%.0f", a.test.experts.dead_experts())); });
  return rows;
}

std::string config_line(const settings& s) {
  char text[320];
  std::snprintf(text, sizeof text,
                "ViT %lldx%lld, patch %lld stride %lld (%lld tokens), heads %lld, E=%lld, K=%lld, H=%lld, capacity %.2f, every block, Fashion-MNIST, "
                "%lld epochs, batch %lld, AdamW %.1e cosine, flips, %s, %d threads, seed %llu",
                static_cast<long long>(s.vit.depth), static_cast<long long>(s.vit.dim), static_cast<long long>(s.vit.patch),
                static_cast<long long>(s.vit.stride ? s.vit.stride : s.vit.patch), static_cast<long long>(s.vit.tokens()),
                static_cast<long long>(s.vit.heads), static_cast<long long>(s.experts), static_cast<long long>(choices_per_token),
                static_cast<long long>(s.hidden), static_cast<double>(capacity_factor), static_cast<long long>(s.epochs),
                static_cast<long long>(s.batch), s.learning_rate, s.bf16 ? "bf16" : "f32", s.threads, static_cast<unsigned long long>(s.seed));
  return text;
}

void write_summary(const std::string& path, const settings& s, const std::vector<arm_result>& arms) {
  polymoe::json_writer w;
  w.begin_object().field("schema", 1).field("config", config_line(s)).key("arms").begin_array();
  for (const arm_result& a : arms) {
    w.begin_object().field("name", a.name).field("description", a.description);
    w.field("test_accuracy", a.test.accuracy).field("test_loss", a.test.loss);
    w.field("parameters", a.cost.params).field("active_parameters", a.cost.active_params).field("flops_per_image", a.cost.flops());
    if (sparse(a)) w.field("rho_static", a.rho_static).field("rho_active", a.rho_active).field("rho_capacity", a.rho_capacity);
    w.field("train_images_per_second", a.train_images_per_second).field("test_images_per_second", a.test.images_per_second);
    w.field("train_seconds", a.seconds).field("epochs", static_cast<index>(a.epochs.size()));
    if (sparse(a))
      w.field("drop_rate", a.test.experts.drop_rate()).field("train_drop_rate", a.epochs.empty() ? 0.0 : a.epochs.back().train.experts.drop_rate())
          .field("load_cv", a.test.experts.load_cv()).field("router_entropy", a.test.experts.entropy())
          .field("dead_experts", static_cast<index>(a.test.experts.dead_experts()));
    w.key("test_accuracy_per_epoch").begin_array();
    for (const epoch_row& e : a.epochs) w.value(e.test_accuracy);
    w.end_array().end_object();
  }
  w.end_array().end_object();
  polymoe::write_text(path, w.str() + "\n");
}

void write_report(const std::string& path, const settings& s, const polymoe::train_test& data, const std::vector<arm_result>& arms) {
  polymoe::report r("Sparse MoE against its dense twin", config_line(s));
  std::vector<std::string> header{"figure"};
  for (const arm_result& a : arms) header.push_back(a.name);
  r.section("Result");
  std::vector<std::pair<std::string, std::string>> facts;
  for (const arm_result& a : arms) facts.push_back({a.name + " test accuracy", number("%.2f %%", 100 * a.test.accuracy)});
  r.facts(facts);
  r.table("Both arms", header, figures(arms));
  for (const arm_result& a : arms) r.text(a.name + ": " + a.description);

  r.section("Learning");
  std::vector<polymoe::series> accuracy, loss;
  for (const arm_result& a : arms) {
    polymoe::series test{a.name + ", test", {}, {}}, train{a.name + ", training", {}, {}}, l{a.name + ", training", {}, {}}, lt{a.name + ", test", {}, {}};
    for (std::size_t i = 0; i < a.epochs.size(); ++i) {
      const auto at = static_cast<double>(i + 1);
      for (auto* x : {&test, &train, &l, &lt}) x->x.push_back(at);
      test.y.push_back(a.epochs[i].test_accuracy), train.y.push_back(a.epochs[i].train.accuracy);
      l.y.push_back(a.epochs[i].train.loss), lt.y.push_back(a.epochs[i].test_loss);
    }
    accuracy.push_back(test), accuracy.push_back(train), loss.push_back(l), loss.push_back(lt);
  }
  r.lines({.title = "Accuracy", .x_label = "epoch", .y_label = "share right"}, accuracy);
  r.lines({.title = "Loss", .x_label = "epoch", .y_label = "cross-entropy"}, loss);

  const auto& classes = data.test.class_names;
  for (const arm_result& a : arms) {
    if (!sparse(a)) continue;
    r.section("Experts");
    const std::size_t last = a.test.class_expert.size() - 1;
    const auto experts = a.test.experts.layers[last].load.size();
    std::vector<polymoe::series> load;
    for (std::size_t e = 0; e < experts; ++e) {
      polymoe::series x{"expert " + std::to_string(e), {}, {}};
      for (std::size_t i = 0; i < a.epochs.size(); ++i) {
        const auto& layers = a.epochs[i].train.experts.layers;
        x.x.push_back(static_cast<double>(i + 1));
        x.y.push_back(layers.size() > last && layers[last].load.size() > e ? layers[last].load[e] : 0.0);
      }
      load.push_back(std::move(x));
    }
    r.stacked({.title = "Load of each expert over time, last block", .x_label = "epoch", .y_label = "share of choices", .share = true}, load);
    polymoe::series dropped{"dropped share", {}, {}}, cv{"load CV", {}, {}};
    for (std::size_t i = 0; i < a.epochs.size(); ++i)
      dropped.x.push_back(static_cast<double>(i + 1)), cv.x.push_back(static_cast<double>(i + 1)),
          dropped.y.push_back(a.epochs[i].train.experts.drop_rate()), cv.y.push_back(a.epochs[i].train.experts.load_cv());
    r.lines({.title = "Dropped choices and spread of the load", .x_label = "epoch"}, {dropped, cv});
    for (std::size_t l = 0; l < a.test.class_expert.size(); ++l) {
      polymoe::matrix m;
      m.rows = classes;
      for (std::size_t e = 0; e < experts; ++e) m.cols.push_back(std::to_string(e));
      for (std::size_t c = 0; c < classes.size(); ++c) {
        double sum = 0;
        for (std::size_t e = 0; e < experts; ++e) sum += a.test.class_expert[l][c * experts + e];
        for (std::size_t e = 0; e < experts; ++e) m.values.push_back(sum > 0 ? a.test.class_expert[l][c * experts + e] / sum : 0);
      }
      r.heatmap({.title = "Class by expert, block " + std::to_string(l + 1) + " (share of the class's choices)", .share = true}, m);
    }
    if (!a.examples.empty()) r.images("First expert of every patch, last block", a.examples);
  }
  r.section("Mistakes");
  for (const arm_result& a : arms) r.confusion("Confusion of " + a.name + " (rows: true class)", classes, a.test.confusion);
  r.write(path);
}

}  // namespace

std::vector<std::string> write_results(const settings& s, const polymoe::train_test& data, const std::vector<arm_result>& arms) {
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
