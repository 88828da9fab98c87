// Experts that pick their units on a GPU against the CPU: the text that the host executor runs.
#include "../executor/columns_kernel_test.cpp"
