# The oneDNN library as the target AccrueDNNL::dnnl. Not found through oneDNN's own CMake package: in some distributions
# that also demands OpenCL, which the CPU backend never touches. Installed with Accrue, whose users need it too.
find_path(DNNL_INCLUDE_DIR dnnl.hpp)
find_library(DNNL_LIBRARY dnnl)
mark_as_advanced(DNNL_INCLUDE_DIR DNNL_LIBRARY)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(AccrueDNNL REQUIRED_VARS DNNL_LIBRARY DNNL_INCLUDE_DIR)

if(AccrueDNNL_FOUND AND NOT TARGET AccrueDNNL::dnnl)
  add_library(AccrueDNNL::dnnl UNKNOWN IMPORTED)
  set_target_properties(AccrueDNNL::dnnl PROPERTIES IMPORTED_LOCATION ${DNNL_LIBRARY}
                                                    INTERFACE_INCLUDE_DIRECTORIES ${DNNL_INCLUDE_DIR})
endif()
