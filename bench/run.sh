#!/usr/bin/env bash
# Measures AkiDB, alone and beside others, and writes docs/PERFORMANCE.md.
#
#   bench/run.sh                    everything: half an hour
#   bench/run.sh ann moments …      only these parts: ann http upserts moments collections replay import s3
#                                   parquet snapshots tiers perf
#   bench/run.sh report             only the page, from the results of earlier runs
#
# The part ann takes SIZES (100k; minilm, 100k-512, 100k-1536, 1m), PEERS (all, none, or some of them),
# PASSES (3), REUSE=1 (indexes that an earlier run saved) and SIDES=0 (only recall and speed); see
# bench/ann_run.py. What it measured before and does not measure now stays in its results.
#
# Results are kept in build/bench/<part>.json. What a part needs and is not there (wrk, SQLite's header, a
# Python package, the data in AKIDB_SHARED) is said, and the part or the peer is left out.
set -euo pipefail
cd "$(dirname "$0")/.."

all="ann http upserts moments collections replay import s3 parquet snapshots tiers perf"
parts=${*:-$all}
out=build/bench
venv=build/venv-bench
export AKIDB_SHARED=${AKIDB_SHARED:-$PWD/../shared}

script_of() {
    case $1 in
    ann) echo ann_run.py ;;
    http) echo http_search.py ;;
    upserts) echo upserts.py ;;
    moments) echo moments.py ;;
    collections) echo many.py ;;
    replay) echo log_replay.py ;;
    import) echo bulk_import.py ;;
    s3) echo s3_bench.py ;;
    parquet) echo parquet_files.py ;;
    tiers) echo tiers.py ;;
    snapshots) echo snapshots.py ;;
    perf) echo perf_export.py ;;
    report) echo report.py ;;
    *)
        echo "there is no part '$1'; the parts are: $all report" >&2
        return 1
        ;;
    esac
}

# build/venv-<name> for each name in bench/ann_requirements.txt; what does not install is noted there.
make_ann_venvs() {
    local name requirement folder log=$out/pip.log
    while read -r name requirement; do
        [[ $name != \#* && -n $name ]] || continue
        folder=build/venv-$name
        if [ ! -x "$folder/bin/pip" ]; then # or its making was interrupted
            echo "== setting up $folder"
            python3 -m venv --clear "$folder"
        fi
        if grep -qxF "$requirement" "$folder/installed.txt" 2>/dev/null ||
            cut -f 1 "$folder/left-out.txt" 2>/dev/null | grep -qxF "$requirement"; then
            continue
        fi
        if "$folder/bin/pip" install --quiet --disable-pip-version-check "$requirement" >"$log" 2>&1; then
            echo "$requirement" >>"$folder/installed.txt"
        else
            printf '%s\t%s\n' "$requirement" "$(grep -m 1 ERROR "$log" || tail -n 1 "$log")" |
                tee -a "$folder/left-out.txt"
        fi
    done <bench/ann_requirements.txt
}

make_venv() {
    if cmp -s bench/requirements.txt $venv/requirements.txt; then
        return
    fi
    echo "== setting up $venv"
    python3 -m venv $venv
    # One by one, so that a peer that does not install here leaves the others.
    while read -r requirement; do
        $venv/bin/pip install --quiet --disable-pip-version-check "$requirement" ||
            echo "$requirement did not install: left out"
    done <bench/requirements.txt
    cp bench/requirements.txt $venv/requirements.txt
}

build() {
    echo "== building"
    cmake --preset release >/dev/null
    cmake --build --preset release --target akidb akidb_static -- -j"$(nproc)"
    case $parts in
    *s3*)
        cmake --preset dev >/dev/null
        cmake --build --preset dev --target s3_tool akidb -- -j"$(nproc)"
        ;;
    esac
}

for part in $parts; do
    script_of "$part" >/dev/null
done
mkdir -p $out
make_venv
if [ "$parts" != report ] && [ -z "${AKIDB_BUILD:-}" ]; then
    build
fi
failed=""
for part in $parts; do
    [ "$part" != report ] || continue
    echo "== $part"
    if [ "$part" = ann ]; then
        make_ann_venvs
        options=(--sizes "${SIZES:-100k}" --peers "${PEERS:-all}" --passes "${PASSES:-3}")
        [ "${REUSE:-0}" = 0 ] || options+=(--reuse)
        [ "${SIDES:-1}" != 0 ] || options+=(--no-sides)
        build/venv-ann/bin/python bench/ann_run.py "${options[@]}" || failed="$failed $part"
        continue
    fi
    $venv/bin/python bench/"$(script_of "$part")" || failed="$failed $part"
done
$venv/bin/python bench/report.py
if [ -n "$failed" ]; then
    echo "failed:$failed" >&2
    exit 1
fi
