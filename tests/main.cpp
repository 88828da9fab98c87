// The one main of every test program: doctest's, with its options (--help lists them).
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
