#!/usr/bin/env python3
"""Parquet files of others, read by `akidb parquet`: pyarrow in all its settings, DuckDB, polars, fastparquet and
hyparquet-writer. Floats are compared bit for bit. Needs tests/requirements.txt; hyparquet-writer from tests/npm.
"""
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import duckdb
import numpy
import polars
import pyarrow
import pyarrow.parquet

import support
from support import equal

SHARED = pathlib.Path(os.environ.get("AKIDB_SHARED", support.ROOT.parent / "shared")) / "data" / "parquet-testing"
NPM = os.environ.get("AKIDB_NPM", str(support.ROOT / "build" / "npm"))
ROWS = 300
DIMENSION = 17
RANDOM = numpy.random.default_rng(20261124)


def akidb(*words):
    return subprocess.run([support.binary(), "parquet", *map(str, words)], capture_output=True, text=True, timeout=120)


def read(path, rows=1 << 40):
    """The rows as `akidb parquet head` prints them, of a file that verifies."""
    done = akidb("verify", path)
    assert done.returncode == 0, done.stderr
    done = akidb("head", path, "--rows", rows)
    assert done.returncode == 0, done.stderr
    return [json.loads(line, parse_int=lambda text: -0.0 if text == "-0" else int(text)) for line in done.stdout.splitlines()]


def bits(vectors):
    return numpy.asarray(vectors, dtype=numpy.float32).view(numpy.uint32)


class Table:
    """The same rows for every writer."""

    def __init__(self, rows=ROWS, dimension=DIMENSION):
        special = numpy.array([-0.0, 1e-42, 3.4e38, 1.1754942e-38, -1.0], dtype=numpy.float32)
        self.vectors = RANDOM.standard_normal((rows, dimension)).astype(numpy.float32)
        self.vectors.ravel()[: len(special)] = special[: rows * dimension]
        self.ids = [f"id {i:05}" for i in range(rows)]
        self.word = [None if i % 7 == 3 else f"word {i % 5} \"é\"" for i in range(rows)]
        self.number = [None if i % 11 == 0 else (i - 100) * 10**9 for i in range(rows)]
        self.double = [None if i % 4 == 0 else i / 7 for i in range(rows)]
        self.flag = [i % 3 == 0 for i in range(rows)]

    def check(self, rows, names=("id", "word", "number", "double", "flag")):
        equal(len(rows), len(self.ids), "rows")
        for name, want in zip(("id", "word", "number", "double", "flag"),
                              (self.ids, self.word, self.number, self.double, self.flag)):
            if name in names:
                equal([row[name] for row in rows], want, name)
        if rows:
            assert (bits([row["vector"] for row in rows]) == self.vectors.view(numpy.uint32)).all(), "vectors"

    def arrow(self, optional):
        element = pyarrow.field("element", pyarrow.float32(), nullable=optional)
        vectors = pyarrow.array(list(self.vectors), pyarrow.list_(element))
        return pyarrow.table(
            [self.ids, self.word, self.number, self.double, self.flag, vectors],
            schema=pyarrow.schema([
                pyarrow.field("id", pyarrow.string(), nullable=False),
                pyarrow.field("word", pyarrow.string()),
                pyarrow.field("number", pyarrow.int64()),
                pyarrow.field("double", pyarrow.float64()),
                pyarrow.field("flag", pyarrow.bool_()),
                pyarrow.field("vector", pyarrow.list_(element), nullable=optional),
            ]),
        )


TABLE = Table()


class Folder:
    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="akidb-parquet-")
        self.path = os.path.join(self.dir, "t.parquet")
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            shutil.rmtree(self.dir, ignore_errors=True)
        else:
            print(f"         kept: {self.dir}")


def test_pyarrow_in_all_its_settings():
    codecs = ["none", "snappy", "zstd", "gzip", "lz4"]
    encodings = {"plain": {"use_dictionary": False}, "dictionary": {"use_dictionary": True},
                 "split": {"use_dictionary": False, "column_encoding": {"vector.list.element": "BYTE_STREAM_SPLIT", "double": "BYTE_STREAM_SPLIT"}},
                 "delta": {"use_dictionary": False, "column_encoding": {"id": "DELTA_BYTE_ARRAY", "word": "DELTA_LENGTH_BYTE_ARRAY",
                                                                        "number": "DELTA_BINARY_PACKED", "flag": "RLE"}}}
    with Folder() as at:
        for codec, encoding, version, optional, small in itertools.product(codecs, encodings, "12", (False, True), (False, True)):
            pages = {"data_page_size": 1, "write_batch_size": 13, "row_group_size": 110} if small else {}
            pyarrow.parquet.write_table(TABLE.arrow(optional), at.path, compression=codec, data_page_version=version + ".0",
                                        write_page_index=small, write_page_checksum=not optional, store_schema=small,
                                        **encodings[encoding], **pages)
            try:
                TABLE.check(read(at.path))
            except AssertionError as wrong:
                raise AssertionError(f"{codec} {encoding} V{version} optional={optional} small={small}: {wrong}") from wrong


def test_pyarrow_of_any_dimension_and_count():
    with Folder() as at:
        for rows, dimension in itertools.product((0, 1, 7, 64, 65), (1, 2, 3, 7, 8, 9, 64, 100)):
            table = Table(rows, dimension)
            pyarrow.parquet.write_table(table.arrow(False), at.path, data_page_size=1000, use_dictionary=False, compression="zstd")
            table.check(read(at.path))


def test_pyarrow_lists_with_nulls_and_deeper_nesting():
    rows = [{"a": None, "b": [[1, None], [], None]}, {"a": [], "b": None}, {"a": [None, 1.5], "b": [[2]]}, {"a": [0.25], "b": []}] * 50
    with Folder() as at:
        for version, small in itertools.product("12", (False, True)):
            table = pyarrow.Table.from_pylist(rows, schema=pyarrow.schema({
                "a": pyarrow.list_(pyarrow.float32()), "b": pyarrow.list_(pyarrow.list_(pyarrow.int32()))}))
            pyarrow.parquet.write_table(table, at.path, data_page_version=version + ".0",
                                        **({"data_page_size": 1, "write_batch_size": 3} if small else {}))
            equal(read(at.path), rows)


def test_pyarrow_bounds_and_schema_are_told():
    with Folder() as at:
        pyarrow.parquet.write_table(TABLE.arrow(False), at.path, compression="zstd")
        meta = json.loads(akidb("meta", at.path, "--json").stdout)
        equal(meta["rows"], ROWS)
        number = meta["row_groups"][0]["columns"][2]
        equal((number["min"], number["max"], number["nulls"], number["codec"]),
              (min(n for n in TABLE.number if n is not None), max(n for n in TABLE.number if n is not None),
               TABLE.number.count(None), "zstd"))
        schema = json.loads(akidb("schema", at.path, "--json").stdout)["columns"]
        equal([column["path"] for column in schema], ["id", "word", "number", "double", "flag", "vector.list.element"])
        equal((schema[0]["meaning"], schema[5]["type"], schema[5]["list"]), ("STRING", "FLOAT", True))


def test_duckdb_lists_and_arrays_v1_and_v2():
    data = TABLE.arrow(True)  # found by its name
    with Folder() as at:
        for kind, version, codec in itertools.product(("FLOAT[]", f"FLOAT[{DIMENSION}]"), ("V1", "V2"), ("zstd", "snappy", "lz4_raw", "gzip", "uncompressed")):
            duckdb.sql(f"COPY (SELECT id, word, number, double, flag, vector::{kind} AS vector FROM data) TO '{at.path}' "
                       f"(FORMAT parquet, PARQUET_VERSION {version}, COMPRESSION {codec}, ROW_GROUP_SIZE 2048)")
            TABLE.check(read(at.path))
    del data


def test_polars_lists_and_arrays():
    frame = polars.from_arrow(TABLE.arrow(True))
    with Folder() as at:
        for kind, codec in itertools.product((polars.List(polars.Float32), polars.Array(polars.Float32, DIMENSION)),
                                             ("zstd", "snappy", "lz4", "gzip", "uncompressed")):
            frame.with_columns(polars.col("vector").cast(kind)).write_parquet(at.path, compression=codec, row_group_size=128)
            TABLE.check(read(at.path))


def test_fastparquet_flat_columns():
    try:
        import fastparquet
        import pandas
    except ImportError as missing:
        print(f"         fastparquet is left out: {missing}")
        return
    frame = pandas.DataFrame({"n": range(ROWS), "x": [i / 3 for i in range(ROWS)], "s": [f"s{i % 9}" for i in range(ROWS)]})
    with Folder() as at:
        for codec in ("UNCOMPRESSED", "SNAPPY", "GZIP", "ZSTD", "LZ4_RAW"):
            fastparquet.write(at.path, frame, compression=codec, row_group_offsets=100)
            equal([(row["n"], row["x"], row["s"]) for row in read(at.path)], list(frame.itertuples(index=False, name=None)))


HYPARQUET = """
import { parquetWriteBuffer } from 'hyparquet-writer'
import { readFileSync, writeFileSync } from 'node:fs'
const { id, word, vector } = JSON.parse(readFileSync(process.argv[2]))
const buffer = parquetWriteBuffer({ columnData: [
  { name: 'id', data: id }, { name: 'word', data: word }, { name: 'vector', data: vector } ],
  schema: [ { name: 'root', num_children: 3 }, { name: 'id', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'REQUIRED' },
    { name: 'word', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' },
    { name: 'vector', repetition_type: 'REQUIRED', num_children: 1, converted_type: 'LIST' },
    { name: 'list', repetition_type: 'REPEATED', num_children: 1 }, { name: 'element', type: 'FLOAT', repetition_type: 'REQUIRED' } ] })
writeFileSync(process.argv[3], Buffer.from(buffer))
"""


def test_hyparquet_writer():
    if not shutil.which("node") or not os.path.isdir(f"{NPM}/node_modules/hyparquet-writer"):
        print(f"         left out: node or the packages of tests/npm in {NPM} are missing")
        return
    with Folder() as at:
        data = os.path.join(at.dir, "data.json")
        script = os.path.join(NPM, "hyparquet_write.mjs")
        pathlib.Path(data).write_text(json.dumps({"id": TABLE.ids, "word": TABLE.word, "vector": TABLE.vectors.astype(float).tolist()}))
        pathlib.Path(script).write_text(HYPARQUET)
        subprocess.run(["node", script, data, at.path], check=True, cwd=NPM)
        TABLE.check(read(at.path), names=("id", "word"))


def plain(value):
    """A value of pyarrow as JSON has it, or None when it is shown in another way."""
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return "0x" + value.hex()
    return value


def same(got, want, single):
    if isinstance(want, list):
        return len(got) == len(want) and all(same(a, b, single) for a, b in zip(got, want))
    if isinstance(want, float):
        if want != want or want in (float("inf"), float("-inf")):
            return got == {True: "NaN", False: "Infinity" if want > 0 else "-Infinity"}[want != want]
        return numpy.float32(got) == numpy.float32(want) if single else got == want
    return got == want


def test_the_files_of_parquet_testing_read_as_pyarrow_reads_them():
    if not SHARED.is_dir():
        print(f"         left out: {SHARED} is missing")
        return
    compared = 0
    for path in sorted(SHARED.glob("*data/*.parquet")):
        if akidb("verify", path).returncode != 0:
            continue  # tests/unit/parquet_hostile_test.c says which, and why
        try:
            table = pyarrow.parquet.read_table(path)
        except (OSError, pyarrow.ArrowException, NotImplementedError):
            continue
        rows = read(path)
        equal(len(rows), table.num_rows, path.name)
        for name in table.column_names:
            kind = table.schema.field(name).type
            leaf = kind
            while pyarrow.types.is_list(leaf):
                leaf = leaf.value_type
            known = (pyarrow.types.is_integer(leaf) or pyarrow.types.is_floating(leaf) or pyarrow.types.is_boolean(leaf) or
                     pyarrow.types.is_string(leaf) or pyarrow.types.is_binary(leaf))
            if not known or (rows and name not in rows[0]):
                continue
            single = pyarrow.types.is_floating(leaf) and not pyarrow.types.is_float64(leaf)
            for i, (row, value) in enumerate(zip(rows, table[name].to_pylist())):
                assert same(row[name], plain(value), single), f"{path.name} {name} row {i}: {row[name]!r}, pyarrow {value!r}"
            compared += 1
    assert compared > 100, f"only {compared} columns were compared"


def test_damage_exits_7_and_names_the_place():
    with Folder() as at:
        pyarrow.parquet.write_table(TABLE.arrow(False), at.path, compression="none", use_dictionary=False, write_page_checksum=True)
        whole = pathlib.Path(at.path).read_bytes()
        chunk = pyarrow.parquet.read_metadata(at.path).row_group(0).column(5)
        end = chunk.data_page_offset + chunk.total_compressed_size
        hurt = bytearray(whole)
        hurt[end - 100] ^= 16
        pathlib.Path(at.path).write_bytes(hurt)
        done = akidb("verify", at.path)
        equal(done.returncode, 7)
        place = f"{at.path}: row group 0, column 'vector.list.element', page 0 at byte {chunk.data_page_offset}: the checksum"
        assert place in done.stderr, done.stderr
        equal(akidb("head", at.path).returncode, 7)
        pathlib.Path(at.path).write_bytes(whole[:-1])
        equal(akidb("meta", at.path).returncode, 7)
        equal(akidb("verify", os.path.join(at.dir, "none")).returncode, 3)
        equal(akidb("look", at.path).returncode, 2)


if __name__ == "__main__":
    support.run(globals())
