#!/usr/bin/env python3
"""A gigabyte of log that no checkpoint covers: kill -9, restart, time to ready."""

import json
import signal
import sys

from support import Server, clustered, import_file, rows_of, save, say, scratch, vectors_of

ROWS, DIMENSION = 50_000, 512
LOG_BYTES = float(sys.argv[1]) * 2**30 if len(sys.argv) > 1 else 2**30
COLLECTIONS_MAX = 40
KEEP_LOG = {"wal.max_bytes": "16GiB", "checkpoint.bytes": "16GiB"}


def main():
    base, query = clustered()
    parts = [rows_of(base, i * ROWS, ROWS) for i in range(4)]
    out = {"rows": ROWS, "dimension": DIMENSION, "collections": 0}
    with scratch("replay") as folder:
        log = folder / "wal"
        with Server(folder, KEEP_LOG) as server:
            while (
                out["collections"] < COLLECTIONS_MAX
                and server.metric("akidb_wal_retained_bytes") < LOG_BYTES
            ):
                import_file(
                    server, f"r{out['collections']}", parts[out["collections"] % 4], wait=False
                )
                out["collections"] += 1
            out["retained_bytes"] = server.metric("akidb_wal_retained_bytes")
            out["linked_share"] = 1 - server.metric("akidb_vectors_pending") / (
                ROWS * out["collections"]
            )
            server.stop(signal.SIGKILL)
        out["log_files_bytes"] = sum(f.stat().st_size for f in log.iterdir())
        with Server(folder, KEEP_LOG) as server:
            out["ready_seconds"] = server.ready_seconds
            out["memory_ready"] = server.memory_mib()
            with server.client() as client:
                for i in range(out["collections"]):
                    there = client.count(f"r{i}")
                    if there != ROWS:
                        raise SystemExit(
                            f"r{i}: {ROWS:,} documents were acknowledged, {there:,} are there"
                        )
                client.call(
                    "POST", "/collections/r0/search", {"vector": vectors_of(query, 1)[0], "k": 10}
                )
    say(
        f"  {out['retained_bytes'] / 2**30:.2f} GiB of log in {out['collections']} collections: ready {out['ready_seconds']:.2f} s"
    )
    save("replay", out)


if __name__ == "__main__":
    main()
