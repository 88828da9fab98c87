// Solvers of sparse transport on a GPU against the CPU: the text that the host executor runs.
#include "../executor/transport_solvers_kernel_test.cpp"
