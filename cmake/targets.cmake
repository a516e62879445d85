# pagoda_library(NAME SOURCES... DEPS...) and pagoda_test(NAME SOURCES... DEPS... LABELS...):
# one CMake target per folder, with the project's warnings and sanitizers.
add_library(pagoda_flags INTERFACE)
target_include_directories(pagoda_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(pagoda_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow;-Wno-unused-parameter;-fno-math-errno;-ffp-contract=off;-pthread>
  $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-Xptxas=-v;-Xcompiler=-Wall;-Xcompiler=-Wno-unused-parameter>)
if(PAGODA_SANITIZE STREQUAL "address")
  target_compile_options(pagoda_flags INTERFACE -O1 -fsanitize=address,undefined
                         -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1)
  target_link_options(pagoda_flags INTERFACE -fsanitize=address,undefined)
elseif(PAGODA_SANITIZE STREQUAL "thread")
  target_compile_options(pagoda_flags INTERFACE -O1 -fsanitize=thread -g1)
  target_link_options(pagoda_flags INTERFACE -fsanitize=thread)
endif()

# What nearly every source includes, compiled once: a precompiled header for the libraries
# and one, with Catch2, for the tests.
set(common_headers <algorithm> <cmath> <functional> <map> <memory> <mutex> <string> <thread>
    <vector> <absl/status/statusor.h> <absl/strings/str_cat.h> <absl/time/time.h>)
set(for_ccache $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)  # It cannot keep objects without.
function(pagoda_precompiled name)  # NAME HEADERS...
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/${name}.cc CONTENT "// Makes a precompiled header.\n")
  add_library(${name} OBJECT ${CMAKE_BINARY_DIR}/${name}.cc)
  target_link_libraries(${name} PRIVATE pagoda_flags)
  target_precompile_headers(${name} PRIVATE ${ARGN})
  target_compile_options(${name} PRIVATE ${for_ccache})
endfunction()
pagoda_precompiled(pagoda_library_headers ${common_headers})
pagoda_precompiled(pagoda_test_headers <catch2/catch.hpp> <random> ${common_headers})
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  set(test_optimisation "$<IF:$<BOOL:${PAGODA_SANITIZE}>,-O0,-O1>")
endif()
target_compile_options(pagoda_test_headers PRIVATE ${test_optimisation})

# With OWN_OPTIONS the library's own compile options keep it from the precompiled header.
function(pagoda_library name)
  cmake_parse_arguments(ARG "OWN_OPTIONS" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC pagoda_flags ${ARG_DEPS})
  if(NOT ARG_OWN_OPTIONS)
    target_precompile_headers(${name} REUSE_FROM pagoda_library_headers)
    target_compile_options(${name} PRIVATE ${for_ccache})
  endif()
endfunction()

# `ninja unit_tests` builds what `ctest -L unit` runs. Under a sanitizer that is where it
# pays and CI's minutes allow: AddressSanitizer where memory is handled by hand and bytes
# are parsed, ThreadSanitizer where threads meet.
add_custom_target(unit_tests)
set(PAGODA_ADDRESS_TESTS base_test dense_kernels_test sparse_kernels_test retrieval_kernels_test
    gpu_emulation_test embedding_store_test worker_files_test worker_data_test)
set(PAGODA_THREAD_TESTS base_test dense_kernels_test sparse_kernels_test retrieval_kernels_test
    gpu_emulation_test embedding_store_test server_parts_test parameter_service_test)
set(PAGODA_SANITIZED_TESTS "${PAGODA_ADDRESS_TESTS}")
if(PAGODA_SANITIZE STREQUAL "thread")
  set(PAGODA_SANITIZED_TESTS "${PAGODA_THREAD_TESTS}")
endif()

# A Catch2 executable, registered with ctest test by test. HOT: its time goes into loops of
# its own, say an oracle's.
# UNLISTED: no ctest of its own; the caller adds some.
function(pagoda_test name)
  cmake_parse_arguments(ARG "HOT;UNLISTED" "TIMEOUT" "SOURCES;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  # Tests compile in half to three quarters of the time when they are optimised less; what
  # they test is optimised as ever.
  if(NOT ARG_HOT)
    target_compile_options(${name} PRIVATE ${test_optimisation} ${for_ccache})
    target_precompile_headers(${name} REUSE_FROM pagoda_test_headers)
  endif()
  target_link_libraries(${name} PRIVATE pagoda_catch_main ${ARG_DEPS})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if("unit" IN_LIST ARG_LABELS AND (NOT PAGODA_SANITIZE OR name IN_LIST PAGODA_SANITIZED_TESTS))
    add_dependencies(unit_tests ${name})
  endif()
  if(ARG_UNLISTED)
    return()
  endif()
  catch_discover_tests(${name} DISCOVERY_MODE PRE_TEST TEST_PREFIX "${name}: "
                       PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
endfunction()
