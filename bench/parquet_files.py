#!/usr/bin/env python3
"""Parquet: sizes and speeds of every codec and encoding on four kinds of vectors, and beside pyarrow in the same run.

    parquet_files.py [--passes 5] [--rows 100000]

Files lie in memory (/dev/shm) where there is any, so that the disk is not what is measured; nobody syncs. Our program writes
and reads the five columns of a snapshot, pyarrow the same five with zstd 1. What comes back is compared bit for bit. Passes are
interleaved and the best counts.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import numpy as np

from support import BUILD, ROOT, SHARED, clustered, data_file, rows_of, run_json, save, say

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    pa = None

ROWS, DIMENSION = 10_000, 512
FORMS = [
    ("none", "plain"),
    ("snappy", "plain"),
    ("lz4", "plain"),
    ("zstd", "plain"),
    ("none", "split"),
    ("snappy", "split"),
    ("lz4", "split"),
    ("gzip", "split"),
    ("zstd", "split"),
    ("zstd", "bf16"),
    ("zstd", "q8"),
]
BESIDE = [("zstd", "split"), ("zstd", "plain"), ("snappy", "plain"), ("none", "plain")]


def program():
    """The C program, built where the other release programs are."""
    path = BUILD / "bench" / "parquet_bench"
    if "AKIDB_BUILD" not in os.environ:
        for command in (
            ["cmake", "--preset", "release", "-DAKIDB_BENCH=ON"],
            ["cmake", "--build", "--preset", "release", "--target", "parquet_bench"],
        ):
            subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return path


def measure(tool, vectors, folder, codec, encoding, threads, passes):
    return run_json(tool, vectors, folder / "ours.parquet", codec, encoding, threads, passes)


def json_bytes(vectors):
    """What the vectors take as JSON, each number in the shortest form that gives it back; from a sample."""
    rows = np.load(vectors, mmap_mode="r")
    step = max(1, len(rows) // 100)
    sample = [len("[" + ",".join(map(str, row)) + "]") for row in rows[::step]]
    return round(sum(sample) / len(sample) * len(rows))


def kinds():
    """The four kinds of vectors, those that this machine can have."""
    real = SHARED / "data/minilm/base-10k.f32.npy"
    found = {"sentence embeddings": real} if real.exists() else {}
    for kind in ("gaussian", "uniform", "sin"):
        name = f"{kind}-{DIMENSION}-{ROWS}.npy"
        found[kind] = data_file(name, "made", kind, ROWS, DIMENSION, None)
    return found


# --- pyarrow ---


def document_id(i):
    return (
        f"01937a2b-{i >> 8 & 0xFFFF:04x}-7{i & 0xFF:03x}-8123-{i * 2654435761 & 0xFFFFFFFFFFFF:012x}"
    )


def arrow_table(vectors):
    """The table that parquet_bench makes, as near as it matters: the same vectors, texts of the same lengths."""
    rows = np.load(vectors, mmap_mode="r")
    count, dimension = rows.shape
    ids = [document_id(i) for i in range(count)]
    flat = pa.array(np.ascontiguousarray(rows).reshape(-1))
    bodies = [f'{{"lang":"en","year":{2000 + i % 25},"n":{i}}}' for i in range(count)]
    times = 1764000000000000 + 37 * np.arange(count)
    return pa.table(
        {
            "document_id": pa.array(ids),
            "external_id": pa.array(ids),
            "vector": pa.FixedSizeListArray.from_arrays(flat, dimension),
            "metadata": pa.array(bodies),
            "inserted_at": pa.array(times, pa.timestamp("us", tz="UTC")),
        }
    )


def arrow_pass(table, path, encoding):
    """(seconds to write, seconds to read the vectors, bytes); the vectors compared."""
    options = {
        "compression": "zstd",
        "compression_level": 1,
        "row_group_size": 10_000,
        "use_dictionary": False,
        "write_page_checksum": True,
    }
    if encoding == "split":
        options["use_byte_stream_split"] = ["vector.list.element"]
    began = time.perf_counter()
    pq.write_table(table, path, **options)
    wrote = time.perf_counter() - began
    began = time.perf_counter()
    file = pq.ParquetFile(path, page_checksum_verification=True)
    back = file.read(columns=["vector"], use_threads=True)
    read = time.perf_counter() - began
    flats = [t["vector"].combine_chunks().flatten() for t in (back, table)]
    if not flats[0].equals(flats[1]):
        raise SystemExit("pyarrow: what was read is not what was written")
    return wrote, read, os.path.getsize(path)


def beside_pyarrow(tool, vectors, folder, passes):
    """Ours by one and two threads and pyarrow, in turns; the best seconds of each."""
    best = {}

    def keep(name, wrote, read, size):
        now = best.setdefault(name, {"write": wrote, "read": read, "bytes": size})
        now["write"], now["read"] = min(now["write"], wrote), min(now["read"], read)

    table = arrow_table(vectors) if pa else None
    for _ in range(passes):
        for codec, encoding in BESIDE:
            for threads in (1, 2):
                r = measure(tool, vectors, folder, codec, encoding, threads, 1)
                name = f"akidb {encoding} + {codec}, {threads} thread{'s' * (threads > 1)}"
                keep(name, r["write_seconds"], r["read_seconds"], r["file"])
        for encoding in ("split", "plain") if pa else ():
            theirs = arrow_pass(table, folder / "theirs.parquet", encoding)
            keep(f"pyarrow {encoding} + zstd", *theirs)
    for name, b in best.items():
        say(f"  {name:34} write {b['write']:.3f} s, read {b['read']:.3f} s, {b['bytes']:,} bytes")
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--rows", type=int, default=100_000)
    args = parser.parse_args()
    tool = program()
    room = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = pathlib.Path(tempfile.mkdtemp(prefix="akidb-parquet-", dir=room))
    try:
        sets = {}
        for kind, vectors in kinds().items():
            forms = {}
            for codec, encoding in FORMS:
                r = measure(tool, vectors, folder, codec, encoding, 1, args.passes)
                forms[f"{encoding} + {codec}"] = r
                say(
                    f"  {kind:20} {encoding:5} + {codec:6} {r['vectors']:>10,} bytes, "
                    f"write {r['raw'] / r['write_seconds'] / 1e9:.2f} GB/s, "
                    f"read {r['raw'] / r['read_seconds_1'] / 1e9:.2f} GB/s"
                )
            sets[kind] = {"json": json_bytes(vectors), "forms": forms}
        big = rows_of(clustered(max(200_000, args.rows), DIMENSION)[0], 0, args.rows)
        beside = beside_pyarrow(tool, big, folder, args.passes)
    finally:
        shutil.rmtree(folder)
    save(
        "parquet",
        {
            "rows": args.rows,
            "dimension": DIMENSION,
            "passes": args.passes,
            "memory": bool(room),
            "pyarrow": pa.__version__ if pa else None,
            "sets": sets,
            "beside": beside,
        },
    )


if __name__ == "__main__":
    main()
