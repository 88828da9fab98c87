// The machine behind the host executor: runs the threads of a grid as fibers, in an order drawn from a seed.
//
// A fiber runs until it has to wait: at a barrier, in a warp collective whose lanes are not all there, or for a word of
// memory.  Whoever completes a group makes its members ready.  When nobody is ready and threads are left, the launch is
// a deadlock, and what every thread waits for is the report.  The machine is stricter than a GPU on purpose: what CUDA
// leaves undefined (two call sites of one barrier, lanes that have left, lanes that do not exist) is an error here.
#pragma once

#include <exception>
#include <memory>
#include <numeric>
#include <sstream>

#include "state.hpp"

namespace polymoe::executor::detail {

class machine;
// The fiber that runs on this host thread, and its machine; null outside kernels.
inline constinit thread_local fiber* current = nullptr;
inline constinit thread_local machine* running = nullptr;

class machine {
 public:
  settings options{};
  statistics last{};
  index launches = 0;  ///< kernels run so far
  device::launch_shape shape{};

  static machine& of_this_thread() {
    static thread_local machine m;
    return m;
  }

  /// Runs `entry(argument)` once per thread of the grid.
  void run(const device::launch_shape& s, void (*entry)(void*), void* argument);

  // ---- called on fibers ----
  void wait_block(location where);
  void wait_grid(unsigned* words, location where);
  void wait_word(const unsigned* word, unsigned value, location where);
  /// Waits for the members of the own warp, then leaves the result in fiber.out.
  void wait_warp(wait_for kind, unsigned members, int source, const void* in, std::size_t bytes,
                 location where);
  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    std::ostringstream text;
    text << "executor: kernel " << shape.kernel << ", block " << text_of(current->home->position) << ", thread "
         << text_of(current->position) << ": ";
    (text << ... << parts);
    throw failure(text.str());
  }

 private:
  coroutine scheduler_{};
  stack_pool stacks_{};
  std::vector<std::unique_ptr<fiber>> fibers_{};
  std::vector<std::unique_ptr<block>> blocks_{};
  std::size_t resident_ = 0;          ///< blocks_ in use
  std::vector<fiber*> ready_{}, next_{}, polling_{};
  void (*entry_)(void*) = nullptr;
  void* argument_ = nullptr;
  std::exception_ptr error_{};
  index grid_arrived_ = 0, grid_threads_ = 0;
  unsigned* grid_words_ = nullptr;
  dice dice_{0};

  static void main_of_fiber();
  void suspend();
  void start_block(std::size_t slot, index rank);
  void schedule();
  void wake(fiber& f) {
    f.kind = wait_for::nothing;
    next_.push_back(&f);
  }
  void wake_block(block& b, wait_for kind);
  void open_block_barrier(block& b);
  void check_guards(const block& b) const;
  bool poll();
  void complete_warp(block& b, int first, unsigned members, wait_for kind);
  unsigned missing_lanes(const fiber& f) const;
  std::string describe(const fiber& f) const;
  [[noreturn]] void report_deadlock() const;
};

// ---- scheduling ----

inline void machine::main_of_fiber() {
  fiber& f = *current;
  machine& m = *running;
  f.self.arrived(m.scheduler_);
  try {
    m.entry_(m.argument_);
  } catch (...) {
    m.error_ = std::current_exception();
  }
  f.finished = true;
  --f.home->left;
  f.self.back(m.scheduler_, true);
  __builtin_unreachable();
}

inline void machine::suspend() {
  fiber& f = *current;
  f.self.back(scheduler_, false);
}

inline void machine::start_block(std::size_t slot, index rank) {
  const device::dim grid = shape.grid, extent = shape.block;
  const int size = static_cast<int>(extent.volume());
  if (slot == blocks_.size()) blocks_.push_back(std::make_unique<block>());
  block& b = *blocks_[slot];
  b.rank = rank;
  b.position = {static_cast<int>(rank % grid.x), static_cast<int>(rank / grid.x % grid.y),
                static_cast<int>(rank / grid.x / grid.y)};
  b.size = b.left = size;
  b.arrived = 0;
  b.prepare_shared(shape.shared);
  b.threads.resize(static_cast<std::size_t>(size));
  b.turn.resize(static_cast<std::size_t>(size));
  std::iota(b.turn.begin(), b.turn.end(), 0);
  dice_.arrange(b.turn, options.threads);
  const std::size_t first = slot * static_cast<std::size_t>(size);
  while (fibers_.size() < first + static_cast<std::size_t>(size)) fibers_.push_back(std::make_unique<fiber>());
  for (int t = 0; t < size; ++t) {
    const std::size_t i = first + static_cast<std::size_t>(t);
    fiber& f = *fibers_[i];
    f.home = &b;
    f.rank = t;
    f.position = {t % extent.x, t / extent.x % extent.y, t / extent.x / extent.y};
    f.finished = false;
    f.kind = wait_for::nothing;
    f.copies.clear();
    f.copy_group = 0;
    f.self.prepare(stacks_.at(i, options.stack_bytes), &machine::main_of_fiber);
    b.threads[static_cast<std::size_t>(t)] = &f;
  }
  for (int t : b.turn) next_.push_back(b.threads[static_cast<std::size_t>(t)]);
}

inline void machine::run(const device::launch_shape& s, void (*entry)(void*), void* argument) {
  require(available, unavailable_reason);
  require(!running, "executor: kernel ", s.kernel, " was launched from inside kernel ", running ? shape.kernel : "");
  const index total = s.grid.volume(), together = s.cooperative ? total : std::max(1, options.resident_blocks);
  require(s.shared <= options.shared_limit, s.kernel, ": launch of grid ", s.grid.x, " x ", s.grid.y, " x ", s.grid.z,
          ", ", s.shared, " bytes of shared memory, the device has ", options.shared_limit);
  const index most = index{options.multiprocessors} * options.blocks_per_multiprocessor;
  require(!s.cooperative || total <= most, s.kernel, ": a cooperative grid of ", total, " blocks, the device holds ",
          most, " at once");
  struct session {
    explicit session(machine* m) { running = m; }
    ~session() { running = nullptr, current = nullptr; }
  } guard(this);
  ++launches;
  shape = s;
  entry_ = entry;
  argument_ = argument;
  error_ = nullptr;
  last = {total, total * s.block.volume(), 0};
  grid_arrived_ = 0;
  grid_threads_ = last.threads;
  grid_words_ = nullptr;
  dice_ = {options.seed};
  std::vector<index> ranks(static_cast<std::size_t>(total));
  std::iota(ranks.begin(), ranks.end(), index{0});
  dice_.arrange(ranks, options.blocks);
  for (index begin = 0; begin < total; begin += together) {
    resident_ = static_cast<std::size_t>(std::min(together, total - begin));
    ready_.clear(), next_.clear(), polling_.clear();
    for (std::size_t i = 0; i < resident_; ++i) start_block(i, ranks[static_cast<std::size_t>(begin) + i]);
    schedule();
  }
}

inline void machine::schedule() {
  index left = static_cast<index>(resident_) * shape.block.volume();
  while (left > 0) {
    if (next_.empty() && !poll()) report_deadlock();
    ready_.swap(next_);
    next_.clear();
    for (fiber* f : ready_) {
      current = f;
      ++last.switches;
      scheduler_.enter(f->self);
      if (!f->self.intact())
        fail("its stack of ", options.stack_bytes, " bytes was too small; settings.stack_bytes makes it larger");
      if (error_) std::rethrow_exception(error_);
      if (!f->finished) continue;
      --left;
      block& b = *f->home;
      if (b.left == 0) check_guards(b);
      else if (options.exited_threads_pass && b.arrived == b.left) open_block_barrier(b);
    }
    if (!polling_.empty()) poll();
  }
  current = nullptr;
}

inline bool machine::poll() {
  bool found = false;
  for (std::size_t i = 0; i < polling_.size();) {
    fiber& f = *polling_[i];
    if (*f.word != f.value) {
      ++i;
      continue;
    }
    polling_[i] = polling_.back();
    polling_.pop_back();
    wake(f);
    found = true;
  }
  return found;
}

inline void machine::check_guards(const block& b) const {
  const std::ptrdiff_t d = b.damage();
  if (d > 0)
    fail("some thread of the block wrote ", d - 1, " bytes past the end of its ", b.shared_bytes,
         " bytes of shared memory");
  if (d < 0) fail("some thread of the block wrote ", -d, " bytes before the start of its shared memory");
}

// ---- waiting ----

inline void machine::wake_block(block& b, wait_for kind) {
  // Forward or backward by the toss of a coin, so that no phase can count on the order of the one before.
  const bool backward = options.threads == order::shuffled && (dice_() & 1u);
  for (int i = 0; i < b.size; ++i) {
    fiber& f = *b.threads[static_cast<std::size_t>(b.turn[static_cast<std::size_t>(backward ? b.size - 1 - i : i)])];
    if (f.kind == kind) wake(f);
  }
}

inline void machine::open_block_barrier(block& b) {
  check_guards(b);
  const location* first = nullptr;
  for (const fiber* f : b.threads) {
    if (f->kind != wait_for::block) continue;
    if (!first) first = &f->where;
    if (f->where.line != first->line || std::strcmp(f->where.file, first->file) != 0)
      fail("the threads of the block meet at two different barriers, ", text_of(*first), " and ", text_of(f->where));
  }
  b.arrived = 0;
  wake_block(b, wait_for::block);
}

inline void machine::wait_block(location where) {
  fiber& f = *current;
  block& b = *f.home;
  f.kind = wait_for::block;
  f.where = where;
  if (++b.arrived == b.size || (options.exited_threads_pass && b.arrived == b.left)) open_block_barrier(b);
  suspend();
}

inline void machine::wait_grid(unsigned* words, location where) {
  if (!shape.cooperative) fail("a grid barrier at ", text_of(where), " in a launch that is not cooperative");
  if (!words) fail("the grid barrier at ", text_of(where), " has no words");
  if (words[0] != 0) fail("the words of the grid barrier at ", text_of(where), " were not zeroed: ", words[0]);
  if (grid_arrived_ == 0) grid_words_ = words;
  if (words != grid_words_) fail("the grid barrier at ", text_of(where), " has other words than the threads before");
  fiber& f = *current;
  f.kind = wait_for::grid;
  f.where = where;
  if (++grid_arrived_ == grid_threads_) {
    grid_arrived_ = 0;
    ++words[1];
    std::vector<std::size_t> turn(resident_);
    std::iota(turn.begin(), turn.end(), std::size_t{0});
    dice_.arrange(turn, options.blocks);
    for (std::size_t i : turn) {
      check_guards(*blocks_[i]);
      wake_block(*blocks_[i], wait_for::grid);
    }
  }
  suspend();
}

inline void machine::wait_word(const unsigned* word, unsigned value, location where) {
  if (*word == value) return;
  fiber& f = *current;
  f.kind = wait_for::word;
  f.where = where;
  f.word = word;
  f.value = value;
  polling_.push_back(&f);
  suspend();
}

inline void machine::wait_warp(wait_for kind, unsigned members, int source, const void* in, std::size_t bytes,
                               location where) {
  fiber& f = *current;
  block& b = *f.home;
  const int first = f.rank / device::warp_size * device::warp_size;
  const unsigned self = 1u << (f.rank - first);
  if (!(members & self))
    fail(name_of(kind), " at ", text_of(where), " is called by lane ", f.rank - first, ", which is not in its members ",
         text_of_lanes(members));
  const int lanes = std::min(device::warp_size, b.size - first);
  if (lanes < 32 && members >> lanes)
    fail(name_of(kind), " at ", text_of(where), " names lanes ", text_of_lanes(members), ", but the warp has only ",
         lanes);
  f.kind = kind;
  f.members = members;
  f.source = source;
  f.where = where;
  if (bytes > 0) std::memcpy(f.in, in, bytes);
  if (missing_lanes(f) == 0) complete_warp(b, first, members, kind);
  suspend();
}

inline unsigned machine::missing_lanes(const fiber& f) const {
  const int first = f.rank / device::warp_size * device::warp_size;
  unsigned missing = 0;
  for (int i = 0; i < device::warp_size; ++i) {
    if (!(f.members >> i & 1u)) continue;
    const fiber& other = *f.home->threads[static_cast<std::size_t>(first + i)];
    if (other.kind != f.kind || other.members != f.members) missing |= 1u << i;
  }
  return missing;
}

inline void machine::complete_warp(block& b, int first, unsigned members, wait_for kind) {
  const auto lane = [&](int i) -> fiber& { return *b.threads[static_cast<std::size_t>(first + i)]; };
  unsigned votes = 0;
  for (int i = 0; i < device::warp_size; ++i)
    if ((members >> i & 1u) && lane(i).source) votes |= 1u << i;
  if (kind == wait_for::collective) {
    void* lanes[32] = {};
    for (int i = 0; i < device::warp_size; ++i) {
      if (lane(i).action != lane(0).action)
        fail("the lanes of a warp meet in two different collectives, at ", text_of(lane(0).where), " and ",
             text_of(lane(i).where));
      std::memcpy(&lanes[i], lane(i).in, sizeof lanes[i]);
    }
    lane(0).action(lanes);
  }
  const bool backward = options.threads == order::shuffled && (dice_() & 1u);
  for (int n = 0; n < device::warp_size; ++n) {
    const int i = backward ? device::warp_size - 1 - n : n;
    if (!(members >> i & 1u)) continue;
    fiber& f = lane(i);
    switch (kind) {
      case wait_for::shuffle_xor:
      case wait_for::shuffle_up:
      case wait_for::shuffle_idx:
        if (!(members >> f.source & 1u))
          fail(name_of(kind), " at ", text_of(f.where), ": lane ", i, " reads lane ", f.source,
               ", which is not in the members ", text_of_lanes(members));
        std::memcpy(f.out, lane(f.source).in, fiber::payload);
        break;
      case wait_for::match: {
        unsigned same = 0;
        for (int j = 0; j < device::warp_size; ++j)
          if ((members >> j & 1u) && std::memcmp(f.in, lane(j).in, 8) == 0) same |= 1u << j;
        std::memcpy(f.out, &same, sizeof same);
        break;
      }
      default:
        std::memcpy(f.out, &votes, sizeof votes);
    }
    wake(f);
  }
}

// ---- the report ----

inline std::string machine::describe(const fiber& f) const {
  std::ostringstream text;
  const block& b = *f.home;
  if (f.finished) return "left the kernel";
  switch (f.kind) {
    case wait_for::block:
      text << "at the block barrier " << text_of(f.where) << ", " << b.arrived << " of " << b.size
           << " threads are there";
      break;
    case wait_for::grid:
      text << "at the grid barrier " << text_of(f.where) << ", " << grid_arrived_ << " of " << grid_threads_
           << " threads are there";
      break;
    case wait_for::word:
      text << "at " << text_of(f.where) << " for a word to become " << f.value << ", it is " << *f.word;
      break;
    default:
      text << "in " << name_of(f.kind) << " at " << text_of(f.where) << " with members " << text_of_lanes(f.members)
           << ", for lanes " << text_of_lanes(missing_lanes(f));
  }
  return "waits " + text.str();
}

inline void machine::report_deadlock() const {
  std::ostringstream text;
  text << "executor: deadlock in kernel " << shape.kernel << ", grid " << text_of(shape.grid) << ", block size "
       << text_of(shape.block);
  int lines = 0;
  for (std::size_t i = 0; i < resident_; ++i) {
    const block& b = *blocks_[i];
    if (b.left == 0) continue;
    for (int t = 0; t < b.size;) {
      const std::string what = describe(*b.threads[static_cast<std::size_t>(t)]);
      int end = t + 1;
      while (end < b.size && describe(*b.threads[static_cast<std::size_t>(end)]) == what) ++end;
      if (++lines > 40) {
        text << "\n  ...";
        throw deadlock(text.str());
      }
      text << "\n  block " << text_of(b.position) << ", thread" << (end > t + 1 ? "s " : " ") << t;
      if (end > t + 1) text << "-" << end - 1;
      text << ": " << what;
      t = end;
    }
  }
  throw deadlock(text.str());
}

}  // namespace polymoe::executor::detail
