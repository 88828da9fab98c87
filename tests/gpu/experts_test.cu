// Mixtures, experts and units of a layer on a GPU against the CPU backend: the text that the host executor runs.
#include "../executor/layer_experts_test.cpp"
