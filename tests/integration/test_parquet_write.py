#!/usr/bin/env python3
"""Files of our Parquet writer, read by others: pyarrow (checksums on), DuckDB, polars, fastparquet, hyparquet and parquet-wasm
(the Rust reader). Vectors are compared bit for bit, every other column value by value, and so are types, statistics, the page
index and metadata. Needs tests/requirements.txt, and for the last two node with tests/npm (without them they are left out,
which is said).
"""
import datetime
import itertools
import json
import math
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import uuid

import duckdb
import fastparquet
import numpy
import pandas
import polars
import pyarrow
import pyarrow.compute
import pyarrow.parquet

import support
from support import equal

TOOL = pathlib.Path(os.environ.get("AKIDB_BUILD", support.ROOT / "build" / "dev")) / "tests" / "parquet_tool"
NPM = os.environ.get("AKIDB_NPM", str(support.ROOT / "build" / "npm"))
HAS_NODE = bool(shutil.which("node")) and os.path.isdir(f"{NPM}/node_modules/parquet-wasm")
EPOCH = datetime.date(1970, 1, 1)
CODECS = {"none": "UNCOMPRESSED", "snappy": "SNAPPY", "zstd": "ZSTD", "lz4": "LZ4_RAW", "gzip": "GZIP"}
GROUP = 1000  # rows of a row group, as parquet_tool has it
NOTHING = object()
# What each encoding of the tool needs of a reader that fastparquet does not have.
FASTPARQUET = ("document_id", "external_id", "inserted_at", "kind", "plain_int", "real", "blob", "long_text", "counter", "code")


def time_of(i):
    return 1700000000000000 + i * 1000003 - i % 5 * 77777777


def day_of(i):
    return 20000 + i // 100 - i % 3


def real_of(i):
    return -0.0 if i % 5 == 0 else 0.0 if i % 5 == 1 else math.nan if i % 13 == 7 else i * 0.5


LONG = "a" * 63 + "é"  # the cut of statistics after 64 bytes goes through the é
# Every column but the vector: its values, and whether it is optional.
COLUMNS = {
    "document_id": (lambda i: f"00000000-0000-7000-8000-{i}", False),
    "external_id": (lambda i: f"doc-{i}", True),
    "metadata": (lambda i: f'{{"n":{i}}}', True),
    "inserted_at": (time_of, False),
    "kind": (lambda i: f"kind-{i % 5}", True),
    "delta": (lambda i: f"delta-{i}", False),
    "lengths": (lambda i: f"length-{i % 1013}", True),
    "local_time": (time_of, True),
    "day": (day_of, False),
    "number": (lambda i: math.nan if i % 11 == 5 else i * 0.25 - 3, True),
    "flag": (lambda i: i % 3 == 0, False),
    "plain_flag": (lambda i: i % 3 == 0, True),
    "plain_int": (day_of, True),
    "real": (real_of, True),
    "uuid": (lambda i: bytes.fromhex(f"000000000000700080000000{i:08x}"), False),
    "blob": (lambda i: bytes((i & 255, 255, 254)), False),
    "long_text": (lambda i: f"{LONG}{i}", False),
    "counter": (lambda i: 0x7FFFFF00 + i, False),
    "code": (lambda i: i - 500, False),
    "nothing": (lambda i: NOTHING, True),
}
DOCUMENTS = ("document_id", "external_id", "metadata", "inserted_at")


class File:
    def __init__(self, folder, rows, dimension, codec="zstd", encoding="split", version=1, nulls="some", threads=1, page=0,
                 documents=False, name="t"):
        self.path = os.path.join(folder, f"{name}.parquet")
        self.rows, self.dimension, self.codec, self.encoding, self.nulls = rows, dimension, codec, encoding, nulls
        self.valid = [nulls == "none" or (nulls == "some" and i % 7 != 3 and i // 50 % 3 != 1) for i in range(rows)]
        words = [TOOL, self.path, rows, dimension, codec, encoding, version, nulls, threads, page] + ["documents"] * documents
        subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)
        self.bits = numpy.fromfile(self.path + ".f32", dtype=numpy.uint32)
        self.columns = {}
        for column in DOCUMENTS if documents else COLUMNS:
            value_of, optional = COLUMNS[column]
            values = [value_of(i) for i in range(rows)]
            self.columns[column] = [None if optional and not self.valid[i] or values[i] is NOTHING else values[i]
                                    for i in range(rows)]
        self.pairs = {"akidb.test": "a value", "akidb.empty": "", "akidb.é": '€ "quoted"\n'}

    def bytes(self):
        return pathlib.Path(self.path).read_bytes()


# --- Comparing ---

def same(got, want, where):
    """Lists of values: NaN is NaN, and the sign of a zero counts."""
    if got == want and not any(value == 0 and isinstance(value, float) for value in want if value is not None):
        return
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        if isinstance(b, float) and a is not None:
            a, b = [struct.pack("<d", math.nan if value != value else value) for value in (a, b)]
        assert a == b, f"{where}, row {i}: {a!r}, want {b!r}"


def same_bits(got, file, where):
    assert got.shape == file.bits.shape and (got == file.bits).all(), f"{where}: vectors differ"


def same_bits_but_nan(got, file, where):
    """For readers whose numbers carry no payload of a NaN."""
    want = file.bits.view(numpy.float32)
    got = got.view(numpy.float32)
    assert got.shape == want.shape, where
    differs = (got.view(numpy.uint32) != file.bits) & ~(numpy.isnan(want) & numpy.isnan(got))
    assert not differs.any(), f"{where}: vectors differ"


def values_of(name, column):
    """A column of an Arrow table as COLUMNS has it."""
    column = column.combine_chunks()
    if isinstance(column, pyarrow.ChunkedArray):
        column = pyarrow.concat_arrays(column.chunks) if column.chunks else pyarrow.array([], column.type)
    if isinstance(column, pyarrow.ExtensionArray):
        column = column.storage
    if pyarrow.types.is_timestamp(column.type):
        equal(column.type.unit, "us")
        column = column.cast("int64")
    elif pyarrow.types.is_date32(column.type):
        column = column.cast("int32")
    values = column.to_pylist()
    if name == "uuid" and values and isinstance(values[0], str):
        values = [uuid.UUID(value).bytes for value in values]
    if name == "metadata":
        values = [value.decode() if isinstance(value, bytes) else value for value in values]
    return values


def check_table(table, file, where):
    equal(table.num_rows, file.rows, where)
    for name, want in file.columns.items():
        same(values_of(name, table[name]), want, f"{where}: {name}")
    vectors = table["vector"].combine_chunks()
    if file.rows:
        lengths = pyarrow.compute.unique(pyarrow.compute.list_value_length(vectors)).to_pylist()
        equal(lengths, [file.dimension], where)
    flat = vectors.flatten() if file.rows else pyarrow.array([], "float32")
    assert flat.null_count == 0, where
    if isinstance(flat, pyarrow.ChunkedArray):
        flat = pyarrow.concat_arrays(flat.chunks)
    same_bits(flat.to_numpy(zero_copy_only=False).view(numpy.uint32), file, where)


def check_pyarrow(file):
    parquet = pyarrow.parquet.ParquetFile(file.path, page_checksum_verification=True)
    check_table(parquet.read(), file, "pyarrow")
    pairs = {key.decode(): value.decode() for key, value in parquet.metadata.metadata.items()}
    pairs.pop("ARROW:schema", None)
    equal(pairs, file.pairs)


def check_duckdb(file):
    check_table(duckdb.sql(f"SELECT * FROM '{file.path}'").to_arrow_table(), file, "DuckDB")


def check_polars(file):
    check_table(polars.read_parquet(file.path).to_arrow(), file, "polars")


def check_fastparquet(file):
    """It has neither BYTE_STREAM_SPLIT nor RLE booleans."""
    if file.encoding not in ("plain", "dict", "q8") or not file.rows:
        return
    columns = [name for name in FASTPARQUET if name in file.columns]
    frame = fastparquet.ParquetFile(file.path).to_pandas(columns=columns)
    equal(len(frame), file.rows)
    for name in columns:
        got = frame[name]
        if name == "inserted_at":
            got = got.astype("int64").tolist()
        else:
            got = [None if value is None or value is pandas.NA else value for value in got.tolist()]
        want = file.columns[name]  # in pandas some nulls are NaN
        got = [None if b is None and isinstance(a, float) and a != a else a for a, b in zip(got, want, strict=True)]
        same([value.decode() if name != "blob" and isinstance(value, bytes) else value for value in got], want,
             f"fastparquet: {name}")


# --- hyparquet and the Rust reader: one process for many files ---

def as_javascript(name, value):
    if value is None or isinstance(value, bool):
        return value
    if name == "metadata":
        return json.loads(value)
    if name in ("inserted_at", "local_time"):
        return str(value // 1000)
    if name == "day":
        return str(value * 86400000)
    if name == "uuid":
        return str(uuid.UUID(bytes=value))
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return "NaN" if value != value else "-0" if value == 0 and math.copysign(1, value) < 0 else repr(value).removesuffix(".0")
    return str(value)


def check_javascript(files):
    if not HAS_NODE:
        print(f"         hyparquet and parquet-wasm left out: node or the packages of tests/npm in {NPM} are missing")
        return
    shutil.copy(pathlib.Path(__file__).parent / "parquet_others.mjs", NPM)
    names = "".join(f"{file.path}\n" for file in files)
    subprocess.run(["node", "parquet_others.mjs"], input=names, text=True, check=True, cwd=NPM)
    for file in files:
        with pyarrow.ipc.open_stream(f"{file.path}.rust") as stream:
            check_table(stream.read_all(), file, "parquet-wasm")
        result = json.loads(pathlib.Path(f"{file.path}.hyparquet").read_text(encoding="utf-8"))
        for name, want in file.columns.items():
            equal(result["columns"][name], [as_javascript(name, value) for value in want], f"hyparquet: {name}")
        bits = numpy.frombuffer(bytes.fromhex(result["columns"]["vector"]), dtype=numpy.uint32)
        same_bits_but_nan(bits, file, "hyparquet")
        pairs = {key: value for key, value in result["pairs"].items() if key != "ARROW:schema"}
        equal({key: value or "" for key, value in pairs.items()}, file.pairs, "hyparquet")
        check_pages(result["pages"], file)


def check_pages(groups, file):
    equal(len(groups), (file.rows + GROUP - 1) // GROUP)
    for g, columns in enumerate(groups):
        rows = min(GROUP, file.rows - g * GROUP)
        for path, pages in columns.items():
            starts = pages["first_rows"] + [rows]
            assert starts[0] == 0 and all(a < b for a, b in itertools.pairwise(starts)), f"{path}: {starts}"
            if not pages["has_dictionary"]:
                equal(pages["bytes"], pages["chunk_bytes"], path)
            name = path.split(".")[0]
            if "nulls" not in pages:
                continue
            want = file.columns[name][g * GROUP:g * GROUP + rows]
            parts = [want[a:b] for a, b in itertools.pairwise(starts)]
            equal(pages["nulls"], [part.count(None) for part in parts], path)
            equal(pages["null_pages"], [part.count(None) == len(part) for part in parts], path)
            if name in ("code", "counter", "plain_int", "external_id"):
                bounds = [[value for value in part if value is not None] for part in parts]
                equal(pages["min"], [str(min(b)) if b else "" for b in bounds], path)
                equal(pages["max"], [str(max(b)) if b else "" for b in bounds], path)
            if name in ("code", "counter"):
                equal(pages["order"], "ASCENDING", path)
            if name == "blob" and rows == GROUP and len(parts) > 4:
                equal(pages["order"], "UNORDERED", path)


# --- The tests ---

class Folder:
    """Files of one test: each is checked by the readers in this process, all of them together by those of node."""

    def __enter__(self):
        self.room = tempfile.TemporaryDirectory(prefix="akidb-parquet-")
        self.files = []
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None and self.files:
                check_javascript(self.files)
        finally:
            self.room.cleanup()

    def check(self, *words, **more):
        file = File(self.room.name, *words, **more, name=f"t{len(self.files)}")
        try:
            for reader in (check_pyarrow, check_duckdb, check_polars, check_fastparquet):
                reader(file)
        except Exception:
            print(f"         {reader.__name__} of {words} {more}")
            raise
        self.files.append(file)


def test_every_encoding_and_dimension_comes_back_bit_for_bit_in_every_reader():
    with Folder() as folder:
        for dimension, encoding, version in itertools.product((1, 2, 3, 7, 8, 9, 64, 65, 100), ("split", "plain", "dict", "q8", "bf16"),
                                                              (1, 2)):
            folder.check(203, dimension, encoding=encoding, version=version)
        for dimension, encoding in itertools.product((384, 512, 768, 1536, 4096), ("split", "plain")):
            folder.check(37, dimension, encoding=encoding, codec="none" if dimension > 4000 else "zstd")
        for version in (1, 2):  # enough that zstd's search for repetition is left out
            folder.check(600, 384, version=version)


def test_every_codec_page_version_and_share_of_nulls_is_read_everywhere():
    with Folder() as folder:
        for codec, version, nulls, encoding in itertools.product(CODECS, (1, 2), ("none", "some", "all"), ("split", "plain")):
            folder.check(1500, 16, codec=codec, version=version, nulls=nulls, page=3000, encoding=encoding)


def test_rows_around_the_borders_of_pages_and_row_groups_are_all_there():
    with Folder() as folder:
        page = 64 * 4 * 100  # a hundred vectors
        for rows, version in itertools.product((0, 1, 99, 100, 101, 999, 1000, 1001, 2503), (1, 2)):
            folder.check(rows, 64, version=version, page=page)


def test_threads_change_no_byte():
    with tempfile.TemporaryDirectory(prefix="akidb-parquet-") as folder:
        for encoding in ("split", "q8"):
            alone = File(folder, 3000, 64, page=20000, encoding=encoding).bytes()
            for threads in (2, 5, 12):
                file = File(folder, 3000, 64, page=20000, encoding=encoding, threads=threads)
                assert file.bytes() == alone, f"{threads} threads"


def test_documents_are_arrays_of_one_size_to_readers_of_arrow():
    with Folder() as folder:
        for dimension in (1, 8, 384, 4096):
            folder.check(120, dimension, documents=True, codec="snappy")
            path = folder.files[-1].path
            schema = pyarrow.parquet.read_schema(path)
            equal(schema.field("vector").type.list_size, dimension)
            assert str(schema.field("metadata").type) in ("string", "extension<arrow.json>"), schema
            equal(str(polars.read_parquet_schema(path)["metadata"]), "String")
            equal(str(polars.read_parquet_schema(path)["vector"]), f"Array(Float32, shape=({dimension},))")
            found = duckdb.sql(f"SELECT count(list_dot_product(vector, vector)) FROM '{path}'").fetchall()[0][0]
            equal(found, 120)


def test_types_codec_and_encodings_are_what_readers_expect():
    with tempfile.TemporaryDirectory(prefix="akidb-parquet-") as folder:
        for codec, name in CODECS.items():
            file = File(folder, 100, 8, codec=codec)
            meta = pyarrow.parquet.ParquetFile(file.path).metadata
            # pyarrow calls both forms of LZ4 by one name.
            assert meta.row_group(0).column(0).compression in (name, name.split("_")[0]), codec
            assert meta.created_by.startswith("akidb version "), meta.created_by
        encodings = {meta.row_group(0).column(i).path_in_schema: meta.row_group(0).column(i).encodings
                     for i in range(meta.num_columns)}
        equal(encodings["vector.list.element"], ("BYTE_STREAM_SPLIT", "RLE"))
        equal(encodings["delta"], ("DELTA_BYTE_ARRAY",))
        equal(encodings["lengths"], ("DELTA_LENGTH_BYTE_ARRAY", "RLE"))
        equal(encodings["local_time"], ("DELTA_BINARY_PACKED", "RLE"))
        equal(encodings["kind"], ("PLAIN", "RLE_DICTIONARY", "RLE"))
        types = {row[0]: row[1] for row in duckdb.sql(f"DESCRIBE SELECT * FROM '{file.path}'").fetchall()}
        for column, want in {"document_id": "VARCHAR", "vector": "FLOAT[]", "metadata": "JSON", "inserted_at": "TIMESTAMP WITH TIME ZONE",
                             "local_time": "TIMESTAMP", "day": "DATE", "flag": "BOOLEAN", "number": "DOUBLE", "uuid": "UUID",
                             "blob": "BLOB", "counter": "UINTEGER", "code": "SMALLINT"}.items():
            equal(types[column], want, column)


def stored_bounds(file, group):
    """What the footer says, without a reader's own conversions: {column: (min, max, min is exact, max is exact, nulls)}."""
    rows = duckdb.sql(f"SELECT path_in_schema, stats_min_value, stats_max_value, min_is_exact, max_is_exact, stats_null_count "
                      f"FROM parquet_metadata('{file.path}') WHERE row_group_id = {group}").fetchall()
    return {row[0]: row[1:] for row in rows}


def test_statistics_hold_for_each_chunk_and_skip_what_has_no_order():
    with tempfile.TemporaryDirectory(prefix="akidb-parquet-") as folder:
        file = File(folder, 2500, 8)
        meta = pyarrow.parquet.ParquetFile(file.path).metadata
        equal(meta.num_row_groups, 3)
        for group in range(meta.num_row_groups):
            rows = slice(group * GROUP, group * GROUP + meta.row_group(group).num_rows)
            columns = {meta.row_group(group).column(i).path_in_schema: meta.row_group(group).column(i)
                       for i in range(meta.num_columns)}
            for name in ("document_id", "external_id", "kind", "delta", "code", "counter", "plain_int", "number", "day", "plain_flag"):
                want = file.columns[name][rows]
                real = [value for value in want if value is not None and value == value]
                stats = columns[name].statistics
                low, high = stats.min, stats.max
                if name == "day":
                    low, high = (low - EPOCH).days, (high - EPOCH).days
                equal((low, high, stats.null_count), (min(real), max(real), want.count(None)), name)
            for name in ("vector.list.element", "uuid", "nothing"):
                stats = columns[name].statistics
                assert stats is None or not stats.has_min_max, f"{name} has no order"
            equal(columns["nothing"].statistics.null_count, meta.row_group(group).num_rows)
            for column in columns.values():
                assert column.has_offset_index, column.path_in_schema
            bounds = stored_bounds(file, group)
            equal(bounds["long_text"][:4], ("a" * 63, "a" * 62 + "b", False, False))
            equal(bounds["document_id"][2:4], (True, True))
        low = pyarrow.parquet.ParquetFile(file.path).metadata.row_group(0).column(
            [i for i in range(meta.num_columns) if meta.row_group(0).column(i).path_in_schema == "real"][0]).statistics.min
        assert low == 0 and math.copysign(1, low) < 0, "the least zero is the negative one"
        for condition, name, test in (("plain_int = 20003", "plain_int", lambda v: v == 20003),
                                      ("external_id = 'doc-1200'", "external_id", lambda v: v == "doc-1200"),
                                      (f"long_text > '{'a' * 63}'", "long_text", lambda v: v > "a" * 63),
                                      ("counter >= 2147483648", "counter", lambda v: v >= 2147483648),
                                      ("number < 0", "number", lambda v: v < 0), ("real = 0", "real", lambda v: v == 0)):
            found = duckdb.sql(f"SELECT count(*) FROM '{file.path}' WHERE {condition}").fetchall()[0][0]
            equal(found, sum(1 for value in file.columns[name] if value is not None and test(value)), condition)


if __name__ == "__main__":
    support.run(globals())
