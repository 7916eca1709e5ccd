#!/usr/bin/env python3
"""docs/PERFORMANCE.md from build/bench/*.json. Says what was measured, where, how, and what fell short."""

import json
import re

import ann_report
from report_page import Page, mib, ms, n, seconds
from support import DOCS, OUT, say

PARTS = [
    "ann",
    "http",
    "upserts",
    "moments",
    "collections",
    "replay",
    "import",
    "s3",
    "parquet",
    "snapshots",
    "tiers",
    "perf",
]
BUSY = 0.15  # share of the processors that others may take
PAGE = DOCS / "PERFORMANCE.md"


# --- One function a part ---


def http(page, r):
    page.add(
        f"{r['rows']:,} clustered vectors × {r['dimension']}, k {r['k']}, ef {r['ef']}; wrk with one thread posts 2,000 real query "
        "vectors as JSON. *Shared*: server and wrk on the same cores. *Split*: the server on one core, wrk on another, so that "
        "the client's work does not count; it compares with one in-process thread."
    )
    one = r["engine"]["1"]["per_second"]
    top = r["engine"][str(r["cores"])]["per_second"]
    rows = [
        [
            f"in-process, {t} thread{'s' if t != '1' else ''}",
            n(e["per_second"]),
            ms(e["ms_p50"]),
            ms(e["ms_p99"]),
            "–",
            n(e["cpu_us"], 1),
        ]
        for t, e in r["engine"].items()
    ]
    for key, h in r["http"].items():
        connections, _, split = key.partition(" ")
        base = one if split or connections == "1" else top
        rows.append(
            [
                f"HTTP, {connections} connection{'s' if connections != '1' else ''}, {split or 'shared'}",
                n(h["per_second"]),
                ms(h["ms_p50"]),
                ms(h["ms_p99"]),
                f"{100 * h['per_second'] / base:.0f} %",
                n(h["server_us"], 1),
            ]
        )
    page.table(
        ["", "searches/s", "p50", "p99", "of in-process", "CPU of engine or server, µs each"], rows
    )
    split = max(
        (h["per_second"] for k, h in r["http"].items() if k.endswith("split")), default=None
    )
    if split:
        page.goal(
            "search over HTTP, of in-process, one core each for server and client",
            "≥ 70 %",
            f"{100 * split / one:.0f} %",
            split >= 0.7 * one,
        )
    shared = max(h["per_second"] for k, h in r["http"].items() if not k.endswith("split"))
    page.goal(
        "the same with the client on the server's cores",
        "≥ 70 %",
        f"{100 * shared / top:.0f} %",
        shared >= 0.7 * top,
    )


def upserts(page, r):
    page.add(
        f"One document of {r['dimension']} dimensions with metadata per call, acknowledged when it is on disk; best of {r['passes']} "
        f"interleaved passes of {r['seconds']} s. SQLite: WAL, synchronous=FULL, a row {{id, vector, JSON}} per transaction. "
        f"A 4 KiB write and its fdatasync take {r['machine']['sync_us']:.0f} µs here: this virtual disk acknowledges from its host's cache, "
        "which leaves nothing to gain from sharing a sync. The right half adds 1 ms to every fsync and fdatasync of both."
    )
    rows = []
    for name, disk in r["disk"].items():
        slow = r["slow"][name]
        rows.append(
            [name]
            + [
                x
                for e in (disk, slow)
                for x in (
                    n(e["per_second"]),
                    f"{e['times_sqlite']:.2f} ×" if "times_sqlite" in e else "",
                    ms(e["ms_p99"]),
                )
            ]
        )
    page.table(
        ["", "upserts/s", "× SQLite", "p99", "1 ms sync: upserts/s", "× SQLite", "p99"], rows
    )
    name = next(iter(r["disk"]))
    for what, text in (("disk", "on this disk"), ("slow", "with a 1 ms sync")):
        times = r[what][name]["times_sqlite"]
        page.goal(
            f"single durable upserts over HTTP beside SQLite, {text}",
            "≥ 5 ×",
            f"{times:.1f} ×",
            times >= 5,
        )


def moments(page, r):
    a, b = r["first"], r["restart"]
    page.add(
        f"{r['dimension']} dimensions, REST, durability sync, {r['clients']} clients; load generator, wrk and server share the cores. "
        "/health is asked every 10 ms by a process of raised priority."
    )
    health = [a["health_upserts"], a["health_search"], a["health_mixed"], b["health"]]
    worst = max(h["ms_max"] for h in health)
    rows = [
        [
            f"{a['count']:,} single upserts by {r['clients']} clients",
            "≥ 20,000/s",
            n(a["upserts"]["per_second"]) + "/s",
            f"p99 {ms(a['upserts']['ms_p99'])}",
        ],
        [
            "first search right after",
            "no stall",
            ms(a["search_ms"]),
            f"{a['pending_after']:,.0f} vectors not linked yet; all were {seconds(a['linked_seconds'])} later",
        ],
        [
            "memory after them",
            "≤ 160 MiB",
            mib(a["memory_after"]),
            f"empty {mib(a['memory_empty'])}; linked {mib(a['memory_linked'])}",
        ],
        [
            "searches, 1 client",
            "≥ 13,000/s",
            n(a["search"]["1"]["per_second"]) + "/s",
            f"p99 {ms(a['search']['1']['ms_p99'])}; older AkiDB 1,300/s",
        ],
        [
            "searches, 8 clients",
            "≥ 29,000/s",
            n(a["search"]["8"]["per_second"]) + "/s",
            f"p99 {ms(a['search']['8']['ms_p99'])}; older AkiDB 2,900/s",
        ],
        [
            "searches while 8 clients write",
            "p99 < 10 ms",
            "p99 " + ms(a["mixed"]["searches"]["ms_p99"]),
            f"{n(a['mixed']['searches']['per_second'])} searches/s by 2 clients beside {n(a['mixed']['upserts']['per_second'])} upserts/s",
        ],
        [
            "/health meanwhile",
            "always < 10 ms",
            "longest " + ms(worst),
            "; ".join(f"{h['late']} of {h['polls']:,} late" for h in health)
            + " (upserts; searches; both; the upserts below)",
        ],
        [
            f"{b['count']:,} single upserts",
            "≥ 20,000/s",
            n(b["upserts"]["per_second"]) + "/s",
            f"p99 {ms(b['upserts']['ms_p99'])}",
        ],
        [
            "SIGTERM until the process is gone",
            "",
            seconds(b["stop_seconds"]),
            f"{b['pending_at_stop']:,.0f} vectors were not linked yet",
        ],
        [
            "restart until /ready",
            "≤ 0.2 s",
            seconds(b["ready_seconds"]),
            f"all {b['count']:,} documents are there; memory {mib(b['memory_start'])}",
        ],
        ["first answer after that", "", ms(b["search_ms"]), ""],
    ]
    page.table(["moment", "goal", "measured", ""], rows)
    met = [
        a["upserts"]["per_second"] >= 20000,
        a["search_ms"] < 50,
        a["memory_after"][0] <= 160 and a["memory_after"][1] <= 160,
        a["search"]["1"]["per_second"] >= 13000,
        a["search"]["8"]["per_second"] >= 29000,
        a["mixed"]["searches"]["ms_p99"] < 10,
        worst < 10,
        b["upserts"]["per_second"] >= 20000,
        None,
        b["ready_seconds"] <= 0.2,
        None,
    ]
    for row, ok in zip(rows, met):
        if ok is not None:
            page.goal(row[0], row[1], row[2], ok)


def collections(page, r):
    page.add(
        f"{r['collections']:,} collections of {r['documents']} vectors × {r['dimension']}, made through libakidb by {r['create']['threads']} threads "
        f"at {n(r['create']['per_second'])} a second; {r['disk_mib']:,.0f} MiB in {r['files']:,} files."
    )
    page.table(
        ["", "time", "memory"],
        [
            ["start until /ready", seconds(r["ready_seconds"]), mib(r["memory_start"])],
            ["list all, 1,000 a page", seconds(r["list_seconds"]), mib(r["memory_listed"])],
            [
                f"search {r['searches']:,} random ones, one after the other",
                f"p50 {ms(r['search']['ms_p50'])}, p99 {ms(r['search']['ms_p99'])}",
                mib(r["memory_searched"]),
            ],
            ["SIGTERM until the process is gone", seconds(r["stop_seconds"]), ""],
        ],
    )
    most = max(r[k][1] for k in ("memory_start", "memory_listed", "memory_searched"))
    page.goal(
        f"{r['collections']:,} collections: start until /ready",
        "≤ 2 s",
        seconds(r["ready_seconds"]),
        r["ready_seconds"] <= 2,
    )
    page.goal(
        f"{r['collections']:,} collections: memory", "< 1,024 MiB", f"{most:,.0f} MiB", most < 1024
    )


def replay(page, r):
    size = r["retained_bytes"] / 2**30
    page.add(
        f"{size:.2f} GiB of log in {r['collections']} collections of {r['rows']:,} × {r['dimension']}, none of it covered by a checkpoint "
        f"({100 * r['linked_share']:.0f} % of the vectors had been linked), kill -9, restart."
    )
    page.table(
        ["", "time", "memory"],
        [["restart until /ready", seconds(r["ready_seconds"]), mib(r["memory_ready"])]],
    )
    page.goal(
        "replay of 1 GiB of log",
        "< 5 s",
        f"{seconds(r['ready_seconds'])} for {size:.2f} GiB",
        r["ready_seconds"] < 5 * max(1, size),
    )


def bulk_import(page, r):
    page.add(
        f"{r['rows']:,} embeddings × {r['dimension']} with their metadata through `akidb import --wait`, until every vector is in its "
        f"graph; best of {r['passes']}. NDJSON is one file of {r['ndjson_mib']:,.0f} MiB. Into a server, *log* is the time waiting for it "
        "and *index* the wait after the last document."
    )
    rows = [
        [
            name,
            seconds(i["seconds"]),
            n(i["documents"] / i["seconds"]) + "/s",
            seconds(i["parse_seconds"]),
            seconds(i["log_seconds"]),
            seconds(i["index_seconds"]),
            seconds(i["close_seconds"]),
        ]
        for name, i in r["imports"].items()
    ]
    page.table(["", "all", "documents", "parse", "log", "index", "close"], rows)


def s3(page, r):
    page.add(
        f"A file of {r['mb']:,} MB up and down, and {r['puts']:,} objects of 64 KiB by {r['threads']} threads, against real servers on the same "
        f"machine; best of {r['passes']} interleaved passes; what came down was compared. Peers: boto3 {r['boto3'] or '(absent)'}, the same on "
        f"the CRT {r['crt'] or '(absent)'}, rclone. AkiDB's bodies carry their SHA-256, which the server checks; the CRT's carry a CRC."
    )
    rows = []
    for server, peers in r["servers"].items():
        for peer, b in peers.items():
            puts = n(b["puts"]) if b["puts"] else "–"
            rows.append([server, peer, n(b["up"]), n(b["down"]), puts])
    page.table(["server", "client", "MB/s up", "MB/s down", "puts/s"], rows)
    least = min(peers["akidb"]["puts"] for peers in r["servers"].values())
    page.goal("64 KiB puts to S3, slowest server", "≥ 600/s", f"{least:,.0f}/s", least >= 600)


def lost(form):
    if not form["max_error"]:
        return "none"
    mean = f"{100 * form['relative_rms']:.2f} %"
    return f"≤ {form['max_error']:.1e}; mean {mean}; cosine {form['worst_cosine']:.0e}"


def parquet(page, r):
    where = "in memory (/dev/shm)" if r["memory"] else "on disk, without sync"
    page.add(
        f"Files {where}; best of {r['passes']} passes. One thread writes all five columns of a snapshot and reads the vectors back, checksums "
        "verified; what comes back is compared bit for bit. GB/s count raw floats. Sizes are those of the vector column; JSON has each "
        "number in its shortest exact form."
    )
    for kind, s in r["sets"].items():
        one = next(iter(s["forms"].values()))
        shape = f"{one['rows']:,} × {one['dimension']}"
        page.add("", f"{kind}: {shape}, raw {n(one['raw'])} bytes, as JSON {n(s['json'])}")
        rows = [
            [
                name,
                n(f["vectors"]),
                n(f["raw"] / f["vectors"], 2) + " ×",
                n(s["json"] / f["vectors"], 1) + " ×",
                n(f["raw"] / f["write_seconds"] / 1e9, 2),
                n(f["raw"] / f["read_seconds_1"] / 1e9, 2),
                lost(f),
            ]
            for name, f in s["forms"].items()
        ]
        head = ["encoding + codec", "bytes", "of raw", "of JSON", "write GB/s", "read GB/s", "error"]
        page.table(head, rows)
    raw = r["rows"] * r["dimension"] * 4
    page.add(
        "",
        f"Beside pyarrow {r['pyarrow'] or '(absent)'}: {r['rows']:,} × {r['dimension']}, embedding-like, in turns in the same run; row groups of "
        "10,000 rows, page checksums written and verified on both sides, zstd 1. pyarrow writes by one thread and reads by as many as it likes.",
    )
    rows = []
    for name, b in r["beside"].items():
        speeds = [n(raw / b[what] / 1e9, 2) for what in ("write", "read")]
        rows.append([name, seconds(b["write"]), speeds[0], seconds(b["read"]), speeds[1], n(b["bytes"])])
    page.table(["", "write", "GB/s", "read", "GB/s", "bytes"], rows)
    parquet_goals(page, r, raw)


def parquet_goals(page, r, raw):
    beside = r["beside"]
    for form, goal in (("split + zstd", 0.7), ("plain + none", 2.5)):
        speed = raw / beside[f"akidb {form}, 1 thread"]["write"] / 1e9
        page.goal(
            f"Parquet written by a core, {form}", f"≥ {goal} GB/s", f"{speed:.2f} GB/s", speed >= goal
        )
    theirs, ours = beside.get("pyarrow split + zstd"), beside["akidb split + zstd, 2 threads"]
    for what in ("write", "read") if theirs else ():
        ratio = theirs[what] / ours[what]
        page.goal(f"Parquet {what} beside pyarrow", "≥ 2 ×", f"{ratio:.1f} ×", ratio >= 2)
    for kind, form in (("sin", "split + zstd"), ("sentence embeddings", "q8 + zstd")):
        if kind in r["sets"]:
            size = r["sets"][kind]["forms"][form]["file"]
            page.goal(f"File of 10k {kind}, {form}", "< 5 MB", f"{size / 1e6:.2f} MB", size < 5e6)
    least = min(s["json"] / s["forms"]["split + zstd"]["vectors"] for s in r["sets"].values())
    page.goal("Lossless Parquet beside JSON, worst kind", "> 2 ×", f"{least:.1f} ×", least > 2)


def tiers(page, r):
    page.add(f"The object store is {r['store']}. Moves by the API, medians; searches one after the other on one connection, k = 10.")
    for rows, one in r.get("moves", {}).items():
        page.add("", f"{int(rows):,} × 512")
        page.table(["move", "seconds"], [[what, n(s, 3)] for what, s in one["moves"].items()])
        head = ["search", "P50", "P95", "P99", "most"]
        page.table(head, [[what, *(ms(t[p]) for p in ("p50", "p95", "p99", "max"))] for what, t in one["searches"].items()])
    if "moves" in r:
        tier_goals(page, r["moves"])
    if "decisions" in r:
        tier_decisions(page, r["decisions"])
    if "pressure" in r:
        tier_pressure(page, r["pressure"])


def tier_goals(page, moves):
    small, large = moves["10000"], moves["100000"]
    bars = [("Hot to warm, 10k × 512", small["moves"]["hot to warm, written before"], 2), ("Warm to hot, 10k × 512", small["moves"]["warm to hot"], 3),
            ("Warm to cold, 10k × 512", small["moves"]["warm to cold, with its snapshot"], 5), ("Cold to warm, 100k × 512", large["moves"]["cold to warm"], 10)]
    for what, got, bar in bars:
        page.goal(what, f"≤ {bar / 10} s", seconds(got), got <= bar / 10)
    hot, warm, empty, dropped = (
        large["searches"][what]["p95"] for what in ("hot", "warm, touched", "warm, cache empty at first", "warm, nothing cached"))
    page.add("", "“Nothing cached”: every page of the image is forgotten before each search, so that each waits for all of the codes; “cache empty at "
                 "first”: before the first of them.")
    page.goal("Warm search beside hot, 100k × 512, P95", "≤ 2 ×", f"{warm / hot:.2f} ×", warm <= 2 * hot)
    page.goal("Warm search, cache empty at first, 100k × 512, P95", "≤ 25 ms", ms(empty), empty <= 25)
    page.goal("Warm search, nothing cached, 100k × 512, P95", "≤ 25 ms", ms(dropped), dropped <= 25)


def tier_decisions(page, d):
    page.add("", f"A pass of the worker over {n(d['collections'])} collections (looking at the uses of all, and deciding), in the server: P50 {ms(d['pass']['p50'])}, "
                 f"most {ms(d['pass']['max'])}; `GET /tiers` over as many: P50 {ms(d['overview']['p50'])}.")
    page.goal("Decision pass over 100,000 collections, P50", "≤ 5 ms", ms(d["pass"]["p50"]), d["pass"]["p50"] <= 5)
    page.goal("Decision pass over 100,000 collections, most", "≤ 100 ms", ms(d["pass"]["max"]), d["pass"]["max"] <= 100)


def tier_pressure(page, p):
    total = p["collections"] * p["collection_bytes"] / 2**30
    page.add(
        "",
        f"{p['collections']} collections of {p['rows']:,} × {p['dimension']}, {total:.1f} GiB, under a limit of {p['limit_mib']:,} MiB for {n(p['minutes'])} minutes: "
        f"Zipf over the collections, four clients, {n(p['searches'])} searches and {n(p['writes'])} writes. {n(p['checked'])} answers checked against an exact search: "
        f"{p['wrong_count']} wrong, recall {p['recall']:.3f}; {p['refused']} requests refused. Resident set: median {n(p['resident_mib']['median'])} MiB, "
        f"P99 {n(p['resident_mib']['p99'])}, most {n(p['resident_mib']['max'])}; of its own (anonymous) at most {n(p['anonymous_mib']['max'])} MiB.",
    )
    page.table(["answered by", "searches", "P50", "P95", "P99", "most"],
               [[tier, n(t["count"]), *(ms(t[q]) for q in ("p50", "p95", "p99", "max"))] for tier, t in p["latency"].items()])
    constant = 256  # memory.idle_bytes
    most = p["limit_mib"] * 1.1 + constant
    page.goal("Resident set under the limit, P99", f"≤ {most:,.0f} MiB", f"{p['resident_mib']['p99']:,.0f} MiB", p["resident_mib"]["p99"] <= most)
    page.goal("Wrong answers while everything moves", "none", str(p["wrong_count"]), p["wrong_count"] == 0)


def snapshots(page, r):
    for t in r.get("times", []):
        snapshot_times(page, r, t)
    if "sizes" in r:
        snapshot_sizes(page, r["sizes"])
    if "memory" in r:
        snapshot_memory(page, r["memory"])


STEPS = {
    "create, changed": "create: the collection has changed, so that its image is written first",
    "create": "create: its image is there",
    "restore": "restore by the image, until the first search is answered",
    "verify": "verify",
    "rebuild": "restore from Parquet alone, the index built anew, until the first search is answered",
    "pyarrow write": "pyarrow writes the table with zstd 1, synced",
    "pyarrow read": "pyarrow reads it",
    "plain": "the disk: a file of the table's length written and synced",
}


def snapshot_times(page, r, t):
    page.add(
        "",
        f"{t['rows']:,} documents × {r['dimension']}, embedding-like, in a server; snapshots in a local folder, synced; {n(t['bytes'])} bytes, of "
        f"which {n(t['data bytes'])} are the Parquet file. From the request to the answer over REST; medians of {r['passes']} passes, all rows in "
        "turns in each.",
    )
    rows = []
    for key, text in STEPS.items():
        if key in t["median"]:
            cpu = t["median"].get(key + " cpu")
            rows.append(
                [text, seconds(t["median"][key]), seconds(t["best"][key]), seconds(cpu) if cpu else "–"]
            )
    page.table(["", "median", "best", "processor time"], rows)
    big = t["rows"] >= 100_000
    for key, what, goal in (
        ("create", "created in a local folder", 0.4 if big else 2),
        ("restore", "restored by the image to the first search", 0.2 if big else 3),
    ):
        median = t["median"][key]
        page.goal(f"{t['rows']:,} × {r['dimension']} {what}", f"≤ {goal} s", seconds(median), median <= goal)
    for key, peer in (("create", "write"), ("restore", "read")) if big and "pyarrow write" in t["median"] else ():
        ratio = t["median"][f"pyarrow {peer}"] / t["median"][key]
        page.goal(f"snapshot {key} beside pyarrow's {peer}", "≥ 2 ×", f"{ratio:.1f} ×", ratio >= 2)


def snapshot_sizes(page, sizes):
    names = ["lossless", "plain", "bf16", "q8", "json"]
    page.add(
        "",
        "The data object of 10,000 documents by encoding, zstd, with ids and 24 bytes of metadata each; in brackets the largest error of a number.",
    )
    rows = []
    for kind, s in sizes.items():
        row = [f"{kind}, {s['dimension']}", n(s["raw_bytes"])]
        for name in names:
            error = s[name].get("max_error")
            row.append(n(s[name]["bytes"]) + (f" ({error:.1e})" if error else ""))
        rows.append(row)
    page.table(["vectors", "raw floats", *names], rows)
    least = min(s["json"]["bytes"] / s["lossless"]["bytes"] for s in sizes.values())
    page.goal("lossless snapshot beside one in JSON, worst kind", "> 2 × smaller", f"{least:.1f} ×", least > 2)
    for kind, name in (("sin", "lossless"), ("sentence embeddings", "q8")):
        if kind in sizes:
            size = sizes[kind][name]["bytes"]
            page.goal(f"snapshot of 10,000 {kind}, {name}", "< 5 MB", f"{size / 1e6:.2f} MB", size < 5e6)


def snapshot_memory(page, memory):
    page.add(
        "",
        f"Peak memory of the server beyond what it had before, and beyond the collection that comes into being: {memory['rows']:,} × 512. Of creating, "
        "exporting and verifying, mapped pages of the image count; a restored image is mapped and is the collection, so there only anonymous memory "
        "counts.",
    )
    page.table(["", "MiB"], [[what, n(m["mib"], 1)] for what, m in memory["operations"].items()])
    what, worst = max(memory["operations"].items(), key=lambda item: item[1]["mib"])
    page.goal(
        f"memory of snapshots, restores, exports and imports of {memory['rows']:,} × 512",
        "≤ 64 MiB",
        f"{worst['mib']:.0f} MiB ({what})",
        worst["mib"] <= 64,
    )


def perf(page, r):
    where = "in memory (/dev/shm)" if r["memory"] else "on disk"
    page.add(
        f"Made-up query logs {where} (bench/perf_data.py): *order* has the nine columns and the precision of the work order, *server* the eleven of "
        f"AkiDB's own log, with microseconds. Means of five days of about 200 KB; times are the best of {r['passes']} whole processes, the exporter's syncs included."
    )
    rows = [[k, n(s["csv"]), n(s["parquet"]), f"{100 * s['smaller']:.1f} %"] for k, s in r["sizes"].items()]
    page.table(["a day", "CSV bytes", "Parquet bytes", "smaller by"], rows)
    rows = [
        [codec, n(f["bytes"]), seconds(f["seconds"]), n(f["bytes"] / f["seconds"] / 1e6), n(f["bytes"] / f["cpu_seconds"] / 1e6), n(f["peak_kib"] / 1024) + " MiB", f"{100 * (1 - f['parquet'] / f['bytes']):.1f} %"]
        for codec, f in r["large"].items()
    ]
    page.table(["a large log, server", "CSV bytes", "time", "MB/s", "MB/s of processor time", "peak memory", "smaller by"], rows)
    snappy, zstd = r["sizes"]["order, snappy"]["smaller"], r["sizes"]["order, zstd"]["smaller"]
    page.goal("a day's queries as Parquet, beside the CSV", "≥ 85 % smaller", f"{100 * zstd:.1f} % (zstd), {100 * snappy:.1f} % (snappy)", zstd >= 0.85)
    large = r["large"]["snappy"]
    speed = large["bytes"] / large["seconds"] / 1e6
    page.goal("export of a large query log", "≥ 150 MB/s", f"{speed:.0f} MB/s", speed >= 150)
    page.goal("its memory", "≤ 64 MiB", f"{large['peak_kib'] / 1024:.0f} MiB", large["peak_kib"] <= 65536)
    page.goal("export of a day of 200 KB", "< 1 s", seconds(r["day_seconds"]), r["day_seconds"] < 1)
    if r["thirty"]:
        t = r["thirty"]
        rows = [[name, ms(1000 * t[name]["first"]), ms(1000 * t[name]["best"])] for name in ("parquet", "csv")]
        page.table([f"30 days aggregated by DuckDB {t['duckdb']}", "first", "best"], rows)
        page.goal("30 days aggregated by DuckDB", "≤ 50 ms", ms(1000 * t["parquet"]["best"]), t["parquet"]["best"] <= 0.05)


TITLES = {
    "ann": ("Nearest-neighbour search beside other libraries", ann_report.write),
    "http": ("Search over HTTP", http),
    "upserts": ("Durable single upserts beside SQLite", upserts),
    "moments": ("The older AkiDB's worst moments", moments),
    "collections": ("A hundred thousand collections", collections),
    "replay": ("Restart after kill -9", replay),
    "import": ("Bulk import", bulk_import),
    "s3": ("Object storage beside boto3 and rclone", s3),
    "parquet": ("Parquet files", parquet),
    "tiers": ("Tiers", tiers),
    "snapshots": ("Snapshots, exports and imports", snapshots),
    "perf": ("Performance data to Parquet", perf),
}


# --- The page ---


def kept(text):
    """Of the page as it is: {title: lines of its section}, and the rows of goals by part.

    A part that was measured elsewhere, so that its results are not here, keeps what the page says of it.
    """
    sections, goals = {}, {}
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        title, _, rest = section.partition("\n")
        sections[title.strip()] = rest.strip("\n").split("\n")
    for line in sections.get("Goals", []):
        found = re.match(r"\| (.*) \| (.*) \| (.*) \| (.*) <!-- (\w+) --> \|$", line)
        if found:
            *row, part = found.groups()
            goals.setdefault(part, []).append((*row, part))
    return sections, goals


def add_part(page, part, r):
    title, write = TITLES[part]
    page.part = part
    page.add(
        "",
        f"## {title}",
        "",
        f"`bench/run.sh {part}` · {r['date']} · commit {r['machine']['commit']} · {r['machine']['cpu']}",
        "",
    )
    if r["busy"] > BUSY:
        page.add(
            f"**Others took {100 * r['busy']:.0f} % of the processors** after this part: its numbers say little.",
            "",
        )
    write(page, r)


def main():
    results = {
        p: json.loads((OUT / f"{p}.json").read_text())
        for p in PARTS
        if (OUT / f"{p}.json").exists()
    }
    if not results:
        say("there are no results yet: bench/run.sh measures")
        return
    old = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    old_sections, old_goals = kept(old)
    page, missing = Page(), []
    for part in PARTS:
        title = TITLES[part][0]
        if part in results:
            add_part(page, part, results[part])
        elif title in old_sections:
            page.add("", f"## {title}", *old_sections[title], "")
            page.goals += old_goals.get(part, [])
        else:
            missing.append(part)
    busy = [part for part, r in results.items() if r["busy"] > BUSY]
    body, page.lines = page.lines, []
    m = next(iter(results.values()))["machine"]
    page.add(
        "# Performance",
        "",
        "Written by `make bench` (bench/run.sh); do not edit. `bench/run.sh PART` measures one part again.",
        "",
        f"Machine: {m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB, Linux {m['kernel']}; {m['compiler']}; AkiDB {m['akidb']['version']}, kernels {m['akidb']['simd']}. A 4 KiB write "
        f"and its fdatasync take {m['sync_us']:.0f} µs. Virtual machines are noisy, and parts are measured on different days: trust ratios within one "
        "run more than numbers of different runs. Clients always ran on the same machine, over loopback.",
        "",
        "## Goals",
    )
    page.table(["", "goal", "measured", "met"], [(*g[:3], f"{g[3]} <!-- {g[4]} -->") for g in page.goals])
    if busy:
        page.add(
            f"The machine was busy with something else while these parts ran: {', '.join(busy)}.",
            "",
        )
    if missing:
        page.add(f"Not measured here: {', '.join(missing)}.")
    short = [g for g in page.goals if g[3] != "yes"]
    page.add("", "### What fell short", "")
    page.add(*([f"- {g[0]}: {g[2]} ({g[1]})" for g in short] or ["Nothing."]))
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text("\n".join(page.lines + body).rstrip() + "\n", encoding="utf-8")
    say(f"wrote {PAGE}: {len(page.goals) - len(short)} of {len(page.goals)} goals met")


if __name__ == "__main__":
    main()
