// arch: sm_80 only
// Every kernel once for sm_80, so that ./check sees what the assembler says of it there: the other files of this folder
// are for sm_90a, and for sm_80 too only where POLYMOE_QUICK_BUILD is off.  all_sm80.cmake compares this file with the
// folder of kernels.
#include <polymoe/backend/cuda/dispatch/grouped.cuh>
#include <polymoe/backend/cuda/kernel/attention.cuh>
#include <polymoe/backend/cuda/kernel/attention_tiles.cuh>
#include <polymoe/backend/cuda/kernel/batch.cuh>
#include <polymoe/backend/cuda/kernel/batch_norm.cuh>
#include <polymoe/backend/cuda/kernel/bias.cuh>
#include <polymoe/backend/cuda/kernel/columns.cuh>
#include <polymoe/backend/cuda/kernel/group_norm.cuh>
#include <polymoe/backend/cuda/kernel/grouped.cuh>
#include <polymoe/backend/cuda/kernel/grouped_engine.cuh>
#include <polymoe/backend/cuda/kernel/grouped_epilogue.cuh>
#include <polymoe/backend/cuda/kernel/grouped_load.cuh>
#include <polymoe/backend/cuda/kernel/grouped_tiles.hpp>
#include <polymoe/backend/cuda/kernel/invert.cuh>
#include <polymoe/backend/cuda/kernel/logits.cuh>
#include <polymoe/backend/cuda/kernel/loss.cuh>
#include <polymoe/backend/cuda/kernel/map_owners.cuh>
#include <polymoe/backend/cuda/kernel/maps.cuh>
#include <polymoe/backend/cuda/kernel/mma.cuh>
#include <polymoe/backend/cuda/kernel/move.cuh>
#include <polymoe/backend/cuda/kernel/norm.cuh>
#include <polymoe/backend/cuda/kernel/optimizer.cuh>
#include <polymoe/backend/cuda/kernel/place.cuh>
#include <polymoe/backend/cuda/kernel/pointwise.cuh>
#include <polymoe/backend/cuda/kernel/pool.cuh>
#include <polymoe/backend/cuda/kernel/route.cuh>
#include <polymoe/backend/cuda/kernel/route_args.cuh>
#include <polymoe/backend/cuda/kernel/route_backward.cuh>
#include <polymoe/backend/cuda/kernel/route_cosine.cuh>
#include <polymoe/backend/cuda/kernel/route_finish.cuh>
#include <polymoe/backend/cuda/kernel/rows.cuh>
#include <polymoe/backend/cuda/kernel/slot_stats.cuh>
#include <polymoe/backend/cuda/kernel/slots.cuh>
#include <polymoe/polymoe.hpp>

namespace polymoe {
namespace {

using namespace backend::kernel;
using namespace grouped;

template <class... Params>
const void* compiled(void (*kernel)(Params...)) {
  return reinterpret_cast<const void*>(kernel);
}

// Rows of 16-byte accesses.
constexpr int wide = 16 / sizeof(bf16), wide_float = 16 / sizeof(float);

using gelu = act::gelu_tanh;
using router = top_k<2>;
using by_plan = top_k<2, score::sinkhorn<score::by_plan>>;
using limit = capacity::bounded<>;
using losses = balance::sum<balance::importance>;
using weights = combine::affinity;
using deep = grouped::detail::tile_of<bf16, exact, tile_kind::deep>;  // what sm_80 takes
using tf32_tile = grouped::detail::tile_of<float, tf32, tile_kind::small>;
using scalar_tile = grouped::detail::tile_of<float, exact, tile_kind::small>;
using hidden_gradient = epilogue::activate_gradient<gelu, bf16, true, epilogue::gates_of_plan<float>>;

}  // namespace

extern const void* const kernels_for_sm_80[];
const void* const kernels_for_sm_80[] = {
    // attention.cuh
    compiled(attention_forward_kernel<bf16, 64>),
    compiled(attention_delta_kernel<bf16>),
    compiled(attention_query_kernel<bf16, 64>),
    compiled(attention_key_kernel<bf16, 64>),
    // batch.cuh
    compiled(rand_augment_kernel<bf16>),
    compiled(fill_batch_kernel<bf16>),
    compiled(set_micro_kernel<0>),
    compiled(record_kernel<record_threads>),
    // batch_norm.cuh
    compiled(column_pairs_kernel<column_pair::gradients, bf16, wide>),
    compiled(column_pairs_join_kernel<column_pair::gradients, float>),
    compiled(batch_norm_note_kernel<float>),
    compiled(batch_norm_recall_kernel<float>),
    compiled(batch_norm_commit_kernel<256>),
    compiled(batch_norm_kernel<bf16, wide>),
    compiled(batch_norm_input_kernel<bf16, wide>),
    // bias.cuh
    compiled(bias_activate_kernel<gelu, bf16, wide>),
    compiled(convert_kernel<bf16, float, wide>),
    compiled(column_sums_kernel<bf16, wide>),
    compiled(add_pieces_kernel<float>),
    // columns.cuh
    compiled(route_pick_kernel<pick_rule::by_rank_and_count, route_tuning::pick_threads, bf16>),
    compiled(route_plan_kernel<true, by_plan, float>),
    // group_norm.cuh
    compiled(group_norm_stats_kernel<bf16>),
    compiled(group_norm_kernel<act::relu, bf16, wide>),
    compiled(group_norm_sums_kernel<act::relu, bf16, wide>),
    compiled(group_norm_means_kernel<float>),
    compiled(group_norm_input_kernel<act::relu, bf16, wide>),
    // grouped.cuh: matrix instructions of bf16 and tf32, multiply-adds
    compiled(grouped_rows_kernel<deep, epilogue::activate<gelu, bf16>, false, true>),
    compiled(grouped_rows_kernel<deep, hidden_gradient, true, true>),
    compiled(grouped_rows_kernel<tf32_tile, epilogue::plain<float>, false, true>),
    compiled(grouped_weights_kernel<deep, true>),
    compiled(grouped_weights_kernel<scalar_tile, true>),
    compiled(grouped_reduce_kernel<bf16>),
    compiled(grouped_dots_kernel<float>),
    // invert.cuh
    compiled(units_of_slots_kernel<float>),
    // loss.cuh
    compiled(look_up_labels_kernel<256>),
    compiled(cross_entropy_kernel<bf16, wide>),
    compiled(loss_report_kernel<report_warps>),
    // map_owners.cuh
    compiled(map_owners_kernel<bf16>),
    // maps.cuh
    compiled(windows_kernel<bf16, wide>),
    compiled(window_sums_kernel<bf16, wide>),
    compiled(window_gradient_kernel<bf16, wide>),
    compiled(turn_weight_kernel<bf16, float>),
    compiled(add_turned_kernel<float>),
    compiled(add_map_sums_kernel<float>),
    compiled(max_pool2d_kernel<bf16, wide>),
    compiled(max_pool2d_backward_kernel<bf16, wide>),
    // move.cuh
    compiled(gather_kernel<bf16, wide, float>),
    compiled(sum_slots_kernel<true, bf16, wide, float>),
    compiled(combine_backward_kernel<bf16, wide, float>),
    compiled(clear_empty_kernel<bf16, float>),
    // norm.cuh
    compiled(layer_norm_kernel<bf16, wide>),
    compiled(layer_norm_input_kernel<bf16, wide>),
    compiled(layer_norm_sums_kernel<bf16, wide>),
    compiled(layer_norm_join_kernel<float>),
    // optimizer.cuh
    compiled(gradient_squares_kernel<float>),
    compiled(gradient_norm_kernel<norm_stretch>),
    compiled(optimizer_step_kernel<adamw, float, wide_float>),
    // pointwise.cuh
    compiled(map_kernel<backend::kernel::activate_gradient<gelu>, bf16, wide>),
    compiled(dropout_kernel<bf16, wide, false>),
    // pool.cuh
    compiled(positions_kernel<bf16, wide>),
    compiled(positions_backward_kernel<bf16, wide>),
    compiled(mean_pool_kernel<bf16, wide>),
    compiled(pool_backward_kernel<false, bf16, wide>),
    compiled(first_token_kernel<bf16, wide>),
    compiled(patches_kernel<true, bf16, wide>),
    compiled(patches_backward_kernel<bf16>),
    // route.cuh: rows of a warp and of a block
    compiled(route_forward_kernel<router, limit, losses, weights, 32, bf16>),
    compiled(route_forward_kernel<router, limit, losses, weights, max_experts, bf16>),
    compiled(route_group_keys_kernel<std::uint64_t>),
    // route_backward.cuh
    compiled(route_gates_kernel<by_plan, limit, losses, weights, 32, float>),
    compiled(route_backward_rows_kernel<router, limit, losses, weights, 32, bf16>),
    compiled(route_products_kernel<1, false, bf16>),
    compiled(route_pieces_kernel<1, bf16>),
    // route_cosine.cuh
    compiled(route_projection_kernel<false, bf16>),
    compiled(route_lengths_kernel<false, true, bf16>),
    compiled(route_cosine_gradient_kernel<bf16>),
    compiled(route_lengths_gradient_kernel<false, true, bf16>),
    // rows.cuh
    compiled(copy_rows_kernel<bf16, wide>),
    compiled(add_rows_kernel<bf16, wide>),
    compiled(good_rows_kernel<bf16, wide>),
    compiled(activate_rows_kernel<gelu, bf16, wide>),
    compiled(fold_gates_kernel<bf16, wide, float>),
    compiled(activate_gated_kernel<act::silu, bf16, wide>),
    compiled(activate_gated_backward_kernel<act::silu, bf16, wide>),
    compiled(pool_units_kernel<unit::image<>, bf16>),
    compiled(spread_units_kernel<unit::image<>, bf16>),
    compiled(move_bias_kernel<256>),
    compiled(adapt_kernel<balance::relu_l1>),
    compiled(add_prices_kernel<256>),
    compiled(commit_prices_kernel<256>),
    compiled(move_thresholds_kernel<256>),
    // slot_stats.cuh
    compiled(slot_stats_kernel<float>),
    // slots.cuh
    compiled(slot_softmax_kernel<bf16, wide, true, true>),
    compiled(slot_gradient_kernel<bf16>),
    compiled(slot_dots_kernel<bf16, wide>),
    compiled(unit_length_gradient_kernel<bf16, wide>),
    compiled(slot_length_gradient_kernel<float>),
    compiled(phi_parts_kernel<bf16>),
    compiled(mark_bad_kernel<bf16>),
};

}  // namespace polymoe
