// arch: sm_80
// Compiles what a training step has besides the model: batches by the device, the ring of steps, the records of steps.
#include <polymoe/backend/cuda/dispatch/batches.cuh>
#include <polymoe/backend/cuda/dispatch/steps.cuh>

namespace polymoe {

template class backend::batch_source<bf16, cuda>;
template class backend::batch_source<float, cuda>;
template class backend::step_runner<cuda>;
template class backend::step_records<cuda>;

}  // namespace polymoe
