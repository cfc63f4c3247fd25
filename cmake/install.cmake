# `cmake --install`: the libraries with their headers, the programs, and what find_package(accrue) reads.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(ACCRUE_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/accrue)

add_library(accrue INTERFACE)
add_library(accrue::accrue ALIAS accrue)
target_link_libraries(accrue INTERFACE ${ACCRUE_LIBRARIES})

# The libraries are static, so a program that links them also links what they use privately: accrue_cpu_math goes along.
install(TARGETS ${ACCRUE_LIBRARIES} accrue_cpu_math ${ACCRUE_CUDA_RUNTIME} accrue EXPORT accrueTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})

# Headers keep their folders below include/accrue. Those that only the kernels' own sources read stay behind.
foreach(folder IN ITEMS core kernels nn optim train)
  file(GLOB headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.h)
  list(REMOVE_ITEM headers ${PROJECT_SOURCE_DIR}/kernels/backend.h ${PROJECT_SOURCE_DIR}/kernels/step_state_check.h)
  install(FILES ${headers} DESTINATION ${ACCRUE_INSTALL_INCLUDEDIR}/${folder})
endforeach()

install(TARGETS gpt mlp RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

install(EXPORT accrueTargets NAMESPACE accrue:: DESTINATION ${ACCRUE_CMAKE_DIR})
configure_file(cmake/accrueConfig.cmake.in ${PROJECT_BINARY_DIR}/accrueConfig.cmake @ONLY)
# Before 1.0 a minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/accrueConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/accrueConfig.cmake ${PROJECT_BINARY_DIR}/accrueConfigVersion.cmake
              cmake/FindAccrueDNNL.cmake DESTINATION ${ACCRUE_CMAKE_DIR})
