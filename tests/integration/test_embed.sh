#!/usr/bin/env bash
# examples/embed builds against the installed library with what pkg-config says, shared and static, runs
# twice over one folder, and finds what it must.
set -euo pipefail
cd "$(dirname "$0")/../.."

build=${AKIDB_BUILD:-build/dev}
compiler=${CC:-cc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

check() { # sentence, command…
    local sentence=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        passed=$((passed + 1))
        echo "ok       $sentence"
    else
        failed=$((failed + 1))
        echo "FAILED   $sentence"
        sed 's/^/    /' "$work/log"
    fi
}

installs() {
    cmake --install "$build" --prefix "$work/prefix"
    export PKG_CONFIG_PATH
    PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name akidb.pc)")
    LD_LIBRARY_PATH=$(pkg-config --variable=libdir akidb)
    export LD_LIBRARY_PATH
}

# Words of pkg-config are options: they are meant to be split.
builds() { # name, options
    local name=$1
    shift
    "$compiler" -std=c11 -Wall -Wextra -Wpedantic -Werror examples/embed/embed.c "$@" -o "$work/$name"
}

builds_shared() {
    # shellcheck disable=SC2046
    builds shared $(pkg-config --cflags --libs akidb)
}

builds_static() {
    local libdir
    libdir=$(pkg-config --variable=libdir akidb)
    # shellcheck disable=SC2046
    builds static $(pkg-config --cflags akidb) "$libdir/libakidb.a" \
        $(pkg-config --libs openssl libxxhash sqlite3) -lm -pthread
}

runs() { # name
    "$work/$1" "$work/data" >"$work/out"
    cat "$work/out"
    [ "$(sed -n 2p "$work/out" | awk '{ print $2 }')" = apple ]
    [ "$(sed -n 3p "$work/out" | awk '{ print $2 }')" = pear ]
    grep -q '^3 documents' "$work/out"
    # after 2020: the pear is out
    [ "$(sed -n '/^nearest since/,/^3 doc/p' "$work/out" | awk '{ print $2 }' | tr '\n' ' ')" = \
        "since apple hammer documents, " ]
}

exports_only_the_api() {
    local names
    names=$(nm -D --defined-only "$(find "$work/prefix" -name 'libakidb.so')" | awk '$2 == "T" { print $3 }')
    [ -n "$names" ]
    ! grep -v '^akidb_' <<<"$names"
}

command -v pkg-config >/dev/null || { echo "pkg-config is missing"; exit 77; }
installs >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
check "the example builds against the installed shared library" builds_shared
check "the example builds against the installed static library" builds_static
check "it finds the nearest documents, filtered too" runs shared
check "a second run over the same folder replaces its documents" runs static
check "the shared library exports the calls of akidb.h and nothing else" exports_only_the_api
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
