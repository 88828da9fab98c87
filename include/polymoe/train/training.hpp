// What a training loop asks of a backend besides the model: batches in its memory, and the optimiser's moments and steps.
// trainer.hpp is one text for all backends; these two classes are what differs.
#pragma once

#include "../core/param.hpp"
#include "loader.hpp"
#include "optimizer.hpp"

namespace polymoe::inline v0::backend {

/// Batches of a data set in the memory of a backend.  A specialisation has
///
///   batch_source(context, dataset, loader_options)
///   batches(), data(), begin_epoch(context, epoch)
///   fill(context, b, x) -> n          batch b to the first n rows of x [>= n, C*H*W], its labels to labels()
///   labels(n)                         of the last batch, in the backend's memory
///   host_labels(n)                    the same for the host
template <class T, class Backend>
class batch_source;

/// Moments and averaged weights of one optimiser.  A specialisation has
///
///   optimizer_memory(context, entries, values, average)   `entries` outlives it
///   step(context, rule, clip, values, grads, averaging) -> norm    before clipping; not finite: nothing was changed
///   moment(i), average()              flat buffers like the parameters, in the backend's memory
template <class Rule, class M, class Backend>
class optimizer_memory;

}  // namespace polymoe::backend

#include "../backend/cpu/training.hpp"
