#!/usr/bin/env python3
"""akidb perf export: how much smaller the files are, how long a day and a gigabyte take and with how much memory, and what
DuckDB makes of thirty days.

    perf_export.py [--bytes 1000000000] [--passes 5]

The logs are made up by perf_data.py, in the columns and precision of the work order and in those of AkiDB's own log. Files lie
in memory (/dev/shm) where there is any; the exporter syncs them as ever. Times are of whole processes, start and all.
"""

import argparse
import datetime
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

import perf_data
from support import AKIDB, save, say

try:
    import duckdb
except ImportError:
    duckdb = None

DAY = datetime.date(2025, 10, 28)
DAY_BYTES = 200_000
SEEDS = 5
THIRTY = """SELECT date_partition, count(*), avg(execution_time_ms), quantile_cont(execution_time_ms, 0.99),
avg(CAST(cache_hit AS INTEGER)), sum(rows_examined) FROM {} GROUP BY date_partition ORDER BY date_partition"""


def peak_kib(process):
    """The largest resident set, from the process's own account until it ends."""
    peak = 0
    while process.poll() is None:
        try:
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, *map(int, re.findall(r"VmHWM:\s+(\d+)", status)), 0)
        except (OSError, TypeError):
            pass
        time.sleep(0.002)
    return peak


def export(folder, output, *words, watch=False):
    """(seconds, processor seconds, peak KiB) of an export into an empty folder."""
    shutil.rmtree(output, ignore_errors=True)
    command = [AKIDB, "perf", "export", "--historical", "--input", folder, "--output", output, *words]
    before = os.times()
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = peak_kib(process) if watch else 0
    if process.wait() != 0:
        raise SystemExit(f"the export ended with {process.returncode}")
    seconds = time.perf_counter() - began
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, cpu, peak


def bytes_of(folder, pattern):
    return sum(path.stat().st_size for path in folder.rglob(pattern))


def sizes(room):
    """Of days of 200 KB, by form and codec."""
    found = {}
    for form in ("order", "server"):
        folder = room / f"day-{form}"
        folder.mkdir()
        for seed in range(SEEDS):
            day = DAY - datetime.timedelta(days=seed)
            perf_data.write_day(folder / f"query_perf_daily_{day:%Y%m%d}.csv", day, size=DAY_BYTES, server=form == "server", seed=seed)
        csv = bytes_of(folder, "*.csv")
        for codec in ("snappy", "zstd"):
            export(folder, room / "out", "--compression", codec)
            size = bytes_of(room / "out", "*.parquet")
            found[f"{form}, {codec}"] = {"csv": csv / SEEDS, "parquet": size / SEEDS, "smaller": 1 - size / csv}
            say(f"  a day of {csv / SEEDS:,.0f} bytes, {form:6} {codec:6}: {size / SEEDS:,.0f} bytes, {100 * (1 - size / csv):.1f} % smaller")
    return found


def one_day(room, passes):
    folder = room / "one"
    folder.mkdir()
    perf_data.write_day(folder / f"query_perf_daily_{DAY:%Y%m%d}.csv", DAY, size=DAY_BYTES)
    best = min(export(folder, room / "out")[0] for _ in range(4 * passes))
    say(f"  a day of 200 KB: {1000 * best:.1f} ms")
    return best


def gigabyte(room, size, passes):
    folder = room / "big"
    folder.mkdir()
    path = folder / f"query_perf_daily_{DAY:%Y%m%d}.csv"
    rows = perf_data.write_large(path, DAY, size)
    size = path.stat().st_size
    found = {}
    for codec in ("snappy", "zstd"):
        runs = [export(folder, room / "out", "--compression", codec, watch=True) for _ in range(passes)]
        found[codec] = {
            "rows": rows,
            "bytes": size,
            "parquet": bytes_of(room / "out", "*.parquet"),
            "seconds": min(r[0] for r in runs),
            "cpu_seconds": min(r[1] for r in runs),
            "peak_kib": max(r[2] for r in runs),
        }
        f = found[codec]
        say(
            f"  {size / 1e9:.2f} GB, {codec:6}: {size / f['seconds'] / 1e6:.0f} MB/s, {size / f['cpu_seconds'] / 1e6:.0f} MB a second of "
            f"processor time, peak {f['peak_kib'] / 1024:.0f} MiB, {100 * (1 - f['parquet'] / size):.1f} % smaller"
        )
    shutil.rmtree(folder)
    return found


def thirty_days(room, passes):
    """Seconds of the aggregation over Parquet and over the CSV, first and best; the answers compared."""
    if not duckdb:
        return None
    folder = room / "thirty"
    folder.mkdir()
    for i in range(30):
        day = DAY - datetime.timedelta(days=i)
        perf_data.write_day(folder / f"query_perf_daily_{day:%Y%m%d}.csv", day, size=DAY_BYTES)
    export(folder, room / "out")
    sources = {
        "parquet": f"read_parquet('{room}/out/query_perf/*/*/*.parquet', hive_partitioning = true, hive_types = {{'year': INTEGER, 'month': INTEGER}})",
        "csv": f"(SELECT *, CAST(timestamp AS DATE) AS date_partition FROM read_csv('{folder}/*.csv'))",
    }
    found = {"duckdb": duckdb.__version__}
    answers = {}
    for name, source in sources.items():
        times = []
        with duckdb.connect() as db:
            for _ in range(4 * passes):
                began = time.perf_counter()
                answers[name] = db.execute(THIRTY.format(source)).fetchall()
                times.append(time.perf_counter() - began)
        found[name] = {"first": times[0], "best": min(times)}
        say(f"  30 days in DuckDB from {name:7}: {1000 * times[0]:.1f} ms the first time, {1000 * min(times):.1f} ms then")
    rounded = [[tuple(round(v, 9) if isinstance(v, float) else v for v in row) for row in a] for a in answers.values()]
    if len(answers["parquet"]) != 30 or rounded[0] != rounded[1]:
        raise SystemExit("DuckDB: Parquet and CSV give different answers")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bytes", type=int, default=1_000_000_000)
    parser.add_argument("--passes", type=int, default=5)
    args = parser.parse_args()
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    room = pathlib.Path(tempfile.mkdtemp(prefix="akidb-perf-", dir=where))
    try:
        results = {
            "memory": bool(where),
            "passes": args.passes,
            "sizes": sizes(room),
            "day_seconds": one_day(room, args.passes),
            "large": gigabyte(room, args.bytes, args.passes),
            "thirty": thirty_days(room, args.passes),
        }
    finally:
        shutil.rmtree(room)
    save("perf", results)


if __name__ == "__main__":
    main()
