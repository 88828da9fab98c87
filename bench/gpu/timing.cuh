// How bench/gpu times: CUDA events around a batch of calls, cases in turns, medians of the batches.
//
// L2 is not flushed between calls: a call finds in it what the call before left, as a layer inside a model does.  Most
// tensors of the rows are larger than it; those of the smallest rows are not, and may run below their floor.
#pragma once

#include <cuda_runtime.h>

#include <functional>
#include <memory>
#include <polymoe/backend/cuda/device.cuh>

#include "report.hpp"

namespace gpu_bench {

inline void must(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  polymoe::require(false, what, ": ", cudaGetErrorName(status), ", ", cudaGetErrorString(status));
}

/// Time on the GPU between two points of a stream.
class stopwatch {
 public:
  stopwatch() { must(cudaEventCreate(&from_), "cudaEventCreate"), must(cudaEventCreate(&to_), "cudaEventCreate"); }
  ~stopwatch() { cudaEventDestroy(from_), cudaEventDestroy(to_); }
  stopwatch(const stopwatch&) = delete;
  stopwatch& operator=(const stopwatch&) = delete;
  /// Microseconds that what `f` puts into the stream takes; waits for it.
  template <class F>
  double operator()(cudaStream_t stream, F f) {
    must(cudaEventRecord(from_, stream), "cudaEventRecord");
    f();
    must(cudaEventRecord(to_, stream), "cudaEventRecord");
    must(cudaEventSynchronize(to_), "cudaEventSynchronize");
    float ms = 0;
    must(cudaEventElapsedTime(&ms, from_, to_), "cudaEventElapsedTime");
    return 1e3 * static_cast<double>(ms);
  }

 private:
  cudaEvent_t from_{}, to_{};
};

/// What a function puts into a stream, as a CUDA graph.
class captured {
 public:
  template <class F>
  captured(cudaStream_t stream, F f) {
    cudaGraph_t graph{};
    must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin of a capture");
    try {
      f();
    } catch (...) {
      cudaStreamEndCapture(stream, &graph);
      if (graph) cudaGraphDestroy(graph);
      throw;
    }
    must(cudaStreamEndCapture(stream, &graph), "end of a capture");
    const cudaError_t status = cudaGraphInstantiate(&graph_, graph, 0);
    cudaGraphDestroy(graph);
    must(status, "cudaGraphInstantiate");
  }
  ~captured() {
    if (graph_) cudaGraphExecDestroy(graph_);
  }
  captured(const captured&) = delete;
  captured& operator=(const captured&) = delete;
  void launch(cudaStream_t stream) const { must(cudaGraphLaunch(graph_, stream), "cudaGraphLaunch"); }

 private:
  cudaGraphExec_t graph_{};
};

inline double median(std::vector<double> v) {
  polymoe::require(!v.empty(), "median of no times");
  std::sort(v.begin(), v.end());
  const std::size_t n = v.size();
  return n % 2 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}

/// A call and how a batch of it is made.
enum class batch {
  one_graph,  ///< all calls of a batch in one graph: no launch costs, for parts of a layer
  graphs,     ///< one graph per call, launched again and again: a captured layer
  eager       ///< every launch by itself
};
struct timed_case {
  std::string name;
  batch how = batch::eager;
  std::function<void()> call;
  std::vector<work> need;  ///< of its stages
};

/// Batches of about 2 ms and at most 64 calls, all cases in turns, until `seconds` are spent; at least 5 rounds.
inline std::vector<figure> take_turns(cudaStream_t stream, const std::vector<timed_case>& cases, const ceilings& top,
                                      double seconds) {
  constexpr double batch_us = 2000;
  constexpr int most_calls = 64, least_rounds = 5, most_rounds = 500;
  stopwatch watch;
  struct prepared {
    int calls = 1;
    std::function<void()> run;
    std::vector<double> us;
  };
  std::vector<prepared> all;
  for (const timed_case& c : cases) {
    c.call();  // loads the kernels: a capture must not
    const double one = watch(stream, c.call);
    prepared p;
    p.calls = std::clamp(static_cast<int>(batch_us / std::max(one, 1.0)) + 1, 1, most_calls);
    const auto repeat = [n = p.calls](const auto& f) {
      for (int i = 0; i < n; ++i) f();
    };
    if (c.how == batch::eager) {
      p.run = [repeat, call = c.call] { repeat(call); };
    } else if (c.how == batch::one_graph) {
      auto g = std::make_shared<captured>(stream, [&] { repeat(c.call); });
      p.run = [g, stream] { g->launch(stream); };
    } else {
      auto g = std::make_shared<captured>(stream, c.call);
      p.run = [g, stream, repeat] { repeat([&] { g->launch(stream); }); };
    }
    p.run();  // the first launch of a graph uploads it
    all.push_back(std::move(p));
  }
  must(cudaStreamSynchronize(stream), "warming up");
  double spent = 0;
  for (int round = 0; round < most_rounds && (round < least_rounds || spent < 1e6 * seconds); ++round)
    for (prepared& p : all) {
      const double us = watch(stream, p.run);
      p.us.push_back(us / p.calls), spent += us;
    }
  std::vector<figure> out;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    figure f{cases[i].name,
             median(all[i].us),
             *std::min_element(all[i].us.begin(), all[i].us.end()),
             static_cast<int>(all[i].us.size()),
             all[i].calls,
             {},
             0,
             false};
    double bytes_us = 0;
    for (const work& w : cases[i].need) {
      if (w.product || cases[i].need.size() == 1) f.need.flop += w.flop;
      f.need.bytes += w.bytes, f.need.scalar_flop += w.scalar_flop, f.need.cached_bytes += w.cached_bytes;
      f.floor_us += top.floor_us(w);
      if (top.byte_us(w) > top.flop_us(w)) bytes_us += top.byte_us(w);
    }
    f.by_bytes = bytes_us > 0.5 * f.floor_us;
    out.push_back(f);
  }
  return out;
}

}  // namespace gpu_bench
