"""The data of ann_run.py: what is there or can be made, its exact neighbours, and what kind of data it is.

    sample      the 2,000 definitions of examples/data with their 20 questions; for the test of the whole chain
    minilm      100,000 × 384 sentence embeddings, with queries of their own kind and of another
    100k-512    100,000 × 512 and
    100k-1536   100,000 × 1536 and
    1m-512      1,000,000 × 512 of the kind `clustered`

Two names stand for several: 100k for the first three after sample, 1m for the last. Everything that has to be computed is
kept in build/bench/data.
"""

import json
import subprocess
import sys

import numpy as np

from data import unit_f32
from support import DATA, ROOT, SHARED, say

GROUPS = {"100k": ["minilm", "100k-512", "100k-1536"], "1m": ["1m-512"]}
MADE = {"100k-512": (100_000, 512), "100k-1536": (100_000, 1536), "1m-512": (1_000_000, 512)}
NAMES = ["sample", "minilm", *MADE]
QUERIES = 2000
SEED = 7
TRUE = 100
NEAR_DUPLICATE = 0.9999


def expand(words):
    """Names of sets; an unknown word ends the program."""
    names = []
    for word in words:
        found = GROUPS.get(word, [word])
        for name in found:
            if name not in NAMES:
                raise SystemExit(
                    f"there is no data set '{word}'; the sets are: {' '.join([*NAMES, *GROUPS])}"
                )
            if name not in names:
                names.append(name)
    return names


def exact(base, query, block=50_000):
    """(rows i32[q, TRUE], scores f32[q, TRUE]), nearest first, by inner product."""
    most = min(TRUE, len(base))
    scores = np.full((len(query), 0), 0, np.float32)
    rows = np.full((len(query), 0), 0, np.int32)
    for start in range(0, len(base), block):
        part = query @ base[start : start + block].T
        at = np.argpartition(-part, min(most, part.shape[1]) - 1, axis=1)[:, :most]
        scores = np.concatenate([scores, np.take_along_axis(part, at, 1)], 1)
        rows = np.concatenate([rows, (at + start).astype(np.int32)], 1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :most]
        scores = np.take_along_axis(scores, order, 1)
        rows = np.take_along_axis(rows, order, 1)
    return rows, scores


def describe(base, query, scores):
    """What decides how hard a set is; see Amsaleg et al. 2015 for the LID, here of the queries by TRUE neighbours."""
    radius = np.sqrt(np.maximum(2 - 2 * scores.astype(np.float64), 1e-12))
    lid = -1 / np.minimum(np.mean(np.log(radius[:, :-1] / radius[:, -1:] + 1e-12), axis=1), -1e-12)
    rng = np.random.default_rng(3)
    some = np.asarray(base[np.sort(rng.choice(len(base), min(5000, len(base)), replace=False))])
    mean_distance = np.sqrt(np.maximum(2 - 2 * (query[:500] @ some.T), 0)).mean()
    spectrum = np.linalg.eigvalsh(np.cov(some, rowvar=False))
    view = np.ascontiguousarray(base).view(np.dtype((np.void, base.shape[1] * 4))).ravel()
    seen = {hash(row.tobytes()) for row in view}
    return {
        "queries": len(query),
        "lid": round(float(np.median(lid)), 1),
        "contrast": round(float(mean_distance / radius[:, 9].mean()), 2),
        "mean_norm": round(float(np.linalg.norm(some.mean(0))), 3),
        "participation": round(float(spectrum.sum() ** 2 / (spectrum**2).sum()), 1),
        "duplicates": round(1 - len(seen) / len(base), 5),
        "near_duplicates": round(float((scores[:, 0] >= NEAR_DUPLICATE).mean()), 5),
        "score_1": round(float(scores[:, 0].mean()), 3),
        "score_10": round(float(scores[:, 9].mean()), 3),
    }


def sources(name):
    """(base, {kind: query}) as they lie; None: cannot be had here."""
    if name == "sample":
        data = ROOT / "examples" / "data"
        return data / "vectors.npy", {"questions": data / "questions.npy"}
    if name == "minilm":
        data = SHARED / "data" / "minilm"
        kinds = {kind: data / f"query.{kind}.npy" for kind in ("definitions", "sentences")}
        return data / "base.f16.npy", kinds
    rows, dimension = MADE[name]
    out = DATA / f"clustered-{dimension}-{rows}"
    base, query = out.with_name(out.name + ".base.npy"), out.with_name(out.name + ".query.npy")
    maker = SHARED / "tools" / "make_vectors.py"
    if not (base.exists() and query.exists()) and maker.exists():
        say(f"making {rows:,} x {dimension} vectors")
        command = [sys.executable, maker, out, "--n", rows, "--d", dimension]
        command += ["--queries", QUERIES, "--seed", SEED, "--kind", "clustered"]
        subprocess.run([str(c) for c in command], check=True, timeout=3600)
    return base, {"queries": query}


def prepare(name):
    """What ann_worker.py and `akidb bench ann` need of a set, made when it is not there; None: cannot be had here."""
    facts = DATA / f"ann-{name}.json"
    if facts.exists():
        known = json.loads(facts.read_text())
        paths = [known["base"], *(p for kind in known["kinds"].values() for p in kind["files"].values())]
        if all(map(_exists, paths)):
            return known
    source, kinds = sources(name)
    if not all(p.exists() for p in (source, *kinds.values())):
        say(f"{name} is left out: {source} or its queries are not there (AKIDB_SHARED names their folder)")
        return None
    DATA.mkdir(parents=True, exist_ok=True)
    base = np.load(source, mmap_mode="r")
    path = source
    if base.dtype != np.float32:
        path = DATA / f"ann-{name}.base.npy"
        np.save(path, unit_f32(np.load(source)))
        base = np.load(path, mmap_mode="r")
    known = {"name": name, "vectors": len(base), "dimension": base.shape[1], "base": str(path), "kinds": {}}
    known["seed"] = SEED if name in MADE else None
    for kind, query_path in kinds.items():
        say(f"{name}: exact neighbours of {kind}")
        query = unit_f32(np.load(query_path))
        rows, scores = exact(base, query)
        files = {"query": str(query_path)}
        for what, array in (("truth", rows), ("scores", scores)):
            files[what] = str(DATA / f"ann-{name}.{kind}.{what}.npy")
            np.save(files[what], array)
        known["kinds"][kind] = {"files": files, **describe(base, query, scores)}
    facts.write_text(json.dumps(known, indent=1) + "\n")
    return known


def _exists(path):
    try:
        with open(path, "rb"):
            return True
    except OSError:
        return False
