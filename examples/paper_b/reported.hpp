// What paper B's result files report (CIFAR-10, ResNet-18, seed 42): shown beside ours.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace paper_b {

struct reported {
  std::map<std::string, std::string> figures{};                 ///< by our names, as the paper says them
  std::vector<double> train_eigenvalues{}, test_eigenvalues{};  ///< in the order they were found
  std::vector<double> loss_along{};  ///< training images, at reported_alpha along the first eigenvector
  std::vector<double> gates{}, chosen{};               ///< [E] mean gate, share of the images that choose an expert
  std::map<std::string, std::string> class_gates{};    ///< by class: its strongest experts and their mean gates
};
inline const std::vector<double> reported_alpha{-0.5, -0.3, -0.1, 0, 0.1, 0.3, 0.5};

/// Of an arm that is as the paper's code has it; nothing for others.
inline const reported& reported_of(const std::string& arm) {
  static const std::map<std::string, reported> all{{"dense",
                                                    {{{"best_train_accuracy", "100.00"},
                                                      {"best_validation_accuracy", "87.86"},
                                                      {"best_test_accuracy", "86.44"},
                                                      {"best_train_epoch", "37"},
                                                      {"best_validation_epoch", "35"},
                                                      {"best_test_loss", "0.5225"},
                                                      {"parameters", "11436618"},
                                                      {"train.lambda_power", "2.377"},
                                                      {"train.trace", "22.75"},
                                                      {"test.lambda_power", "63.87"},
                                                      {"test.trace", "1180.5"}},
                                                     {2.377, 1.179, 1.114, 1.134, 0.995},
                                                     {63.87, 68.37, 50.47, 46.37, 39.00},
                                                     {0.636, 0.144, 0.0040, 0.00135, 0.0174, 0.554, 3.125}}},
                                                   {"soft",
                                                    {{{"best_train_accuracy", "100.00"},
                                                      {"best_validation_accuracy", "88.24"},
                                                      {"best_test_accuracy", "87.23"},
                                                      {"difference", "+0.79"},
                                                      {"best_train_epoch", "41"},
                                                      {"best_validation_epoch", "48"},
                                                      {"best_test_loss", "0.4559"},
                                                      {"parameters", "11440792"},
                                                      {"entropy", "1.117"},
                                                      {"train.lambda_power", "1.099"},
                                                      {"train.trace", "19.86"},
                                                      {"test.lambda_power", "92.22"},
                                                      {"test.trace", "1455.3"}},
                                                     {1.099, 0.910, 0.861, 0.731, 0.580},
                                                     {92.22, 71.19, 66.16, 50.91, 47.88},
                                                     {2.076, 0.835, 0.0557, 0.00142, 0.0497, 4.775, 13.821},
                                                     {.1213, .1090, .1541, .1250, .1197, .1106, .1574, .1029},
                                                     {},
                                                     {{"airplane", "3 (.43)"},
                                                      {"automobile", "0 (.48), then 4 (.38)"},
                                                      {"bird", "6 (.29)"},
                                                      {"cat", "6 (.38)"},
                                                      {"deer", "5 (.55)"},
                                                      {"dog", "6 (.35)"},
                                                      {"frog", "1 (.71)"},
                                                      {"horse", "7 (.68)"},
                                                      {"ship", "4 (.51)"},
                                                      {"truck", "0 (.67)"}}}},
                                                   {"sparse",
                                                    {{{"best_train_accuracy", "100.00"},
                                                      {"best_validation_accuracy", "88.16"},
                                                      {"best_test_accuracy", "87.17"},
                                                      {"difference", "+0.73"},
                                                      {"best_test_loss", "0.4657"},
                                                      {"parameters", "11444896"},
                                                      {"entropy", "0.638"},
                                                      {"noisy_best_test_accuracy", "87.17"},
                                                      {"noisy_best_test_loss", "0.4657"},
                                                      {"noisy_validation_accuracy", "88.00"},
                                                      {"noisy_best_entropy", "0.638"},
                                                      {"train.lambda_noisy", "0.722"},
                                                      {"test.lambda_noisy", "68.71"},
                                                      {"best_train_epoch", "44"},
                                                      {"best_validation_epoch", "46"},
                                                      {"train.lambda_power", "0.722"},
                                                      {"train.trace", "15.23"},
                                                      {"test.lambda_power", "68.71"},
                                                      {"test.trace", "1148.2"}},
                                                     {0.722, 0.786, 0.607, 0.567, 0.480},
                                                     {68.71, 53.79, 48.52, 40.88, 38.21},
                                                     {12.994, 4.206, 0.0516, 0.00129, 0.0296, 0.714, 1.941},
                                                     {.1152, .1272, .1236, .1228, .1272, .1220, .1214, .1407},
                                                     {.244, .189, .252, .244, .264, .220, .260, .326},
                                                     {{"airplane", "5 (.52)"},
                                                      {"automobile", "1 (.64)"},
                                                      {"bird", "6 (.45)"},
                                                      {"cat", "4 (.47)"},
                                                      {"deer", "2 (.53)"},
                                                      {"dog", "3 (.43), then 4 (.39)"},
                                                      {"frog", "3 (.43)"},
                                                      {"horse", "0 (.52)"},
                                                      {"ship", "5 (.53)"},
                                                      {"truck", "1 (.62)"}}}}};
  static const reported none;
  const auto it = all.find(arm);
  return it == all.end() ? none : it->second;
}

}  // namespace paper_b
