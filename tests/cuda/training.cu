// Compiles the training of a vision transformer with Mixture-of-Experts blocks for the GPU, host code included.
#include <polymoe/cuda_nn.cuh>

#include "train/tiny_vit.hpp"

double train_on_gpu() {
  using model = polymoe::tiny::moe_vit<polymoe::bf16, polymoe::cuda>;
  const polymoe::train_test data = polymoe::tiny::images();
  polymoe::trainer<model> t(polymoe::tiny::moe_model<polymoe::bf16, polymoe::cuda>(), polymoe::tiny::options(), data);
  const polymoe::train_step s = t.step();
  t.save("checkpoint.safetensors");
  return s.loss + t.evaluate().accuracy;
}
