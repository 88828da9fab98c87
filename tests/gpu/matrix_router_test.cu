// The router at every size on a GPU against the CPU: the text that the host executor runs at a few.
#include "../executor/matrix_router_test.cpp"
