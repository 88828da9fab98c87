// What a training loop asks of a backend besides the model: batches in its memory, the optimiser's moments and steps, a
// step that can be repeated, and what steps did.  trainer.hpp is one text for all backends;
// these classes are what differs.
#pragma once

#include "../core/param.hpp"
#include "loader.hpp"
#include "optimizer.hpp"
#include "step_record.hpp"

namespace polymoe::inline v0::backend {

/// Batches of a data set in the memory of a backend.  A specialisation has
///
///   batch_source(context, dataset, loader_options, accumulate = 1)
///   batches(), data(), begin_epoch(context, epoch)
///   fill(context, b, x) -> n          batch b to the first n rows of x [>= n, C*H*W], its labels to labels()
///   labels(n)                         of the last batch, in the backend's memory
///   host_labels(n)                    the same for the host, after fill()
///   mix(n)                            label_mix of the last batch, in the backend's memory
///
/// and for training steps of `accumulate` full batches each, numbered through all epochs:
///
///   begin_step(context, step)         what the host has to do before the step's work is started
///   fill_step(context, x) -> n        the batch of context.step; part of the step's work
///   end_step(context, step, more)     after the work was started; with `more` prepares the next step meanwhile
template <class T, class Backend>
class batch_source;

/// Moments and averaged weights of one optimiser.  A specialisation has
///
///   optimizer_memory(context, entries, values, average)   `entries` outlives it
///   step(context, rule, clip, values, grads, averaging)   part of a step's work; nothing, where a norm is not finite
///   report()                          optimizer_report of the last step, in the backend's memory
///   resume(context)                   after a step that was skipped: the next one is not
///   moment(i), average()              flat buffers like the parameters, in the backend's memory
template <class Rule, class M, class Backend>
class optimizer_memory;

/// Runs the same step again and again.  A specialisation has
///
///   step_runner(repeats)              `repeats`: the work may be written down once and replayed
///   push(context, at, state)          state to `at` in the backend's memory, in stream order; does not wait
///   set_micro(context, at, micro)     part of a step's work: at->micro = micro
///   run(context, work)                work() for the state pushed before
///   forget()                          host values that the work depends on have changed
template <class Backend>
class step_runner;

/// What steps did, kept until it is read.  A specialisation has
///
///   step_records(batch, accumulate), most      unread steps it has room for
///   watch(layer, saved)               every layer of experts, in order
///   ready(context, loss report, optimiser report)   after them
///   note(context, micro, each)        part of a step's work, after a micro-batch; each(f) calls f(layer, saved)
///   finish(context)                   part of a step's work, after the optimiser
///   read(context, first, count)       step_record of each step; waits once
template <class Backend>
class step_records;

}  // namespace polymoe::backend

#include "../backend/cpu/training.hpp"
