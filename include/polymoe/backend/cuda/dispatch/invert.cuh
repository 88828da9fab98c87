// inverted(plan) on CUDA: the inverse as a list of slots per unit (CSR), for units with any number of experts.
//
// A router that lets experts pick units, or keeps every score above a threshold, knows who is in which slot but has no
// fixed K; combine and the backward pass walk this list.  Where the lists begin is a scan of their lengths, and the
// lists are the slots, sorted by unit: both are CUB's, so only translation units that need them include this file.
#pragma once

#include "../backend.cuh"
#include "../kernel/invert.cuh"
#include "scan.cuh"
#include "sort.cuh"

namespace polymoe::inline v0 {
namespace backend {
namespace detail {

/// Bits of numbers 0 .. tokens.
constexpr int unit_bits(int tokens) {
  int bits = 1;
  while (bits < 31 && tokens >> bits != 0) ++bits;
  return bits;
}
/// The workspace of one call.
struct invert_scratch {
  unsigned *unit = nullptr, *sorted = nullptr;  ///< [S] unit of a slot, T for none
  int *id = nullptr, *count = nullptr;          ///< [S] slots; [T + 1]
  std::byte* temporary = nullptr;
  std::size_t temporary_bytes = 0;

  template <class C>
  invert_scratch(const sparse_plan<C>& p, arena& a) {
    unit = a.take_raw<unsigned>(p.max_slots), sorted = a.take_raw<unsigned>(p.max_slots);
    id = a.take_raw<int>(p.max_slots), count = a.take_raw<int>(index{p.tokens} + 1);
    temporary_bytes = std::max(device::exclusive_scan_bytes(p.tokens + 1),
                             device::detail::sort_bytes<unsigned>(p.max_slots, unit_bits(p.tokens)));
    temporary = a.take_raw<std::byte>(static_cast<index>(temporary_bytes));
  }
};

}  // namespace detail

/// Bytes of workspace that inverted() takes for plans of these sizes, or smaller ones.
template <class C>
std::size_t invert_workspace_bytes(const sparse_plan<C>& p) {
  arena dry;
  const detail::invert_scratch all(p, dry);
  static_cast<void>(all);
  return dry.peak();
}

/// The plan with k = 0 and its lists in the caller's memory: the numbers of the CPU's inverted() (plan/invert.hpp).
/// `slots_begin` has room for T + 1 numbers, `slot_of` for max_slots; those of `slot_of` behind slots_begin[T] are not
/// meant for anything.  Reads `begin` and `token` of p, whose empty slots hold -1; a slot with a number outside [0, T)
/// counts as empty.  Everything is device memory; nothing is allocated or waited for, and the call can be captured.
template <class C>
sparse_plan<C> inverted(const context<cuda_device>& c, const sparse_plan<C>& p, int* slots_begin, int* slot_of,
                        void* workspace, std::size_t workspace_bytes) {
  require(p.layout != plan_layout::identity, "inverted: every expert of an identity plan sees all ", p.tokens,
          " units, its inverse is not stored");
  const std::size_t need = invert_workspace_bytes(p);
  require(workspace_bytes >= need, "inverted: ", workspace_bytes, " bytes of workspace, ", p.max_slots, " slots and ",
          p.tokens, " units need ", need);
  const device::stream_handle stream = c.stream.handle;
  arena work(workspace, workspace_bytes);
  const detail::invert_scratch s(p, work);
  device::clear(s.count, (static_cast<std::size_t>(p.tokens) + 1) * sizeof(int), stream);
  if (p.max_slots > 0) {
    const index blocks = ceil_div(p.max_slots, kernel::invert_threads), most = index{c.stream.blocks} * 8;
    device::launch({.kernel = "units of slots",
                    .grid = static_cast<int>(blocks < most ? blocks : most),
                    .block = kernel::invert_threads,
                    .shared = 0,
                    .stream = stream},
                   kernel::units_of_slots_kernel<C>, p, s.unit, s.id, s.count);
    device::detail::sort_pairs<unsigned>(stream, s.temporary, s.temporary_bytes, s.unit, s.sorted, s.id, slot_of,
                                         p.max_slots, detail::unit_bits(p.tokens));
  }
  device::exclusive_scan(stream, s.temporary, s.temporary_bytes, s.count, slots_begin, p.tokens + 1);
  sparse_plan<C> out = p;
  out.k = 0;
  out.slots_begin = slots_begin, out.slot_of = slot_of;
  out.expert_of = nullptr;
  return out;
}

}  // namespace backend
using backend::invert_workspace_bytes;
using backend::inverted;
}  // namespace polymoe
