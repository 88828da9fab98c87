// Streams, events and recordings of the host executor, and the memory calls of device.cuh and graph.cuh on top of them.
//
// Work runs when it is submitted, as ever; with settings::deferred it waits in its stream's queue until somebody waits
// for the stream or for an event in it.  Copies from pinned memory then happen late too, so that a buffer which is
// overwritten before it was read gives wrong numbers.  side_first runs the other streams early instead: a copy that may
// overtake its reader does.  A recorded stream writes its work down; to wait or to allocate meanwhile is a failure.
#pragma once

#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "machine.hpp"

namespace polymoe::executor {

/// What begin_recording .. end_recording wrote down.
struct recorded_work {
  std::vector<std::function<void()>> work;
};

namespace detail {

/// A point in a stream that others wait for.
struct mark {
  device::stream_handle stream = nullptr;
  bool reached = false;
};
struct event_state {
  std::shared_ptr<mark> last;
};

class streams {
 public:
  static streams& of_this_thread() {
    static thread_local streams s;
    return s;
  }
  void submit(device::stream_handle stream, std::function<void()> work) {
    line& l = lines_[stream];
    if (l.recording) {
      l.recording->work.push_back(std::move(work));
      return;
    }
    l.tasks.push_back({std::move(work), {}, {}});
    if (!machine::of_this_thread().options.deferred) drain(stream);
  }
  void record(event_state& e, device::stream_handle stream) {
    e.last = std::make_shared<mark>();
    e.last->stream = stream;
    add(stream, {{}, {}, e.last});
  }
  void hold(device::stream_handle stream, const event_state& e) {
    if (e.last) add(stream, {{}, e.last, {}});
  }
  void reach(const event_state& e) {
    refuse("waiting for an event");
    if (e.last) reach(e.last);
  }
  void drain(device::stream_handle stream) {
    refuse("waiting for a stream");
    while (!lines_[stream].tasks.empty()) step(stream);
  }
  void drain_all() {
    for (auto& [stream, l] : lines_)
      if (!l.recording) drain(stream);
  }
  /// The device's memory is never taken, and nobody waits, while something is recorded.
  void refuse(const char* what) const {
    for (const auto& [stream, l] : lines_)
      if (l.recording) throw failure(std::string("executor: ") + what + " while a stream is recorded");
  }
  void begin_recording(device::stream_handle stream) {
    refuse("beginning a second recording");
    lines_[stream].recording = std::make_unique<recorded_work>();
  }
  recorded_work* end_recording(device::stream_handle stream) { return lines_[stream].recording.release(); }
  device::stream_handle open() { return reinterpret_cast<void*>(++opened_); }
  /// Recordings replayed on this thread so far.
  index replays = 0;

 private:
  struct task {
    std::function<void()> run;
    std::shared_ptr<mark> waits_for, reaches;
  };
  struct line {
    std::deque<task> tasks;
    std::unique_ptr<recorded_work> recording;
  };
  void add(device::stream_handle stream, task t) {
    refuse("an event");
    lines_[stream].tasks.push_back(std::move(t));
    if (!machine::of_this_thread().options.deferred) drain(stream);
  }
  void reach(std::shared_ptr<mark> m) {
    while (!m->reached) step(m->stream);
  }
  /// The next task of a stream, after what it waits for.
  void step(device::stream_handle stream) {
    if (machine::of_this_thread().options.side_first)
      for (auto& [other, l] : lines_)
        while (other != stream && !l.tasks.empty() &&
               (!l.tasks.front().waits_for || l.tasks.front().waits_for->reached))
          run_first(other);
    if (const auto waits_for = lines_[stream].tasks.front().waits_for) reach(waits_for);
    run_first(stream);
  }
  void run_first(device::stream_handle stream) {
    auto& tasks = lines_[stream].tasks;
    const task t = std::move(tasks.front());
    tasks.pop_front();
    if (t.run) t.run();
    if (t.reaches) t.reaches->reached = true;
  }

  std::map<device::stream_handle, line> lines_;
  std::uintptr_t opened_ = 0;
};

inline void submit(device::stream_handle stream, std::function<void()> work) {
  streams::of_this_thread().submit(stream, std::move(work));
}

}  // namespace detail

/// How many recordings this thread has replayed.
inline index replays() { return detail::streams::of_this_thread().replays; }

}  // namespace polymoe::executor

// The calls of device.cuh and graph.cuh, documented there.
namespace polymoe::inline v0::device {

using event_handle = executor::detail::event_state*;
using graph_handle = executor::recorded_work*;

namespace detail {
inline executor::detail::streams& queues() { return executor::detail::streams::of_this_thread(); }
}  // namespace detail

inline void* allocate(std::size_t bytes) {
  detail::queues().refuse("allocating");
  if (bytes == 0) return nullptr;
  void* p = ::operator new(bytes, std::align_val_t{256});
  return std::memset(p, 0xFF, bytes);
}
inline void release(void* p) noexcept {
  if (!p) return;
  detail::queues().drain_all();
  ::operator delete(p, std::align_val_t{256});
}
inline void* allocate_pinned(std::size_t bytes) { return allocate(bytes); }
inline void release_pinned(void* p) noexcept { release(p); }
inline std::size_t free_memory() { return std::size_t{1} << 30; }

inline stream_handle open_stream() { return detail::queues().open(); }
inline void close_stream(stream_handle s) noexcept { detail::queues().drain(s); }
inline void wait(stream_handle s) { detail::queues().drain(s); }

inline void upload_async(void* to, const void* pinned, std::size_t bytes, stream_handle s) {
  if (bytes > 0) executor::detail::submit(s, [=] { std::memcpy(to, pinned, bytes); });
}
inline void download_async(void* pinned, const void* from, std::size_t bytes, stream_handle s) {
  upload_async(pinned, from, bytes, s);
}
inline void upload(void* to, const void* from, std::size_t bytes, stream_handle s) {
  if (bytes == 0) return;
  detail::queues().refuse("uploading");
  upload_async(to, from, bytes, s), wait(s);
}
inline void download(void* to, const void* from, std::size_t bytes, stream_handle s) {
  if (bytes == 0) return;
  detail::queues().refuse("downloading");
  upload_async(to, from, bytes, s), wait(s);
}
inline void clear(void* p, std::size_t bytes, stream_handle s) {
  if (bytes > 0) executor::detail::submit(s, [=] { std::memset(p, 0, bytes); });
}
inline void copy(void* to, const void* from, std::size_t bytes, stream_handle s) {
  if (bytes > 0) executor::detail::submit(s, [=] { std::memmove(to, from, bytes); });
}

inline event_handle open_event() { return new executor::detail::event_state; }
inline void close_event(event_handle e) noexcept { delete e; }
inline void record_event(event_handle e, stream_handle s) { detail::queues().record(*e, s); }
inline void wait_event(event_handle e) { detail::queues().reach(*e); }
inline void hold_stream(stream_handle s, event_handle e) { detail::queues().hold(s, *e); }

inline void begin_recording(stream_handle s) { detail::queues().begin_recording(s); }
inline graph_handle end_recording(stream_handle s) { return detail::queues().end_recording(s); }
inline void drop_recording(stream_handle s) noexcept { delete end_recording(s); }
inline void close_recording(graph_handle g) noexcept {
  detail::queues().drain_all();
  delete g;
}
inline void replay_recording(graph_handle g, stream_handle s) {
  executor::detail::submit(s, [g] {
    for (const auto& work : g->work) work();
  });
  ++detail::queues().replays;
}

}  // namespace polymoe::device
