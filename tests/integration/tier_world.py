"""A server whose time tests move, over a bucket of a real S3 server: what the tests of tiers share.

    with World("name") as world:              # AKIDB_TEST_CLOCK=1, a prefix of its own in the bucket
        world.fill("docs", rows=1000)         # the plan's vectors, by Parquet
        world.advance(hours=6); world.run()   # time passes, the worker decides, moves are over
        world.tier("docs")["tier"]
        world.restart(kill=True)              # the clock goes on where it was

The S3 server is started once a process: the first of AKIDB_S3_SERVERS, versitygw, minio that is here.
"""
import io
import json
import math
import os
import pathlib
import subprocess
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import s3_servers
import support
from support import equal, status

PARQUET = "application/vnd.apache.parquet"
WAIT_SECONDS = 120  # for what comes by itself: a machine under load is slow, a bug never arrives
STARTED = []


def s3():
    if not STARTED:
        names = s3_servers.wanted()
        name = next((name for name in ("versitygw", "minio") if name in names), names[0])
        STARTED.append(s3_servers.start(name).__enter__())
        print(f"     {name} {STARTED[0].version}, ready after {STARTED[0].start_seconds:.1f} s", flush=True)
    return STARTED[0]


def run(names):
    """support.run, and the S3 server ends with it."""
    try:
        support.run(names)
    finally:
        for server in STARTED:
            server.stop()


def vectors(rows, dimension, first=0):
    """The plan's: v[i][j] = sin((i + j) · 0.01)."""
    i, j = np.arange(first, first + rows)[:, None], np.arange(dimension)[None, :]
    return np.sin((i + j) * 0.01).astype(np.float32)


def parquet(rows, dimension, first=0):
    data = vectors(rows, dimension, first)
    flat = pa.array(data.reshape(-1), type=pa.float32())
    table = pa.table({"external_id": [f"doc-{i}" for i in range(first, first + rows)],
                      "vector": pa.FixedSizeListArray.from_arrays(flat, dimension),
                      "metadata": [json.dumps({"index": i}) for i in range(first, first + rows)]})
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


def until(what, condition):
    """What comes by itself: as soon as it is there."""
    end = time.monotonic() + WAIT_SECONDS
    while not (found := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come within {WAIT_SECONDS} s")
        time.sleep(0.02)
    return found


class World:
    def __init__(self, name, store=None, **settings):
        """`store`: other AKIDB_S3_ settings than the shared server's; `settings`: AKIDB_TIERING_… and the like."""
        environment = store or {key: value for key, value in s3().environment().items() if key != "AKIDB_S3_SERVER"}
        self.environment = {**environment, "AKIDB_S3_PREFIX": f"{name}/", "AKIDB_TEST_CLOCK": "1",
                            "AKIDB_TIERING_WORKER_INTERVAL": "1d",
                            **{f"AKIDB_{key.upper()}": str(value) for key, value in settings.items()}}
        self.prefix = f"{name}/"
        self.server = support.Server(environment=dict(self.environment))
        self.ahead = 0
        self.client = None

    def __enter__(self):
        self.server.start()
        self.client = self.server.client()
        return self

    def __exit__(self, kind, value, trace):
        self.client.close()
        self.server.__exit__(kind, value, trace)

    # --- The server ---

    def restart(self, kill=False, **environment):
        """What is in `environment` is new; None takes a setting away."""
        self.client.close()
        if self.server.process and kill:
            self.server.kill()
        elif self.server.process:
            self.server.stop()
        for key, value in environment.items():
            self.server.environment.pop(key, None)
            if value is not None:
                self.server.environment[key] = value
        self.server.start()
        self.client = self.server.client()
        if self.ahead:
            status(self.client.post("/admin/test/clock", {"advance_s": self.ahead}), 200)

    def died(self):
        """The server has ended by itself, at a crash point."""
        code = self.server.process.wait(timeout=WAIT_SECONDS)
        equal(code, 137, "the exit code at the crash point")
        self.server.process.stdout.close()
        self.server.log.close()
        self.server.process = None

    def advance(self, days=0, hours=0, seconds=0):
        step = int(days * 86400 + hours * 3600 + seconds)
        self.ahead += step
        return status(self.client.post("/admin/test/clock", {"advance_s": step}), 200).json()["now"]

    def run(self, failed=0):
        """A pass of the worker, with all its moves."""
        told = status(self.client.post("/admin/tiering/run?wait=true"), 200).json()
        if failed is not None:
            equal(told["last_pass"]["failed"], failed, f"moves that failed: {self.server.log_tail()}")
        return told

    # --- Collections ---

    def fill(self, name="docs", rows=500, dimension=32, first=0, create=True):
        if create:
            status(self.client.post("/collections", {"name": name, "dimension": dimension, "metric": "cosine"}), 201)
        told = status(self.client.post(f"/collections/{name}/import", parquet(rows, dimension, first), content_type=PARQUET), 200)
        equal(told.json()["upserted"], rows, "rows")

    def tier(self, name="docs"):
        return status(self.client.get(f"/collections/{name}/tier"), 200).json()

    def act(self, action, name="docs", want=200):
        return status(self.client.post(f"/collections/{name}/tier", {"action": action}), want).json()

    def search(self, name="docs", row=7, dimension=32, k=10, client=None):
        """The nearest are the row itself and its like: the plan's vectors turn with their number, once in 628 rows."""
        body = {"vector": vectors(1, dimension, row)[0].tolist(), "k": k}
        hits = status((client or self.client).post(f"/collections/{name}/search", body), 200).json()["results"]
        equal(len(hits), k, "results")
        turned = ((int(hits[0]["external_id"][4:]) - row) * 0.01) % (2 * math.pi)
        assert min(turned, 2 * math.pi - turned) < 0.015 and hits[0]["score"] > 0.9999, (row, hits[0])
        return hits

    def count(self, name="docs"):
        return status(self.client.post(f"/collections/{name}/count"), 200).json()["count"]

    def state(self, name="docs"):
        """Every document: id, external id, metadata, time and the bits of the vector, in the order of ids."""
        table = pq.read_table(io.BytesIO(status(self.client.get(f"/collections/{name}/export"), 200).body))
        rows = table.drop_columns(["vector"]).to_pylist()
        bits = np.asarray(table["vector"].combine_chunks().flatten()).view(np.uint32).reshape(len(rows), -1)
        order = sorted(range(len(rows)), key=lambda i: rows[i]["document_id"])
        return [rows[i] for i in order], bits[order]

    def same_state(self, before, name="docs"):
        rows, bits = self.state(name)
        equal(len(rows), len(before[0]), "documents")
        for got, want in zip(rows, before[0]):
            equal(got, want, "a document")
        assert np.array_equal(bits, before[1]), "a vector has changed"

    def snapshots(self, name="docs"):
        made, before = [], ""
        while True:
            page = status(self.client.get(f"/collections/{name}/snapshots?limit=1000{before}"), 200).json()
            made += page["snapshots"]
            if not page["next"]:
                return made
            before = f"&to={page['next']}"

    def to_cold(self, *names):
        """By time alone."""
        self.advance(hours=6)
        self.run()
        self.advance(days=7)
        self.run()
        for name in names or ("docs",):
            equal(self.tier(name)["tier"], "cold", f"the tier of {name}")

    # --- What lies where ---

    def images(self, name="docs"):
        """Files of a collection in the data folder."""
        id = self.tier(name)["id"]
        folder = pathlib.Path(self.server.data) / "db" / "collections"
        return sorted(path.name for path in folder.glob(f"{id}*")) if folder.exists() else []

    def keys(self):
        """All keys of this world in the bucket, without its prefix."""
        keys, token = [], None
        while True:
            query = {"list-type": "2", "prefix": self.prefix} | ({"continuation-token": token} if token else {})
            code, body = s3().call("GET", f"/{s3().bucket}", query)
            equal(code, 200, "the list of the bucket")
            text = body.decode()
            keys += [part.split("</Key>")[0].removeprefix(self.prefix) for part in text.split("<Key>")[1:]]
            if "<IsTruncated>true" not in text:
                return sorted(keys)
            token = text.split("<NextContinuationToken>")[1].split("</")[0]

    def keys_wanted(self, *names):
        """The keys that the snapshots of these collections have."""
        wanted = []
        for name in names:
            for one in self.snapshots(name):
                wanted.append(f"snapshots/{one['collection_id']}/{one['id']}.metadata.json")
                wanted += [part["key"] for part in one["objects"]]
        return sorted(wanted)

    def metric(self, line):
        """The value of a series, 0 when it is not there."""
        for text in self.client.get("/metrics").text().splitlines():
            if text.startswith(line + " "):
                return float(text.split()[-1])
        return 0.0


def resident(pid):
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def akidb(*words, code=0):
    done = subprocess.run([support.binary(), *map(str, words)], capture_output=True, text=True, timeout=120)
    equal(done.returncode, code, f"akidb {' '.join(map(str, words))}: {done.stderr}")
    return done.stdout if code == 0 else done.stderr
