#!/usr/bin/env python3
"""Approximate search beside other libraries, in one run, on the same data.

    ann_peers.py --akidb build/release/akidb --base B.npy --query Q.npy [--scores S.npy] [--threads 1,2]
                 [--passes 3] [--json OUT.json] [--peers hnswlib,faiss,usearch]

Every engine is built with M 16 and ef_construction 200 on two threads, then swept over ef. The passes of all
engines are interleaved (A B C A B C …), since these machines are noisy: trust the ratios. Recall@10 is by
distance: a row counts when its score is at least the tenth true score - 1e-5. QPS at a recall is interpolated
on log QPS between measured points, never taken from a point below it.

f16 input is widened to f32 and scaled to unit length, for every engine alike.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import time

import numpy as np

K = 10
EFS = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768]


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
        scores = query[start:start + 200] @ base.T
        out[start:start + 200] = np.partition(scores, -K, axis=1)[:, -K]
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
        return f"hnswlib {getattr(hnswlib, '__version__', '0.8.0')} f32"

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
        return f"Faiss {faiss.__version__} HNSW16 f32"

    def search(self, query, ef, threads):
        self.faiss.omp_set_num_threads(threads)
        self.index.hnsw.efSearch = ef
        return self.index.search(query, K)[1]


class Usearch:
    name = "usearch"

    def build(self, base):
        import usearch
        from usearch.index import Index
        self.index = Index(ndim=base.shape[1], metric="ip", dtype="f32", connectivity=16, expansion_add=200)
        self.index.add(np.arange(len(base)), base, threads=2)
        return f"usearch {usearch.__version__} f32"

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


def run_akidb(args, threads):
    command = [args.akidb, "bench", "ann", "--base", args.base, "--query", args.query, "--metric", "cosine", "--k", str(K),
               "--threads", str(threads), "--build-threads", "2", "--ef", ",".join(map(str, EFS)), "--json"]
    if args.scores:
        command += ["--truth-scores", args.scores]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--akidb", required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--query", required=True)
    parser.add_argument("--scores")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--peers", default="hnswlib,faiss,usearch")
    parser.add_argument("--json")
    args = parser.parse_args()
    threads = [int(t) for t in args.threads.split(",")]
    base, query = load(args.base), load(args.query)
    kth = true_scores(base, query, args.scores)
    print(f"{len(base):,} x {base.shape[1]}, {len(query):,} queries, k {K}; load average {os.getloadavg()[0]:.2f}", flush=True)

    report = {"base": os.path.basename(args.base), "query": os.path.basename(args.query), "engines": []}
    engines = []
    for cls in (Hnswlib, Faiss, Usearch):
        if cls.name not in args.peers.split(","):
            continue
        engine = cls()
        start = time.perf_counter()
        title = engine.build(base)
        seconds = time.perf_counter() - start
        print(f"built {title} in {seconds:.1f} s", flush=True)
        engines.append((engine, {"engine": title, "build_seconds": seconds, "points": {str(t): {} for t in threads}}))

    own = {"engine": "akidb", "build_seconds": None, "points": {str(t): {} for t in threads}}
    for turn in range(args.passes):
        for t in threads:
            for engine, entry in engines:
                for ef in EFS:
                    engine.search(query[:200], ef, t)
                    start = time.perf_counter()
                    labels = engine.search(query, ef, t)
                    qps = len(query) / (time.perf_counter() - start)
                    known = entry["points"][str(t)].get(ef)
                    r = known[0] if known else recall(base, query, labels, kth)
                    entry["points"][str(t)][ef] = (r, max(qps, known[1] if known else 0))
            result = run_akidb(args, t)
            own["engine"] = f"akidb {result.get('version', '')} ({result.get('kernels', '')})"
            own["build_seconds"] = min(result["build_seconds"], own["build_seconds"] or math.inf)
            own["bytes_per_vector"] = result["bytes_per_vector"]
            for p in result["points"]:
                known = own["points"][str(t)].get(p["ef"])
                own["points"][str(t)][p["ef"]] = (p["recall"], max(p["qps"], known[1] if known else 0))
        print(f"pass {turn + 1} of {args.passes} done, load average {os.getloadavg()[0]:.2f}", flush=True)

    rows = [entry for _, entry in engines] + [own]
    print(f"\n{'engine':42} {'build s':>8} " + " ".join(f"{f'QPS@{r} t{t}':>12}" for t in threads for r in (.95, .99)))
    reference = {}
    for entry in rows:
        cells = []
        for t in threads:
            for target in (.95, .99):
                qps = interpolate(list(entry["points"][str(t)].values()), target)
                entry.setdefault("qps", {})[f"{target}/{t}"] = qps
                if entry["engine"].startswith("hnswlib"):
                    reference[(target, t)] = qps
                ratio = f" {qps / reference[(target, t)]:.2f}x" if qps and reference.get((target, t)) else ""
                cells.append(f"{f'{qps:,.0f}{ratio}' if qps else 'never':>12}")
        print(f"{entry['engine'][:42]:42} {entry['build_seconds']:8.1f} " + " ".join(cells))
    report["engines"] = rows
    if args.json:
        with open(args.json, "w") as out:
            json.dump(report, out, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
