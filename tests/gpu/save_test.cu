// Save policies of layers on a GPU against the CPU backend: the text that the host executor runs.
#include "../executor/save_kernel_test.cpp"
