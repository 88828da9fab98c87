// Part 3 of the compositions of the support matrix on a GPU against the CPU: the text that the host executor runs.
#include "../matrix/cuda_compositions_3_test.cpp"
