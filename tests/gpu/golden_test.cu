// PyTorch's values on a GPU: the text that the host executor runs.
#include "../executor/golden_cuda_test.cpp"
