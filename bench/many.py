#!/usr/bin/env python3
"""A hundred thousand collections of ten vectors: start, list, search, and the memory of each."""

import random
import sys
import time

from support import Server, program, run_json, save, say, scratch

COLLECTIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
DOCUMENTS, DIMENSION, THREADS, SEARCHES = 10, 128, 8, 5_000


def list_all(client):
    seen, after = 0, ""
    for _ in range(COLLECTIONS + 2):  # a page has one at least
        page = client.call("GET", "/collections?limit=1000" + (f"&after={after}" if after else ""))
        seen += len(page["collections"])
        after = page["next"]
        if not after:
            return seen
    return seen


def search_random(client, rng):
    took = []
    for _ in range(SEARCHES):
        name = f"c{rng.randrange(COLLECTIONS):07d}"
        vector = [rng.uniform(-1, 1) for _ in range(DIMENSION)]
        began = time.perf_counter()
        found = len(
            client.call("POST", f"/collections/{name}/search", {"vector": vector, "k": DOCUMENTS})[
                "results"
            ]
        )
        took.append(1e3 * (time.perf_counter() - began))
        if found != DOCUMENTS:
            raise SystemExit(f"a search in {name} gave {found} documents, not {DOCUMENTS}")
    took.sort()
    return {
        "ms_p50": took[len(took) // 2],
        "ms_p99": took[len(took) * 99 // 100],
        "ms_max": took[-1],
    }


def main():
    rng = random.Random(7)
    out = {
        "collections": COLLECTIONS,
        "documents": DOCUMENTS,
        "dimension": DIMENSION,
        "searches": SEARCHES,
    }
    with scratch("many") as folder:
        say(f"making {COLLECTIONS:,} collections")
        out["create"] = run_json(
            program("many_collections", "akidb"),
            folder,
            COLLECTIONS,
            DOCUMENTS,
            DIMENSION,
            THREADS,
            timeout=3000,
        )
        out["disk_mib"] = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 2**20
        out["files"] = sum(1 for f in folder.rglob("*") if f.is_file())
        with Server(folder) as server:
            out["ready_seconds"] = server.ready_seconds
            out["memory_start"] = server.memory_mib()
            with server.client() as client:
                began = time.perf_counter()
                seen = list_all(client)
                out["list_seconds"] = time.perf_counter() - began
                if seen != COLLECTIONS:
                    raise SystemExit(f"{COLLECTIONS:,} collections were made, {seen:,} are listed")
                out["memory_listed"] = server.memory_mib()
                out["search"] = search_random(client, rng)
                out["memory_searched"] = server.memory_mib()
            out["stop_seconds"] = server.stop()
    say(
        f"  ready {out['ready_seconds']:.2f} s, listed {out['list_seconds']:.2f} s, memory {out['memory_start'][0]} / "
        f"{out['memory_listed'][0]} / {out['memory_searched'][0]} MiB, first search of a collection {out['search']}"
    )
    save("collections", out)


if __name__ == "__main__":
    main()
