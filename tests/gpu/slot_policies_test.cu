// Soft MoE with other policies on a GPU against the CPU backend: the text that the host executor runs.
#include "../executor/slot_policies_test.cpp"
