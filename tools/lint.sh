#!/usr/bin/env bash
# Everything that can be said about the code without running it. `tools/lint.sh quick` leaves
# clang-tidy out. Closes with "N passed, N failed"; exit 1 when a check fails.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
out=build/lint
mkdir -p "$out/tidy"
passed=0
failed=0

check() { # name, command…: its output is shown when it fails
    local name=$1
    shift
    if "$@" >"$out/$name.log" 2>&1; then
        passed=$((passed + 1))
        printf 'ok       lint: %-14s %s\n' "$name" "$(tail -n 1 "$out/$name.log")"
    else
        failed=$((failed + 1))
        printf 'FAILED   lint: %s\n' "$name"
        sed 's/^/    /' "$out/$name.log"
    fi
}

c_files() {
    find src include bench tests -name '*.[ch]' | sort
}

scripts() { # by their first line, wherever they are
    find tools tests examples bench .ci -type f ! -path '*/corpus/*' | sort |
        while read -r file; do
            case $(head -c 40 "$file" | head -n 1 | tr -d '\0') in
            '#!'*sh) echo "$file" ;;
            esac
        done
}

format() {
    c_files | xargs clang-format --dry-run -Werror --ferror-limit=3 && echo "$(c_files | wc -l) files"
}

shell() {
    scripts | xargs shellcheck && echo "$(scripts | wc -l) scripts"
}

headers() { # each header compiles alone; those for another processor are left out
    local header failures=0 folders
    mapfile -t folders < <(grep -ohE -- '-(I|isystem )[^ "]+' build/dev/compile_commands.json |
        sed 's/^-isystem /-I/' | sort -u)
    while read -r header; do
        case $header in
        *_neon_*) [ "$(uname -m)" = aarch64 ] || continue ;;
        esac
        echo "#include \"${header#*/}\"" |
            cc -std=gnu11 -D_GNU_SOURCE -Iinclude "${folders[@]}" -fsyntax-only -Wall -Wextra -Werror \
                -x c - || failures=$((failures + 1))
    done < <(find src include -name '*.h' ! -name '*_body.h' | sort)
    [ $failures -eq 0 ] && echo "each header compiles alone"
}

python() {
    local files
    files=$(find tests tools clients examples bench deploy -name '*.py' 2>/dev/null | sort)
    [ -z "$files" ] && echo "no Python files" && return
    # shellcheck disable=SC2086 # a list of names without blanks
    python3 - $files <<'PY'
import ast, sys
for name in sys.argv[1:]:
    with open(name, encoding="utf-8") as file:
        ast.parse(file.read(), name)
print(len(sys.argv) - 1, "files parse")
PY
}

tidy_one() { # a file, and the hash of everything that all files depend on
    local key
    key=$(sha256sum <"$1" | cut -c1-16)
    local stamp="build/lint/tidy/$2-${1//\//_}-$key"
    [ -e "$stamp" ] && return 0
    local more=(--extra-arg-before=-include --extra-arg-before="$PWD/tools/tidy.h")
    if [ "$1" = src/base/err.c ]; then # defines what tidy.h covers
        more=()
    fi
    if clang-tidy -p build/dev --quiet "${more[@]}" "$1" 2>/dev/null; then
        touch "$stamp"
    else
        return 1
    fi
}
export -f tidy_one

tidy() { # two at a time; a file that passed is not read again until it or any header changes
    local common
    common=$( (find src include -name '*.h' -o -name '*.def' | sort | xargs cat
        cat .clang-tidy tools/tidy.h CMakePresets.json cmake/*.cmake) | sha256sum | cut -c1-16)
    find "$out/tidy" -type f ! -name "$common-*" -delete
    find src -name '*.c' | sort |
        xargs -P 2 -I FILE bash -c "tidy_one FILE $common" && echo "$(find src -name '*.c' | wc -l) files"
}

if ! { cmake --preset dev && cmake --build --preset dev; } >"$out/build.log" 2>&1; then
    echo 'FAILED   lint: the dev build, which the checks read:'
    tail -n 30 "$out/build.log"
    echo "0 passed, 1 failed"
    exit 1
fi
check layers tools/check_layers.sh
check banned tools/check_banned.sh build/dev
check headers headers
check format format
check shellcheck shell
check python python
[ ! -x tools/check_docs.sh ] || check docs tools/check_docs.sh
[ "${1:-}" = quick ] || check clang-tidy tidy
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
