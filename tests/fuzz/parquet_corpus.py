#!/usr/bin/env python3
"""Makes tests/fuzz/corpus/parquet with pyarrow (tests/requirements.txt): small files, one per
construct, that the unit tests read too. Their values follow from the row number, see below and
tests/unit/parquet_read_test.c. Run it again only to add files: writers change."""
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 40
DIM = 6
OUT = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "corpus/parquet")

element = pa.field("element", pa.float32(), nullable=False)
vectors = [[i + d / 8 for d in range(DIM)] for i in range(ROWS)]
flat = pa.table(
    {
        "id": [f"row {i:04}" for i in range(ROWS)],
        "n": pa.array([None if i % 5 == 0 else i * 1000 for i in range(ROWS)], pa.int64()),
        "vector": pa.array(vectors, pa.list_(element)),
    },
    schema=pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("n", pa.int64()),
            pa.field("vector", pa.list_(element), nullable=False),
        ]
    ),
)
common = {"page_checksum_verification": True}


def write(name, table, **options):
    options = {
        "compression": "none",
        "use_dictionary": False,
        "write_page_checksum": True,
        "write_page_index": True,
        "store_schema": False,
    } | options
    path = os.path.join(OUT, name + ".parquet")
    pq.write_table(table, path, **options)
    again = pq.read_table(path, page_checksum_verification=True)
    assert again.num_rows == table.num_rows
    print(f"{os.path.getsize(path):6} {name}")


split = {"column_encoding": {"vector.list.element": "BYTE_STREAM_SPLIT"}}
write("plain", flat)
write("split_zstd", flat, compression="zstd", **split)
write("small_pages", flat, data_page_size=1, write_batch_size=7)
write("pages_v2", flat, data_page_version="2.0", compression="gzip", data_page_size=1, write_batch_size=9)
write("no_index", flat, write_page_index=False, data_page_size=1, write_batch_size=4)
write("groups", flat, row_group_size=15, compression="lz4")
write("dictionary", flat, use_dictionary=True, compression="snappy", store_schema=True)
write("no_checksum", flat, write_page_checksum=False)

deltas = pa.table(
    {
        "i32": pa.array([i * i - 200 for i in range(ROWS)], pa.int32()),
        "i64": pa.array([(-1) ** i * (i << 40) for i in range(ROWS)], pa.int64()),
        "text": [f"common prefix {i // 3} tail {i}" for i in range(ROWS)],
        "len": ["x" * (i % 7) for i in range(ROWS)],
        "flag": [i % 3 == 0 for i in range(ROWS)],
        "double": [None if i % 4 == 1 else i / 3 for i in range(ROWS)],
        "fixed": pa.array([bytes([i]) * 5 for i in range(ROWS)], pa.binary(5)),
    }
)
for version in "1.0", "2.0":
    write(
        "deltas_v" + version[0],
        deltas,
        data_page_version=version,
        column_encoding={
            "i32": "DELTA_BINARY_PACKED",
            "i64": "DELTA_BINARY_PACKED",
            "text": "DELTA_BYTE_ARRAY",
            "len": "DELTA_LENGTH_BYTE_ARRAY",
            "flag": "RLE",
            "double": "BYTE_STREAM_SPLIT",
            "fixed": "BYTE_STREAM_SPLIT",
        },
    )

nested = pa.table(
    {
        "lists": [None if i % 4 == 0 else [None if j == 1 else j for j in range(i % 3)] for i in range(ROWS)],
        "deep": [[["a" * j for j in range(k)] for k in range(i % 3)] for i in range(ROWS)],
        "pair": [{"x": i, "y": None if i % 2 else str(i)} for i in range(ROWS)],
        "map": pa.array([[(f"k{j}", j) for j in range(i % 3)] for i in range(ROWS)], pa.map_(pa.string(), pa.int32())),
    }
)
write("nested", nested, use_dictionary=True, compression="zstd", data_page_size=1, write_batch_size=5)

import datetime
import decimal
import uuid

meanings = pa.table(
    {
        "date": [datetime.date(2026, 1, 1) + datetime.timedelta(days=i) for i in range(4)],
        "ts": pa.array([i * 1000001 for i in range(4)], pa.timestamp("us", "UTC")),
        "ns": pa.array([i * 1000001 for i in range(4)], pa.timestamp("ns")),
        "time": pa.array([i * 1000 for i in range(4)], pa.time32("ms")),
        "dec": pa.array([decimal.Decimal(i) / 100 - 1 for i in range(4)], pa.decimal128(9, 2)),
        "u32": pa.array([2**32 - 1 - i for i in range(4)], pa.uint32()),
        "i8": pa.array([-i for i in range(4)], pa.int8()),
        "half": pa.array([0.5, None, float("nan"), -1.0], pa.float16()),
        "uuid": pa.array([uuid.UUID(int=i).bytes for i in range(4)], pa.uuid()),
        "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1}', None, "[]", "2"])),
        "null": pa.nulls(4),
        "bin": [b"\x00\xff", b"", None, b"abc"],
    }
)
write("meanings", meanings)
write("empty", flat.slice(0, 0))
