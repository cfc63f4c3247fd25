# Everything Accrue links against comes from the distribution's packages: scripts/packages.txt lists them.
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(ZLIB REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(hwy REQUIRED)

# The libraries behind the CPU kernels: threads (OpenMP), SIMD with run-time dispatch (Highway) and matrix multiplication.
add_library(accrue_cpu_math INTERFACE)
target_link_libraries(accrue_cpu_math INTERFACE OpenMP::OpenMP_CXX hwy::hwy)
if(ACCRUE_GEMM STREQUAL "oneDNN")
  # Found by hand: the package's own CMake file also demands OpenCL, which the CPU backend never touches.
  find_path(DNNL_INCLUDE_DIR dnnl.hpp REQUIRED)
  find_library(DNNL_LIBRARY dnnl REQUIRED)
  target_include_directories(accrue_cpu_math SYSTEM INTERFACE ${DNNL_INCLUDE_DIR})
  target_link_libraries(accrue_cpu_math INTERFACE ${DNNL_LIBRARY})
  target_compile_definitions(accrue_cpu_math INTERFACE ACCRUE_GEMM_ONEDNN)
elseif(ACCRUE_GEMM STREQUAL "BLAS")
  find_package(BLAS REQUIRED)
  target_link_libraries(accrue_cpu_math INTERFACE BLAS::BLAS)
else()
  message(FATAL_ERROR "ACCRUE_GEMM must be oneDNN or BLAS, but is '${ACCRUE_GEMM}'")
endif()
