// Routing by a table in device memory on a GPU against the CPU: the text that the host executor runs.
#include "../executor/fixed_kernel_test.cpp"
