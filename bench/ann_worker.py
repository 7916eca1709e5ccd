"""One engine of ann_run.py in a process of its own: ann_worker.py ENGINE FOLDER BASE.npy SETS.json

Standard input has one JSON object a line, each answered by one on standard output (whatever the engine itself prints goes
to standard error). SETS.json: {name: {"query": path, "truth": path, "scores": path}}.
"""

import json
import os
import sys
import time

import numpy as np

from ann_engines import ENGINES

K = 10
SLOW_QUERIES = 200
ALONE = 1000  # queries asked one a call, for latencies
SLACK = 1e-5


def private_bytes():
    """Resident memory without the pages of files."""
    with open("/proc/self/statm", encoding="ascii") as file:
        _, resident, shared = file.read().split()[:3]
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGESIZE")


class Worker:
    def __init__(self, name, folder, base, sets):
        self.base = np.load(base, mmap_mode="r")
        self.engine = ENGINES[name](folder)
        self.engine_name = name
        self.sets = {}
        with open(sets, encoding="utf-8") as file:
            for key, paths in json.load(file).items():
                most = SLOW_QUERIES if self.engine.slow else None
                query = np.load(paths["query"])[:most]
                truth = np.load(paths["truth"])[:most, :K]
                scores = np.load(paths["scores"])[:most, K - 1]
                self.sets[key] = (np.ascontiguousarray(query, np.float32), truth, scores)

    def recalls(self, key, labels, kth=None, true=None):
        """By distance, and by id."""
        query, truth, scores = self.sets[key]
        kth = scores if kth is None else kth
        true = truth if true is None else true
        labels = np.asarray(labels).astype(np.int64)
        found = np.einsum("qd,qkd->qk", query, self.base[np.clip(labels, 0, len(self.base) - 1)])
        right = (found >= kth[:, None] - SLACK) & (labels >= 0)
        same = (labels[:, :, None] == true[:, None, :]).any(2)
        return float(right.mean()), float(same.mean())

    def facts(self):
        import importlib.metadata

        return {
            "version": importlib.metadata.version(self.engine.package),
            "package": self.engine.package,
            "settings": self.engine.settings,
            "note": self.engine.note,
            "kernels": self.engine.kernels(),
            "batch": self.engine.batch,
            "slow": self.engine.slow,
            "knobs": self.engine.knobs,
            "queries": {key: len(s[0]) for key, s in self.sets.items()},
        }

    def build(self, threads, reuse):
        base = self.base
        before = private_bytes()
        began, cpu = time.perf_counter(), time.process_time()
        loaded = False
        if reuse and hasattr(self.engine, "load"):
            try:
                self.engine.load(base, threads)
                loaded = True
            except Exception as error:  # whatever the engine throws when nothing was saved
                print(f"{self.engine_name} is built: {error}", file=sys.stderr)
        if not loaded:
            self.engine.build(base, threads)
        out = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
        out["loaded"] = loaded
        out["resident_per_vector"] = (private_bytes() - before) / len(base)
        return {**out, **self.facts()}

    def sweep(self, set, threads, knobs, enough, pass_ms):
        """Points up to the first whose recall is enough."""
        query = self.sets[set][0]
        points = []
        for knob in knobs:
            self.engine.search(query[:50], K, knob, threads)
            passes, wall, cpu = 0, 0.0, 0.0
            while passes == 0 or wall < pass_ms / 1e3:
                began, cpu_began = time.perf_counter(), time.process_time()
                labels = self.engine.search(query, K, knob, threads)
                wall += time.perf_counter() - began
                cpu += time.process_time() - cpu_began
                passes += 1
            recall, by_id = self.recalls(set, labels)
            done = passes * len(query)
            points.append(
                {
                    "knob": knob,
                    "recall": recall,
                    "recall_by_id": by_id,
                    "qps": done / wall,
                    "cpu_us": 1e6 * cpu / done,
                }
            )
            if recall >= enough:
                break
        return {"points": points}

    def alone(self, set, knob):
        query = self.sets[set][0][:ALONE]
        took = []
        for i in range(len(query)):
            began = time.perf_counter()
            self.engine.search(query[i : i + 1], K, knob, 1)
            took.append(1e6 * (time.perf_counter() - began))
        return {"p50_us": float(np.percentile(took, 50)), "p99_us": float(np.percentile(took, 99))}

    def save(self):
        if not hasattr(self.engine, "save"):
            return {}
        began = time.perf_counter()
        paths = self.engine.save()
        out = {"save_seconds": time.perf_counter() - began, "bytes": 0}
        for path in paths:
            files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
            out["bytes"] += sum(p.stat().st_size for p in files)
        return out

    def restore(self, set, knob, threads):
        """From the files to the first answer, in a fresh process."""
        if not hasattr(self.engine, "load"):
            return {}
        began = time.perf_counter()
        self.engine.load(self.base, threads)
        self.engine.search(self.sets[set][0][:1], K, knob, 1)
        return {"open_seconds": time.perf_counter() - began}

    def filtered(self, set, share, knobs, allowed):
        """allowed: a .npy of bool[rows]; the truth is found here."""
        if getattr(self.engine, "filtered", None) is None:
            return {}
        allowed = np.load(allowed)
        rows = np.flatnonzero(allowed)
        query = self.sets[set][0]
        scores = query @ self.base[rows].T
        order = np.argsort(-scores, axis=1)[:, :K]
        kth = np.take_along_axis(scores, order, 1)[:, -1]
        points = []
        for knob in knobs:
            began, cpu = time.perf_counter(), time.process_time()
            labels = self.engine.filtered(query, K, knob, allowed)
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
            recall, _ = self.recalls(set, labels, kth, rows[order])
            points.append(
                {"knob": knob, "recall": recall, "qps": len(query) / wall, "cpu_us": 1e6 * cpu / len(query)}
            )
        return {"selectivity": share, "points": points}

    def churn(self, share, threads):
        if not hasattr(self.engine, "churn"):
            return {}
        rng = np.random.default_rng(9)
        rows = rng.permutation(len(self.base))[: int(share * len(self.base))]
        began = time.perf_counter()
        self.engine.churn(self.base, rows, threads)
        return {"seconds": time.perf_counter() - began}


def main():
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the engine prints must not be read as an answer
    worker = Worker(*sys.argv[1:5])
    for line in sys.stdin:
        call = json.loads(line)
        try:
            answer = getattr(worker, call.pop("do"))(**call)
        except Exception as error:  # an engine may throw anything; the run goes on without it
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
