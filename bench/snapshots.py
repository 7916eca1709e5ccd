#!/usr/bin/env python3
"""Snapshots, restores, exports and imports of a live server: time beside pyarrow, sizes, peak memory.

    snapshots.py [--passes 5] [--rows 100000] [--memory-rows 250000] [--only times,sizes,memory]

Times are end to end, from the request to the answer (a restore: to the first search's answer), on a folder of the local disk; pyarrow
writes and reads the same table there, synced as ours is, in the same passes. "Plain" is a file of the table's length written
and synced: what the disk alone takes. Memory is sampled while one operation runs, beyond what the server had before.
"""

import argparse
import contextlib
import http.client
import json
import os
import shutil
import statistics
import subprocess
import threading
import time

from support import (
    AKIDB,
    BUILD,
    ROOT,
    SHARED,
    Server,
    clustered,
    data_file,
    proc_line,
    rows_of,
    run_json,
    save,
    say,
    scratch,
    vectors_of,
)

DIMENSION, K = 512, 10
ENCODINGS = ["lossless", "plain", "bf16", "q8"]
PARQUET, NDJSON = "application/vnd.apache.parquet", "application/x-ndjson"


class Fresh:
    """Every call on a connection of its own: a kept-alive one is closed while an operation takes minutes."""

    def __init__(self, server):
        self.server = server

    def request(self, *args):
        with self.server.client() as client:
            return client.request(*args)

    def call(self, *args):
        with self.server.client() as client:
            return client.call(*args)

    def count(self, name):
        return self.call("POST", f"/collections/{name}/count")["count"]

    def create(self, name):
        return self.call("POST", "/collections", {"name": name, "dimension": DIMENSION, "metric": "cosine"})

    def create_small(self, name):
        """A thin graph, since how well it searches is not the question, and no codes: an index that grows makes new
        ones beside the old, a quarter of the vectors, whoever writes to it."""
        index = {"m": 4, "ef_construction": 16, "quantization": "none"}
        body = {"name": name, "dimension": DIMENSION, "metric": "cosine", "index": index}
        self.call("POST", "/collections", body)


# --- What is timed ---


def timed(work):
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def used(server, work):
    """Seconds of the clock and of the server's processors."""
    before = server.cpu_seconds()
    took, result = timed(work)
    return took, server.cpu_seconds() - before, result


def create(client, name, **options):
    return client.call("POST", f"/collections/{name}/snapshots?wait=true", options)


def object_of(made, ending):
    return next(o for o in made["objects"] if o["key"].endswith("." + ending))


def search(client, name, vector):
    found = client.call("POST", f"/collections/{name}/search", {"vector": vector, "k": K})
    if len(found["results"]) != K:
        raise SystemExit(f"a search gave {len(found['results'])} results, not {K}")
    return [hit["id"] for hit in found["results"]]


def restore_and_search(client, name, snapshot, into, vector):
    path = f"/collections/{name}/snapshots/{snapshot}/restore?wait=true"
    client.call("POST", path, {"into": into})
    return search(client, into, vector)


def plain_file(path, size):
    """Seconds to write and sync a file of that length, as the disk is just now."""
    block = os.urandom(1 << 20)

    def write():
        with open(path, "wb") as file:
            for at in range(0, size, len(block)):
                file.write(block[: size - at])
            file.flush()
            os.fdatasync(file.fileno())

    took, _ = timed(write)
    path.unlink()
    return took


def arrow_pass(table, path):
    """Seconds of pyarrow to write the table with zstd 1 and sync it, and to read all of it back."""
    import pyarrow.parquet as pq

    def write():
        pq.write_table(
            table,
            path,
            compression="zstd",
            compression_level=1,
            row_group_size=10_000,
            use_dictionary=False,
            write_page_checksum=True,
            use_byte_stream_split=["vector.list.element"],
        )
        fd = os.open(path, os.O_RDWR)
        os.fdatasync(fd)
        os.close(fd)

    def read():
        return pq.ParquetFile(path, page_checksum_verification=True).read(use_threads=True)

    wrote, _ = timed(write)
    took, back = timed(read)
    if back.num_rows != table.num_rows:
        raise SystemExit("pyarrow: what was read is not what was written")
    size = path.stat().st_size
    path.unlink()
    return wrote, took, size


def one_pass(server, client, table, seen, vector, number):
    """Everything once, in turns with pyarrow; each measure is appended to its list."""

    def note(what, wall, cpu=None):
        seen.setdefault(what, []).append(wall)
        if cpu is not None:
            seen.setdefault(what + " cpu", []).append(cpu)

    name, into = "snap", f"snap-{number}"
    changed = {"id": f"01937a2b-0000-7000-8000-{number + 1:012x}", "vector": vector}
    client.call("POST", f"/collections/{name}/vectors", changed)
    server.wait_linked()
    took, cpu, first = used(server, lambda: create(client, name))
    note("create, changed", took, cpu)
    took, cpu, made = used(server, lambda: create(client, name))
    note("create", took, cpu)
    expected = search(client, name, vector)
    took, cpu, found = used(
        server, lambda: restore_and_search(client, name, made["id"], into, vector)
    )
    note("restore", took, cpu)
    if found != expected:
        raise SystemExit("the restored collection finds other documents")
    client.call("DELETE", f"/collections/{into}")
    path = f"/collections/{name}/snapshots/{made['id']}"
    took, cpu, report = used(server, lambda: client.call("POST", path + "/verify"))
    note("verify", took, cpu)
    if not report["ok"]:
        raise SystemExit(f"verify: {report}")
    note("plain", plain_file(server.folder / "plain", object_of(made, "parquet")["size_bytes"]))
    if table is not None:
        wrote, read, size = arrow_pass(table, server.folder / "theirs.parquet")
        note("pyarrow write", wrote)
        note("pyarrow read", read)
        seen["pyarrow bytes"] = size
    seen["bytes"], seen["data bytes"] = made["size_bytes"], object_of(made, "parquet")["size_bytes"]
    for snapshot in (first, made):
        client.call("DELETE", f"/collections/{name}/snapshots/{snapshot['id']}")


def rebuild(server, client, vector):
    """A restore when only the Parquet is there: seconds to the first search's answer."""
    made = create(client, "snap")
    (server.folder / "objects" / object_of(made, "akx")["key"]).unlink()
    took, _ = timed(lambda: restore_and_search(client, "snap", made["id"], "rebuilt", vector))
    client.call("DELETE", "/collections/rebuilt")
    client.call("DELETE", f"/collections/snap/snapshots/{made['id']}")
    return took


def arrow_table(vectors):
    """The same five columns; None without pyarrow."""
    try:
        import parquet_files
    except ImportError:
        return None
    return parquet_files.arrow_table(vectors) if parquet_files.pa else None


def measure_times(rows, passes):
    base, query = clustered(max(200_000, rows), DIMENSION)
    vectors, vector = rows_of(base, 0, rows), vectors_of(query, 1)[0]
    table, seen = arrow_table(vectors), {}
    with scratch("snapshots") as folder, Server(folder) as server:
        client = Fresh(server)
        client.create("snap")
        run_json(AKIDB, "import", "--url", server.url, "-c", "snap", "--json", "--wait", vectors)
        for number in range(passes):
            one_pass(server, client, table, seen, vector, number)
        seen["rebuild"] = [rebuild(server, client, vector)]
    lists = {k: v for k, v in seen.items() if isinstance(v, list)}
    for what, all_of_it in lists.items():
        say(f"  {rows:,}: {what:20} median {statistics.median(all_of_it):.3f} s, best {min(all_of_it):.3f} s")
    return {
        "rows": rows,
        "median": {k: statistics.median(v) for k, v in lists.items()},
        "best": {k: min(v) for k, v in lists.items()},
        **{k: v for k, v in seen.items() if not isinstance(v, list)},
    }


# --- Sizes: the data object by encoding, codec and kind of vectors ---


def program():
    path = BUILD / "bench" / "snapshot_bench"
    if "AKIDB_BUILD" not in os.environ:
        for command in (
            ["cmake", "--preset", "release", "-DAKIDB_BENCH=ON"],
            ["cmake", "--build", "--preset", "release", "--target", "snapshot_bench"],
        ):
            subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return path


def measure_sizes():
    tool, found = program(), {}
    real = SHARED / "data/minilm/base-10k.f32.npy"
    kinds = {"sentence embeddings": ("npy", 384, real)} if real.exists() else {}
    kinds |= {"Gaussian": ("gauss", DIMENSION, None), "uniform": ("uniform", DIMENSION, None)}
    kinds |= {"sin": ("sin", DIMENSION, None)}
    for kind, (word, dimension, path) in kinds.items():
        with scratch("snapshots-sizes") as folder:
            folder.mkdir()
            found[kind] = run_json(tool, folder, word, 10_000, dimension, 1, *([path] if path else []))
        sizes = {e: found[kind][e]["bytes"] for e in [*ENCODINGS, "json"]}
        say(f"  {kind}: " + ", ".join(f"{e} {size:,}" for e, size in sizes.items()))
    return found


# --- Memory ---


class Peak:
    """The server's resident memory, sampled: .anonymous and .resident are the peaks beyond the beginning, MiB."""

    def __init__(self, server):
        self.path = f"/proc/{server.process.pid}/status"
        self.over = threading.Event()

    def now(self):
        return {k: int(proc_line(self.path, k).split()[0]) / 1024 for k in ("RssAnon", "VmRSS")}

    def watch(self):
        while not self.over.wait(0.005):
            for key, value in self.now().items():
                self.most[key] = max(self.most[key], value)

    def __enter__(self):
        with open(self.path.replace("status", "clear_refs"), "w", encoding="ascii") as file:
            file.write("5")  # the kernel's own high-water mark begins anew
        self.before = self.now()
        self.most = dict(self.before)
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        resident = int(proc_line(self.path, "VmHWM").split()[0]) / 1024
        self.anonymous = self.most["RssAnon"] - self.before["RssAnon"]
        self.resident = resident - self.before["VmRSS"]


def collections_mib(client):
    prefix = 'memory_usage_bytes{component="collections"} '
    text = client.request("GET", "/metrics")[1].decode()
    return next(float(x[len(prefix) :]) / 2**20 for x in text.splitlines() if x.startswith(prefix))


def transfer(server, method, path, kind=None, source=None, into=None):
    """An export into a file or an import from one, streamed."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=3600)
    with contextlib.closing(connection):
        with contextlib.ExitStack() as files:
            body = files.enter_context(open(source, "rb")) if source else None
            headers = {"Content-Type": kind, "Content-Length": str(source.stat().st_size)} if body else {}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            if into:
                with open(into, "wb") as file:
                    shutil.copyfileobj(answer, file, 1 << 20)
            text = b"" if into else answer.read()
        if not 200 <= answer.status < 300:
            raise SystemExit(f"{method} {path}: {answer.status} {text[:300]!r}")


class Memory:
    """One collection, and what each operation on it takes beyond it, each in a server that has done nothing before: memory that
    an allocator keeps from an earlier operation would hide what the next one takes."""

    def __init__(self, server, rows):
        self.server, self.rows, self.found = server, rows, {}
        self.client = Fresh(server)

    def restart(self):
        self.server.stop()
        self.server.start()

    def note(self, what, peak, mib):
        self.found[what] = {"mib": round(mib, 1), "resident": round(peak.resident, 1)}
        say(f"  {what:28} {mib:7.1f} MiB (resident {peak.resident:,.1f})")

    def reading(self, what, work):
        """Nothing comes into being but the operation's own memory, mapped pages included."""
        self.restart()
        with Peak(self.server) as peak:
            result = work()
        self.note(what, peak, peak.resident)
        return result

    def restoring(self, what, snapshot):
        """The mapped image is the collection, so anonymous memory counts; of a rebuild, what is beyond the collection built."""
        self.restart()
        with Peak(self.server) as peak:
            path = f"/collections/big/snapshots/{snapshot['id']}/restore?wait=true"
            answer = self.client.call("POST", path, {"into": "copy"})
        if answer.get("rebuilt") != what.endswith("rebuilt"):
            raise SystemExit(f"{what}: {answer}")
        self.note(what, peak, peak.anonymous - (self.own if answer["rebuilt"] else 0))
        self.client.call("DELETE", "/collections/copy")

    def importing(self, what, kind, path):
        """What is beyond the collection that comes into being."""
        self.restart()
        self.client.create_small("copy")
        before = collections_mib(self.client)
        with Peak(self.server) as peak:
            transfer(self.server, "POST", "/collections/copy/import", kind, source=path)
            self.server.wait_linked(3600)
        self.own = collections_mib(self.client) - before
        self.note(what, peak, peak.anonymous - self.own)
        if self.client.count("copy") != self.rows:
            raise SystemExit(f"{what}: not all documents arrived")
        self.client.call("DELETE", "/collections/copy")


def measure_memory(rows):
    vectors = data_file(f"gaussian-{DIMENSION}-{rows}.npy", "made", "gaussian", rows, DIMENSION, None)
    with scratch("snapshots-memory") as folder, Server(folder) as server:
        memory = Memory(server, rows)
        memory.client.create_small("big")
        run_json(
            AKIDB, "import", "--url", server.url, "-c", "big", "--json", "--wait", vectors, timeout=3600
        )
        for form in ("parquet", "ndjson"):
            memory_of_transfer(memory, folder, form, [""])
        memory_of_transfer(memory, folder, "parquet", ENCODINGS[1:])
        for options in [{"encoding": e} for e in ENCODINGS] + [{"format": "json"}]:
            memory_of_snapshot(memory, folder, options)
        return {"rows": rows, "operations": memory.found}


def memory_of_transfer(memory, folder, form, encodings):
    for encoding in encodings:
        path = folder / f"export.{form}"
        what = f"{form} {encoding}".strip()
        query = f"format={form}" + (f"&encoding={encoding}" if encoding else "")
        memory.reading(
            f"export {what}",
            lambda: transfer(memory.server, "GET", f"/collections/big/export?{query}", into=path),
        )
        memory.importing(f"import {what}", PARQUET if form == "parquet" else NDJSON, path)
        path.unlink()


def memory_of_snapshot(memory, folder, options):
    what = options.get("encoding") or options["format"]
    made = memory.reading(f"create {what}", lambda: create(memory.client, "big", **options))
    if what == "lossless":
        memory.restoring("restore by its image", made)
    path = f"/collections/big/snapshots/{made['id']}"
    memory.reading(f"verify {what}", lambda: memory.client.call("POST", path + "/verify"))
    (folder / "objects" / object_of(made, "akx")["key"]).unlink()
    memory.restoring(f"restore {what}, rebuilt", made)
    memory.client.call("DELETE", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--memory-rows", type=int, default=250_000)
    parser.add_argument("--only", default="times,sizes,memory", help="a part of it is printed, not kept")
    args = parser.parse_args()
    wanted = args.only.split(",")
    out = {"dimension": DIMENSION, "passes": args.passes}
    if "times" in wanted:
        out["times"] = [measure_times(rows, args.passes) for rows in (10_000, args.rows)]
    if "sizes" in wanted:
        out["sizes"] = measure_sizes()
    if "memory" in wanted:
        out["memory"] = measure_memory(args.memory_rows)
    if set(wanted) >= {"times", "sizes", "memory"}:
        save("snapshots", out)
    else:
        say(json.dumps(out))


if __name__ == "__main__":
    main()
