# pagoda_library(NAME SOURCES... DEPS...) and pagoda_test(NAME SOURCES... DEPS... LABELS...):
# one CMake target per folder, with the project's warnings and sanitizers.
add_library(pagoda_flags INTERFACE)
target_include_directories(pagoda_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(pagoda_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow;-Wno-unused-parameter;-fno-math-errno;-ffp-contract=off>
  $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-Xptxas=-v;-Xcompiler=-Wall;-Xcompiler=-Wno-unused-parameter>)
if(PAGODA_SANITIZE STREQUAL "address")
  target_compile_options(pagoda_flags INTERFACE -O1 -fsanitize=address,undefined
                         -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1)
  target_link_options(pagoda_flags INTERFACE -fsanitize=address,undefined)
elseif(PAGODA_SANITIZE STREQUAL "thread")
  target_compile_options(pagoda_flags INTERFACE -O1 -fsanitize=thread -g1)
  target_link_options(pagoda_flags INTERFACE -fsanitize=thread)
endif()

function(pagoda_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC pagoda_flags ${ARG_DEPS})
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
  if(NOT ARG_HOT AND CMAKE_BUILD_TYPE STREQUAL "Release")
    set_source_files_properties(${ARG_SOURCES} PROPERTIES
                                COMPILE_OPTIONS "$<IF:$<BOOL:${PAGODA_SANITIZE}>,-O0,-O1>")
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
