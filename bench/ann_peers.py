#!/usr/bin/env python3
"""Approximate search beside other libraries, in one run, on the same data.

    ann_peers.py                     both query sets of the minilm data in AKIDB_SHARED (default ../shared)
    ann_peers.py --base B.npy --set NAME=Q.npy[,SCORES.npy] … [--threads 1,2] [--passes 2]
                 [--peers hnswlib,faiss,usearch] [--part ann]

Every engine is built with M 16 and ef_construction 200 on two threads, then swept over ef. The passes of all
engines are interleaved (A B C A B C …), since these machines are noisy: trust the ratios. Recall@10 is by
distance: a row counts when its score is at least the tenth true score - 1e-5. QPS at a recall is interpolated
on log QPS between measured points, never taken from a point below it; of each point the best pass counts.

f16 input is widened to f32 and scaled to unit length, for every engine alike. A library that is not installed
is left out, and the report says so.
"""

import argparse
import math
import os
import sys
import tempfile
import time

import numpy as np

from support import AKIDB, OUT, SHARED, run_json, save, say

K = 10
TARGETS = (0.95, 0.99)
EFS = [10, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768]


def load(path):
    a = np.load(path)
    if a.dtype == np.float16:
        a = a.astype(np.float32)
        a /= np.linalg.norm(a, axis=1, keepdims=True)
    return np.ascontiguousarray(a, np.float32)


def true_scores(base, query, path):
    if path:
        return np.load(path)[:, K - 1]
    out = np.empty(len(query), np.float32)
    for start in range(0, len(query), 200):
        scores = query[start : start + 200] @ base.T
        out[start : start + 200] = np.partition(scores, -K, axis=1)[:, -K]
    return out


def recall(base, query, labels, kth):
    labels = np.asarray(labels).astype(np.int64)
    scores = np.einsum("qd,qkd->qk", query, base[np.clip(labels, 0, len(base) - 1)])
    return float(np.mean((scores >= kth[:, None] - 1e-5) & (labels >= 0)))


class Hnswlib:
    name = "hnswlib"

    def build(self, base):
        import hnswlib

        self.index = hnswlib.Index("ip", base.shape[1])
        self.index.init_index(len(base), M=16, ef_construction=200, random_seed=7)
        self.index.add_items(base, num_threads=2)
        return f"hnswlib {getattr(hnswlib, '__version__', '0.8.0')}"

    def bytes(self):
        with tempfile.NamedTemporaryFile(dir=OUT) as file:
            self.index.save_index(file.name)
            return os.path.getsize(file.name)

    def search(self, query, ef, threads):
        self.index.set_ef(ef)
        return self.index.knn_query(query, K, num_threads=threads)[0]


class Faiss:
    name = "faiss"

    def build(self, base):
        import faiss

        self.faiss = faiss
        faiss.omp_set_num_threads(2)
        self.index = faiss.IndexHNSWFlat(base.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
        self.index.hnsw.efConstruction = 200
        self.index.add(base)
        return f"Faiss {faiss.__version__} HNSWFlat"

    def bytes(self):
        return self.faiss.serialize_index(self.index).nbytes

    def search(self, query, ef, threads):
        self.faiss.omp_set_num_threads(threads)
        self.index.hnsw.efSearch = ef
        return self.index.search(query, K)[1]


class Usearch:
    name = "usearch"

    def build(self, base):
        import usearch
        from usearch.index import Index

        self.index = Index(
            ndim=base.shape[1], metric="ip", dtype="f32", connectivity=16, expansion_add=200
        )
        self.index.add(np.arange(len(base)), base, threads=2)
        return f"usearch {usearch.__version__}"

    def bytes(self):
        return self.index.serialized_length

    def search(self, query, ef, threads):
        self.index.expansion_search = ef
        return self.index.search(query, K, threads=threads).keys


def interpolate(points, target):
    """QPS at the target recall; None when no point reaches it."""
    points = sorted(points)
    best = None
    for (r0, q0), (r1, q1) in zip(points, points[1:]):
        if r0 < target <= r1 and r1 > r0:
            share = (target - r0) / (r1 - r0)
            best = max(best or 0, math.exp(math.log(q0) + share * (math.log(q1) - math.log(q0))))
    if best is None and points and points[0][0] >= target:
        best = max(q for r, q in points if r >= target)
    return best


class Entry:
    """What is known of one engine: its build, and for each query set, threads and ef the best pass."""

    def __init__(self, name, engine=None):
        self.engine = engine
        self.facts = {
            "engine": name,
            "build_seconds": None,
            "bytes_per_vector": None,
            "points": {},
            "qps": {},
        }

    def note(self, key, ef, recall_of, qps):
        points = self.facts["points"].setdefault(key, {})
        known = points.get(ef)
        points[ef] = (known[0] if known else recall_of(), max(qps, known[1] if known else 0))


def build_peers(names, base):
    entries, absent = [], []
    for cls in (Hnswlib, Faiss, Usearch):
        if cls.name not in names:
            continue
        engine = cls()
        began = time.perf_counter()
        try:
            title = engine.build(base)
        except ImportError as error:
            say(f"{cls.name} is left out: {error}")
            absent.append(cls.name)
            continue
        entry = Entry(title, engine)
        entry.facts["build_seconds"] = time.perf_counter() - began
        entry.facts["bytes_per_vector"] = engine.bytes() / len(base)
        say(f"built {title} in {entry.facts['build_seconds']:.1f} s")
        entries.append(entry)
    return entries, absent


def sweep_peer(entry, name, threads, base, query, kth):
    for ef in EFS:
        entry.engine.search(query[:200], ef, threads)
        began = time.perf_counter()
        labels = entry.engine.search(query, ef, threads)
        qps = len(query) / (time.perf_counter() - began)
        entry.note(f"{name}/{threads}", ef, lambda: recall(base, query, labels, kth), qps)


def sweep_akidb(entry, name, threads, base, query, scores):
    result = run_json(
        AKIDB,
        "bench",
        "ann",
        "--base",
        base,
        "--query",
        query,
        "--metric",
        "cosine",
        "--k",
        K,
        "--threads",
        threads,
        "--ef",
        ",".join(map(str, EFS)),
        "--json",
        *(["--truth-scores", scores] if scores else []),
    )
    facts = entry.facts
    facts["kernels"] = result["kernels"]
    facts["bytes_per_vector"] = result["bytes_per_vector"]
    if threads == 2:  # it builds with as many threads as it searches
        facts["build_seconds"] = min(result["build_seconds"], facts["build_seconds"] or math.inf)
    for point in result["points"]:
        entry.note(f"{name}/{threads}", point["ef"], lambda: point["recall"], point["qps"])


def own_sides(base, sets):
    """What only AkiDB is asked, on one thread: filters of every kind, recalls by name, churn."""
    sides = {}
    for name, (path, scores, _, _) in sets.items():
        sides[name] = {"filtered": []}
        for kind in ("random", "near", "far"):
            options = ["--churn", "0.3", "--recall", "0.9,0.95,0.99"] if kind == "random" else []
            result = run_json(
                AKIDB, "bench", "ann", "--base", base, "--query", path, "--k", K, "--threads", 1, "--ef", "16,32,64",
                "--filter-selectivity", "0.5,0.1,0.01,0.001", "--filter-correlated", kind, "--json",
                *(["--truth-scores", scores] if scores else []), *options,
            )  # fmt: skip
            sides[name]["filtered"] += result["filtered"]
            if options:
                sides[name]["wanted"] = result["wanted"]
                sides[name]["calibration_seconds"] = result["calibration_seconds"]
                sides[name]["fresh"] = result["points"]
                sides[name]["churned"] = result["churned"]["points"]
    return sides


def rate(entries, keys):
    """Fill in QPS at the recalls, and its ratio to hnswlib's."""
    reference = next((e for e in entries if e.facts["engine"].startswith("hnswlib")), None)
    for key in keys:
        for target in TARGETS:
            for entry in entries:
                qps = interpolate(list(entry.facts["points"].get(key, {}).values()), target)
                entry.facts["qps"][f"{key}/{target}"] = {"qps": qps, "ratio": None}
            base = reference and reference.facts["qps"][f"{key}/{target}"]["qps"]
            for entry in entries:
                cell = entry.facts["qps"][f"{key}/{target}"]
                cell["ratio"] = cell["qps"] / base if base and cell["qps"] else None


def options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    minilm = SHARED / "data" / "minilm"
    parser.add_argument("--base", default=str(minilm / "base.f16.npy"))
    parser.add_argument("--set", action="append", dest="sets")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--peers", default="hnswlib,faiss,usearch")
    parser.add_argument("--part", default="ann")
    args = parser.parse_args()
    if not args.sets:
        args.sets = [
            f"{kind}={minilm}/query.{kind}.npy,{minilm}/scores.{kind}.npy"
            for kind in ("definitions", "sentences")
        ]
    args.threads = [int(t) for t in args.threads.split(",")]
    return args


def main():
    args = options()
    if not os.path.exists(args.base):
        say(f"{args.base} is not there: this part is left out")
        return 0
    base = load(args.base)
    sets = {}
    for text in args.sets:
        name, paths = text.split("=", 1)
        path, _, scores = paths.partition(",")
        query = load(path)
        sets[name] = (path, scores, query, true_scores(base, query, scores))
    say(f"{len(base):,} x {base.shape[1]}, k {K}, query sets {', '.join(sets)}")
    entries, absent = build_peers(args.peers.split(","), base)
    own = Entry("AkiDB")
    for turn in range(args.passes):
        for name, (path, scores, query, kth) in sets.items():
            for threads in args.threads:
                for entry in entries:
                    sweep_peer(entry, name, threads, base, query, kth)
                sweep_akidb(own, name, threads, args.base, path, scores)
        say(f"pass {turn + 1} of {args.passes} done, load average {os.getloadavg()[0]:.2f}")
    entries.append(own)
    keys = [f"{name}/{t}" for name in sets for t in args.threads]
    rate(entries, keys)
    for entry in entries:
        cells = [
            f"{key}@{target} {c['qps']:,.0f} ({c['ratio'] or 0:.2f}x)"
            for key in keys
            for target in TARGETS
            if (c := entry.facts["qps"][f"{key}/{target}"])["qps"]
        ]
        say(
            f"{entry.facts['engine']:24} build {entry.facts['build_seconds'] or 0:.1f} s; "
            + ", ".join(cells)
        )
    save(
        args.part,
        {
            "vectors": len(base),
            "dimension": base.shape[1],
            "k": K,
            "passes": args.passes,
            "absent": absent,
            "base": os.path.basename(args.base),
            "sets": list(sets),
            "threads": args.threads,
            "engines": [entry.facts for entry in entries],
            "sides": own_sides(args.base, sets),
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
