// Experts, gather and combine at every size on a GPU against the CPU: the text that the host executor runs at a few.
#include "../executor/matrix_experts_test.cpp"
