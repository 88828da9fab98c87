# Every header must compile alone.
#
#   polymoe_header_check  each .hpp by itself: once with the headers' own maths; those that use a library (backend/,
#                         the umbrella) also with OpenMP, oneDNN and CBLAS
#   polymoe_cuda_objects  each .cuh by itself and every .cu file of the tests, through nvcc; nothing is run
add_custom_target(polymoe_header_check)
add_custom_target(polymoe_cuda_objects)

# CMake writes one source per header of a verified file set and compiles it in <target>_verify_interface_header_sets.
function(polymoe_check_headers name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "HEADERS;LINK")
  if(NOT arg_HEADERS)
    return()
  endif()
  add_library(${name} INTERFACE)
  target_sources(${name} INTERFACE FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}/include" FILES ${arg_HEADERS})
  target_link_libraries(${name} INTERFACE ${arg_LINK})
  target_compile_options(${name} INTERFACE -O0 ${polymoe_warning_flags})
  set_target_properties(${name} PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
  add_dependencies(polymoe_header_check all_verify_interface_header_sets)
endfunction()

set(plain_headers ${polymoe_headers})
list(FILTER plain_headers INCLUDE REGEX "[.]hpp$")
set(library_headers ${plain_headers})
list(FILTER library_headers INCLUDE REGEX "/include/polymoe/(backend/.*|polymoe)[.]hpp$")
set(file_libraries "")
if(TARGET ZLIB::ZLIB)
  list(APPEND file_libraries ZLIB::ZLIB)
else()
  list(FILTER plain_headers EXCLUDE REGEX "/include/polymoe/train/")
endif()

if(NOT POLYMOE_SANITIZE)
  polymoe_check_headers(polymoe_headers_plain HEADERS ${plain_headers} LINK polymoe ${file_libraries})
  polymoe_check_headers(polymoe_headers_cpu HEADERS ${library_headers} LINK polymoe::cpu ${file_libraries})
endif()

if(POLYMOE_CUDA)
  # Header sets know C and C++ only; each .cuh gets a one-line .cu file.
  set(cuda_headers ${polymoe_headers})
  list(FILTER cuda_headers INCLUDE REGEX "[.]cuh$")
  set(cuda_sources "")
  foreach(header IN LISTS cuda_headers)
    file(RELATIVE_PATH name "${PROJECT_SOURCE_DIR}/include" "${header}")
    set(source "${PROJECT_BINARY_DIR}/cuda_headers/${name}.cu")
    file(CONFIGURE OUTPUT "${source}" CONTENT "#include <@name@>\n" @ONLY)
    list(APPEND cuda_sources "${source}")
  endforeach()
  if(cuda_sources)
    add_library(polymoe_headers_cuda OBJECT EXCLUDE_FROM_ALL ${cuda_sources})
    target_link_libraries(polymoe_headers_cuda PRIVATE polymoe_kernels)
    # To PTX: nvcc's front end reads host and device code once and stops, which takes a quarter of the time.
    set_target_properties(polymoe_headers_cuda PROPERTIES CUDA_PTX_COMPILATION ON)
    add_dependencies(polymoe_cuda_objects polymoe_headers_cuda)
  endif()
endif()
