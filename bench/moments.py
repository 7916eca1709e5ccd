#!/usr/bin/env python3
"""The worst moments of the AkiDB before this one, at 512 dimensions over REST.

1. 50,000 single upserts by 8 clients, at once a search, memory; then searches by 1 and 8 clients, then
   searches while 8 clients write. /health is asked every 10 ms all the time.
2. 200,000 single upserts, SIGTERM at once, restart: every document must be there.
"""

import shutil
import signal
import sys
import time

from support import (
    HealthPoll,
    Server,
    bodies,
    clustered,
    load,
    load_start,
    load_result,
    save,
    say,
    scratch,
    vectors_of,
    wrk,
)

CLIENTS, DIMENSION, EF = 8, 512, 64
FIRST, ALL = 50_000, 200_000
if len(sys.argv) > 1:  # a quick look: a share of the documents
    FIRST, ALL = int(sys.argv[1]) // 4, int(sys.argv[1])
SECONDS = 8


def first_answer(server, vector):
    """Milliseconds until the first search is answered, on a new connection."""
    began = time.perf_counter()
    with server.client() as client:
        results = client.call("POST", "/collections/moments/search", {"vector": vector, "k": 10})[
            "results"
        ]
    took = 1e3 * (time.perf_counter() - began)
    if len(results) != 10:
        raise SystemExit(f"the first search gave {len(results)} results, not 10")
    return took


def check_count(server, expected):
    with server.client() as client:
        there = client.count("moments")
    if there != expected:
        raise SystemExit(f"{expected:,} documents were acknowledged, {there:,} are there")


def fill(server, base, count):
    with server.client() as client:
        client.create("moments", DIMENSION)
    return load(server, "moments", base, CLIENTS, rows=count, count=count)


def while_writing(server, base, texts):
    """Searches by 2 clients while 8 clients write as fast as they can."""
    writer = load_start(
        server, "moments", base, CLIENTS, rows=ALL - FIRST, seconds=SECONDS + 2, first=FIRST
    )
    time.sleep(1)
    searches = wrk(server, "moments", texts, 2, SECONDS)
    return {"searches": searches, "upserts": load_result(writer)}


def part_one(base, query, texts):
    out = {"count": FIRST}
    with scratch("moments") as folder, Server(folder) as server:
        out["memory_empty"] = server.memory_mib()
        with HealthPoll(server) as poll:
            out["upserts"] = fill(server, base, FIRST)
            out["search_ms"] = first_answer(server, query)
        out["pending_after"] = server.metric("akidb_vectors_pending")
        out["memory_after"] = server.memory_mib()
        out["health_upserts"] = poll.result
        check_count(server, FIRST)
        out["linked_seconds"] = server.wait_linked()
        out["memory_linked"] = server.memory_mib()
        say(
            f"  {FIRST:,} upserts: {out['upserts']['per_second']:,.0f}/s, first search {out['search_ms']:.1f} ms, "
            f"linked {out['linked_seconds']:.1f} s later, memory {out['memory_after']} MiB"
        )
        with HealthPoll(server) as poll:
            out["search"] = {str(c): wrk(server, "moments", texts, c, SECONDS) for c in (1, 8)}
        out["health_search"] = poll.result
        with HealthPoll(server) as poll:
            out["mixed"] = while_writing(server, base, texts)
        out["health_mixed"] = poll.result
        out["memory_end"] = server.memory_mib()
        mixed = out["mixed"]
        say(
            f"  searches {out['search']['1']['per_second']:,.0f}/s by 1 and {out['search']['8']['per_second']:,.0f}/s by 8 clients; "
            f"while writing {mixed['upserts']['per_second']:,.0f}/s: p99 {mixed['searches']['ms_p99']:.1f} ms; health {poll.result}"
        )
    return out


def part_two(base, query):
    out = {"count": ALL}
    with scratch("moments-restart") as folder:
        with Server(folder) as server:
            with HealthPoll(server) as poll:
                out["upserts"] = fill(server, base, ALL)
            out["health"] = poll.result
            out["pending_at_stop"] = server.metric("akidb_vectors_pending")
            out["stop_seconds"] = server.stop(signal.SIGTERM)
        with Server(folder) as server:
            out["ready_seconds"] = server.ready_seconds
            out["search_ms"] = first_answer(server, query)
            check_count(server, ALL)
            out["memory_start"] = server.memory_mib()
    say(
        f"  {ALL:,} upserts: {out['upserts']['per_second']:,.0f}/s, stop {out['stop_seconds']:.2f} s, "
        f"ready {out['ready_seconds']:.3f} s, first answer {out['search_ms']:.1f} ms"
    )
    return out


def main():
    if not shutil.which("wrk"):
        say("wrk is not installed: apt-get install wrk; this part is left out")
        return
    base, queries = clustered()
    query = vectors_of(queries, 1)[0]
    texts = bodies(queries, 10, EF)
    save(
        "moments",
        {
            "dimension": DIMENSION,
            "clients": CLIENTS,
            "ef": EF,
            "seconds": SECONDS,
            "first": part_one(base, query, texts),
            "restart": part_two(base, query),
        },
    )


if __name__ == "__main__":
    main()
