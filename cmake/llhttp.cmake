# llhttp comes as C sources in Debian's node-llhttp; built here in strict mode (never vendored).
find_path(LLHTTP_SOURCE_DIR llhttp.c PATHS /usr/share/llhttp NO_DEFAULT_PATH)
find_path(LLHTTP_INCLUDE_DIR llhttp.h PATHS /usr/share/include/llhttp NO_DEFAULT_PATH)
if(NOT LLHTTP_SOURCE_DIR OR NOT LLHTTP_INCLUDE_DIR)
  message(FATAL_ERROR "llhttp's sources are missing: apt-get install node-llhttp (or run make setup)")
endif()
add_library(ak_llhttp STATIC ${LLHTTP_SOURCE_DIR}/llhttp.c ${LLHTTP_SOURCE_DIR}/api.c
                             ${LLHTTP_SOURCE_DIR}/http.c)
target_include_directories(ak_llhttp SYSTEM PUBLIC ${LLHTTP_INCLUDE_DIR})
target_compile_definitions(ak_llhttp PUBLIC LLHTTP_STRICT_MODE=1)
if(TARGET ak_net)
  target_link_libraries(ak_net PRIVATE ak_llhttp)
endif()
