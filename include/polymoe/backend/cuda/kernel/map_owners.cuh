// Feature maps of experts on CUDA: whose each map is, and which map of the input it reads.
//
// A unit is a map, so a map of a call is a slot of the plan.  Counts of experts stay on the device: one launch writes
// tables that the kernels of maps look into, and the segments of each chunk of maps.  Modules of nn, whose maps all
// have one set of parameters, pass no tables.
#pragma once

#include "rows.cuh"

namespace polymoe::inline v0 {
namespace backend::kernel {

/// Which maps of a call are computed, with whose parameters, from which map of the input.  All null: every map, with
/// the first parameters there are, from the map of its own number.
struct map_owners {
  const int* expert = nullptr;  ///< [maps] -1: nobody's, nor are those behind it
  const int* source = nullptr;  ///< [maps] -1: zeros

  POLYMOE_DEVICE bool nobodys(index map) const { return expert && expert[map] < 0; }
  /// Of a map that is somebody's.
  POLYMOE_DEVICE index expert_of(index map) const { return expert ? expert[map] : 0; }
  POLYMOE_DEVICE index source_of(index map) const { return source ? source[map] : map; }
  /// Those of the maps from `first` on.
  map_owners from(index first) const { return {expert ? expert + first : nullptr, source ? source + first : nullptr}; }
};

/// The tables of a call, maps read through `x`; and first [chunks, experts + 1], the segments in each chunk of `each`
/// maps, counted from its first one.
template <class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(row_threads)
    map_owners_kernel(grouped::segments maps, grouped::rows_of<T> x, index each, int* expert, int* source, int* first) {
  const index owned = owned_rows(maps);
  for (index i = thread_number(); i < maps.slots; i += thread_total()) {
    const index row = i * maps.unit_rows;
    int e = -1, from = -1;
    if (row < owned) {
      int end = maps.experts;  // the last expert that begins at or before the map
      for (e = 0; end - e > 1;) {
        const int middle = e + (end - e) / 2;
        if (maps.begin(middle) <= row)
          e = middle;
        else
          end = middle;
      }
      from = x.source_row(maps, static_cast<int>(row));
    }
    expert[i] = e, source[i] = from < 0 ? -1 : from / maps.unit_rows;
  }
  const index entries = maps.experts + 1, chunks = ceil_div(maps.slots, each);
  for (index i = thread_number(); i < chunks * entries; i += thread_total()) {
    const index at = maps.begin(i % entries) / maps.unit_rows - i / entries * each;
    first[i] = static_cast<int>(at < 0 ? 0 : at > each ? each : at);
  }
}

}  // namespace backend::kernel
}  // namespace polymoe
