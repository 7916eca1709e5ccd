# Each instruction set has its files, compiled with its flags; the choice is made at run time.
if(TARGET ak_simd)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    file(GLOB avx2 ${PROJECT_SOURCE_DIR}/src/*/*_avx2.c)
    file(GLOB avx512 ${PROJECT_SOURCE_DIR}/src/*/*_avx512.c)
    set_source_files_properties(${avx2} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c;-mbmi;-mbmi2")
    set_source_files_properties(
      ${avx512} PROPERTIES COMPILE_OPTIONS
      "-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vnni;-mavx2;-mfma;-mf16c;-mbmi;-mbmi2")
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    file(GLOB dotprod ${PROJECT_SOURCE_DIR}/src/*/*_neon_dotprod.c)
    set_source_files_properties(${dotprod} PROPERTIES COMPILE_OPTIONS "-march=armv8.2-a+dotprod")
  endif()
endif()
