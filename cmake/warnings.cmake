# One interface target that every object of ours links: language level, warnings, sanitizers.
add_library(ak_options INTERFACE)
target_include_directories(ak_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_compile_definitions(ak_options INTERFACE _GNU_SOURCE AKIDB_VERSION="${AKIDB_VERSION}"
                                                $<$<BOOL:${AKIDB_FAULTS}>:AK_FAULTS>)
add_library(ak_warnings INTERFACE)
target_compile_options(
  ak_warnings
  INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes
            -Wmissing-prototypes -Wcast-qual -Wformat=2 -Wundef -Wvla -Wswitch-enum
            -Wnull-dereference -Wdouble-promotion $<$<BOOL:${AKIDB_WERROR}>:-Werror>)
target_compile_options(ak_options INTERFACE -fno-math-errno -fno-trapping-math)
if(AKIDB_SANITIZE)
  target_compile_options(ak_options INTERFACE -fsanitize=${AKIDB_SANITIZE} -fno-omit-frame-pointer
                                              -fno-sanitize-recover=all)
  target_link_options(ak_options INTERFACE -fsanitize=${AKIDB_SANITIZE})
endif()
