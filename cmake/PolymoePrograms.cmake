# Flags, libraries and helpers of our own tests, examples and benchmarks.  Nothing here reaches users of the headers.

# polymoe_enable_cuda(): turns POLYMOE_CUDA from AUTO/ON/OFF into a plain ON or OFF and enables the language.
# A missing nvcc is never an error.  A macro, because a language is enabled at file scope.
macro(polymoe_enable_cuda)
  set(POLYMOE_CUDA AUTO CACHE STRING "Compile the CUDA sources of tests, examples and benchmarks: AUTO, ON or OFF")
  set_property(CACHE POLYMOE_CUDA PROPERTY STRINGS AUTO ON OFF)
  set(polymoe_cuda_wish ${POLYMOE_CUDA})
  set(POLYMOE_CUDA OFF)
  if(POLYMOE_SANITIZE OR NOT (POLYMOE_TESTS OR POLYMOE_EXAMPLES OR POLYMOE_BENCH))
    set(polymoe_cuda_wish OFF)
  endif()
  if(polymoe_cuda_wish)  # AUTO or ON
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
      set(CMAKE_CUDA_ARCHITECTURES 90a-real)  # -gencode=arch=compute_90a,code=sm_90a
    endif()
    if(NOT CMAKE_CUDA_COMPILER)
      unset(CMAKE_CUDA_COMPILER CACHE)  # look again: it may have been installed since
    endif()
    include(CheckLanguage)
    check_language(CUDA)
    if(CMAKE_CUDA_COMPILER AND TARGET polymoe::cuda)
      set(POLYMOE_CUDA ON)
      enable_language(CUDA)
    elseif(NOT polymoe_cuda_wish STREQUAL "AUTO")
      message(WARNING "POLYMOE_CUDA is ON but no CUDA compiler and toolkit were found: CUDA sources are left out")
    endif()
  endif()
endmacro()

# polymoe_enable_ccache(): compilers run through ccache if it is there, so that what was compiled before, in this folder
# or in another copy of the project, is not compiled again.  Paths are kept relative to the project for that.  A macro,
# because targets read the variables where they are made.
macro(polymoe_enable_ccache)
  find_program(POLYMOE_CCACHE_PROGRAM ccache)
  if(POLYMOE_CCACHE_PROGRAM)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env "CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}" CCACHE_NOHASHDIR=1
        CCACHE_DEPEND=1 "${POLYMOE_CCACHE_PROGRAM}")
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
  endif()
endmacro()

# polymoe_program_setup(): the targets our programs link.
#   polymoe_programs  polymoe::cpu, warnings, optimisation, file format libraries that were found
#   polymoe_kernels   the same for .cu files
macro(polymoe_program_setup)
  set(CMAKE_CXX_EXTENSIONS OFF)
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release)
  endif()

  add_library(polymoe_flags INTERFACE)
  if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    # No errno and no floating point traps, so that loops with maths functions become vector code.  Values do not
    # change: never -ffast-math.
    set(polymoe_maths_flags -fno-math-errno -fno-trapping-math)
    set(polymoe_warning_flags -Wall -Wextra -Wshadow)
    set(polymoe_host_flags ${polymoe_maths_flags} ${polymoe_warning_flags})
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      # GCC 12 gives this one inside its own AVX-512 intrinsics, at every call of a vectorised loop.
      if(CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
        list(APPEND polymoe_host_flags -Wno-maybe-uninitialized)
      endif()
      # Warnings that depend on what the optimiser sees differ from processor to processor: shown, never an error.
      foreach(warning maybe-uninitialized uninitialized array-bounds stringop-overflow stringop-overread restrict
                      free-nonheap-object nonnull null-dereference dangling-pointer)
        list(APPEND polymoe_host_flags -Wno-error=${warning})
      endforeach()
    endif()
    if(POLYMOE_NATIVE)
      include(CheckCXXCompilerFlag)
      check_cxx_compiler_flag(-march=native POLYMOE_HAS_MARCH_NATIVE)
      if(POLYMOE_HAS_MARCH_NATIVE)
        list(APPEND polymoe_host_flags -march=native)
        # Compilers halve the vectors of CPUs that have 64-byte ones, for the sake of older ones.
        check_cxx_compiler_flag("-march=native -mprefer-vector-width=512" POLYMOE_HAS_WIDE_VECTORS)
        if(POLYMOE_HAS_WIDE_VECTORS)
          list(APPEND polymoe_host_flags -mprefer-vector-width=512)
        endif()
      endif()
    endif()
    if(POLYMOE_SANITIZE STREQUAL "thread")
      # Our loop runs on std::thread there: the threads of GCC's OpenMP synchronise where the sanitizer cannot see it.
      list(APPEND polymoe_host_flags -O1 -g1 -fno-omit-frame-pointer -fsanitize=thread -DPOLYMOE_STD_THREADS=1)
      target_link_options(polymoe_flags INTERFACE -fsanitize=thread)
    elseif(POLYMOE_SANITIZE)
      list(APPEND polymoe_host_flags -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all)
      target_link_options(polymoe_flags INTERFACE -fsanitize=address,undefined)
    endif()
    target_compile_options(polymoe_flags INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${polymoe_host_flags}>")
  endif()

  # Of benchmarks and experiments.  ./check builds them to see that they build.
  set(polymoe_speed_flag -O3)
  if(POLYMOE_QUICK_BUILD)
    set(polymoe_speed_flag -O1)
  endif()

  add_library(polymoe_programs INTERFACE)
  target_link_libraries(polymoe_programs INTERFACE polymoe_flags polymoe::cpu)
  polymoe_program_library(ZLIB ZLIB::ZLIB "")
  polymoe_program_library(PNG PNG::PNG POLYMOE_WITH_PNG=1)
  polymoe_program_library(JPEG JPEG::JPEG POLYMOE_WITH_JPEG=1)
  polymoe_program_library(CLI11 CLI11::CLI11 "")
  polymoe_program_library(nlohmann_json nlohmann_json::nlohmann_json "")
  polymoe_spec_libraries()

  if(POLYMOE_CUDA)
    add_library(polymoe_kernels INTERFACE)
    target_link_libraries(polymoe_kernels INTERFACE polymoe::cuda)
    # A device function that calls a host-only policy is only a warning by default: it must not compile.
    target_compile_options(polymoe_kernels INTERFACE
      "$<$<COMPILE_LANG_AND_ID:CUDA,NVIDIA>:--Werror=cross-execution-space-call;-Xcompiler=-Wall>")
  endif()
endmacro()

# polymoe_spec_libraries(): compiled layers that several programs share.
#   polymoe_specs_<name>  one library per examples/specs/<name>.cpp and tests/specs/<name>.cpp; it defines
#                         POLYMOE_SPECS_<NAME>, which turns on the extern templates (polymoe/specs.hpp)
#   polymoe_specs         all of them
# Each is built only if a program links it.
function(polymoe_spec_libraries)
  if(POLYMOE_SANITIZE)
    return()  # instrumented programs instantiate their layers themselves
  endif()
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/examples/specs/*.cpp"
       "${PROJECT_SOURCE_DIR}/tests/specs/*.cpp")
  add_library(polymoe_specs INTERFACE)
  foreach(source IN LISTS sources)
    get_filename_component(name "${source}" NAME_WE)
    string(TOUPPER ${name} macro)
    add_library(polymoe_specs_${name} STATIC EXCLUDE_FROM_ALL "${source}")
    target_link_libraries(polymoe_specs_${name} PUBLIC polymoe_programs)
    target_compile_definitions(polymoe_specs_${name} PUBLIC POLYMOE_SPECS_${macro}=1)
    if(source MATCHES "/tests/specs/")  # optimised like the tests, those of examples/ like the examples
      target_compile_options(polymoe_specs_${name} PRIVATE $<$<CONFIG:Release>:-O2>)
    endif()
    target_link_libraries(polymoe_specs INTERFACE polymoe_specs_${name})
  endforeach()
endfunction()

# polymoe_link_specs(<program> <source>...): the libraries that lines "// specs: <name>..." of the sources ask for.
function(polymoe_link_specs program)
  foreach(source IN LISTS ARGN)
    polymoe_marker(names "${source}" specs)
    separate_arguments(names UNIX_COMMAND "${names}")
    foreach(name IN LISTS names)
      if(TARGET polymoe_specs_${name})
        target_link_libraries(${program} PRIVATE polymoe_specs_${name})
      elseif(NOT POLYMOE_SANITIZE)
        message(FATAL_ERROR "polymoe: ${source} asks for specs '${name}', there is no examples/specs/${name}.cpp and no "
                            "tests/specs/${name}.cpp")
      endif()
    endforeach()
  endforeach()
endfunction()

# Adds an optional library to polymoe_programs, with a definition if it is found.
macro(polymoe_program_library package target definition)
  find_package(${package} QUIET)
  if(TARGET ${target})
    target_link_libraries(polymoe_programs INTERFACE ${target})
    if(NOT "${definition}" STREQUAL "")
      target_compile_definitions(polymoe_programs INTERFACE ${definition})
    endif()
  endif()
endmacro()

# polymoe_quick_cuda(<target>): where POLYMOE_QUICK_BUILD is on, its CUDA sources are compiled to PTX only.  What the
# assembler has to say, registers that spill above all, it says of the kernels in tests/cuda.
function(polymoe_quick_cuda target)
  if(POLYMOE_QUICK_BUILD)
    list(GET CMAKE_CUDA_ARCHITECTURES 0 architecture)
    string(REGEX REPLACE "-(real|virtual)$" "" architecture "${architecture}")
    set_target_properties(${target} PROPERTIES CUDA_ARCHITECTURES ${architecture}-virtual)
  endif()
endfunction()

# polymoe_warn_spills(<target>): a kernel of its CUDA sources that spills registers is a warning of the assembler, so where
# warnings are errors an error (tests/cuda/planted/spill.cu is one).  Nothing where only PTX is made.
function(polymoe_warn_spills target)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANG_AND_ID:CUDA,NVIDIA>:-Xptxas=-warn-spills>)
endfunction()

# polymoe_marker(<out> <file> <word>): the rest of the first line "// <word>: <rest>" of a source file, or "".
function(polymoe_marker out file word)
  file(STRINGS "${file}" lines REGEX "^// ${word}: " LIMIT_COUNT 1)
  string(REGEX REPLACE "^// ${word}: +" "" rest "${lines}")
  string(STRIP "${rest}" rest)
  set(${out} "${rest}" PARENT_SCOPE)
endfunction()

# polymoe_summary(): what was found, in a few lines.
function(polymoe_summary)
  set(found "")
  set(missing "")
  foreach(part openmp onednn cblas cuda)
    if(TARGET polymoe::${part})
      list(APPEND found ${part})
    else()
      string(APPEND missing "\n     without ${part}: ${polymoe_${part}_REASON}")
    endif()
  endforeach()
  list(JOIN found ", " found)
  if(POLYMOE_CUDA)
    set(compiler "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}, nvcc ${CMAKE_CUDA_COMPILER_VERSION} for ${CMAKE_CUDA_ARCHITECTURES}")
  else()
    set(compiler "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
  endif()
  message(STATUS "polymoe ${PROJECT_VERSION} (${CMAKE_BUILD_TYPE}; ${compiler}) with: ${found}${missing}")
endfunction()
