#!/usr/bin/env python3
"""Acknowledged single upserts per second, each durable, beside SQLite in the same run.

AkiDB over HTTP (32 kept-alive clients) and inside the process (32 threads); SQLite with one thread and
with 32. Interleaved, best of the passes. Once on the disk as it is, and once with a millisecond added
to every sync of either database, since a virtual disk's sync may cost next to nothing.
"""

import sys

from support import OUT, Server, clustered, load, program, run_json, save, say, scratch, sync_us

CLIENTS = 32
SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 else 8
PASSES = 3
DIMENSION = 512
ROWS = 100_000  # different documents; a run that is through begins again


def over_http(vectors, env):
    with scratch("upserts-http") as folder, Server(folder, env=env) as server:
        with server.client() as client:
            client.create("upserts", DIMENSION)
        result = load(server, "upserts", vectors, CLIENTS, rows=ROWS, seconds=SECONDS)
        with server.client() as client:
            if client.count("upserts") != result["calls"]:
                raise SystemExit(
                    f"{result['calls']} upserts were acknowledged, {client.count('upserts')} are there"
                )
    return result


def in_process(vectors, env):
    with scratch("upserts-engine") as folder:
        return run_json(
            program("engine_upserts", "akidb"), folder, vectors, CLIENTS, SECONDS, env=env
        )


def sqlite(threads):
    def run(vectors, env):
        with scratch("upserts-sqlite") as folder:
            folder.mkdir()
            return run_json(
                program("sqlite_upserts", "sqlite3"),
                folder / "upserts.db",
                vectors,
                threads,
                SECONDS,
                env=env,
            )

    return run


ENGINES = {
    "AkiDB, HTTP, 32 clients": over_http,
    "AkiDB, in-process, 32 threads": in_process,
    "SQLite, 1 thread": sqlite(1),
    "SQLite, 32 threads": sqlite(CLIENTS),
}


def measure(vectors, env, what):
    best = {}
    for turn in range(PASSES):
        for name, run in ENGINES.items():
            result = run(vectors, env)
            say(
                f"  {what}, pass {turn + 1}: {name:32} {result['per_second']:10,.0f}/s  p99 {result['ms_p99']:.2f} ms"
            )
            if name not in best or result["per_second"] > best[name]["per_second"]:
                best[name] = result
    return best


def main():
    vectors, _ = clustered()
    slow = {"LD_PRELOAD": str(program("libslowsync")), "SLOWSYNC_US": "1000"}
    results = {
        "dimension": DIMENSION,
        "clients": CLIENTS,
        "seconds": SECONDS,
        "passes": PASSES,
        "disk": measure(vectors, {}, "the disk as it is"),
        "slow": measure(vectors, slow, "1 ms per sync"),
    }
    results["sync_us_run"] = round(sync_us(OUT / "run"), 1)
    for what in ("disk", "slow"):
        peer = max(r["per_second"] for n, r in results[what].items() if n.startswith("SQLite"))
        for name in list(ENGINES)[:2]:
            results[what][name]["times_sqlite"] = results[what][name]["per_second"] / peer
    save("upserts", results)


if __name__ == "__main__":
    main()
