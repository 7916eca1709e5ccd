#!/usr/bin/env python3
"""Files of our Parquet writer, read by others: pyarrow (checksums on), DuckDB and polars. Vectors are compared bit for bit,
the other columns value by value, and so are types, statistics and metadata. Needs tests/requirements.txt.
"""
import datetime
import itertools
import os
import pathlib
import subprocess
import tempfile

import duckdb
import numpy
import polars
import pyarrow
import pyarrow.parquet

import support
from support import equal

TOOL = pathlib.Path(os.environ["AKIDB_BUILD"]) / "tests" / "parquet_tool"
EPOCH = datetime.date(1970, 1, 1)
CODECS = {"none": "UNCOMPRESSED", "snappy": "SNAPPY", "zstd": "ZSTD", "lz4": "LZ4_RAW", "gzip": "GZIP"}


class File:
    def __init__(self, folder, rows, dimension, codec="zstd", encoding="split", version=1, nulls="some", threads=1, page=0):
        self.path = os.path.join(folder, "t.parquet")
        self.rows, self.dimension, self.codec, self.nulls = rows, dimension, codec, nulls
        self.valid = [nulls == "none" or (nulls == "some" and i % 7 != 3 and i // 50 % 3 != 1) for i in range(rows)]
        words = [TOOL, self.path, rows, dimension, codec, encoding, version, nulls, threads, page]
        subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)
        self.bits = numpy.fromfile(self.path + ".f32", dtype=numpy.uint32)

    def optional(self, value_of):
        return [value_of(i) if self.valid[i] else None for i in range(self.rows)]

    def bytes(self):
        return pathlib.Path(self.path).read_bytes()


def bits(lists):
    return numpy.concatenate([numpy.asarray(one, dtype=numpy.float32) for one in lists]).view(numpy.uint32)


def same_numbers(got, want):
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        assert (a is None) == (b is None) and (a is None or a == b or (a != a and b != b)), f"row {i}: {a}, want {b}"


def time_of(i):
    return 1700000000000000 + i * 1000003 - i % 5 * 77777777


def check_pyarrow(file):
    table = pyarrow.parquet.ParquetFile(file.path, page_checksum_verification=True).read()
    equal(table.num_rows, file.rows)
    if file.rows:
        flat = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        assert (flat.astype(numpy.float32).view(numpy.uint32) == file.bits).all(), "vectors"
    equal(table["document_id"].to_pylist(), [f"00000000-0000-7000-8000-{i}" for i in range(file.rows)])
    equal(table["external_id"].to_pylist(), file.optional(lambda i: f"doc-{i}"))
    equal(table["kind"].to_pylist(), file.optional(lambda i: f"kind-{i % 5}"))
    equal(table["delta"].to_pylist(), [f"delta-{i}" for i in range(file.rows)])
    equal(table["inserted_at"].cast("int64").to_pylist(), [time_of(i) for i in range(file.rows)])
    equal(table["local_time"].cast("int64").to_pylist(), file.optional(time_of))
    equal(table["day"].cast("int32").to_pylist(), [20000 + i // 100 - i % 3 for i in range(file.rows)])
    equal(table["flag"].to_pylist(), [i % 3 == 0 for i in range(file.rows)])
    equal(table["plain_int"].to_pylist(), file.optional(lambda i: 20000 + i // 100 - i % 3))
    same_numbers(table["number"].to_pylist(), file.optional(lambda i: float("nan") if i % 11 == 5 else i * 0.25 - 3))


def check_others(file):
    rows = duckdb.sql(f"SELECT vector, external_id, delta, plain_int FROM '{file.path}'").fetchall()
    assert (bits([row[0] for row in rows]) == file.bits).all(), "vectors in DuckDB"
    equal([row[1] for row in rows], file.optional(lambda i: f"doc-{i}"))
    equal([row[3] for row in rows], file.optional(lambda i: 20000 + i // 100 - i % 3))
    frame = polars.read_parquet(file.path)
    assert (bits(frame["vector"].to_list()) == file.bits).all(), "vectors in polars"
    equal(frame["delta"].to_list(), [f"delta-{i}" for i in range(file.rows)])
    equal(frame["external_id"].to_list(), file.optional(lambda i: f"doc-{i}"))


def check(*words, **more):
    with tempfile.TemporaryDirectory(prefix="akidb-parquet-") as folder:
        file = File(folder, *words, **more)
        check_pyarrow(file)
        if file.rows:
            check_others(file)


def test_every_encoding_and_dimension_comes_back_bit_for_bit_in_every_reader():
    for rows, dimension, encoding, version in itertools.product((1, 2503), (1, 2, 3, 8, 65, 100), ("split", "plain", "q8", "bf16"),
                                                                (1, 2)):
        check(rows, dimension, encoding=encoding, version=version)
    check(1001, 1536, encoding="split")
    check(300, 4096, encoding="split", codec="none")


def test_every_codec_page_version_and_share_of_nulls_is_read_everywhere():
    for codec, version, nulls in itertools.product(CODECS, (1, 2), ("none", "some", "all")):
        check(1500, 16, codec=codec, version=version, nulls=nulls, page=3000)


def test_a_file_without_rows_is_a_table_without_rows():
    check(0, 4)


def test_threads_change_no_byte():
    with tempfile.TemporaryDirectory(prefix="akidb-parquet-") as folder:
        alone = File(folder, 3000, 64, page=20000).bytes()
        for threads in (2, 5):
            assert File(folder, 3000, 64, page=20000, threads=threads).bytes() == alone, f"{threads} threads"


def test_types_codec_and_metadata_are_what_readers_expect():
    with tempfile.TemporaryDirectory(prefix="akidb-parquet-") as folder:
        for codec, name in CODECS.items():
            file = File(folder, 100, 8, codec=codec)
            meta = pyarrow.parquet.ParquetFile(file.path).metadata
            # pyarrow calls both forms of LZ4 by one name.
            assert meta.row_group(0).column(0).compression in (name, name.split("_")[0]), codec
            assert meta.created_by.startswith("akidb version "), meta.created_by
            equal(meta.metadata[b"akidb.test"], b"a value")
        types = duckdb.sql(f"DESCRIBE SELECT * FROM '{file.path}'").fetchall()
        types = {row[0]: row[1] for row in types}
        equal(types["document_id"], "VARCHAR")
        equal(types["vector"], "FLOAT[]")
        equal(types["metadata"], "JSON")
        equal(types["inserted_at"], "TIMESTAMP WITH TIME ZONE")
        equal(types["local_time"], "TIMESTAMP")
        equal(types["day"], "DATE")
        equal(types["flag"], "BOOLEAN")
        equal(types["number"], "DOUBLE")


def test_statistics_hold_for_each_chunk_and_skip_what_has_no_order():
    with tempfile.TemporaryDirectory(prefix="akidb-parquet-") as folder:
        file = File(folder, 2500, 8)
        meta = pyarrow.parquet.ParquetFile(file.path).metadata
        equal(meta.num_row_groups, 3)
        for group in range(meta.num_row_groups):
            first = group * 1000
            rows = meta.row_group(group).num_rows
            columns = {meta.row_group(group).column(i).path_in_schema: meta.row_group(group).column(i)
                       for i in range(meta.num_columns)}
            for column in columns.values():
                assert column.has_offset_index, column.path_in_schema
            stats = columns["day"].statistics
            days = [20000 + i // 100 - i % 3 for i in range(first, first + rows)]
            equal(((stats.min - EPOCH).days, (stats.max - EPOCH).days), (min(days), max(days)))
            stats = columns["number"].statistics
            numbers = [i * 0.25 - 3 for i in range(first, first + rows) if file.valid[i] and i % 11 != 5]
            equal((stats.min, stats.max, stats.null_count), (min(numbers), max(numbers),
                                                             file.valid[first:first + rows].count(False)))
            stats = columns["external_id"].statistics
            texts = [f"doc-{i}" for i in range(first, first + rows) if file.valid[i]]
            equal((stats.min, stats.max), (min(texts), max(texts)))
            vector = columns["vector.list.element"].statistics
            assert vector is None or not vector.has_min_max, "vectors have no order"
        found = duckdb.sql(f"SELECT count(*) FROM '{file.path}' WHERE plain_int = 20003").fetchall()[0][0]
        equal(found, sum(1 for i in range(2500) if file.valid[i] and 20000 + i // 100 - i % 3 == 20003))


if __name__ == "__main__":
    support.run(globals())
