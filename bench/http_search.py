#!/usr/bin/env python3
"""Search over HTTP under wrk, beside the same searches in the process: what do HTTP and JSON cost?

Twice: server and wrk share all cores, as on a small machine; and the server on one core with wrk on
another, against one in-process thread, which tells the cost without the client's share.
"""

import os
import shutil
import sys

from support import (
    OUT,
    Server,
    bodies,
    clustered,
    import_file,
    program,
    run_json,
    rows_of,
    save,
    say,
    scratch,
    wrk,
)

ROWS, EF, K = 100_000, 64, 10
SECONDS = int(sys.argv[1]) if len(sys.argv) > 1 else 6
PASSES = 3


def better(best, key, result):
    if key not in best or result["per_second"] > best[key]["per_second"]:
        best[key] = result


def main():
    if not shutil.which("wrk"):
        say("wrk is not installed: apt-get install wrk; this part is left out")
        return
    base, query = clustered()
    base, texts = rows_of(base, 0, ROWS), bodies(query, K, EF)
    search = program("engine_search", "akidb")
    cores = sorted(os.sched_getaffinity(0))
    http, engine = {}, {}
    with scratch("http") as folder:
        with Server(folder) as server:
            say(f"loading {ROWS:,} x 512")
            import_file(server, "http", base)
            server.stop()
        for turn in range(PASSES):
            for threads in (1, len(cores)):
                better(
                    engine,
                    str(threads),
                    run_json(search, folder, "http", query, threads, SECONDS, EF),
                )
            with Server(folder) as server:
                for connections in (1, 8, 32):
                    better(http, str(connections), wrk(server, "http", texts, connections, SECONDS))
            if len(cores) > 1:
                with Server(
                    folder, {"server.threads": 1, "server.workers": 1}, cores=cores[:1]
                ) as server:
                    for connections in (1, 8, 32):
                        better(
                            http,
                            f"{connections} split",
                            wrk(server, "http", texts, connections, SECONDS, cores=cores[1:2]),
                        )
            say(
                f"  pass {turn + 1}: in-process {engine['1']['per_second']:,.0f}/s (1 thread), HTTP "
                + ", ".join(
                    f"{k}: {v['per_second']:,.0f}/s p99 {v['ms_p99']:.2f} ms"
                    for k, v in http.items()
                )
            )
    save(
        "http",
        {
            "rows": ROWS,
            "dimension": 512,
            "ef": EF,
            "k": K,
            "seconds": SECONDS,
            "passes": PASSES,
            "engine": engine,
            "http": http,
            "cores": len(cores),
        },
    )


if __name__ == "__main__":
    main()
