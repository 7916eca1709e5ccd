# One static library per folder under src/, on the floors that DESIGN.md gives: a module may link
# only modules on lower floors. The order here is the order of the floors.
find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(SQLITE REQUIRED IMPORTED_TARGET sqlite3)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)

set(AKIDB_MODULES "")
function(ak_module name)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.c)
  list(FILTER sources EXCLUDE REGEX "/main\\.c$")
  if(NOT sources)
    return()
  endif()
  add_library(ak_${name} STATIC ${sources})
  foreach(dependency ${ARGN})
    if(dependency MATCHES "::|^m$" OR TARGET ${dependency})
      target_link_libraries(ak_${name} PUBLIC ${dependency})
    elseif(TARGET ak_${dependency})
      target_link_libraries(ak_${name} PUBLIC ak_${dependency})
    endif()
  endforeach()
  target_link_libraries(ak_${name} PUBLIC ak_options PRIVATE ak_warnings)
  set(AKIDB_MODULES ${AKIDB_MODULES} ak_${name} PARENT_SCOPE)
endfunction()

ak_module(base Threads::Threads OpenSSL::Crypto PkgConfig::XXHASH m)
ak_module(model base)
ak_module(simd base)
ak_module(metrics base)
ak_module(index simd model base)
ak_module(wal base)
ak_module(catalog model base PkgConfig::SQLITE)
ak_module(net metrics base)
ak_module(engine catalog wal index simd metrics model base)
ak_module(service engine metrics model base)
ak_module(rest service net metrics base)
ak_module(cli rest service engine net index metrics base)

# `akidb version` names the commit; a new commit configures anew so that it stays true.
find_package(Git QUIET)
if(GIT_FOUND AND EXISTS ${PROJECT_SOURCE_DIR}/.git/logs/HEAD)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
                                         ${PROJECT_SOURCE_DIR}/.git/logs/HEAD)
  execute_process(COMMAND ${GIT_EXECUTABLE} rev-parse --short=12 HEAD
                  WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} OUTPUT_VARIABLE AKIDB_COMMIT
                  OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
set_source_files_properties(${PROJECT_SOURCE_DIR}/src/cli/version.c
                            PROPERTIES COMPILE_DEFINITIONS "AKIDB_COMMIT=\"${AKIDB_COMMIT}\"")
include(cmake/simd.cmake)
include(cmake/llhttp.cmake)
