# find_package(edgekit): add_edgekit_model, which packages a model while the firmware is built.
#
#   find_package(edgekit REQUIRED)          # cmake -Dedgekit_DIR="$(edgekit package --cmake-dir)" ...
#   add_edgekit_model(TARGET keyword MODEL model.tflite [FOR cortex-m7]
#                     [LABELS words.txt] [VECTORS golden.npz] [CONSTANTS threshold=0.7 ...])
#   target_link_libraries(app PRIVATE edgekit::keyword)
#
# MODEL is a .tflite file or an artifact folder of `edgekit optimize`; FOR is a target whose rules and budgets the model
# has to pass; LABELS, VECTORS and CONSTANTS are the options of `edgekit package`. EDGEKIT_EXECUTABLE is the program, found
# on the PATH by default.

if(CMAKE_VERSION VERSION_LESS 3.20)
  set(edgekit_FOUND FALSE)
  set(edgekit_NOT_FOUND_MESSAGE "add_edgekit_model needs CMake 3.20 or later")
  return()
endif()

find_program(EDGEKIT_EXECUTABLE edgekit DOC "The command line of edgekit")
if(NOT EDGEKIT_EXECUTABLE)
  set(edgekit_FOUND FALSE)
  set(edgekit_NOT_FOUND_MESSAGE "edgekit is not on the PATH: activate its environment, or give -DEDGEKIT_EXECUTABLE=/path/to/venv/bin/edgekit")
  return()
endif()

function(add_edgekit_model)
  cmake_policy(PUSH)
  cmake_policy(VERSION 3.20)
  cmake_parse_arguments(PARSE_ARGV 0 ARG "" "TARGET;MODEL;FOR;LABELS;VECTORS" "CONSTANTS")
  if(ARG_UNPARSED_ARGUMENTS OR ARG_KEYWORDS_MISSING_VALUES OR NOT ARG_TARGET OR NOT ARG_MODEL)
    message(FATAL_ERROR "usage: add_edgekit_model(TARGET name MODEL file [FOR target] [LABELS file] [VECTORS file] "
      "[CONSTANTS name=number ...])")
  endif()
  if(NOT ARG_TARGET MATCHES "^[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*$")
    message(FATAL_ERROR "add_edgekit_model: ${ARG_TARGET} is no name for C: use letters, digits and single underscores")
  endif()
  set(headers alloca assert complex ctype endian errno fcntl features fenv float glob inttypes iso646 limits locale malloc
    math memory newlib picolibc poll pthread reent regex sched search setjmp signal stdalign stdarg stdatomic stdbool stddef
    stdint stdio stdlib stdnoreturn string strings tgmath threads time uchar unistd wchar wctype)
  string(TOLOWER "${ARG_TARGET}" small)
  if(small IN_LIST headers)
    message(FATAL_ERROR "add_edgekit_model: ${ARG_TARGET}.h is a header of C: call it ${ARG_TARGET}_model")
  endif()

  get_property(languages GLOBAL PROPERTY ENABLED_LANGUAGES)
  if(NOT "C" IN_LIST languages)
    message(FATAL_ERROR "add_edgekit_model: ${ARG_TARGET}.c is C: write project(NAME C CXX)")
  endif()

  get_filename_component(model "${ARG_MODEL}" ABSOLUTE BASE_DIR "${CMAKE_CURRENT_SOURCE_DIR}")
  set(folder "${CMAKE_CURRENT_BINARY_DIR}/edgekit/${ARG_TARGET}")
  set(first "${model}")
  if(NOT EXISTS "${model}")
    message(STATUS "edgekit: ${model} is not there yet: a rule of the build has to make it")
  elseif(IS_DIRECTORY "${model}")
    set(first "${model}/manifest.json")
  endif()
  set(options)
  set(words FOR LABELS VECTORS)
  set(flags --target --labels --vectors)
  foreach(word flag IN ZIP_LISTS words flags)
    if(ARG_${word})
      list(APPEND options ${flag} "${ARG_${word}}")
    endif()
  endforeach()
  foreach(constant IN LISTS ARG_CONSTANTS)
    list(APPEND options --constant "${constant}")
  endforeach()

  # Sources that stay the same keep their times, so that nothing is compiled again; the stamp's time is renewed, so that
  # nothing is asked for again. Make does not know what it was asked the last time: the options are a file.
  file(CONFIGURE OUTPUT "${folder}.options" CONTENT "${EDGEKIT_EXECUTABLE}\n${model}\n${options}\n" @ONLY)
  add_custom_command(
    OUTPUT "${folder}.stamp"
    BYPRODUCTS "${folder}/${ARG_TARGET}.c" "${folder}/${ARG_TARGET}.h" "${folder}/${ARG_TARGET}_ops.h"
      "${folder}/${ARG_TARGET}_selftest.c" "${folder}/${ARG_TARGET}_selftest.h"
    COMMAND "${EDGEKIT_EXECUTABLE}" package "${model}" --for firmware -o "${folder}" --name "${ARG_TARGET}" ${options}
      --stamp "${folder}.stamp" --depfile "${folder}.d"
    DEPENDS "${first}" "${folder}.options"
    DEPFILE "${folder}.d"
    WORKING_DIRECTORY "${CMAKE_CURRENT_SOURCE_DIR}"
    COMMENT "Packaging the model ${ARG_TARGET}"
    VERBATIM)
  add_custom_target(edgekit_${ARG_TARGET}_package DEPENDS "${folder}.stamp")

  add_library(edgekit_${ARG_TARGET} STATIC "${folder}/${ARG_TARGET}.c" "${folder}/${ARG_TARGET}_selftest.c")
  add_dependencies(edgekit_${ARG_TARGET} edgekit_${ARG_TARGET}_package)
  target_include_directories(edgekit_${ARG_TARGET} PUBLIC "${folder}")
  add_library(edgekit::${ARG_TARGET} ALIAS edgekit_${ARG_TARGET})
  cmake_policy(POP)
endfunction()
