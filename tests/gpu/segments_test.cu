// Norms of tensors on a GPU against the CPU: the text that the host executor runs.
#include "../executor/segments_test.cpp"
