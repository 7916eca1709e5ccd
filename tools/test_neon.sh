#!/bin/sh
# The kernel test on 64-bit ARM: cross-compiled, then run under qemu on a processor without the
# dot-product instructions and on one with them. On an ARM machine it runs as it is.
# Needs gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static. Ends with the test's own
# closing line of each run, and fails when either run does.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build/neon}
mkdir -p "$build"
if [ "$(uname -m)" = aarch64 ]; then
    cc=${CC:-cc}
    cpus=native
else
    cc=${CC_AARCH64:-aarch64-linux-gnu-gcc}
    cpus="cortex-a53 max"
    for tool in "$cc" qemu-aarch64-static; do
        if ! command -v "$tool" >/dev/null; then
            echo "$0: $tool is missing (apt-get install gcc-aarch64-linux-gnu" \
                "libc6-dev-arm64-cross qemu-user-static)" >&2
            exit 2
        fi
    done
fi
# What the test needs of the floors below, without the libraries that base links.
sources="src/base/err.c src/base/mem.c src/base/str.c src/base/fault.c src/simd/simd.c
    src/simd/simd_scalar.c src/simd/simd_neon.c tests/support/test.c tests/unit/simd_kernels_test.c"
flags="-std=gnu11 -O2 -g -D_GNU_SOURCE -DAK_FAULTS -Isrc -Itests -fno-math-errno
    -fno-trapping-math -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Werror"
# shellcheck disable=SC2086 # both are lists of words
{
    "$cc" $flags -march=armv8.2-a+dotprod -c src/simd/simd_neon_dotprod.c \
        -o "$build/simd_neon_dotprod.o"
    "$cc" $flags -static $sources "$build/simd_neon_dotprod.o" -o "$build/simd_kernels_test" \
        -lm -lpthread
}
failed=0
for cpu in $cpus; do
    if [ "$cpu" = native ]; then
        run="$build/simd_kernels_test"
    else
        run="qemu-aarch64-static -cpu $cpu $build/simd_kernels_test"
    fi
    echo "== $cpu"
    $run >"$build/$cpu.log" 2>&1 || failed=1
    cat "$build/$cpu.log"
done
exit $failed
