#!/usr/bin/env bash
# Runs the tests and closes with "N passed, N failed[, N skipped]"; exit 1 when one failed.
#
#   tools/test.sh              everything, quick ones first; installs what is missing (make test)
#   tools/test.sh quick        the inner loop: unit tests, fuzz corpora, lint without clang-tidy
#   tools/test.sh STEP…        some of: unit replay asan tsan neon lint integration
#
# A test program prints a line per test and closes with "N passed, N failed[, N skipped]". One that
# ends without a closing line counts as one test: passed when it exits with 0, skipped with 77.
# Outside CI what a machine cannot test (no ../shared, say) is skipped; with CI=true a skip is a
# failure. Logs: build/test/. The S3 servers of the integration tests (tools/s3_servers.sh) are built in
# the background from the beginning, when they are not there yet; that step comes last and waits. AKIDB_TEST_JOBS: programs at the same time (default: one per core).
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

# Under asan: all programs. Under tsan: those that start threads, but for the ones that fork servers
# to kill them (tsan cannot follow a fork of threads) or try thousands of disk images one by one.
tsan_wanted='^tsan_(base_(epoch|file|log|pool|slab|sync)|metrics|index_concurrent|wal|catalog|httpc|resil|objstore|net|upload|engine|archive|snapshot|tier_manager|service|mocks3|rest|cli|parquet_(read|writer)|perf_(export|query_log))_'
tsan_unwanted='(kill|powercut)_test$'
timeout_s=1200

logs=build/test
jobs=${AKIDB_TEST_JOBS:-$(nproc)}
passed=0
failed=0
skipped=0
failures=()
began=$SECONDS

count() { # name, log, exit code
    local closing p f s before=$failed
    closing=$(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed(, ([0-9]+) skipped)?$/\1 \2 \4/p' "$2")
    while read -r p f s; do
        [ -n "$p" ] || continue
        passed=$((passed + p))
        failed=$((failed + f))
        skipped=$((skipped + ${s:-0}))
    done <<<"$closing"
    if [ -z "$closing" ] && [ "$3" -eq 0 ]; then
        passed=$((passed + 1))
    elif [ -z "$closing" ] && [ "$3" -eq 77 ]; then
        skipped=$((skipped + 1))
    elif [ "$3" -ne 0 ] && [ "$failed" -eq "$before" ]; then
        failed=$((failed + 1)) # it died, or says that nothing failed and fails all the same
    fi
    if [ "$failed" -ne "$before" ]; then
        failures+=("$1 (exit $3, $2)")
    fi
}

run_one() { # name, command…: writes $logs/<name>.log and .rc, then prints the log in one piece
    local name=$1
    shift
    timeout "$timeout_s" "$@" >"$logs/$name.log" 2>&1
    local rc=$?
    [ $rc -ne 124 ] || echo "    still running after $timeout_s s: ended" >>"$logs/$name.log"
    echo $rc >"$logs/$name.rc"
    flock "$logs/lock" tail -v -n +1 "$logs/$name.log"
}
export -f run_one
export logs timeout_s

# Lines "name<TAB>command" on stdin, `jobs` at a time; the command is split at blanks.
run_all() {
    local list name
    list=$(cat)
    [ -n "$list" ] || return 0
    # shellcheck disable=SC2016 # expanded by the inner shell
    xargs -P "${1:-$jobs}" -d '\n' -I LINE bash -c \
        'line=$1; read -r -a words <<<"${line#*$'"'\\t'"'}"; run_one "${line%%$'"'\\t'"'*}" "${words[@]}"' \
        bash LINE <<<"$list"
    while IFS=$'\t' read -r name _; do
        count "$name" "$logs/$name.log" "$(cat "$logs/$name.rc")"
    done <<<"$list"
}

declare -A built # preset → yes or no

build() { # preset: false when it does not build, which counts as one failure
    local log=$logs/build-$1.log
    if [ -z "${built[$1]:-}" ]; then
        built[$1]=yes
        if ! { cmake --preset "$1" && cmake --build --preset "$1" -- -k 0; } >"$log" 2>&1; then
            built[$1]=no
            grep -A 12 -E '^FAILED|error:' "$log" | head -n 60
            failed=$((failed + 1))
            failures+=("the $1 build ($log)")
        fi
    fi
    [ "${built[$1]}" = yes ]
}

unit_programs() { # build folder, prefix of the names, command before the program
    local program
    for program in "$1"/tests/*_test; do
        [ ! -x "$program" ] || printf '%s\t%s\n' "$2$(basename "$program")" "${3:-}$program"
    done
}

replay_programs() { # build folder, prefix
    local program name
    for program in "$1"/tests/fuzz/*_replay; do
        name=$(basename "$program" _replay)
        if [ -x "$program" ]; then
            printf '%s\t%s\n' "$2${name}_replay" "$program tests/fuzz/corpus/$name"
        fi
    done
}

step_unit() {
    build dev && run_all < <(unit_programs build/dev '')
}

step_replay() {
    build dev && run_all < <(replay_programs build/dev '')
}

# The interpreter for integration tests: python3, or a venv with the packages of
# tests/requirements.txt, made again when that file changes.
prepare_python() {
    local wanted=tests/requirements.txt stamp
    python=python3
    [ -s "$wanted" ] || return 0
    python=build/venv/bin/python
    stamp=build/venv/stamp-$(sha256sum <"$wanted" | cut -c1-16)
    [ ! -e "$stamp" ] || return 0
    echo "making build/venv with the packages of $wanted"
    rm -rf build/venv
    if { python3 -m venv build/venv && build/venv/bin/pip install -q -r "$wanted" && touch "$stamp"; } \
        >"$logs/venv.log" 2>&1; then
        return 0
    fi
    tail -n 20 "$logs/venv.log"
    failed=$((failed + 1))
    failures+=("the packages of $wanted ($logs/venv.log)")
    return 1
}

# The packages of tests/npm/package.json in build/npm, made again when that file changes.
prepare_npm() {
    local wanted=tests/npm/package.json stamp
    stamp=build/npm/stamp-$(sha256sum <"$wanted" | cut -c1-16)
    if [ -e "$stamp" ] || ! command -v npm >/dev/null; then # without it the tests that need it skip
        return 0
    fi
    echo "making build/npm with the packages of $wanted"
    rm -rf build/npm
    mkdir -p build/npm
    cp "$wanted" build/npm/
    if { npm install --prefix build/npm --no-audit --no-fund --no-package-lock --loglevel=error && touch "$stamp"; } \
        >"$logs/npm.log" 2>&1; then
        return 0
    fi
    tail -n 20 "$logs/npm.log"
    failed=$((failed + 1))
    failures+=("the packages of $wanted ($logs/npm.log)")
    return 1
}

integration_programs() {
    local script
    for script in tests/integration/test_*; do
        case $script in
        *.py) printf '%s\t%s\n' "$(basename "$script" .py)" "$python $script" ;;
        *.sh) printf '%s\t%s\n' "$(basename "$script" .sh)" "bash $script" ;;
        esac
    done
}

# Ten minutes of building, once per machine, at low priority beside the other steps. The tests wait
# for it, and fail when there is no server in the end.
begin_s3_servers() {
    tools/s3_servers.sh build >"$logs/s3_servers.log" 2>&1 &
}

end_s3_servers() {
    local line
    echo "S3 servers (log: $logs/s3_servers.log):"
    tools/s3_servers.sh build || tail -n 5 "$logs/s3_servers.log"
    tools/s3_servers.sh list | while read -r line; do
        echo "    $line"
    done
}

step_integration() { # one after the other: they start servers and count on the machine's speed
    end_s3_servers
    export AKIDB_BIN=$PWD/build/dev/akidb AKIDB_BUILD=$PWD/build/dev PYTHONUNBUFFERED=1
    build dev && prepare_python && prepare_npm && run_all 1 < <(integration_programs)
}

step_asan() {
    export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
    export UBSAN_OPTIONS=print_stacktrace=1
    build asan && run_all < <(
        unit_programs build/asan asan_
        replay_programs build/asan asan_
    )
}

step_tsan() {
    local before=''
    # gcc's thread sanitizer does not start under some kernels' address randomisation.
    if setarch -R true 2>/dev/null; then
        before='setarch -R '
    fi
    export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:die_after_fork=0
    build tsan && run_all < <(unit_programs build/tsan tsan_ "$before" |
        grep -E "$tsan_wanted" | grep -vE "$tsan_unwanted")
}

step_neon() {
    run_all < <(printf 'neon\ttools/test_neon.sh\n')
}

step_lint() {
    timeout_s=2400 run_all < <(printf 'lint\ttools/lint.sh %s\n' "${lint_mode:-}")
}

case ${1:-all} in
all)
    steps=(unit replay asan tsan neon lint integration)
    tools/setup.sh --test || exit 1
    ;;
quick)
    steps=(unit replay lint)
    lint_mode=quick
    ;;
*) steps=("$@") ;;
esac
mkdir -p "$logs"
case " ${steps[*]} " in
*' integration '*) begin_s3_servers ;;
esac
for step in "${steps[@]}"; do
    if ! declare -F "step_$step" >/dev/null; then
        echo "usage: $0 [quick | unit replay asan tsan neon lint integration]" >&2
        exit 2
    fi
    printf '== %s\n' "$step"
    from=$SECONDS
    "step_$step"
    printf '== %s: %d s\n' "$step" $((SECONDS - from))
done

printf '== %d s in all\n' $((SECONDS - began))
for failure in "${failures[@]}"; do # with what it said of it, that nobody need look for the log
    log=${failure##*[ (]}
    grep -h -B 4 -A 12 -E '^FAILED|ERROR: |WARNING: ThreadSanitizer|runtime error:' "${log%)}" | head -n 40 | cut -c 1-300
    echo "failed: $failure"
done
if [ "${CI:-}" = true ] && [ "$skipped" -gt 0 ]; then
    echo "failed: $skipped skipped tests, which CI may not have"
    failed=$((failed + skipped))
    skipped=0
fi
if [ "$skipped" -gt 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ "$failed" -eq 0 ]
