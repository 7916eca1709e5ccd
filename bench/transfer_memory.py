#!/usr/bin/env python3
"""Peak memory of a server while it exports and imports a collection, beyond what it held before.

    bench/transfer_memory.py [--rows 100000] [--dimension 512] [--formats ndjson,parquet]

AKIDB_BIN names the program (default build/release/akidb). Prints a line per transfer; nothing is asserted.
"""
import argparse
import http.client
import json
import os
import random
import re
import shutil
import subprocess
import tempfile
import time

TYPES = {"ndjson": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}


class Server:
    def __init__(self, data):
        self.process = subprocess.Popen([os.environ.get("AKIDB_BIN", "build/release/akidb"), "serve", "--data", data, "--listen",
                                         "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            found = re.match(r"listening on http://127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found.group(1))
                break
        while self.call("GET", "/ready")[0] != 200:
            time.sleep(0.01)

    def call(self, method, path, body=None, kind="application/json", into=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request(method, path, body, {"Content-Type": kind} if body is not None else {}, encode_chunked=hasattr(body, "__next__"))
        answer = connection.getresponse()
        if into:
            shutil.copyfileobj(answer, into, 1 << 20)
            return answer.status, b""
        return answer.status, answer.read()

    def memory(self, name):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(rf"^{name}:\s+(\d+) kB", status.read(), re.M).group(1)) / 1024

    def reset_peak(self):
        with open(f"/proc/{self.process.pid}/clear_refs", "w") as file:
            file.write("5")


def lines(rows, dimension):
    rand = random.Random(1)
    vector = [f"{rand.gauss(0, 1):.6f}" for _ in range(dimension)]
    for row in range(rows):
        vector[row % dimension] = f"{rand.gauss(0, 1):.6f}"
        yield ('{"vector":[' + ",".join(vector) + '],"metadata":{"n":%d}}\n' % row).encode()


def measured(server, what, work):
    server.reset_peak()
    before, began = server.memory("VmRSS"), time.monotonic()
    work()
    print(f"{what:24s} {time.monotonic() - began:7.2f} s   peak {server.memory('VmHWM') - before:7.1f} MiB beyond {before:7.1f} MiB")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--formats", default="ndjson,parquet")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="akidb-bench-")
    server = Server(os.path.join(folder, "db"))
    try:
        spec = {"dimension": options.dimension, "metric": "l2"}
        server.call("POST", "/collections", json.dumps({"name": "c", **spec}))
        print(server.call("POST", "/collections/c/import", lines(options.rows, options.dimension), TYPES["ndjson"])[1].decode())
        for name in options.formats.split(","):
            file = os.path.join(folder, name)
            with open(file, "wb") as out:
                measured(server, f"export {name}", lambda out=out: server.call("GET", f"/collections/c/export?format={name}", into=out))
            server.call("POST", "/collections", json.dumps({"name": name, **spec}))
            with open(file, "rb") as body:
                measured(server, f"import {name} (grows)",
                         lambda body=body: print(server.call("POST", f"/collections/{name}/import", body, TYPES[name])[1].decode()))
    finally:
        server.process.terminate()
        server.process.wait()
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
