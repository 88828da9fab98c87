# The optional parts of polymoe, one interface target per library.  Included by polymoe's own build and, from the
# installed package, by polymoe-config.cmake: what is found is decided on the machine that uses the headers.
#
#   polymoe_component(<openmp|onednn|cblas|cpu|cuda>)
#     defines polymoe::<name> if its library is found;
#     sets polymoe_<name>_FOUND and, if not found, polymoe_<name>_REASON in the caller.
#   POLYMOE_WITHOUT  list of names that are treated as not found.
cmake_policy(VERSION 3.25)

# In polymoe's own build the targets are ordinary ones; in an installed package they are imported.
function(polymoe_component_target name)
  if(POLYMOE_IN_TREE)
    add_library(polymoe_${name} INTERFACE)
    add_library(polymoe::${name} ALIAS polymoe_${name})
    set(target polymoe_${name} PARENT_SCOPE)
  else()
    add_library(polymoe::${name} INTERFACE IMPORTED)
    set(target polymoe::${name} PARENT_SCOPE)
  endif()
endfunction()

function(polymoe_component name)
  set(polymoe_${name}_FOUND TRUE PARENT_SCOPE)
  if(TARGET polymoe::${name})
    return()
  endif()
  set(reason "")

  if(name IN_LIST POLYMOE_WITHOUT)
    set(reason "left out by POLYMOE_WITHOUT")

  elseif(name STREQUAL "openmp")
    find_package(OpenMP QUIET COMPONENTS CXX)
    if(TARGET OpenMP::OpenMP_CXX)
      polymoe_component_target(openmp)
      target_link_libraries(${target} INTERFACE polymoe::polymoe OpenMP::OpenMP_CXX)
      # The host half of a .cu file must agree with the .cpp files on whether OpenMP is on.
      target_compile_options(${target} INTERFACE "$<$<COMPILE_LANG_AND_ID:CUDA,NVIDIA>:-Xcompiler=${OpenMP_CXX_FLAGS}>")
    else()
      set(reason "the C++ compiler has no OpenMP")
    endif()

  elseif(name STREQUAL "onednn")
    # Found by file, not through its own CMake package: that one stops the configuration (REQUIRED) when the development
    # files of OpenCL are missing, which no user of the CPU part needs.
    find_path(POLYMOE_ONEDNN_INCLUDE_DIR oneapi/dnnl/dnnl.hpp)
    find_library(POLYMOE_ONEDNN_LIBRARY NAMES dnnl)
    mark_as_advanced(POLYMOE_ONEDNN_INCLUDE_DIR POLYMOE_ONEDNN_LIBRARY)
    set(version 0)
    if(POLYMOE_ONEDNN_INCLUDE_DIR AND POLYMOE_ONEDNN_LIBRARY)
      file(STRINGS "${POLYMOE_ONEDNN_INCLUDE_DIR}/oneapi/dnnl/dnnl_version.h" version
           REGEX "define DNNL_VERSION_(MAJOR|MINOR|PATCH) +[0-9]")
      string(REGEX REPLACE "[^0-9;]" "" version "${version}")
      list(JOIN version "." version)
    endif()
    if(version VERSION_GREATER_EQUAL 2.6 AND version VERSION_LESS 3)
      polymoe_component_target(onednn)
      target_link_libraries(${target} INTERFACE polymoe::polymoe "${POLYMOE_ONEDNN_LIBRARY}")
      target_include_directories(${target} SYSTEM INTERFACE "${POLYMOE_ONEDNN_INCLUDE_DIR}")
      target_compile_definitions(${target} INTERFACE POLYMOE_WITH_ONEDNN=1)
    else()
      set(reason "no oneDNN 2.6 or later 2.x (Debian: libdnnl-dev)")
    endif()

  elseif(name STREQUAL "cblas")
    find_path(POLYMOE_CBLAS_INCLUDE_DIR cblas.h PATH_SUFFIXES openblas cblas)
    find_library(POLYMOE_CBLAS_LIBRARY NAMES openblas cblas blis)
    mark_as_advanced(POLYMOE_CBLAS_INCLUDE_DIR POLYMOE_CBLAS_LIBRARY)
    if(POLYMOE_CBLAS_INCLUDE_DIR AND POLYMOE_CBLAS_LIBRARY)
      polymoe_component_target(cblas)
      target_link_libraries(${target} INTERFACE polymoe::polymoe "${POLYMOE_CBLAS_LIBRARY}")
      target_include_directories(${target} SYSTEM INTERFACE "${POLYMOE_CBLAS_INCLUDE_DIR}")
      target_compile_definitions(${target} INTERFACE POLYMOE_WITH_CBLAS=1)
    else()
      set(reason "no cblas.h with its library (Debian: libopenblas-dev)")
    endif()

  elseif(name STREQUAL "cpu")
    # Never missing: without any of the three the headers use one thread and their built-in maths.
    set(parts openmp onednn cblas)
    foreach(part IN LISTS parts)
      polymoe_component(${part})
    endforeach()
    polymoe_component_target(cpu)
    target_link_libraries(${target} INTERFACE polymoe::polymoe)
    foreach(part IN LISTS parts)
      if(TARGET polymoe::${part})
        target_link_libraries(${target} INTERFACE polymoe::${part})
      endif()
    endforeach()

  elseif(name STREQUAL "cuda")
    find_package(CUDAToolkit QUIET)
    if(TARGET CUDA::cudart_static OR TARGET CUDA::cudart)
      polymoe_component_target(cuda)
      target_link_libraries(${target} INTERFACE polymoe::polymoe)
      # The runtime of the user's choice (CUDA_RUNTIME_LIBRARY); static as in nvcc's own default.
      if(TARGET CUDA::cudart_static AND TARGET CUDA::cudart)
        target_link_libraries(${target} INTERFACE
          "$<IF:$<STREQUAL:$<TARGET_PROPERTY:CUDA_RUNTIME_LIBRARY>,Shared>,CUDA::cudart,CUDA::cudart_static>")
      elseif(TARGET CUDA::cudart_static)
        target_link_libraries(${target} INTERFACE CUDA::cudart_static)
      else()
        target_link_libraries(${target} INTERFACE CUDA::cudart)
      endif()
      if(TARGET CUDA::cublasLt)
        target_link_libraries(${target} INTERFACE CUDA::cublasLt)
      endif()
      # CMake before 3.25.2 has no C++20 level for nvcc.
      target_compile_options(${target} INTERFACE "$<$<COMPILE_LANG_AND_ID:CUDA,NVIDIA>:-std=c++20>")
    else()
      set(reason "no CUDA toolkit")
    endif()

  else()
    set(reason "polymoe has no component of this name (openmp, onednn, cblas, cpu, cuda)")
  endif()

  if(reason)
    set(polymoe_${name}_FOUND FALSE PARENT_SCOPE)
    set(polymoe_${name}_REASON "${reason}" PARENT_SCOPE)
  endif()
endfunction()
