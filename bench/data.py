#!/usr/bin/env python3
"""Data files that need numpy, made once and kept in build/bench/data.

data.py slice IN.npy OUT.npy FIRST COUNT        rows of a file (f16 is widened and scaled to unit length)
data.py made KIND ROWS DIMENSION OUT.npy        gaussian (unit length), uniform in [-1, 1), or sin((i + j) * 0.01)
data.py bodies QUERIES.npy OUT.ndjson K EF      search bodies, one a line
data.py ndjson IN.npy META.ndjson OUT.ndjson    documents with their vectors in one file
"""

import json
import sys

import numpy as np


def unit_f32(rows):
    if rows.dtype == np.float16:
        rows = rows.astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return np.ascontiguousarray(rows, np.float32)


def text(vector):
    """The shortest decimals that give the same f32 again."""
    return "[" + ",".join(map(str, vector)) + "]"


def slice_rows(source, out, first, count):
    np.save(out, unit_f32(np.load(source, mmap_mode="r")[int(first) : int(first) + int(count)]))


def made(kind, rows, dimension, out):
    shape = int(rows), int(dimension)
    rng = np.random.default_rng(5)
    if kind == "gaussian":
        made_rows = rng.standard_normal(shape, dtype=np.float32)
        made_rows /= np.linalg.norm(made_rows, axis=1, keepdims=True)
    elif kind == "uniform":  # 23 random bits a number, as most generators of floats give
        made_rows = (rng.integers(0, 1 << 23, size=shape) / (1 << 22) - 1).astype(np.float32)
    else:
        i, j = np.ogrid[: shape[0], : shape[1]]
        made_rows = np.sin((i + j).astype(np.float32) * np.float32(0.01))
    np.save(out, made_rows)


def bodies(source, out, k, ef):
    with open(out, "w", encoding="utf-8") as file:
        for vector in np.load(source):
            file.write(f'{{"vector":{text(vector)},"k":{k},"ef":{ef}}}\n')


def ndjson(source, meta, out):
    with open(out, "w", encoding="utf-8") as file, open(meta, encoding="utf-8") as lines:
        for vector, line in zip(unit_f32(np.load(source)), lines):
            metadata = json.loads(line)
            name = metadata.pop("id")
            file.write(
                f'{{"external_id":"{name}","metadata":{json.dumps(metadata)},"vector":{text(vector)}}}\n'
            )


if __name__ == "__main__":
    {"slice": slice_rows, "made": made, "bodies": bodies, "ndjson": ndjson}[sys.argv[1]](*sys.argv[2:])
