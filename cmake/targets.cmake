# accrue_library(NAME LINKS targets… PRIVATE_LINKS targets…): the static library of one folder, accrue::NAME.
# Every *.cpp of the folder (and of its cpu/) belongs to it, and every *.cu where the build has CUDA; programs' main files are listed as programs instead.
set(ACCRUE_PROGRAM_SOURCES ${PROJECT_SOURCE_DIR}/train/gpt.cpp ${PROJECT_SOURCE_DIR}/train/mlp.cpp)
set(ACCRUE_INSTALL_INCLUDEDIR include/accrue)  # below the prefix; an include says "core/tensor.h", as in the sources
set(ACCRUE_LIBRARIES "")                       # in the order of their declaration

function(accrue_library name)
  cmake_parse_arguments(ARG "" "" "LINKS;PRIVATE_LINKS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cpp ${CMAKE_CURRENT_SOURCE_DIR}/${name}/cpu/*.cpp)
  list(REMOVE_ITEM sources ${ACCRUE_PROGRAM_SOURCES})
  accrue_cuda_sources(${name} sources)
  add_library(accrue_${name} STATIC ${sources})
  add_library(accrue::${name} ALIAS accrue_${name})
  set_target_properties(accrue_${name} PROPERTIES EXPORT_NAME ${name})
  target_compile_features(accrue_${name} PUBLIC cxx_std_20)
  target_include_directories(accrue_${name} PUBLIC $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}>
                                                   $<INSTALL_INTERFACE:${ACCRUE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(accrue_${name} PUBLIC ${ARG_LINKS}
                                       PRIVATE ${ARG_PRIVATE_LINKS} $<BUILD_INTERFACE:accrue_compile_options>)
  if(NOT ACCRUE_CUDA STREQUAL "OFF")
    target_compile_definitions(accrue_${name} PRIVATE ACCRUE_WITH_CUDA)
  endif()
  if(ACCRUE_CUDA STREQUAL "EMULATED" AND ACCRUE_CUDA_RUNTIME IN_LIST ARG_PRIVATE_LINKS)
    accrue_emulate(accrue_${name} accrue_emulator)
  endif()
  set(ACCRUE_LIBRARIES ${ACCRUE_LIBRARIES} accrue_${name} PARENT_SCOPE)
endfunction()

# accrue_program(NAME SOURCE): a program in bin/, with the option parser and the whole library.
function(accrue_program name source)
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE accrue::train CLI11::CLI11 accrue_compile_options)
  set_target_properties(${name} PROPERTIES DISABLE_PRECOMPILE_HEADERS ON)  # for one source
endfunction()

# accrue_in_batches(TARGET): for sources of which compiling is mostly reading the headers that all of them include. Names in
# their anonymous namespaces must differ; the preset dev compiles each source by itself. Precompiling headers would take
# longer than it saves then.
function(accrue_in_batches target)
  if(ACCRUE_BATCHES)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 4 DISABLE_PRECOMPILE_HEADERS ON)
  endif()
endfunction()

# accrue_compile_fast(TARGET [LEVEL]): for sources whose optimisation would take longer than it ever saves. LEVEL is
# that of release builds, -O1 if not given.
function(accrue_compile_fast target)
  set(level -O1)
  if(ARGC GREATER 1)
    set(level ${ARGV1})
  endif()
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:${level}> $<$<CONFIG:Debug>:-O0>)
endfunction()
