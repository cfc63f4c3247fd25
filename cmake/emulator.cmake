# The emulated CUDA device (docs/emulator.md): kernels compiled by the host's compiler, against the headers of a CUDA
# toolkit (12 or 13) but without its compiler or libraries.
#
#   accrue_emulator                     the device, in the flavour of this build
#   accrue_add_emulator(NAME …)         another flavour, for the tests of the emulator itself
#   accrue_emulate(TARGET EMULATOR)     compiles the .cu sources of TARGET for it, and links it
option(ACCRUE_EMULATOR_CHECKER "Emulated device: check every access to memory for races, bounds and undefined values" OFF)
option(ACCRUE_KERNEL_COVERAGE "Emulated device: count which lines of the kernels run (scripts/kernel_coverage)" OFF)
set(ACCRUE_CUDA_INCLUDE "" CACHE PATH "Emulated device: the folder of cuda_runtime_api.h, if it is not to be looked for")

if(ACCRUE_EMULATOR_CHECKER AND ACCRUE_SANITIZE)
  message(FATAL_ERROR "ACCRUE_EMULATOR_CHECKER and ACCRUE_SANITIZE exclude each other: both instrument every access")
endif()
if(ACCRUE_EMULATOR_CHECKER AND NOT CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  message(FATAL_ERROR "ACCRUE_EMULATOR_CHECKER relies on how GCC instruments code, but the compiler is ${CMAKE_CXX_COMPILER_ID}")
endif()

if(NOT ACCRUE_CUDA_INCLUDE)
  find_package(CUDAToolkit QUIET)
  if(NOT CUDAToolkit_FOUND)
    message(FATAL_ERROR "The emulated CUDA device needs the headers of a CUDA toolkit: "
                        "install one, or give their folder with -DACCRUE_CUDA_INCLUDE=DIR")
  endif()
  set(ACCRUE_CUDA_INCLUDE ${CUDAToolkit_INCLUDE_DIRS})
endif()

# accrue_add_emulator(NAME [CHECKER] [OPTIONS options…]): the static library NAME. OPTIONS are compiler options for it.
function(accrue_add_emulator name)
  cmake_parse_arguments(ARG "CHECKER" "" "OPTIONS" ${ARGN})
  set(folder ${PROJECT_SOURCE_DIR}/kernels/emulator)
  file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.cpp ${folder}/runtime/*.cpp)
  if(ARG_CHECKER)
    file(GLOB checker_sources CONFIGURE_DEPENDS ${folder}/checker/*.cpp)
    list(APPEND sources ${checker_sources})
  endif()
  add_library(${name} STATIC ${sources})
  target_compile_features(${name} PUBLIC cxx_std_20)
  # In this order: the emulator's headers include the toolkit's of the same names with #include_next. As system headers,
  # because that is no standard C++.
  target_include_directories(${name} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
  target_include_directories(${name} SYSTEM PUBLIC $<BUILD_INTERFACE:${folder}/include>
                                                   $<BUILD_INTERFACE:${ACCRUE_CUDA_INCLUDE}>)
  target_compile_definitions(${name} PUBLIC ACCRUE_CUDA_EMULATED)
  target_compile_options(${name} PRIVATE ${ARG_OPTIONS})
  target_link_libraries(${name} PUBLIC fmt::fmt ${CMAKE_DL_LIBS})
  if(ARG_CHECKER)
    target_compile_definitions(${name} PRIVATE ACCRUE_EMULATOR_CHECKER)
    set_target_properties(${name} PROPERTIES ACCRUE_EMULATOR_CHECKER ON)
  endif()
endfunction()

# accrue_emulate(TARGET EMULATOR): TARGET must have its .cu sources already.
function(accrue_emulate target emulator)
  # Device code reads memory through types that it was not written with, and the device contracts a * b + c by rules of
  # its own: the host's compiler is not to have any.
  set(options -xc++ -fno-strict-aliasing -ffp-contract=off -Wno-unknown-pragmas)
  get_target_property(is_checker ${emulator} ACCRUE_EMULATOR_CHECKER)
  # Not for the checker: a source that is compiled twice would have two sets of counters, of which gcov keeps one.
  if(ACCRUE_KERNEL_COVERAGE AND NOT is_checker)
    list(APPEND options --coverage)
    target_link_options(${target} PUBLIC $<BUILD_INTERFACE:--coverage>)
  endif()
  if(is_checker)
    # The instrumentation only: its functions are the emulator's, so that the linker must not hear of this.
    list(APPEND options -g1 -fsanitize=thread,alignment,bounds --param=tsan-instrument-func-entry-exit=0)
  endif()
  get_target_property(sources ${target} SOURCES)
  list(FILTER sources INCLUDE REGEX "\\.cu$")
  # By way of a property of the target: one source may be compiled for several emulators.
  set_target_properties(${target} PROPERTIES ACCRUE_EMULATED_OPTIONS "${options}")
  set_source_files_properties(${sources} TARGET_DIRECTORY ${target} PROPERTIES
    LANGUAGE CXX SKIP_PRECOMPILE_HEADERS ON COMPILE_OPTIONS "$<TARGET_PROPERTY:ACCRUE_EMULATED_OPTIONS>")
  target_link_libraries(${target} PRIVATE ${emulator})
endfunction()

set(ACCRUE_EMULATOR_FLAVOUR)
if(ACCRUE_EMULATOR_CHECKER)
  set(ACCRUE_EMULATOR_FLAVOUR CHECKER)
endif()
accrue_add_emulator(accrue_emulator ${ACCRUE_EMULATOR_FLAVOUR})
target_link_libraries(accrue_emulator PRIVATE $<BUILD_INTERFACE:accrue_compile_options>)
# Every barrier goes through the engine. It is free of undefined behaviour where its own tests are built with all checks.
set_target_properties(accrue_emulator PROPERTIES ACCRUE_SANITIZERS address)
