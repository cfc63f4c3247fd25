# What a builder may choose, and the compiler settings that every target shares.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

option(ACCRUE_BUILD_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(ACCRUE_BUILD_BENCHMARKS "Build the kernel benchmarks" ${PROJECT_IS_TOP_LEVEL})
option(ACCRUE_SANITIZE "AddressSanitizer and UndefinedBehaviorSanitizer" OFF)
option(ACCRUE_FUZZ "Build the fuzz targets of tests/fuzz alone, with clang and libFuzzer" OFF)
option(ACCRUE_WARNINGS_AS_ERRORS "Treat warnings as errors" OFF)
option(ACCRUE_BATCHES "Compile several small sources at a time: the whole build is faster, one change is slower to compile" ON)
set(ACCRUE_GEMM "oneDNN" CACHE STRING "Matrix multiplication on the CPU: oneDNN, or BLAS for any CBLAS library")
set_property(CACHE ACCRUE_GEMM PROPERTY STRINGS oneDNN BLAS)

set(ACCRUE_CUDA "OFF" CACHE STRING "The CUDA backend: OFF, ON (nvcc), or EMULATED (its kernels run on the CPU)")
set_property(CACHE ACCRUE_CUDA PROPERTY STRINGS OFF ON EMULATED)

# For C++; what nvcc compiles is compiled again for the emulated device, with these.
add_library(accrue_compile_options INTERFACE)
target_compile_options(accrue_compile_options INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wshadow;-Wno-missing-field-initializers>")  # designated initialisers leave the rest at its default
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # At -O3 gcc 12 warns of an overflow inside fmt 9's parser of format strings that cannot happen.
  target_compile_options(accrue_compile_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-stringop-overflow>)
endif()
# Half of the time of a build went into reading these again for every source. Sources include what they use all the same.
target_precompile_headers(accrue_compile_options INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:<fmt/format.h$<ANGLE-R>;<cstdint$<ANGLE-R>;<functional$<ANGLE-R>;<memory$<ANGLE-R>;<optional$<ANGLE-R>;<string$<ANGLE-R>;<string_view$<ANGLE-R>;<vector$<ANGLE-R>>")
if(ACCRUE_WARNINGS_AS_ERRORS)
  target_compile_options(accrue_compile_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
if(ACCRUE_SANITIZE)
  set(sanitizers $<TARGET_PROPERTY:ACCRUE_SANITIZERS>)  # of the target that is compiled
  target_compile_options(accrue_compile_options INTERFACE
    -fsanitize=$<IF:$<BOOL:${sanitizers}>,${sanitizers},address$<COMMA>undefined> -fno-sanitize-recover=undefined
    -fno-omit-frame-pointer)
  target_link_options(accrue_compile_options INTERFACE -fsanitize=address,undefined)
  # gcc's manual: instrumented code gives false positives of this warning. The ci preset has the true ones.
  target_compile_options(accrue_compile_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
endif()
