#!/usr/bin/env python3
"""Tiers: how long moves take, what a search costs in each tier, and a machine that serves far more than its memory holds.

    tiers.py [--part moves|decisions|pressure] [--passes 5] [--minutes 10] [--limit-mib 1024] [--total-mib 6144]

moves: 10k and 100k x 512. Every move of a collection, by the API, in turns; medians. Then searches, one after the other on one
connection: hot, warm, warm with its pages forgotten by the system before (before each, or once), and the first ones after a cold start.
decisions: the worker's pass over 100,000 collections.
pressure: collections of --total-mib in all under --limit-mib of tiering.max_hot_memory; Zipf over collections, 2 % writes, four
clients for --minutes. The resident set is sampled; one answer in ten is checked against an exact search outside of AkiDB.

The object store is a folder beside the data, or the bucket of AKIDB_S3_… when that is set.
"""

import argparse
import http.client
import json
import os
import random
import shutil
import statistics
import subprocess
import threading
import time

import numpy as np

import page_cache
from support import AKIDB, OUT, Server, clustered, program, rows_of, run_json, save, say

K = 10
PARTS = ["moves", "decisions", "pressure"]
COLLECTIONS = 100_000  # of which the worker decides
HEAD = {"Content-Type": "application/json"}


class Api:
    def __init__(self, server):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)

    def call(self, method, path, body=None, want=(200, 201)):
        self.connection.request(method, path, body, HEAD if body is not None else {})
        answer = self.connection.getresponse()
        data = answer.read()
        if answer.status not in want:
            raise SystemExit(f"{method} {path}: {answer.status} {data[:300]}")
        return json.loads(data) if data else None

    def tier(self, name):
        return self.call("GET", f"/collections/{name}/tier")

    def act(self, name, action):
        """Seconds of a move."""
        began = time.perf_counter()
        self.call("POST", f"/collections/{name}/tier", json.dumps({"action": action}))
        return time.perf_counter() - began


def body(vector, **more):
    return json.dumps({"vector": [float(x) for x in vector], "k": K, **more})


def fill(server, name, base, metric="cosine"):
    """All rows linked when it returns."""
    dimension = np.load(base, mmap_mode="r").shape[1]
    command = [AKIDB, "import", "-c", name, "--create", "-d", dimension, "--metric", metric, base, "--url", server.url]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


def percentiles(times):
    times = sorted(times)
    return {f"p{p}": round(times[min(len(times) - 1, int(len(times) * p / 100))] * 1e3, 3) for p in (50, 95, 99)} | {
        "max": round(times[-1] * 1e3, 3)
    }


def search_times(api, name, bodies):
    times = []
    for one in bodies:
        began = time.perf_counter()
        api.call("POST", f"/collections/{name}/search", one)
        times.append(time.perf_counter() - began)
    return times


def is_still(api, name, tier):
    found = api.tier(name)["tier"]
    if found != tier:
        raise SystemExit(f"{name} is {found}, and {tier} was to be measured")


def forget_image(server, id):
    """The system forgets the pages of a collection's image, as after a restart of the machine."""
    for path in (server.folder / "collections").glob(f"{id}*.akx"):
        page_cache.forget(path, server.process.pid)


# --- Moves ---

MOVES = [("hot to warm", "demote_to_warm"), ("warm to hot", "promote_to_hot"), ("hot to warm", "demote_to_warm"),
         ("warm to cold, covered", "demote_to_cold"), ("cold to warm", "promote_to_warm"), ("warm to hot", "promote_to_hot")]


def moves_of(api, name, first, passes):
    times = {}
    for turn in range(passes):
        # A write first: the image must be written and a snapshot made.
        api.call("POST", f"/collections/{name}/vectors", first)
        times.setdefault("hot to warm, written before", []).append(api.act(name, "demote_to_warm"))
        times.setdefault("warm to cold, with its snapshot", []).append(api.act(name, "demote_to_cold"))
        times.setdefault("cold to warm", []).append(api.act(name, "promote_to_warm"))
        times.setdefault("warm to hot", []).append(api.act(name, "promote_to_hot"))
        for what, action in MOVES:
            times.setdefault(what, []).append(api.act(name, action))
    return {what: round(statistics.median(all_of), 4) for what, all_of in times.items()}


def searches_of(api, server, name, bodies):
    result = {}
    api.act(name, "promote_to_hot")
    search_times(api, name, bodies)
    result["hot"] = percentiles(search_times(api, name, bodies))
    is_still(api, name, "hot")
    api.act(name, "demote_to_warm")
    search_times(api, name, bodies)
    result["warm, touched"] = percentiles(search_times(api, name, bodies))
    id = api.tier(name)["id"]
    forgotten, opened = [], []
    for one in bodies[:100]:  # each with nothing in the cache, while the collection is open
        forget_image(server, id)
        time.sleep(0.3)  # the server asks for the pages of an image at most four times a second
        forgotten += search_times(api, name, [one])
    result["warm, nothing cached"] = percentiles(forgotten)
    forget_image(server, id)
    result["warm, cache empty at first"] = percentiles(search_times(api, name, bodies))
    for one in bodies[:10]:  # the first after it was opened, as after a restart of the machine
        api.act(name, "promote_to_hot")
        api.act(name, "demote_to_warm")
        forget_image(server, id)
        opened += search_times(api, name, [one])
    result["warm, to be opened, nothing cached"] = percentiles(opened)
    is_still(api, name, "warm")
    first = []
    for one in bodies[:5]:
        api.act(name, "demote_to_cold")
        first += search_times(api, name, [one])
    result["cold, the first"] = percentiles(first)
    result["cold, those after it"] = percentiles(search_times(api, name, bodies))
    return result


def moves(folder, passes):
    base, query = clustered()
    queries = np.load(query)[:500]
    bodies = [body(vector) for vector in queries]
    results = {}
    # Nothing moves by itself: ten searches would make a warm collection hot.
    with Server(folder / "moves", {"tiering.enabled": "false"}) as server:
        api = Api(server)
        for rows in (10_000, 100_000):
            name = f"c{rows}"
            say(f"{rows:,} x 512: import")
            fill(server, name, rows_of(base, 0, rows))
            first = json.dumps({"vector": [float(x) for x in np.load(base, mmap_mode="r")[0]]})
            made = moves_of(api, name, first, passes)
            for what, seconds in made.items():
                say(f"  {what:32} {seconds:8.3f} s")
            found = searches_of(api, server, name, bodies)
            for what, times in found.items():
                say(f"  search, {what:34} P50 {times['p50']:8.2f}  P95 {times['p95']:8.2f}  P99 {times['p99']:8.2f} ms")
            results[rows] = {"moves": made, "searches": found}
        server.stop()
    return results


# --- Decisions ---


def decisions(folder, passes):
    """The worker's pass over many collections: looking at the uses of all, and deciding."""
    made = run_json(program("many_collections", "akidb"), folder / "many", COLLECTIONS, 10, 128, 8, timeout=3000)
    say(f"{COLLECTIONS:,} collections: {made}")
    took = []
    with Server(folder / "many", {"tiering.worker_interval": "1d"}) as server:
        api = Api(server)
        for _ in range(passes * 4):
            told = api.call("POST", "/admin/tiering/run?wait=true", "")
            if told["last_pass"]["collections"] != COLLECTIONS:
                raise SystemExit(f"a pass over {told['last_pass']['collections']} collections, not {COLLECTIONS}")
            took.append(told["last_pass"]["took_ms"] / 1e3)
        listed = [timed(api, "GET", "/tiers") for _ in range(passes * 4)]
        server.stop()
    result = {"collections": COLLECTIONS, "pass": percentiles(took), "overview": percentiles(listed)}
    say(f"  a pass: {result['pass']} ms; GET /tiers: {result['overview']} ms")
    return result


def timed(api, method, path):
    began = time.perf_counter()
    api.call(method, path)
    return time.perf_counter() - began


# --- Pressure ---

WATCH_SECONDS = 0.1
KINDS = 6  # different contents; the collections are copies of these by snapshot and restore


class Truth:
    """Exact answers, outside of AkiDB."""

    def __init__(self, vectors):
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        self.vectors = vectors
        self.unit = vectors / norms

    def nearest(self, query):
        scores = self.unit @ (query / np.linalg.norm(query))
        return scores, np.argsort(-scores)[:K]


class Watch(threading.Thread):
    """Samples the resident set."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.samples, self.over = server, [], threading.Event()

    def run(self):
        while not self.over.wait(WATCH_SECONDS):
            self.samples.append(self.server.memory_mib()[0::2])  # all, of which anonymous


class Client(threading.Thread):
    def __init__(self, server, kinds, truths, names, weights, end, seed):
        super().__init__()
        self.server, self.kinds, self.truths, self.names, self.weights, self.end = server, kinds, truths, names, weights, end
        self.random = random.Random(seed)
        self.times = {"hot": [], "warm": [], "cold": []}
        self.writes, self.searches, self.checked, self.refused = 0, 0, 0, 0
        self.wrong, self.recalls = [], []

    def run(self):
        api = Api(self.server)
        while time.time() < self.end:
            name = self.random.choices(self.names, self.weights)[0]
            kind = self.kinds[name]
            if self.random.random() < 0.02:
                self.write(api, name, self.truths[kind])
            else:
                self.search(api, name, self.truths[kind])

    def write(self, api, name, truth):
        """The same vector again: what is right does not change."""
        row = self.random.randrange(len(truth.vectors))
        found = api.call("POST", f"/collections/{name}/search", body(truth.vectors[row], exact=True, include=["external_id"]))
        hit = next((hit for hit in found["results"] if hit["external_id"] == f"r{row}"), None)
        if hit is None:
            self.wrong.append(f"{name}: row {row} is not found by itself")
            return
        api.call("POST", f"/collections/{name}/vectors", json.dumps({
            "id": hit["id"], "external_id": f"r{row}", "vector": [float(x) for x in truth.vectors[row]]}))
        self.writes += 1

    def search(self, api, name, truth):
        query = truth.vectors[self.random.randrange(len(truth.vectors))]
        query = query + 0.05 * np.random.default_rng(self.random.randrange(1 << 30)).standard_normal(len(query)).astype(np.float32)
        exact = self.random.random() < 0.02
        tier = api.tier(name)["tier"]
        text = body(query, exact=exact, include=["external_id"])
        began = time.perf_counter()
        found = api.call("POST", f"/collections/{name}/search", text, want=(200, 503))
        took = time.perf_counter() - began
        if "results" not in found:
            self.refused += 1
            return
        self.searches += 1
        if not exact:
            self.times[tier].append(took)
        if exact or self.random.random() < 0.1:
            self.check(name, truth, query, found["results"], exact)

    def check(self, name, truth, query, hits, exact):
        scores, nearest = truth.nearest(query)
        self.checked += 1
        rows = [int(hit["external_id"][1:]) for hit in hits]
        if len(set(rows)) != K or any(abs(hit["score"] - scores[row]) > 1e-4 for hit, row in zip(hits, rows)):
            self.wrong.append(f"{name}: scores or documents that are none: {hits[:3]}")
        least = scores[nearest[-1]]
        right = sum(scores[row] >= least - 1e-5 for row in rows)
        self.recalls.append(right / K)
        if exact and right != K:
            self.wrong.append(f"{name}: an exact search found {right} of {K}")


def ndjson(path, vectors):
    with open(path, "w", encoding="ascii") as out:
        for i, vector in enumerate(vectors):
            out.write('{"external_id":"r%d","vector":[%s]}\n' % (i, ",".join(f"{x:.9g}" for x in vector)))


def copies(server, folder, rows, dimension, total):
    """Names → kind; each kind is imported once and restored under the other names."""
    api = Api(server)
    base = np.load(clustered(200_000, dimension)[0], mmap_mode="r")
    truths, kinds = [], {}
    for kind in range(KINDS):
        part = np.array(base[kind * rows : (kind + 1) * rows])
        truths.append(Truth(part))
        ndjson(folder / "part.ndjson", part)
        name = f"k{kind}-0"
        subprocess.run([str(AKIDB), "import", "-c", name, "--create", "-d", str(dimension), str(folder / "part.ndjson"), "--url", server.url],
                       check=True, stdout=subprocess.DEVNULL)
        kinds[name] = kind
    size = api.act("k0-0", "demote_to_warm") and api.tier("k0-0")["bytes"]["disk"]
    each = max(1, int(total / size / KINDS))
    say(f"{each * KINDS} collections of {size >> 20} MiB: {each * KINDS * size / (1 << 30):.1f} GiB")
    for kind in range(KINDS):
        made = api.call("POST", f"/collections/k{kind}-0/snapshots?wait=true", "{}")
        for i in range(1, each):
            path = f"/collections/k{kind}-0/snapshots/{made['id']}/restore?wait=true"
            api.call("POST", path, json.dumps({"into": f"k{kind}-{i}"}))
            kinds[f"k{kind}-{i}"] = kind
    return truths, kinds, size


def pressure(folder, args):
    limit = args.limit_mib
    settings = {"tiering.max_hot_memory": f"{limit}MiB", "tiering.promote_accesses": 3, "tiering.grace": "5s",
                "tiering.worker_interval": "10s"}
    with Server(folder / "pressure", settings) as server:
        truths, kinds, size = copies(server, folder, args.rows, args.dimension, args.total_mib << 20)
        names = sorted(kinds, key=lambda name: (int(name.split("-")[1]), name))
        random.Random(1).shuffle(names)
        weights = [1 / (i + 1) for i in range(len(names))]
        api = Api(server)
        for name in names[-10:]:  # the least used ones begin in the object store
            api.act(name, "demote_to_cold")
        watch = Watch(server)
        watch.start()
        end = time.time() + args.minutes * 60
        clients = [Client(server, kinds, truths, names, weights, end, seed) for seed in range(4)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        watch.over.set()
        watch.join()
        tiers = Api(server).call("GET", "/tiers")  # the other connection was idle for too long
        server.stop()
    return told(args, watch, clients, tiers, len(names), size)


def told(args, watch, clients, tiers, count, size):
    resident = sorted(sample[0] for sample in watch.samples)
    anonymous = sorted(sample[1] for sample in watch.samples)
    most = max(watch.samples)
    wrong = [text for client in clients for text in client.wrong]
    times = {tier: [t for client in clients for t in client.times[tier]] for tier in ("hot", "warm", "cold")}
    recalls = [recall for client in clients for recall in client.recalls]
    result = {
        "minutes": args.minutes,
        "limit_mib": args.limit_mib,
        "collections": count,
        "collection_bytes": size,
        "dimension": args.dimension,
        "rows": args.rows,
        "searches": sum(client.searches for client in clients),
        "writes": sum(client.writes for client in clients),
        "refused": sum(client.refused for client in clients),
        "checked": sum(client.checked for client in clients),
        "wrong": wrong[:10],
        "wrong_count": len(wrong),
        "recall": round(statistics.mean(recalls), 4),
        "resident_mib": {"median": resident[len(resident) // 2], "p99": resident[int(len(resident) * 0.99)], "max": resident[-1]},
        "at_most": {"resident": most[0], "anonymous": most[1], "after_seconds": round(watch.samples.index(most) * WATCH_SECONDS)},
        "anonymous_mib": {"median": anonymous[len(anonymous) // 2], "max": anonymous[-1]},
        "latency": {tier: {"count": len(all_of), **percentiles(all_of)} for tier, all_of in times.items() if all_of},
        "tiers": {tier: one["collections"] for tier, one in tiers["tiers"].items()},
    }
    say(json.dumps(result, indent=1))
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--limit-mib", type=int, default=1024)
    parser.add_argument("--total-mib", type=int, default=6144)
    parser.add_argument("--rows", type=int, default=15_000)
    parser.add_argument("--dimension", type=int, default=512)
    args = parser.parse_args()
    folder = OUT / "tiers"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    results = json.loads((OUT / "tiers.json").read_text()) if (OUT / "tiers.json").exists() else {}
    results = {key: results[key] for key in PARTS if key in results}
    if args.part in (None, "moves"):
        results["moves"] = moves(folder, args.passes)
    if args.part in (None, "decisions"):
        results["decisions"] = decisions(folder, args.passes)
    if args.part in (None, "pressure"):
        results["pressure"] = pressure(folder, args)
    results["store"] = "a bucket" if os.environ.get("AKIDB_S3_BUCKET") else "a folder beside the data"
    save("tiers", results)
    shutil.rmtree(folder, ignore_errors=True)
    pressed = results.get("pressure")
    if pressed and pressed["wrong_count"]:
        raise SystemExit(f"{pressed['wrong_count']} wrong answers")


if __name__ == "__main__":
    main()
