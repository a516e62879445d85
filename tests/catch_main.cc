// The Catch2 main, compiled once (it takes longer than most tests).
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
