// The inverse of plans on a GPU against the CPU: the text that the host executor runs.
#include "../executor/invert_kernel_test.cpp"
