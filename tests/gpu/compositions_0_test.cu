// Part 0 of the compositions of the support matrix on a GPU against the CPU: the text that the host executor runs.
#include "../matrix/cuda_compositions_0_test.cpp"
#include "../matrix/cuda_examine_test.cpp"
