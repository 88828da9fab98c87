// First values on a GPU against the CPU: the text that the host executor runs.
#include "../executor/first_values_test.cpp"
