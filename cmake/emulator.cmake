# The emulated CUDA device.
set(ACCRUE_EMULATOR_DIR "/work/proto" CACHE PATH "")
find_package(CUDAToolkit REQUIRED)
file(GLOB emulator_sources ${ACCRUE_EMULATOR_DIR}/src/simt_engine.cpp ${ACCRUE_EMULATOR_DIR}/src/simt_runtime.cpp)
add_library(accrue_emulator STATIC ${emulator_sources})
target_include_directories(accrue_emulator SYSTEM BEFORE PUBLIC
  $<BUILD_INTERFACE:${ACCRUE_EMULATOR_DIR}/include> $<BUILD_INTERFACE:${ACCRUE_EMULATOR_DIR}>)
target_include_directories(accrue_emulator SYSTEM PUBLIC $<BUILD_INTERFACE:${CUDAToolkit_INCLUDE_DIRS}>)
target_compile_definitions(accrue_emulator PUBLIC ACCRUE_CUDA_EMULATED ACCRUE_WITH_CUDA SIMT_SHARED_STATIC)
target_compile_options(accrue_emulator PRIVATE -w)
if(ACCRUE_SANITIZE)
  target_compile_options(accrue_emulator PRIVATE -fsanitize=address)
endif()

# Compiles *.cu as C++. Kernels look at the same bytes through several types, as CUDA allows, and contraction into fused
# multiply-adds would make results depend on the machine.
function(accrue_emulated_sources)
  set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX SKIP_PRECOMPILE_HEADERS ON
    COMPILE_OPTIONS "-x;c++;-fno-strict-aliasing;-ffp-contract=off;-Wno-unknown-pragmas")
endfunction()
