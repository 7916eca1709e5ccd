#!/usr/bin/env python3
"""The query log of a real server, and what `akidb perf` makes of it: rows match what was sent, a crash leaves
lines that can be read, a log that cannot be written disturbs nobody, the advisor measures, the exporter accepts
it all. Standard library only."""
import csv
import datetime
import glob
import json
import os
import random
import shutil
import time
import urllib.parse

import support
from support import equal, status

COLUMNS = ("timestamp,query_hash,query_type,execution_time_ms,rows_examined,rows_returned,cache_hit,table_name,"
           "index_used,cpu_time_ms,io_wait_ms").split(",")
NAME = '=docs, "x"'
FILTER = {"must": [{"key": "lang", "match": "en"}, {"key": "year", "range": {"gte": 2005}}]}


def folder(server):
    return os.path.join(server.data, "db", "perf")


def daily(server):
    """All rows of the daily logs (two, when midnight was within the test)."""
    rows = []
    for path in sorted(glob.glob(os.path.join(folder(server), "query_perf_daily_*.csv"))):
        with open(path, newline="") as file:
            reader = csv.DictReader(file)
            equal(reader.fieldnames, COLUMNS, "header")
            rows += list(reader)
    return rows


def when(row):
    return datetime.datetime.fromisoformat(row["timestamp"].replace("Z", "+00:00"))


def metric(client, line):
    for text in status(client.get("/metrics"), 200).text().splitlines():
        if text.startswith(line + " "):
            return float(text.split()[-1])
    raise AssertionError(f"no metric {line}")


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it did not happen in a minute"
        time.sleep(0.02)


def make(client, name, dimension=4):
    status(client.post("/collections", {"name": name, "dimension": dimension, "metric": "l2"}), 201)
    return "/collections/" + urllib.parse.quote(name, safe="")


def documents(count, dimension=4, seed=1):
    rand = random.Random(seed)
    return [{"external_id": f"doc-{i}", "vector": [rand.random() for _ in range(dimension)],
             "metadata": {"lang": ["en", "de"][i % 2], "year": 2000 + i % 10}} for i in range(count)]


def test_rows_match_what_was_sent():
    began = datetime.datetime.now(datetime.timezone.utc)
    want = []
    with support.Server() as server:
        client = server.client()
        path = make(client, NAME)
        ids = status(client.post(path + "/vectors", {"vectors": documents(40)}), 200).json()["ids"]
        want.append(("UPSERT", 40, 40, "id"))
        for k in (3, 4):
            got = status(client.post(path + "/search", {"vector": [0.5] * 4, "k": k}), 200).json()
            want.append(("SEARCH", 40, len(got["results"]), "exact"))
        for year in (2005, 2009):
            FILTER["must"][1]["range"]["gte"] = year
            got = status(client.post(path + "/search", {"vector": [0.5] * 4, "k": 5, "filter": FILTER}), 200).json()
            count = status(client.post(path + "/count", {"filter": FILTER}), 200).json()["count"]
            want.append(("SEARCH", count, len(got["results"]), "exact_filtered"))
            want.append(("COUNT", 40, 1, "columns"))
        equal(status(client.post(path + "/count", {}), 200).json()["count"], 40)
        want.append(("COUNT", 0, 1, "counter"))
        searches = [{"vector": [0.1 * i] * 4, "k": 2} for i in range(6)]
        status(client.post(path + "/search/batch", {"searches": searches}), 200)
        want.append(("SEARCH_BATCH", 240, 12, "exact"))
        status(client.post(path + "/vectors/scroll", {"limit": 7}), 200)
        want.append(("SCROLL", 40, 7, "scan"))
        status(client.get(path + "/vectors/" + ids[3]), 200)
        want.append(("FETCH", 1, 1, "id"))
        status(client.post(path + "/vectors/delete", {"ids": ids[:2]}), 200)
        want.append(("DELETE", 2, 2, "id"))
        status(client.post(path + "/vectors/delete", {"filter": {"must": [{"key": "lang", "match": "de"}]}}), 200)
        want.append(("DELETE", 38, 19, "columns"))
        # What fails, and what asks to be left out, is not in it.
        status(client.post(path + "/search", {"vector": [0.5] * 3, "k": 3}), 400)
        status(client.post(path + "/search", {"vector": [0.5] * 4}, headers={"Akidb-Query-Log": "off"}), 200)
        until(lambda: metric(client, "akidb_query_log_rows_total") == len(want))
        equal(metric(client, 'akidb_query_log_dropped_total{reason="ring"}'), 0)
        equal(metric(client, "akidb_query_log_sample_ratio"), 1)
        client.close()
        server.stop()
        rows = daily(server)
        equal([(r["query_type"], int(r["rows_examined"]), int(r["rows_returned"]), r["index_used"]) for r in rows], want)
        ended = datetime.datetime.now(datetime.timezone.utc)
        for row in rows:
            # A name that a spreadsheet would take for a formula has a ' before it.
            equal(row["table_name"], "'" + NAME)
            assert began <= when(row) <= ended, row
            assert 0 <= float(row["execution_time_ms"]) <= (ended - began).total_seconds() * 1000, row
            assert float(row["cpu_time_ms"]) >= 0 and float(row["io_wait_ms"]) >= 0, row
            equal(row["cache_hit"] in ("true", "false"), True)
        by_type = {}
        for row in rows:
            by_type.setdefault((row["query_type"], row["index_used"]), set()).add(row["query_hash"])
        equal({kind: len(hashes) for kind, hashes in by_type.items() if len(hashes) != 1}, {}, "one shape each")
        equal(len(set().union(*by_type.values())), len(by_type), "and each its own")
        with open(os.path.join(folder(server), "query_shapes.ndjson")) as file:
            shapes = {shape["query_hash"]: shape for shape in map(json.loads, file)}
        equal(set(shapes), {row["query_hash"] for row in rows}, "shapes")
        equal({shape["table"] for shape in shapes.values()}, {NAME})
        filtered = next(r for r in rows if r["index_used"] == "exact_filtered")
        equal(shapes[filtered["query_hash"]]["filter"],
              {"must": [{"key": "lang", "match": 1}, {"key": "year", "range": ["gte"]}]})
        with open(os.path.join(folder(server), "optimization_summary.txt")) as file:
            assert f" query_log rows={len(want)}\n" in file.read()


def test_imports_exports_snapshots_and_restores_are_queries_of_their_own_types():
    with support.Server() as server:
        client = server.client()
        path = make(client, "docs")
        lines = "\n".join(json.dumps(doc) for doc in documents(300))
        off = {"Akidb-Query-Log": "off"}
        status(client.post(path + "/vectors", lines, content_type=support.NDJSON), 200)
        parquet = status(client.get(path + "/export"), 200).body
        status(client.get(path + "/export?format=ndjson"), 200)
        status(client.post(path + "/import", parquet, content_type="application/vnd.apache.parquet"), 200)
        made = status(client.post(path + "/snapshots?wait=true"), 201).json()
        status(client.post(f"{path}/snapshots/{made['id']}/restore?wait=true", {"into": "again"}), 201)
        # Refused half way, asked to be left out, or never come: not in it.
        status(client.post(path + "/vectors", lines + "\n{]", content_type=support.NDJSON), 400)
        status(client.post(path + "/vectors", lines, content_type=support.NDJSON, headers=off), 200)
        status(client.get(path + "/export", headers=off), 200)
        status(client.get("/collections/none/export"), 404)
        until(lambda: metric(client, "akidb_query_log_rows_total") == 6)
        client.close()
        server.stop()
        rows = daily(server)
        equal(sorted((r["query_type"], r["table_name"], int(r["rows_examined"]), int(r["rows_returned"]), r["index_used"])
                     for r in rows),
              sorted([("IMPORT", "docs", 300, 300, "id")] * 2 + [("EXPORT", "docs", 300, 300, "scan")] * 2 +
                     [("SNAPSHOT", "docs", 300, 300, "scan"), ("RESTORE", "again", 300, 300, "image")]))
        for row in rows:
            is_job = row["query_type"] in ("SNAPSHOT", "RESTORE")
            equal((row["cache_hit"] == "", row["cpu_time_ms"] == ""), (is_job, is_job), row)
            equal(row["io_wait_ms"] == "", row["query_type"] != "IMPORT", row)
            assert float(row["execution_time_ms"]) > 0, row
        with open(os.path.join(folder(server), "query_shapes.ndjson")) as file:
            shapes = {shape["query_hash"]: shape for shape in map(json.loads, file)}
        equal({(shapes[r["query_hash"]]["query_type"], shapes[r["query_hash"]]["items"]) for r in rows},
              {(r["query_type"], 512) for r in rows})


def test_recall_targets_are_shapes_of_their_own():
    with support.Server() as server:
        client = server.client()
        path = make(client, "docs")
        status(client.post(path + "/vectors", {"vectors": documents(50)}), 200)
        for recall in (0.9, 0.99, 0.99, None):
            body = {"vector": [0.5] * 4, "k": 4, **({"recall": recall} if recall else {})}
            status(client.post(path + "/search", body), 200)
        client.close()
        server.stop()
        told = json.loads(support.command("perf", "show", "--data", os.path.join(server.data, "db"), "--json"))
        equal({q["shape"]: q["queries"] for q in told["top_queries"] if q["query_type"] == "SEARCH"},
              {"k≤4 recall=0.9": 1, "k≤4 recall=0.99": 2, "k≤4": 1})


def test_a_kill_leaves_whole_lines_and_the_next_start_mends_a_cut_one():
    with support.Server() as server:
        client = server.client()
        path = make(client, "c")
        status(client.post(path + "/vectors", {"vectors": documents(10)}), 200)
        until(lambda: metric(client, "akidb_query_log_rows_total") == 1)
        client.close()
        server.kill()
        before = daily(server)
        equal(len(before), 1)
        newest = sorted(glob.glob(os.path.join(folder(server), "query_perf_daily_*.csv")))[-1]
        with open(newest, "a") as file:
            file.write("2026-01-01T00:00:00.000000Z,0123,SEA")
        server.start()
        client = server.client()
        status(client.post(path + "/search", {"vector": [1] * 4}), 200)
        until(lambda: metric(client, "akidb_query_log_rows_total") == 1)
        client.close()
        server.stop()
        rows = daily(server)
        equal(rows[0], before[0])
        equal([r["query_type"] for r in rows[1:]], ["SEARCH"])
        server.start()
        client = server.client()
        status(client.post(path + "/search", {"vector": [1] * 4}), 200)
        client.close()
        server.stop()
        equal([r["cache_hit"] for r in daily(server)[2:]], ["false"], "the collection was opened for it")


def test_a_log_that_cannot_be_written_or_is_off_disturbs_nobody():
    with support.Server() as server:
        server.stop()
        blocked = os.path.join(server.data, "blocked")
        with open(blocked, "w") as file:
            file.write("a file")
        server.arguments = ["--perf.dir", os.path.join(blocked, "perf")]
        server.start()
        client = server.client()
        path = make(client, "c")
        status(client.post(path + "/vectors", {"vectors": documents(10)}), 200)
        until(lambda: metric(client, 'akidb_query_log_dropped_total{reason="write"}') == 1)
        equal(len(status(client.post(path + "/search", {"vector": [1] * 4, "k": 3}), 200).json()["results"]), 3)
        client.close()
        server.stop()
        shutil.rmtree(folder(server), ignore_errors=True)
        server.arguments = ["--perf.enabled", "false"]
        server.start()
        client = server.client()
        status(client.post(path + "/search", {"vector": [1] * 4}), 200)
        equal(metric(client, "akidb_query_log_rows_total"), 0)
        client.close()
        server.stop()
        equal(os.path.exists(folder(server)), False)


def test_show_tells_what_the_rows_say_from_csv_and_from_parquet():
    with support.Server() as server:
        client = server.client()
        path = make(client, "docs")
        status(client.post(path + "/vectors", {"vectors": documents(50)}), 200)
        for i in range(20):
            body = {"vector": [i / 20] * 4, "k": 3 + i % 2}
            if i % 4 == 0:
                body["filter"] = {"must": [{"key": "lang", "match": "en"}]}
            status(client.post(path + "/search", body), 200)
        client.close()
        server.stop()
        rows = daily(server)
        equal(len(rows), 21)
        told = json.loads(support.command("perf", "show", "--data", os.path.join(server.data, "db"), "--json"))
        equal(told["rows"], 21)
        equal(told["rows_bad"], 0)
        equal({(q["query_type"], q["shape"]): q["queries"] for q in told["top_queries"]},
              {("UPSERT", "64 at a time"): 1, ("SEARCH", "k≤4"): 15, ("SEARCH", "k≤4 filter lang"): 5})
        total = sum(float(row["execution_time_ms"]) for row in rows)
        assert abs(sum(q["total_ms"] for q in told["top_queries"]) - total) < 1e-3
        slowest = max(rows, key=lambda row: float(row["execution_time_ms"]))
        equal(told["slow_queries"][0]["query_hash"], slowest["query_hash"])
        assert abs(told["slow_queries"][0]["execution_time_ms"] - float(slowest["execution_time_ms"])) < 1e-9
        equal([(t["table_name"], t["queries"]) for t in told["tables"]], [("docs", 21)])
        hits = sum(row["cache_hit"] == "true" for row in rows)
        assert abs(told["tables"][0]["cache_hit_ratio"] - hits / 21) < 1e-6
        equal(sum(week["queries"] for week in told["weeks"]), 21)
        text = support.command("perf", "show", "--input", folder(server), "--top", "3")
        for words in ("Top queries", "Slowest queries", "Collections", "Week over week", "k≤4 filter lang"):
            assert words in text, text
        # The exporter takes the log as it is, and its files tell the same.
        output = os.path.join(server.data, "parquet")
        support.command("perf", "export", "--input", folder(server), "--output", output, "--historical", "--strict")
        files = glob.glob(os.path.join(output, "query_perf", "year=*", "month=*", "*.parquet"))
        assert files
        again = json.loads(support.command("perf", "show", "--input", output, "--json"))
        for query in told["top_queries"] + told["slow_queries"]:
            query["shape"] = ""  # the list of shapes stays with the log
        for part in ("rows", "top_queries", "slow_queries", "tables", "weeks"):
            equal(again[part], told[part], part)
        support.command("perf", "show", "--input", os.path.join(server.data, "nowhere"), code=3)


def test_the_advisor_measures_and_its_report_is_kept_exported_and_carried_on():
    dimension = 256  # large enough that thousands of documents are searched by their graph
    rand = random.Random(7)
    columns = [(rand.gauss(0, 1), rand.gauss(0, 1), rand.gauss(0, 1)) for _ in range(dimension)]

    def point():  # of three degrees of freedom: a graph finds its way with a small ef
        a, b, c = rand.random(), rand.random(), rand.random()
        return [round(a * x + b * y + c * z, 3) for x, y, z in columns]

    with support.Server() as server:
        client = server.client()
        status(client.post("/collections", {"name": "docs", "dimension": dimension, "metric": "l2",
                                            "index": {"m": 8, "ef_construction": 64, "ef_search": 512}}), 201)
        lines = [json.dumps({"vector": point(), "metadata": {"shop": i % 300}}) for i in range(4500)]
        status(client.post("/collections/docs/vectors", "\n".join(lines), content_type=support.NDJSON), 200)
        until(lambda: metric(client, "akidb_vectors_pending") == 0)
        for i in range(60):
            body = {"vector": point(), "k": 10}
            if i % 2:
                body["filter"] = {"must": [{"key": "shop", "match": [i, i + 1, i + 2]}]}
            status(client.post("/collections/docs/search", body), 200)
        # The searches, and the import: the log has all that is asked of the server.
        until(lambda: metric(client, "akidb_query_log_rows_total") == 61)
        before = len(daily(server))
        words = ("perf", "advise", "--url", f"http://127.0.0.1:{server.port}", "--input", folder(server),
                 "--recall", "0.8", "--queries", "20", "--trial", "3600", "--seed", "5")
        dry = json.loads(support.command(*words, "--json", "--dry-run"))
        path = os.path.join(folder(server), "index_advisor_report.json")
        equal(os.path.exists(path), False, "a dry run writes nothing")
        support.command(*words)
        with open(path) as file:
            report = json.load(file)
        advice = {one["index"]: one for one in report["recommendations"]}
        assert advice and {one["table"] for one in advice.values()} <= {"docs", "*"}, report
        for one in advice.values():
            assert one["basis"] and one["priority"] in ("low", "medium", "high") and one["status"] == "proposed", one
        assert any(index.startswith("ef_search=") for index in advice), report
        ef = next(one for index, one in advice.items() if index.startswith("ef_search="))
        assert "recall@16" in ef["basis"] and "20 stored vectors" in ef["basis"], ef
        assert any(one["index"].startswith("ef_search=") for one in dry["recommendations"])
        # What it asked is not in the log: its next advice would be about itself.
        client.close()
        server.stop()
        equal(len(daily(server)), before)
        with open(os.path.join(folder(server), "optimization_summary.txt")) as file:
            events = file.read()
        assert f" advice recommendations={len(advice)} " in events and " advice_proposed " in events, events

        # Once the collection is made as recommended, the recommendation is applied.
        report["recommendations"] = [{"table": "docs", "index": "m=8", "query_pattern": "x", "priority": "low",
                                      "estimated_speedup": 2.0, "status": "proposed"},
                                     {**ef, "status": "dismissed"}]
        with open(path, "w") as file:
            json.dump(report, file)
        support.command("perf", "advise", "--data", os.path.join(server.data, "db"), "--recall", "0.8", "--queries", "20",
                        "--trial", "0", "--seed", "5")
        with open(path) as file:
            again = {one["index"]: one["status"] for one in json.load(file)["recommendations"]}
        equal(again["m=8"], "applied")
        assert again.get(ef["index"], "dismissed") == "dismissed", again

        output = os.path.join(server.data, "parquet")
        support.command("perf", "export", "--input", folder(server), "--output", output, "--historical", "--strict")
        for table in ("query_perf", "index_advisor", "optimization_summary"):
            assert glob.glob(os.path.join(output, table, "year=*", "month=*", "*.parquet")), table


def test_thresholds_and_pins_are_advised_from_the_log_and_the_policy_of_the_server():
    with support.Server(arguments=["--tiering.hot_idle", "5h"]) as server:
        client = server.client()
        for name in ("free", "pinned"):
            status(client.post(make(client, name) + "/vectors", {"vectors": documents(20)}), 200)
        status(client.post("/collections/pinned/tier", {"action": "pin"}), 200)
        days = 8
        os.makedirs(folder(server), exist_ok=True)
        today = datetime.datetime.now(datetime.timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
        for back in range(1, days + 1):
            day = today - datetime.timedelta(days=back)
            with open(os.path.join(folder(server), f"query_perf_daily_{day:%Y%m%d}.csv"), "w") as file:
                file.write(",".join(COLUMNS) + "\n")
                for hour in (1, 9, 17):
                    for name in ("free", "pinned", "dropped"):
                        for i in range(20):
                            hit = "true" if i else "false"
                            file.write(f"{day:%Y-%m-%d}T{hour:02}:00:{i:02}Z,ab,SEARCH,{0.5 if i else 8},20,10,{hit},{name},exact,,\n")
        words = ("perf", "advise", "--url", f"http://127.0.0.1:{server.port}", "--input", folder(server),
                 "--queries", "4", "--trial", "0", "--seed", "5")
        support.command(*words)
        path = os.path.join(folder(server), "index_advisor_report.json")
        with open(path) as file:
            report = json.load(file)
        advice = {(one["table"], one["index"]): one for one in report["recommendations"]}
        idle = advice["*", "tiering.hot_idle=12h"]
        assert "now (5h)" in idle["basis"] and "0.500 ms with everything in memory, 8.000 ms without" in idle["basis"], idle
        assert idle["estimated_speedup"] > 2 and idle["estimated_cost"] > 0 and idle["priority"] == "high", idle
        equal([table for table, index in advice if index == "tier:pinned"], ["free"])
        equal(advice["free", "tier:pinned"]["estimated_speedup"], 16)
        # Once the server runs with it, and the other one is pinned, both are applied.
        client.close()
        server.stop()
        server.arguments = ["--tiering.hot_idle", "12h"]
        server.start()
        client = server.client()
        status(client.post("/collections/free/tier", {"action": "pin"}), 200)
        client.close()
        support.command("perf", "advise", "--url", f"http://127.0.0.1:{server.port}", *words[4:])
        with open(path) as file:
            again = {(one["table"], one["index"]): one["status"] for one in json.load(file)["recommendations"]}
        equal(again.get(("*", "tiering.hot_idle=12h")), "applied")
        equal(again.get(("free", "tier:pinned")), "applied")


if __name__ == "__main__":
    support.run(globals())
