// Layers of routers on columns on a GPU against the CPU backend: the text that the host executor runs.
#include "../executor/layer_columns_test.cpp"
