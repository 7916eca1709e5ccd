# libakidb (static and shared), its header and pkg-config file, and the akidb binary.
include(GNUInstallDirs)

# The library is every module up to the engine, as objects: nothing is compiled twice, and of the
# shared one only what include/akidb.h marks AKIDB_API is visible.
if(TARGET ak_engine)
  set(objects "")
  foreach(module base model simd metrics index wal catalog engine)
    if(TARGET ak_${module})
      list(APPEND objects $<TARGET_OBJECTS:ak_${module}>)
    endif()
  endforeach()
  foreach(kind STATIC SHARED)
    string(TOLOWER akidb_${kind} target)
    add_library(${target} ${kind} ${objects})
    set_target_properties(${target} PROPERTIES OUTPUT_NAME akidb LINKER_LANGUAGE C
                          VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
    target_include_directories(${target} INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
    target_link_libraries(${target} PRIVATE Threads::Threads OpenSSL::Crypto PkgConfig::XXHASH
                                            PkgConfig::SQLITE m ak_options)
  endforeach()
  target_link_options(akidb_shared PRIVATE -Wl,-z,defs)
  install(TARGETS akidb_static akidb_shared ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
          LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(FILES ${PROJECT_SOURCE_DIR}/include/akidb.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  # The prefix is known only when installing: cmake --install --prefix.
  install(CODE "
    set(AKIDB_VERSION \"${AKIDB_VERSION}\")
    set(AKIDB_LIBDIR \"${CMAKE_INSTALL_LIBDIR}\")
    set(AKIDB_INCLUDEDIR \"${CMAKE_INSTALL_INCLUDEDIR}\")
    configure_file(\"${PROJECT_SOURCE_DIR}/cmake/akidb.pc.in\"
                   \"${PROJECT_BINARY_DIR}/akidb.pc\" @ONLY)")
  install(FILES ${PROJECT_BINARY_DIR}/akidb.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()

if(TARGET ak_cli AND EXISTS ${PROJECT_SOURCE_DIR}/src/cli/main.c)
  add_executable(akidb ${PROJECT_SOURCE_DIR}/src/cli/main.c)
  target_link_libraries(akidb PRIVATE ak_cli ak_warnings)
  install(TARGETS akidb RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(FILES ${PROJECT_SOURCE_DIR}/docs/akidb.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1
          OPTIONAL)
  install(FILES ${PROJECT_SOURCE_DIR}/examples/akidb.toml
          DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples OPTIONAL)
endif()
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} OPTIONAL)

# The daily export of performance data, and what to do with its files.
install(FILES ${PROJECT_SOURCE_DIR}/deploy/systemd/akidb-perf-export.service
              ${PROJECT_SOURCE_DIR}/deploy/systemd/akidb-perf-export.timer
        DESTINATION lib/systemd/system)
install(FILES ${PROJECT_SOURCE_DIR}/docs/PARQUET_README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES ${PROJECT_SOURCE_DIR}/examples/perf/example_queries.sql
        DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
