# Every third-party package, from Debian 12. Each is linked only by the folder
# whose door it is (docs/architecture.md).
find_package(Threads REQUIRED)
find_package(absl REQUIRED CONFIG)
find_package(spdlog REQUIRED CONFIG)
find_package(Catch2 2 REQUIRED CONFIG)
find_package(Protobuf REQUIRED)
find_package(RocksDB REQUIRED CONFIG)
find_package(Gloo REQUIRED CONFIG)
find_package(ZLIB REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(ZSTD REQUIRED IMPORTED_TARGET libzstd)
# oneDNN's CMake config demands OpenCL headers that nothing here uses.
find_path(DNNL_INCLUDE_DIR dnnl.hpp REQUIRED)
find_library(DNNL_LIBRARY dnnl REQUIRED)
if(PAGODA_GRPC)
  find_package(gRPC REQUIRED CONFIG)
  find_package(CLI11 REQUIRED CONFIG)
  find_package(tomlplusplus REQUIRED CONFIG)
endif()

# CUDA: found, or absent without complaint. The kernels themselves come with the
# GPU worker; today the result only says what this machine could build.
set(PAGODA_HAVE_CUDA OFF)
if(PAGODA_CUDA STREQUAL "AUTO" OR PAGODA_CUDA STREQUAL "ON")
  find_program(PAGODA_NVCC nvcc HINTS ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin)
  if(PAGODA_NVCC)
    set(PAGODA_HAVE_CUDA ON)
  elseif(PAGODA_CUDA STREQUAL "ON")
    message(FATAL_ERROR "PAGODA_CUDA=ON, but no nvcc was found")
  endif()
endif()
message(STATUS "pagoda: CUDA toolkit ${PAGODA_HAVE_CUDA}")
