#!/usr/bin/env python3
"""akidb perf export, and what DuckDB makes of its files: row by row against the CSV, the views and macros of
examples/perf, corrupt rows, idempotence, kill -9 and a full disk. Needs tests/requirements.txt.
"""
import csv
import datetime
import fcntl
import json
import os
import pathlib
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import duckdb

import support
from support import command, equal

sys.path.insert(0, str(support.ROOT / "bench"))
import perf_data  # noqa: E402

DAY = datetime.date(2025, 10, 28)
HEADER = perf_data.NINE + "\n"
ORDER = "2025-10-28T00:15:23Z,a1b2c3,SELECT,45.2,1234,10,false,embeddings,idx_namespace\n"
REPORT = {
    "timestamp": "2025-10-28T04:00:00Z",
    "recommendations": [
        {
            "table": "embeddings",
            "index": "idx_embedding_vector",
            "query_pattern": "WHERE namespace = ? AND vector LIKE ?",
            "estimated_speedup": 3.5,
            "priority": "high",
        }
    ],
}
SUMMARY = """# what was done
2025-10-27T04:00:00Z index_created build_seconds=12.5 rows=120000 {"index":"graph"}
[2025-10-28T04:00:00Z] cache_ratio: 0.9
2025-10-28T05:00:00Z,vacuum,freed_mb,12.5,"{""a"":1}"
2025-10-28T06:00:00Z restarted
"""
TYPES = {
    "query_perf": "timestamp TIMESTAMP, query_hash VARCHAR, query_type VARCHAR, execution_time_ms DOUBLE, rows_examined BIGINT, "
    "rows_returned BIGINT, cache_hit BOOLEAN, table_name VARCHAR, index_used VARCHAR, cpu_time_ms DOUBLE, io_wait_ms DOUBLE, "
    "date_partition DATE",
    "index_advisor": "timestamp TIMESTAMP, table_name VARCHAR, recommended_index VARCHAR, query_pattern VARCHAR, "
    "estimated_speedup DOUBLE, estimated_cost DOUBLE, priority VARCHAR, status VARCHAR, date_partition DATE",
    "optimization_summary": "timestamp TIMESTAMP, event_type VARCHAR, metric_name VARCHAR, metric_value DOUBLE, metadata JSON, "
    "date_partition DATE",
}


class Folder:
    """Logs and their Parquet files, gone afterwards."""

    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="akidb-perf-"))
        self.output = self.path / "parquet"
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            shutil.rmtree(self.path)
        else:
            print(f"         kept: {self.path}")

    def log(self, text, day=DAY):
        path = self.path / f"query_perf_daily_{day:%Y%m%d}.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def all_inputs(self, days=3):
        for i in range(days):
            day = DAY - datetime.timedelta(days=i)
            perf_data.write_day(self.path / f"query_perf_daily_{day:%Y%m%d}.csv", day, rows=400, server=i == 1)
        shutil.copy(self.path / f"query_perf_daily_{DAY:%Y%m%d}.csv", self.path / "query_perf_weekly_202544.csv")
        (self.path / "index_advisor_report.json").write_text(json.dumps(REPORT))
        (self.path / "optimization_summary.txt").write_text(SUMMARY)

    def export(self, *words, code=0, **more):
        return command("perf", "export", "--input", str(self.path), *words, code=code, **more)

    def target(self, table="query_perf", day=DAY):
        return self.output / table / f"year={day:%Y}" / f"month={day:%m}" / f"{table}_{day:%Y%m%d}.parquet"

    def files(self):
        return sorted(p.relative_to(self.output).as_posix() for p in self.output.rglob("*.parquet*"))

    def rows(self, table="query_perf", day=DAY):
        """The rows of a file as DuckDB reads them, without a folder's columns."""
        return duckdb.sql(f"FROM read_parquet('{self.target(table, day)}', hive_partitioning = false)").fetchall()


def moment(text):
    """A time of the CSV, as DuckDB gives it: without zone, in UTC."""
    time = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return time.astimezone(datetime.timezone.utc).replace(tzinfo=None)


def expected(path):
    """The rows of a query log, read by Python."""
    order = [name.split()[0] for name in TYPES["query_perf"].split(", ")[:-1]]
    rows = []
    with open(path, newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            values = []
            for name in order:
                text = row.get(name) or None
                if text is None:
                    values.append(None)
                elif name == "timestamp":
                    values.append(moment(text))
                elif name.endswith("_ms"):
                    values.append(float(text))
                elif name.startswith("rows_"):
                    values.append(int(text))
                elif name == "cache_hit":
                    values.append(text == "true")
                else:
                    values.append(text)
            rows.append((*values, values[0].date()))
    return rows


# --- What it says ---


def test_the_lines_are_those_of_the_work_order():
    with Folder() as folder:
        path = folder.log(HEADER + ORDER * 1234)
        kb = round(path.stat().st_size / 1024)
        out = folder.export("--dry-run", "--table", "query_perf")
        equal(
            out.splitlines(),
            [
                f"✓ Found query_perf_daily_20251028.csv ({kb} KB)",
                "→ Would create query_perf_20251028.parquet",
                "DRY RUN - no files written",
            ],
        )
        assert not folder.output.exists()
        out = folder.export("--table", "query_perf").splitlines()
        equal(out[0], f"✓ Found query_perf_daily_20251028.csv ({kb} KB)")
        equal(out[1], "✓ Parsed 1,234 rows from query_perf_daily_20251028.csv")
        assert re.fullmatch(rf"✓ Wrote {re.escape(str(folder.target()))} \(\d+ KB\)", out[2]), out
        assert re.fullmatch(rf"✓ Compression: {kb} KB → \d+ KB \(\d+\.\d% reduction\)", out[3]), out
        equal(out[4:], ["✓ Schema validated", "✓ Export complete (1 new file)"])
        out = folder.export("--table", "query_perf").splitlines()
        equal(out[1:], ["⊘ query_perf_20251028.parquet already exists, skipping", "✓ Export complete (0 new files)"])


def test_log_lines_go_to_standard_error_or_to_a_file():
    with Folder() as folder:
        folder.log(HEADER + ORDER * 50 + "broken\n")
        words = [support.binary(), "perf", "export", "--input", str(folder.path), "--table", "query_perf"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        line = r"\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\] \[%s\] export:parquet file=%s"
        found = done.stderr.splitlines()
        assert re.fullmatch(line % ("WARN", r'query_perf_daily_20251028\.csv line=52 reason="it has 1 field; the header has 9"'), found[0])
        assert re.fullmatch(line % ("WARN", r"query_perf_20251028\.parquet rows=50 compressed_kb=\d+ ratio=-?\d+\.\d% rejected=1"), found[1])
        log = folder.path / "export.log"
        os.unlink(folder.target())
        folder.log(HEADER + ORDER * 50)
        for _ in range(2):
            done = subprocess.run([*words, "--log", str(log)], capture_output=True, text=True, timeout=60, check=True)
            equal(done.stderr, "")
        found = log.read_text().splitlines()
        assert re.fullmatch(line % ("INFO", r"query_perf_20251028\.parquet rows=50 compressed_kb=\d+ ratio=-?\d+\.\d%"), found[0])
        assert re.fullmatch(line % ("INFO", r"query_perf_20251028\.parquet skipped=exists"), found[1])


def test_what_is_not_there_is_skipped_and_wrong_words_are_refused():
    with Folder() as folder:
        out = folder.export()
        equal(
            out.splitlines(),
            [
                "⊘ query_perf_daily_*.csv not found, skipping",
                "⊘ query_perf_weekly_*.csv not found, skipping",
                "⊘ index_advisor_report.json not found, skipping",
                "⊘ optimization_summary.txt not found, skipping",
                "✓ Export complete (0 new files)",
            ],
        )
        out = folder.export("--date", "2025-10-28", "--table", "query_perf")
        assert "⊘ query_perf_daily_20251028.csv not found, skipping" in out, out
        folder.export("--date", "28.10.2025", code=2)
        folder.export("--date", "2025-10-28", "--historical", code=2)
        folder.export("--table", "queries", code=2)
        folder.export("--compression", "brotli", code=2)
        command("perf", "export", "--input", str(folder.path / "nowhere"), code=3)
        command("perf", "exprot", code=2)
        assert "did you mean export" in subprocess.run([support.binary(), "perf", "exprot"], capture_output=True, text=True).stderr


def test_the_data_folder_is_where_the_logs_are_looked_for():
    with Folder() as folder:
        logs = folder.path / "db" / "perf"
        logs.mkdir(parents=True)
        (logs / "query_perf_daily_20251028.csv").write_text(HEADER + ORDER)
        command("perf", "export", "--data", str(folder.path / "db"))
        assert (logs / "parquet/query_perf/year=2025/month=10/query_perf_20251028.parquet").exists()
        out = command("perf", "check", "--data", str(folder.path / "db"), "--date", "2025-10-28")
        assert out.startswith("OK: query_perf of 2025-10-28: 1 rows"), out


# --- What DuckDB sees ---


def test_duckdb_sees_the_rows_of_the_csv_one_by_one():
    odd = HEADER.replace("\n", "\r\n")
    odd += '2025-10-28T00:15:23Z,"a,b","SEL""ECT",45.2,1234,10,false,"two\r\nlines","Grüße 漢字"\r\n'
    odd += "\r\n2025-10-28T00:15:24.123456+02:00,,,,,,,,\r\n"
    odd += "2025-10-28T23:59:59.999999Z,x,y,-1e-300,-9223372036854775808,9223372036854775807,true,t,i"
    with Folder() as folder:
        for codec in ("snappy", "zstd", "lz4", "gzip", "none"):
            for text in (odd, "\ufeff" + odd, HEADER, HEADER + ORDER):
                path = folder.log(text)
                folder.export("--compression", codec)
                equal(folder.rows(), expected(path), f"rows with {codec}")
                folder.target().unlink()
        for server in (False, True):
            path = folder.path / f"query_perf_daily_{DAY:%Y%m%d}.csv"
            perf_data.write_day(path, DAY, rows=5000, server=server)
            folder.export("--compression", "zstd" if server else "snappy")
            equal(folder.rows(), expected(path))
            used = duckdb.sql(f"SELECT DISTINCT compression FROM parquet_metadata('{folder.target()}')").fetchall()
            equal(used, [("ZSTD" if server else "SNAPPY",)])


def test_an_empty_text_in_quotes_is_not_null():
    with Folder() as folder:
        folder.log(HEADER + '2025-10-28T00:15:23Z,"",,,,,,"",\n')
        folder.export()
        row = folder.rows()[0]
        equal((row[1], row[2], row[7], row[8]), ("", None, "", None))


def test_files_of_several_row_groups_are_whole():
    with Folder() as folder:
        path = folder.path / f"query_perf_daily_{DAY:%Y%m%d}.csv"
        rows = perf_data.write_large(path, DAY, 12_000_000, block_rows=5000)
        assert rows > 100_000
        folder.export()
        equal(folder.rows(), expected(path))
        groups = duckdb.sql(f"SELECT count(DISTINCT row_group_id) FROM parquet_metadata('{folder.target()}')").fetchall()
        equal(groups, [(2,)])


def test_types_and_folders_are_those_of_the_work_order():
    with Folder() as folder:
        folder.all_inputs()
        out = folder.export("--historical")
        assert "✓ Export complete (7 new files)" in out, out
        wanted = [f"query_perf/year=2025/month=10/query_perf_202510{d}.parquet" for d in (26, 27, 28)]
        wanted += ["query_perf_weekly/year=2025/month=10/query_perf_weekly_20251027.parquet"]
        wanted += ["index_advisor/year=2025/month=10/index_advisor_20251028.parquet"]
        wanted += [f"optimization_summary/year=2025/month=10/optimization_summary_202510{d}.parquet" for d in (27, 28)]
        equal(folder.files(), sorted(wanted))
        schema = json.loads((folder.output / "parquet_schema.json").read_text())
        for table, types in TYPES.items():
            found = duckdb.sql(f"DESCRIBE FROM read_parquet('{folder.output}/{table}/*/*/*.parquet', hive_partitioning = false)")
            equal(", ".join(f"{name} {kind}" for name, kind, *_ in found.fetchall()), types)
            columns = schema["tables"][table]["columns"]
            equal(", ".join(f"{c['name']} {c['type']}" for c in columns), types)
            pairs = dict(
                duckdb.sql(f"SELECT decode(key), decode(value) FROM parquet_kv_metadata('{folder.target(table)}')").fetchall()
            )
            equal((pairs["akidb.table"], pairs["akidb.schema_version"]), (table, schema["schema_version"]))
        equal(
            folder.rows("index_advisor"),
            [
                (
                    datetime.datetime(2025, 10, 28, 4),
                    "embeddings",
                    "idx_embedding_vector",
                    "WHERE namespace = ? AND vector LIKE ?",
                    3.5,
                    None,
                    "high",
                    None,
                    DAY,
                )
            ],
        )
        at = datetime.datetime(2025, 10, 28, 4)
        hour = datetime.timedelta(hours=1)
        equal(
            folder.rows("optimization_summary"),
            [
                (at, "cache_ratio", "cache_ratio", 0.9, None, DAY),
                (at + hour, "vacuum", "freed_mb", 12.5, '{"a":1}', DAY),
                (at + 2 * hour, "restarted", None, None, None, DAY),
            ],
        )
        equal(len(folder.rows("optimization_summary", DAY - datetime.timedelta(days=1))), 2)


def statements():
    text = (support.ROOT / "examples/perf/example_queries.sql").read_text()
    for part in text.split(";"):
        lines = [line for line in part.splitlines() if line.strip() and not line.startswith("--")]
        if lines:
            yield "\n".join(lines)


def test_every_view_macro_and_query_of_the_examples_runs_and_is_right():
    with Folder() as folder:
        folder.all_inputs(days=10)
        folder.export("--historical")
        rows = []
        for i in range(10):
            day = DAY - datetime.timedelta(days=i)
            rows += expected(folder.path / f"query_perf_daily_{day:%Y%m%d}.csv")
        db = duckdb.connect()
        db.execute(f"SET file_search_path = '{folder.output}'")
        answers = [db.execute(statement).fetchall() for statement in statements()]
        equal(len(answers), 17, "statements")
        assert all(answers[5:]), "a query found nothing"
        equal(db.execute("SELECT count(*) FROM query_performance").fetchall(), [(len(rows),)])
        equal(db.execute("SELECT typeof(year), typeof(month), year, month FROM query_performance LIMIT 1").fetchall(), [("INTEGER", "INTEGER", 2025, 10)])
        for days in (1, 7, 30):
            found = db.execute(f"FROM avg_query_time({days})").fetchall()
            dates = sorted({r[-1] for r in rows})[-days:]
            equal([f[0] for f in found], dates)
            for date, count, mean, _ in found:
                times = [r[3] for r in rows if r[-1] == date]
                equal(count, len(times))
                assert abs(mean - sum(times) / len(times)) < 1e-9
        slow = db.execute("FROM slow_queries(20.5)").fetchall()
        equal(sorted(r[5] for r in slow), sorted(r[3] for r in rows if r[3] >= 20.5))
        equal(len(answers[7]), 10, "days of the aggregation")
        equal(sum(r[1] for r in answers[7]), len(rows))
        equal(db.execute("SELECT table_name, estimated_speedup FROM index_recommendations").fetchall(), [("embeddings", 3.5)])


# --- What is wrong, and what changes ---


def test_corrupt_rows_are_counted_quoted_and_put_aside():
    good = [ORDER.replace("00:15:23", f"00:15:{s:02}") for s in range(30)]
    bad = {5: "2025-10-28T00:15:23Z,a1b2c3,SELECT\n", 11: 'x"y,1\n', 17: ORDER.replace("1234", "many"), 23: "\x1b[31m,\x00\n"}
    lines = list(good)
    for at, text in sorted(bad.items()):
        lines.insert(at, text)
    with Folder() as folder:
        path = folder.log(HEADER + "".join(lines))
        out = folder.export("--table", "query_perf")
        assert "✓ Parsed 30 rows from" in out, out
        assert "⚠ 4 rows of query_perf_daily_20251028.csv could not be taken" in out, out
        assert f"⚠ {path.name}:19: rows_examined is 'many'; expected a whole number: 2025-10-28T00:15:23Z" in out, out
        assert "\x1b" not in out and "\x00" not in out
        equal(len(folder.rows()), 30)
        rejected = folder.output / "rejected" / "query_perf_20251028.csv"
        text = rejected.read_bytes()
        assert b"\x1b[31m,\x00" in text
        found = list(csv.reader(text.decode().replace("\x00", "").splitlines()))
        equal([row[0] for row in found], ["line", "7", "13", "19", "25"])
        equal(found[1][2], bad[5].strip())
        folder.export("--strict", "--table", "query_perf")  # nothing new, nothing rejected
        folder.log(HEADER + "".join(lines) + ORDER)
        folder.export("--strict", "--table", "query_perf", code=7)
        equal(len(folder.rows()), 31)
        folder.log(HEADER + "".join(good))
        folder.export()
        assert not rejected.exists()


def test_an_input_that_cannot_be_read_does_not_stop_the_others():
    with Folder() as folder:
        folder.all_inputs()
        folder.log("a,b,c\n1,2,3\n")
        (folder.path / "index_advisor_report.json").write_text('{"timestamp":')
        words = [support.binary(), "perf", "export", "--input", str(folder.path), "--historical"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
        equal(done.returncode, 7)
        assert "✗ query_perf_daily_20251028.csv: the header has no column 'timestamp'" in done.stdout, done.stdout
        assert "✗ index_advisor_report.json: " in done.stdout
        assert "✗ Export incomplete (5 new files, 2 failed)" in done.stdout
        equal(len(folder.files()), 5)
        folder.log(HEADER + "nothing,good\n" * 100)
        out = folder.export("--table", "query_perf", code=7)
        assert "none of its 100 rows can be taken" in out, out
        assert out.count("it has 2 fields") == 10, out
        equal(len(folder.files()), 5)


def test_columns_that_drift_are_warned_about():
    with Folder() as folder:
        folder.log("region,timestamp,table_name,shard\neu,2025-10-28T00:15:23Z,t,4\n")
        out = folder.export()
        assert "⚠ query_perf_daily_20251028.csv: unknown columns are left out: region, shard" in out, out
        assert "⚠ query_perf_daily_20251028.csv: columns that are not there become null: query_hash, " in out, out
        row = folder.rows()[0]
        equal((row[0], row[7], row[1]), (datetime.datetime(2025, 10, 28, 0, 15, 23), "t", None))


def test_a_source_that_grew_or_changed_is_exported_again():
    with Folder() as folder:
        folder.all_inputs(days=2)
        folder.export("--historical")
        before = {name: (folder.output / name).stat().st_mtime_ns for name in folder.files()}
        out = folder.export("--historical")
        assert "✓ Export complete (0 new files)" in out, out
        equal({name: (folder.output / name).stat().st_mtime_ns for name in folder.files()}, before)
        with open(folder.path / f"query_perf_daily_{DAY:%Y%m%d}.csv", "a") as log:
            log.write(ORDER)
        with open(folder.path / "optimization_summary.txt", "a") as summary:
            summary.write("2025-10-29T01:00:00Z vacuum freed_mb=1\n")
        out = folder.export("--historical")
        assert "✓ Export complete (2 new files)" in out, out  # the days before are as they were
        equal(len(folder.rows()), 401)
        equal(len(folder.rows("optimization_summary", DAY + datetime.timedelta(days=1))), 1)
        future = time.time() + 3600
        os.utime(folder.path / "index_advisor_report.json", (future, future))
        assert "✓ Export complete (1 new file)" in folder.export("--historical")
        folder.target().write_bytes(b"PAR1 half a file")
        assert "✓ Export complete (1 new file)" in folder.export("--table", "query_perf")


def test_the_newest_day_is_the_default_and_others_can_be_named():
    with Folder() as folder:
        folder.all_inputs()
        folder.export("--table", "query_perf")
        equal(len(folder.files()), 1)
        out = folder.export("--date", "2025-10-26")
        assert "⊘ index_advisor_report.json has nothing of 2025-10-26, skipping" in out, out
        assert "⊘ query_perf_weekly_202543.csv not found, skipping" in out, out
        equal([f.rsplit("/", 1)[1] for f in folder.files()], ["query_perf_20251026.parquet", "query_perf_20251028.parquet"])
        folder.export("--date", "2025-10-30", "--table", "query_perf_weekly")  # any day of the week
        assert folder.target("query_perf_weekly", datetime.date(2025, 10, 27)).exists()


# --- Crashes, full disks, two at once ---


def test_a_crash_leaves_the_old_file_or_the_new_one():
    with Folder() as folder:
        path = folder.log(HEADER + ORDER)
        folder.export()
        for point in ("perf_group", "perf_synced", "perf_renamed"):
            folder.log(HEADER + ORDER * (3 if point == "perf_group" else 5))
            folder.export("--table", "query_perf", code=137, environment={"AKIDB_CRASH_AT": point})
            rows = len(folder.rows())
            equal(rows, 5 if point == "perf_renamed" else 1)
            equal([f for f in folder.files() if not f.endswith(".tmp")], ["query_perf/year=2025/month=10/query_perf_20251028.parquet"])
            equal(len(folder.files()), 1 if point == "perf_renamed" else 2)
        folder.log(HEADER + ORDER * 7)
        folder.export("--table", "query_perf")
        equal(folder.rows(), expected(path))
        equal(len(folder.files()), 1)


def test_kill_9_in_the_middle_leaves_no_half_file():
    with Folder() as folder:
        path = folder.path / f"query_perf_daily_{DAY:%Y%m%d}.csv"
        rows = perf_data.write_large(path, DAY, 25_000_000, block_rows=5000)
        halfway = folder.target().with_name(folder.target().name + ".tmp")
        interrupted = 0
        for _ in range(5):
            words = [support.binary(), "perf", "export", "--input", str(folder.path), "--table", "query_perf"]
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while process.poll() is None and not (halfway.exists() and halfway.stat().st_size > 100):
                pass
            process.send_signal(signal.SIGKILL)
            process.wait()
            interrupted += not folder.target().exists()
            if folder.target().exists():  # it was faster than the signal: then it is whole
                equal(len(folder.rows()), rows)
                folder.target().unlink()
        assert interrupted > 0
        folder.export("--table", "query_perf")
        equal(len(folder.rows()), rows)
        equal(len(folder.files()), 1)


def test_a_write_that_fails_leaves_what_was_there():
    with Folder() as folder:
        folder.log(HEADER + ORDER)
        folder.export()
        perf_data.write_day(folder.path / f"query_perf_daily_{DAY:%Y%m%d}.csv", DAY, rows=20000, server=True)

        def small_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

        out = folder.export("--table", "query_perf", code=6, preexec_fn=small_files)
        assert "✗ query_perf_daily_20251028.csv: " in out and "File too large" in out, out
        equal(len(folder.rows()), 1)
        equal(len(folder.files()), 1)
        folder.export("--table", "query_perf")
        equal(len(folder.rows()), 20000)


def test_what_is_no_file_is_refused_and_not_waited_for():
    for make, words in (
        (os.mkfifo, "is no regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "is no regular file"),
        (lambda path: path.mkdir(), "is no regular file but a folder"),
        (lambda path: path.write_text((HEADER + ORDER).replace("\n", "\r")), "lines end with CR alone"),
        (lambda path: path.write_bytes((HEADER + ORDER).encode("utf-16")), "it holds a zero byte"),
        (lambda path: path.write_bytes(bytes(range(256)) * 400), "line 1 should name the columns"),
    ):
        with Folder() as folder:
            folder.log(HEADER + ORDER, DAY - datetime.timedelta(days=1))
            make(folder.path / f"query_perf_daily_{DAY:%Y%m%d}.csv")
            out = folder.export("--historical", code=7)
            assert words in out, (words, out)
            equal(folder.files(), ["query_perf/year=2025/month=10/query_perf_20251027.parquet"])
    for name in ("index_advisor_report.json", "optimization_summary.txt"):
        with Folder() as folder:
            os.mkfifo(folder.path / name)
            assert "is no regular file" in folder.export(code=7), name
    with Folder() as folder:  # removed since it was listed, as the server removes old logs
        (folder.path / f"query_perf_daily_{DAY:%Y%m%d}.csv").symlink_to("nothing")
        assert "not found, skipping" in folder.export()


def test_links_lead_nowhere_else():
    with Folder() as folder:
        log = folder.log(HEADER + ORDER)
        log.rename(folder.path / "elsewhere")
        log.symlink_to("elsewhere")
        victim = folder.path / "victim"
        victim.write_text("keep")
        (folder.path / "real").mkdir()
        folder.output.symlink_to("real")
        target = folder.target()
        target.parent.mkdir(parents=True)
        target.symlink_to(victim)
        pathlib.Path(f"{target}.tmp").symlink_to(victim)
        folder.export()
        equal(victim.read_text(), "keep")
        equal((target.is_symlink(), len(folder.rows())), (False, 1))


def test_a_file_or_folder_without_permission_is_an_error_of_its_own():
    def nobody():
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)

    with Folder() as folder:
        log = folder.log(HEADER + ORDER)
        folder.path.chmod(0o755)
        folder.output.mkdir()
        folder.output.chmod(0o555)
        folder.export(code=4, preexec_fn=nobody)
        folder.output.chmod(0o777)
        log.chmod(0)
        out = folder.export(code=4, preexec_fn=nobody)
        assert "query_perf_daily_20251028.csv': Permission denied" in out, out
        equal(folder.files(), [])
        log.chmod(0o644)
        folder.export(preexec_fn=nobody)
        equal(len(folder.files()), 1)


def test_a_terminal_sees_a_progress_bar_and_a_pipe_none():
    with Folder() as folder:
        path = folder.path / f"query_perf_daily_{DAY:%Y%m%d}.csv"
        perf_data.write_large(path, DAY, 30_000_000, block_rows=5000)
        master, slave = pty.openpty()
        words = [support.binary(), "perf", "export", "--input", str(folder.path)]
        process = subprocess.Popen(words, stdout=slave, stderr=slave)
        os.close(slave)
        seen = bytearray()

        def read():
            try:
                while chunk := os.read(master, 65536):
                    seen.extend(chunk)
            except OSError:  # the terminal's other end is closed
                pass

        reader = threading.Thread(target=read)
        reader.start()
        tmp = pathlib.Path(f"{folder.target()}.tmp")
        while not tmp.exists() and process.poll() is None:
            time.sleep(0.0005)
        # The bar is drawn ten times a second: let the time pass that a larger file would take.
        for _ in range(20):
            if process.poll() is None:
                process.send_signal(signal.SIGSTOP)
                time.sleep(0.11)
                process.send_signal(signal.SIGCONT)
                time.sleep(0.003)
        equal(process.wait(), 0)
        reader.join()
        os.close(master)
        text = seen.decode()
        assert re.search(r"\r\x1b\[K\[#*\.*\] +\d+ %  [\d,]+ bytes, [\d,]+/s", text), text
        assert text.rindex("\r\x1b[K") < text.index("✓ Parsed"), text
        assert "✓ Export complete (1 new file)" in text and "[INFO]" not in text, text
        shutil.rmtree(folder.output)
        assert "\x1b" not in folder.export()


def test_only_one_export_is_at_work():
    with Folder() as folder:
        folder.log(HEADER + ORDER)
        folder.output.mkdir()
        with open(folder.output / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            folder.export(code=5)
            folder.export("--dry-run")
        folder.export()


def test_memory_does_not_grow_with_the_input():
    with Folder() as folder:
        path = folder.path / f"query_perf_daily_{DAY:%Y%m%d}.csv"
        perf_data.write_large(path, DAY, 60_000_000, block_rows=5000)

        def little_memory():
            resource.setrlimit(resource.RLIMIT_DATA, (64 << 20, 64 << 20))

        folder.export("--compression", "zstd", preexec_fn=little_memory)
        equal(len(folder.files()), 1)


def test_the_health_check_sees_what_is_wrong():
    with Folder() as folder:
        check = ["perf", "check", "--input", str(folder.path), "--date", "2025-10-28"]
        path = folder.path / f"query_perf_daily_{DAY:%Y%m%d}.csv"
        perf_data.write_day(path, DAY, rows=2000)
        with open(path, "a") as log:
            log.write("broken\n")
        out = command(*check, code=3)
        assert out.startswith("CRITICAL: there is no query_perf of 2025-10-28"), out
        folder.export()
        out = command(*check)
        assert re.fullmatch(r"OK: query_perf of 2025-10-28: 2,000 rows in \d+ KB, 1 rejected\n", out), out
        with open(path, "a") as log:
            log.write(ORDER)
        assert "older than its source" in command(*check, code=5)
        folder.export()
        whole = folder.target().read_bytes()
        for at in (1000, 5000, len(whole) // 2):
            folder.target().write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            assert command(*check, code=7).startswith("CRITICAL: ")
        folder.target().write_bytes(whole)
        command(*check)
        folder.target().write_bytes(whole[:-100])
        command(*check, code=7)
        command(*check, "--table", "index_advisor", code=3)
        command("perf", "check", "--input", str(folder.path), code=3)  # yesterday


# --- The daily run ---


def test_the_units_of_systemd_are_valid():
    units = support.ROOT / "deploy/systemd"
    service = (units / "akidb-perf-export.service").read_text()
    for line in ("TimeoutStartSec=10min", "Nice=19", "IOSchedulingClass=idle", "Type=oneshot"):
        assert line in service.splitlines(), line
    assert "OnCalendar=*-*-* 05:00:00" in (units / "akidb-perf-export.timer").read_text().splitlines()
    found = re.findall(r"^ExecStart\w*=/usr/bin/akidb (.*)$", service, re.M)
    equal(found, ["perf export --historical", "perf check"])
    if not shutil.which("systemd-analyze"):
        print("         systemd-analyze is not here: read by eye only")
        return
    with tempfile.TemporaryDirectory() as folder:
        for unit in units.iterdir():
            text = unit.read_text().replace("/usr/bin/akidb", support.binary())
            (pathlib.Path(folder) / unit.name).write_text(text)
        names = [str(pathlib.Path(folder) / unit.name) for unit in units.glob("akidb-perf-export.*")]
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", *names], capture_output=True, text=True, timeout=60)
        mine = [line for line in done.stderr.splitlines() if "akidb-perf-export" in line]
        equal(mine, [])
        done = subprocess.run(["systemd-analyze", "calendar", "*-*-* 05:00:00"], capture_output=True, text=True, timeout=60)
        equal(done.returncode, 0, done.stderr)


def test_the_job_of_launchd_is_valid():
    import plistlib

    path = support.ROOT / "deploy/launchd/com.akidb.perf-export.plist"
    job = plistlib.loads(path.read_bytes())
    equal(job["Label"], path.stem)
    equal(job["StartCalendarInterval"], {"Hour": 5, "Minute": 0})
    equal((job["TimeOut"], job["Nice"], job["ProcessType"], job["LowPriorityIO"]), (600, 19, "Background", True))
    equal(job["ProgramArguments"][1:4], ["perf", "export", "--historical"])
    with Folder() as folder:  # its words are the program's
        folder.log(HEADER + ORDER)
        words = job["ProgramArguments"][1:]
        words[words.index("--log") + 1] = str(folder.path / "log")
        command(*words, "--input", str(folder.path))


if __name__ == "__main__":
    support.run(globals())
