// What the programs paper_a .. paper_d share: options from the command line and TOML, arms trained under several seeds,
// results that are kept, compared seed by seed, and shown.
//
// main_of() parses and calls the program's own function.  That names its arms, each a function (settings, seed,
// images) -> result; run_all() goes through arms x seeds, skips what --resume finds finished, and hands all results
// back for the program's page; finish() writes that.  Arms of one seed share the order of the data and every draw that
// does not depend on the model, so their differences are paired.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <polymoe/analysis/statistics.hpp>
#include <polymoe/backend/cpu/parallel.hpp>
#include <polymoe/train/dataset.hpp>
#include <polymoe/train/json.hpp>
#include <polymoe/train/report.hpp>

#include "interrupt.hpp"

namespace CLI {
class App;
}

/// On what a library of CUDA arms gives the program; all else in it is hidden, see CMakeLists.txt.
#define EXPERIMENT_OF_LIBRARY __attribute__((visibility("default")))

namespace experiment {

using polymoe::index;

/// Whether this source is compiled into a program that links a library of CUDA arms.
#if defined(POLYMOE_DEMO_CUDA)
constexpr bool has_gpu_arms = true;
#else
constexpr bool has_gpu_arms = false;
#endif

/// Options of every experiment.  Names of the flags are the keys of the TOML file.
struct settings {
  std::string program{};  ///< paper_b
  std::string data = "synthetic";
  std::string out{};
  std::vector<std::uint64_t> seeds{1};
  std::vector<std::string> arms{};  ///< empty: all
  index epochs = 10, batch = 128;
  index steps = 0;  ///< of an arm that has a number of its own (arm::steps), in the place of epochs; 0: whole epochs
  index images = 0, validation = 0, test_images = 0;  ///< images of each part; 0: all there are, validation 0: a tenth
  double learning_rate = 0.1, weight_decay = 5e-4, momentum = 0.9;
  std::vector<double> milestones{};  ///< shares of the run at which the rate falls by ten
  std::string augment = "none";      ///< none; crop: pad 4, crop, flip
  double mixup = 0, cutmix = 0;      ///< alpha of each; 0: off
  std::vector<double> rand_augment{};  ///< N,M; empty: off
  index cutout = 0;                    ///< side of the square, pixels; 0: off
  double smoothing = 0;                ///< of labels
  std::uint64_t split_seed = 42;       ///< draws the validation images
  index image_size = 64;               ///< side of the images that pictures of a folder become
  bool skip_bad = false;               ///< leave unreadable pictures out
  bool stream = false;                 ///< pictures stay on disk and are read ahead; changes no result
  int threads = polymoe::hardware_threads();
  bool keep_best = false;  ///< test the epoch that was best on the validation images as well
  double keep_at_loss = 0;  ///< keep the weights of the first epoch whose training loss is below; 0: none
  bool resume = false;
  bool plan = false;      ///< time a few steps of every arm instead of running it
  std::string command{};  ///< how the program was called
  std::string config{};   ///< the effective configuration, as --config reads it
  std::string commit{};   ///< that the program was built from
  std::string variant{};  ///< the program's own options that change a result, in words

  /// The name of the GPU that the program's CUDA arms would train on, or "" and in `missing` what is missing.  Null:
  /// this build has no such arms.
  std::string (*find_gpu)(std::string& missing) = nullptr;
  std::string device = "cpu";  ///< cpu; or cuda, the GPU's name and the number type
  bool on_gpu() const { return device != "cpu"; }
  /// Set by Ctrl-C; a pointer, because the CUDA arms' library has no variable in common with the program.
  const volatile std::sig_atomic_t* stop_requested = &program::stop_requested;
};
/// What tensors are made of on a GPU (masters are float); on the CPU they are float.
inline constexpr const char* numbers_on_gpu = "bf16";

/// Training, validation and test images, all with the statistics of the training images.
struct images {
  polymoe::train_test fit;  ///< train and validation
  polymoe::dataset test;
  std::string name;
  std::vector<std::string> skipped{};  ///< pictures that --skip-bad left out, and why
};
/// What --data names: "synthetic" (made up), "fashion" (Debian's Fashion-MNIST), or a folder with the binary files of
/// CIFAR-10 or CIFAR-100, the four IDX files of MNIST's kind, Tiny-ImageNet, or train/ and val/ with a folder of
/// pictures for every class; pictures become `image_size` pixels wide and high.  Validation images are drawn from the
/// training images by `split_seed`, the same for every arm and seed.
images read_images(const settings&);

struct epoch_figures {
  double train_loss = 0, train_accuracy = 0, validation_loss = 0, validation_accuracy = 0, seconds = 0;
  std::vector<double> load{};  ///< [E] of the last routed layer, in training
  double drop_rate = 0, entropy = 0;
};
/// One arm under one seed.
struct result {
  std::string arm;
  std::uint64_t seed = 0;
  std::vector<epoch_figures> epochs;
  std::map<std::string, double> figures;                      ///< by name, as the tables show them
  std::map<std::string, std::vector<double>> lists;           ///< curves, spectra, [classes, E] counts
  std::string description;
  std::string commit{};  ///< that it was made with
  bool interrupted = false;
};
struct arm {
  std::string name, about;
  std::function<result(const settings&, std::uint64_t seed, const images&)> run;
  /// What the paper reports, as it says it, by the names of figures; "difference": test accuracy less the first arm's.
  std::map<std::string, std::string> paper{};
  index steps = 0;  ///< as settings::steps
};
/// The settings that an arm is run with: those of the program, and its own number of steps.
settings settings_of(const settings&, const arm&, const images&);
/// Whether --arms picks an arm of this name.
bool is_wanted(const settings&, const std::string& arm);

/// main() of a program: the shared options and those that `own` adds, --config FILE.toml (an unknown key is an error),
/// the effective configuration to <out>/config.toml, then run(settings, images).  `s` has the program's name and its
/// defaults; `about` is the first line of --help.  Ctrl-C from here on: program::stop_requested.
int main_of(int argc, char** argv, settings s, const char* about, const std::function<void(CLI::App&)>& own,
            const std::function<int(settings&, const images&)>& run);
/// The same with the program's own options as one struct; `variant` says those that change a result in words.
template <class Options>
int main_of(int argc, char** argv, const settings& s, const char* about, void (*own)(CLI::App&, Options&),
            std::string (*variant)(const Options&), int (*run)(settings&, const Options&, const images&)) {
  Options o;
  return main_of(
      argc, argv, s, about, [&](CLI::App& app) { own(app, o); },
      [&](settings& chosen, const images& data) {
        chosen.variant = variant(o);
        return run(chosen, o, data);
      });
}
/// Trains all arms under all seeds: -1 to go on, else the program's exit status, as it was stopped or only --plan was
/// asked for.  `model` is what the first line says of it.
int run_all(const settings&, const std::string& model, const std::vector<arm>&, const images&, std::vector<result>&);
/// What the sources were when the program was built: `git describe --always --dirty`, or "unknown".
extern const char* const built_from_commit;

/// Where an arm's files are.
std::string folder_of(const settings&, const std::string& arm, std::uint64_t seed);
/// The checkpoints in it: the last one, the best epoch's (settings::keep_best), the first below a training loss
/// (settings::keep_at_loss).
inline constexpr const char *last_checkpoint = "/checkpoint.safetensors", *best_checkpoint = "/best.safetensors",
                            *at_loss_checkpoint = "/at_loss.safetensors";
void write_result(const std::string& path, const result&, const std::string& identity);
/// Throws unless the file belongs to the same arm, seed and identity.
result read_result(const std::string& path, const std::string& identity);
/// What has to be equal for a kept result to count: everything that changes it.
std::string identity_of(const settings&);

/// Values of a figure for one arm, seed by seed; seeds that lack it are left out.
std::vector<double> values_of(const std::vector<result>&, const std::string& arm, const std::string& figure);
/// Element-wise mean of a list over the seeds of an arm; empty when no run has it.
std::vector<double> mean_list(const std::vector<result>&, const std::string& arm, const std::string& name);
/// "0.8716 ± 0.0021 (5)", "-" for none; `scale` multiplies.
std::string text_of(const std::vector<double>&, const char* format, double scale = 1);
/// Seconds as "12.0 s", "3.4 min" or "56.7 h".
std::string duration(double seconds);
/// A table of the page, printed as well; nothing where there are no rows.
void show_table(polymoe::report&, const std::string& title, const std::vector<std::string>& header,
                const std::vector<std::vector<std::string>>& rows);

struct figure_row {
  std::string title, figure;
  const char* format = "%.4f";
  double scale = 1;
};
/// One row a figure, one column an arm, or with dozens of arms the other way round: mean, standard error and number of
/// seeds; beside it what the paper reports.  Printed, and added to the report.
void add_figures(polymoe::report&, const std::vector<arm>&, const std::vector<result>&, const std::vector<figure_row>&);
/// The same, then the paired differences of the test accuracy to the first arm with bootstrap interval and sign test.
void add_tables(polymoe::report&, const std::vector<arm>&, const std::vector<result>&, const std::vector<figure_row>&);
/// Something a paper says of two arms: that a figure of `more` is above that of `less`.
struct claim {
  std::string text;        ///< what it says
  std::string more, less;  ///< arms
  std::string figure = "test_accuracy", unit = "points";
  double scale = 100;
  const char* format = "%+.2f";
};
/// Claims beside what was found: the difference paired over seeds with its 95 % interval by Student's t, and whether it
/// is so here: yes or no where the interval leaves zero out, else open.  Claims whose arms have no seed in common are
/// left out.  Printed as well.
void add_claims(polymoe::report&, const std::vector<claim>&, const std::vector<result>&);
/// Values of a figure in two arms under the same seeds.
struct paired_values {
  std::vector<double> a, b;
};
paired_values paired(const std::vector<result>&, const std::string& a, const std::string& b, const std::string& figure);
/// Accuracy and loss over epochs, one line an arm (mean over seeds).
void add_curves(polymoe::report&, const std::vector<arm>&, const std::vector<result>&);
/// How experts are used: load, switching between epochs, co-activation, who serves which class.
void add_routing(polymoe::report&, const std::vector<arm>&, const std::vector<result>&,
                 const std::vector<std::string>& class_names);
/// Whether probabilities of the test images mean what they say, and which classes are taken for which.
void add_calibration(polymoe::report&, const std::vector<arm>&, const std::vector<result>&,
                     const std::vector<std::string>& class_names);
/// What each arm's layers are, in a line each.
void add_descriptions(polymoe::report&, const std::vector<arm>&, const std::vector<result>&);
/// The last section (command, commit, data, configuration); writes <out>/report.html, and <out>/summary.json: mean,
/// standard error and number of seeds of every figure of every arm, and the members that `own`
/// adds.  The program's exit status.
int finish(polymoe::report&, const settings&, const images&, const std::vector<result>&,
           const std::function<void(polymoe::json_writer&)>& own = {});

}  // namespace experiment
