# The CUDA backend: none, compiled by nvcc, or compiled by the C++ compiler for the emulated device (docs/emulator.md).
# Sets ACCRUE_CUDA_RUNTIME and ACCRUE_CUDA_LIBRARIES, what core/ and kernels/ link.
set(ACCRUE_CUDA_RUNTIME "")
set(ACCRUE_CUDA_LIBRARIES "")

if(ACCRUE_CUDA STREQUAL "ON")
  # From Turing to Hopper, and code that newer GPUs compile when they load it. CMAKE_CUDA_ARCHITECTURES chooses others.
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
    set(CMAKE_CUDA_ARCHITECTURES 75-real 80-real 86-real 89-real 90)
  endif()
  enable_language(CUDA)
  find_package(CUDAToolkit 12.0 REQUIRED)
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  add_library(accrue_cuda INTERFACE)
  # The shared run-time library: programs that load other CUDA libraries then have one of it, not two.
  target_link_libraries(accrue_cuda INTERFACE CUDA::cudart)
  target_compile_definitions(accrue_cuda INTERFACE ACCRUE_WITH_CUDA)
  # fmt 9 takes nvcc for a compiler without constexpr, but checks its format strings by consteval all the same.
  target_compile_definitions(accrue_cuda INTERFACE $<$<COMPILE_LANGUAGE:CUDA>:FMT_USE_CONSTEXPR=1>)
  target_compile_options(accrue_cuda INTERFACE
    "$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;-lineinfo;-Xcompiler=-Wall,-Wextra,-Wno-missing-field-initializers>")
  set(ACCRUE_CUDA_RUNTIME accrue_cuda)
  set(ACCRUE_CUDA_LIBRARIES accrue_cuda CUDA::cublasLt)
elseif(ACCRUE_CUDA STREQUAL "EMULATED")
  include(cmake/emulator.cmake)
  set(ACCRUE_CUDA_RUNTIME accrue_emulator)
  set(ACCRUE_CUDA_LIBRARIES accrue_emulator)
elseif(NOT ACCRUE_CUDA STREQUAL "OFF")
  message(FATAL_ERROR "ACCRUE_CUDA must be OFF, ON or EMULATED, but is '${ACCRUE_CUDA}'")
endif()

# accrue_cuda_sources(FOLDER VARIABLE): adds the folder's *.cu to the list, or what stands in for them.
function(accrue_cuda_sources folder variable)
  file(GLOB cuda CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.cu ${PROJECT_SOURCE_DIR}/${folder}/cuda/*.cu)
  file(GLOB none CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/cuda_*_none.cpp)
  set(sources ${${variable}})
  if(ACCRUE_CUDA STREQUAL "OFF")
    set(cuda "")
  else()
    if(none)
      list(REMOVE_ITEM sources ${none})
    endif()
    if(ACCRUE_CUDA STREQUAL "EMULATED")
      accrue_emulated_sources(${cuda})
    endif()
  endif()
  set(${variable} ${sources} ${cuda} PARENT_SCOPE)
endfunction()
