// Experts that convolve on a GPU against the CPU backend: the text that the host executor runs.
#include "../executor/map_expert_kernel_test.cpp"
