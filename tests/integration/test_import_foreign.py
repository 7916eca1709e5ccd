#!/usr/bin/env python3
"""Parquet files as pyarrow, polars and DuckDB make them, in every shape that a table of vectors takes, imported by the command and
exported again: every float bit for bit. What will not do is refused with row and column."""
import datetime
import json
import pathlib
import subprocess
import tempfile
import uuid

import duckdb
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq

import support
from support import equal

ROWS = 3000
DIMENSION = 6
VECTORS = np.random.default_rng(3).standard_normal((ROWS, DIMENSION)).astype(np.float32)
IDS = [str(uuid.UUID(int=(1 << 120) + i)) for i in range(ROWS)]
EXTERNAL = [None if i % 3 == 0 else f"e{i}" for i in range(ROWS)]
METADATA = [None if i % 4 == 0 else json.dumps({"n": i}) for i in range(ROWS)]
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
TIMES = pa.array([START + datetime.timedelta(microseconds=1001 * i) for i in range(ROWS)], type=pa.timestamp("us", "UTC"))
FLOATS = pa.list_(pa.float32())


def table(vector=FLOATS, vectors=None, ids=pa.string(), id_values=None, external=pa.string(), times=TIMES):
    return pa.table(
        {
            "document_id": pa.array(id_values or IDS, type=ids),
            "external_id": pa.array(EXTERNAL, type=external),
            "vector": pa.array(VECTORS.tolist() if vectors is None else vectors, type=vector),
            "metadata": pa.array(METADATA),
            "inserted_at": times,
        }
    )


def akidb(*words):
    return subprocess.run([support.binary(), *map(str, words)], capture_output=True, text=True, timeout=120, check=False)


def imported(folder, file):
    return akidb("import", "-c", "x", "--create", "-d", DIMENSION, "--metric", "dot", file, "--data", folder / "db")


def bits(vectors):
    return np.asarray(vectors, dtype=np.float32).view(np.uint32).tolist()


def check(write, by_id=True):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        file = folder / "in.parquet"
        write(str(file))
        answer = imported(folder, file)
        equal((answer.returncode, answer.stderr), (0, answer.stderr), "import")
        answer = akidb("export", "x", folder / "out.parquet", "--data", folder / "db")
        equal(answer.returncode, 0, answer.stderr)
        rows = pq.read_table(folder / "out.parquet", page_checksum_verification=True).to_pylist()
        equal(len(rows), ROWS, "rows")
        if not by_id:
            equal(sorted(bits([row["vector"] for row in rows])), sorted(bits(VECTORS)), "vectors")
            return
        rows.sort(key=lambda row: row["document_id"])
        equal([row["document_id"] for row in rows], IDS, "ids")
        equal(bits([row["vector"] for row in rows]), bits(VECTORS), "vectors")
        equal([row["external_id"] for row in rows], EXTERNAL, "external ids")
        equal([row["metadata"] and json.loads(row["metadata"]) for row in rows], [m and json.loads(m) for m in METADATA], "metadata")


def test_pyarrow_in_every_shape():
    small = {"data_page_version": "2.0", "compression": "zstd", "data_page_size": 2000, "row_group_size": 700, "write_page_index": True}
    split = {"use_dictionary": False, "use_byte_stream_split": ["vector.list.element"]}
    shapes = [
        (table(), {}),
        (table(), small),
        (table(pa.list_(pa.float32(), DIMENSION)), {"compression": "none"}),
        (table(pa.list_(pa.float64())), {}),
        (table(pa.large_list(pa.float32())), split),
        (table(pa.list_(pa.field("element", pa.float32(), nullable=False))), {"compression": "gzip"}),
        (table(ids=pa.binary(16), id_values=[uuid.UUID(text).bytes for text in IDS]), {"compression": "lz4"}),
        (table(times=TIMES.cast(pa.timestamp("ns", "UTC"))), {}),
        (table(times=TIMES.cast(pa.timestamp("ms"), safe=False)), {}),
        (table(external=pa.large_string()), {}),
    ]
    for made, options in shapes:
        check(lambda file, made=made, options=options: pq.write_table(made, file, **options))


def test_a_vector_column_alone_is_enough():
    check(lambda file: pq.write_table(table().select(["vector"]), file), by_id=False)


def test_polars_lists_and_arrays():
    check(lambda file: polars.from_arrow(table()).write_parquet(file))
    check(lambda file: polars.from_arrow(table(pa.list_(pa.float32(), DIMENSION))).write_parquet(file))


def test_duckdb_lists_and_arrays():
    database = duckdb.connect()
    database.register("given", table())
    check(lambda file: database.sql(f"COPY (FROM given) TO '{file}' (FORMAT parquet)"))
    columns = f"document_id::UUID AS id, external_id, vector::FLOAT[{DIMENSION}] AS vector, metadata::JSON AS metadata, inserted_at"
    check(lambda file: database.sql(f"COPY (SELECT {columns} FROM given) TO '{file}' (FORMAT parquet, PARQUET_VERSION v2, CODEC zstd)"))


def test_create_takes_the_dimension_from_the_file_or_says_why_it_cannot():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for shape, vector in (("list", FLOATS), ("fixed", pa.list_(pa.float32(), DIMENSION)), ("double", pa.list_(pa.float64()))):
            pq.write_table(table(vector=vector), folder / f"{shape}.parquet", row_group_size=1000)
            answer = akidb("import", "-c", shape, "--create", folder / f"{shape}.parquet", "--data", folder / "db")
            equal(answer.returncode, 0, answer.stderr)
            made = json.loads(akidb("collections", "show", shape, "--json", "--data", folder / "db").stdout)
            equal((made["dimension"], made["documents"]), (DIMENSION, ROWS), shape)
        no_rows = table().slice(0, 0)
        empty_first = table(vectors=[[]] + VECTORS.tolist()[1:])
        for bad, part in ((no_rows, "no rows"), (empty_first, "first row"), (table().drop_columns(["vector"]), "column 'vector'"),
                          (table(vector=pa.string(), vectors=["x"] * ROWS), "list of numbers")):
            pq.write_table(bad, folder / "bad.parquet")
            answer = akidb("import", "-c", "bad", "--create", folder / "bad.parquet", "--data", folder / "db")
            equal(answer.returncode, 2, part)
            assert part in answer.stderr and "bad.parquet" in answer.stderr, answer.stderr
            equal(akidb("collections", "show", "bad", "--data", folder / "db").returncode, 3, "no collection is made")


def test_what_will_not_do_is_refused_with_row_and_column():
    def with_row(at, vector):
        vectors = VECTORS.tolist()
        vectors[at] = vector
        return vectors

    doubles = pa.list_(pa.float64())
    cases = [
        (table(vectors=with_row(1234, [0.0] * 5)), "row 1234, column 'vector': it has 5 dimensions, the collection has 6"),
        (table(vectors=with_row(7, None)), "row 7, column 'vector': it is null or empty"),
        (table(vectors=with_row(8, [])), "row 8, column 'vector': it is null or empty"),
        (table(vectors=with_row(9, [1, 2, None, 4, 5, 6])), "row 9, column 'vector': it holds a null"),
        (table(vectors=with_row(5, [float("nan")] * 6)), "row 5, column 'vector': it holds a number that is not finite"),
        (table(doubles, vectors=with_row(3, [1e300] * 6)), "row 3, column 'vector': it holds a number that is not finite"),
        (table(id_values=["x"] * ROWS), "row 0, column 'document_id': it is no UUID"),
        (table().drop_columns(["vector"]), "there is no column 'vector'"),
        (table().set_column(2, "vector", pa.array(["[1,2]"] * ROWS)), "column 'vector'"),
    ]
    for made, text in cases:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            pq.write_table(made, folder / "in.parquet")
            answer = imported(folder, folder / "in.parquet")
            equal((answer.returncode != 0, text in answer.stderr), (True, True), f"{text!r} in {answer.stderr!r}")


if __name__ == "__main__":
    support.run(globals())
