#!/usr/bin/env python3
"""Half of a collection is deleted: how long until its memory and disk are back, and what searches notice.

    bench/vacuum.py BASE.npy QUERY.npy      (shared/tools/make_vectors.py makes them; needs numpy and AKIDB_BIN)

A document stays or goes by chance. One client searches all the time; recall is of 10, against exact searches of numpy.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "integration"))

import numpy  # noqa: E402
from support import Server, binary  # noqa: E402

MEMORY = 'memory_usage_bytes{component="collections"}'
SHARE = 0.5
QUERIES = 300
SECONDS_MAX = 280


def metric(client, name):
    return float(re.search(rf"^{re.escape(name)} ([0-9.e+]+)$", client.get("/metrics").text(), re.MULTILINE).group(1))


def process(server):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as status:
        resident = int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1)) / 1024
    with open(f"/proc/{server.process.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(") ", 1)[1].split()
    return resident, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def image_mb(server):
    folder = pathlib.Path(server.data, "db", "collections")
    return sum(file.stat().st_size for file in folder.glob("*.akx") if file.exists()) / 1e6


def recall(client, rows, left, queries):
    nearest = left[numpy.argsort(-(queries @ rows[left].T), axis=1)[:, :10]]
    found = 0
    for query, want in zip(queries, nearest):
        answer = client.post("/collections/c/search", {"vector": query.tolist(), "k": 10, "ef": 64}).json()
        found += len({int(hit["external_id"]) for hit in answer["results"]} & set(want.tolist()))
    return found / want.size / len(queries)


class Searches(threading.Thread):
    def __init__(self, server, queries):
        super().__init__(daemon=True)
        self.client, self.queries, self.took, self.stopped = server.client(), queries.tolist(), [], False

    def run(self):
        at = 0
        while not self.stopped:
            began = time.monotonic()
            self.client.post("/collections/c/search", {"vector": self.queries[at % QUERIES], "k": 10, "ef": 64})
            self.took.append((time.monotonic() - began) * 1000)
            at += 1

    def end(self):
        self.stopped = True
        self.join()
        p50, p99 = numpy.percentile(self.took, [50, 99])
        return f"{len(self.took)} searches, p50 {p50:.2f} ms, p99 {p99:.2f} ms, longest {max(self.took):.1f} ms"


def measure(base, query):
    rows, queries = numpy.load(base), numpy.load(query)[:QUERIES]
    rows = rows / numpy.linalg.norm(rows, axis=1, keepdims=True)
    goes = numpy.random.default_rng(3).random(len(rows)) < SHARE
    with Server() as server, tempfile.NamedTemporaryFile("w", suffix=".ndjson") as lines:
        for n, gone in enumerate(goes):
            lines.write(f'{{"external_id":"{n}","metadata":{{"goes":{"true" if gone else "false"}}}}}\n')
        lines.flush()
        began = time.monotonic()
        subprocess.run([binary(), "import", "-c", "c", "--create", "--wait", "--url", f"http://127.0.0.1:{server.port}",
                        "--documents", lines.name, base], check=True, stdout=subprocess.DEVNULL)
        client = server.client()
        client.post("/collections/c/snapshots", {})
        print(f"{len(rows)} x {rows.shape[1]} imported and linked in {time.monotonic() - began:.0f} s")
        left = numpy.flatnonzero(~goes)
        searches = Searches(server, queries)
        searches.start()
        time.sleep(3)
        print("before:", searches.end())
        searches = Searches(server, queries)
        searches.start()
        resident, cpu = process(server)
        memory, image = metric(client, MEMORY) / 1e6, image_mb(server)
        print(f"before: RSS {resident:.0f} MiB, collections {memory:.0f} MB, image {image:.0f} MB")
        client.post("/collections/c/vectors/delete", {"filter": {"must": [{"key": "goes", "match": True}]}})
        began, memory_at = time.monotonic(), None
        print(f"deleted: recall@10 {recall(client, rows, left, queries):.4f}")
        while image_mb(server) > image * 0.6 and time.monotonic() - began < SECONDS_MAX:
            if not memory_at and metric(client, MEMORY) / 1e6 < memory * 0.6:
                memory_at = time.monotonic() - began
            time.sleep(0.02)
        image_at = time.monotonic() - began
        print("meanwhile:", searches.end())
        resident, used = process(server)
        print(f"memory back after {memory_at or image_at:.1f} s, image after {image_at:.1f} s, CPU {used - cpu:.1f} s "
              f"(searches among it); {metric(client, 'akidb_vacuum_moved_total'):.0f} documents moved")
        print(f"after: RSS {resident:.0f} MiB, collections "
              f"{metric(client, MEMORY) / 1e6:.0f} MB, "
              f"image {image_mb(server):.0f} MB, recall@10 {recall(client, rows, left, queries):.4f}")


if __name__ == "__main__":
    measure(sys.argv[1], sys.argv[2])
