# One packaging test; see CMakeLists.txt for the list.
cmake_minimum_required(VERSION 3.25)
set(prefix "${WORK}/prefix with a space")
set(build "${WORK}/${NAME}")

# polymoe_run(<expected text or ""> command...): stops the test when the command fails or does not print the text.
function(polymoe_run expected)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE text ERROR_VARIABLE text)
  list(JOIN ARGN " " shown)
  message(STATUS "${shown}\n${text}")
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "status ${status} from: ${shown}")
  endif()
  if(expected AND NOT text MATCHES "${expected}")
    message(FATAL_ERROR "no '${expected}' in the output of: ${shown}")
  endif()
endfunction()

set(configure "${CMAKE_COMMAND}" -S "${CONSUMER}" -B "${build}" -G "${CMAKE_GENERATOR}"
    "-DCMAKE_MAKE_PROGRAM=${CMAKE_MAKE_PROGRAM}" "-DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER}"
    -DCMAKE_BUILD_TYPE=Release "-DPOLYMOE_WITHOUT=${POLYMOE_WITHOUT}")
set(find "-DCMAKE_PREFIX_PATH=${prefix}" "-DVERSION=${PROJECT_VERSION}")
string(REPLACE "." "[.]" version "${PROJECT_VERSION}")
set(greeting "polymoe ${version}: ok")

if(NAME STREQUAL "prefix")
  file(REMOVE_RECURSE "${prefix}")
  polymoe_run("" "${CMAKE_COMMAND}" --install "${PROJECT_BINARY_DIR}" --prefix "${prefix}")
  return()
endif()

file(REMOVE_RECURSE "${build}")
if(NAME STREQUAL "install")
  polymoe_run("" ${configure} ${find} -DCOMPONENT=cpu)
elseif(NAME STREQUAL "core")
  polymoe_run("" ${configure} ${find} -DCOMPONENT=polymoe)
elseif(NAME STREQUAL "subdirectory")
  polymoe_run("" ${configure} "-DPOLYMOE_SOURCE=${PROJECT_SOURCE_DIR}" -DCOMPONENT=cpu)
elseif(NAME STREQUAL "cuda")
  polymoe_run("" ${configure} ${find} -DCOMPONENT=cuda "-DCMAKE_CUDA_COMPILER=${CMAKE_CUDA_COMPILER}")
elseif(NAME STREQUAL "plain")
  file(MAKE_DIRECTORY "${build}")
  polymoe_run("" "${CMAKE_CXX_COMPILER}" -std=c++20 -O1 "-I${prefix}/include" "${CONSUMER}/main.cpp"
              -o "${build}/consumer")
elseif(NAME STREQUAL "version")
  execute_process(COMMAND ${configure} "-DCMAKE_PREFIX_PATH=${prefix}" -DVERSION=0.99 -DCOMPONENT=cpu
                  RESULT_VARIABLE status OUTPUT_VARIABLE text ERROR_VARIABLE text)
  # CMake breaks its sentences into lines at will.
  string(REGEX REPLACE "[ \n]+" " " text "${text}")
  if(status EQUAL 0 OR NOT text MATCHES "requested version \"0[.]99\"")
    message(FATAL_ERROR "version 0.99 must be refused in a clear sentence, but:\n${text}")
  endif()
  return()
else()
  message(FATAL_ERROR "no packaging test '${NAME}'")
endif()

if(NOT NAME STREQUAL "plain")
  polymoe_run("" "${CMAKE_COMMAND}" --build "${build}")
endif()
polymoe_run("${greeting}" "${build}/consumer")
