#!/usr/bin/env bash
# Fuzzes each target, or those named, for SECONDS_EACH (default 60): make fuzz. New inputs go to
# build/fuzz/corpus; what breaks a target is kept in build/fuzz and ends the run.
set -euo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh --test
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz
for program in build/fuzz/tests/fuzz/*_fuzz; do
    name=$(basename "$program" _fuzz)
    if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then
        continue
    fi
    mkdir -p "build/fuzz/corpus/$name"
    options=(-max_total_time="${SECONDS_EACH:-60}" -artifact_prefix="build/fuzz/$name-" -timeout=20
        -rss_limit_mb=4096 -print_final_stats=1)
    if [ -e "tests/fuzz/corpus/$name.dict" ]; then
        options+=(-dict="tests/fuzz/corpus/$name.dict")
    fi
    echo "== $name"
    "$program" "${options[@]}" "build/fuzz/corpus/$name" "tests/fuzz/corpus/$name" 2>&1 | tail -n 12
done
