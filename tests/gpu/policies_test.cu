// Overflow, priorities and routers of a layer on a GPU against the CPU backend: the text that the host executor runs.
#include "../executor/layer_policies_test.cpp"
