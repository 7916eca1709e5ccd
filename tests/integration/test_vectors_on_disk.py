#!/usr/bin/env python3
"""Collections with "vectors": "disk" on a real server: made over REST and by the program, their vectors given to the
file once it is written, the same bit for bit after upserts, kill -9 and restarts. Standard library only."""
import json
import random
import struct
import time

import support
from support import command, equal, status

DIMENSION = 256
ROWS = 6000
BYTES = ROWS * DIMENSION * 4  # enough to be written out, at the latest when they have rested for ten seconds


def vector(number, version):
    dice = random.Random(number * 1000 + version)
    numbers = [dice.uniform(-1, 1) for _ in range(DIMENSION)]
    return as_floats(numbers)


def as_floats(numbers):
    return list(struct.unpack(f"{DIMENSION}f", struct.pack(f"{DIMENSION}f", *numbers)))


def identity(number):
    return f"01950000-0000-7000-8000-{number:012x}"


def put(client, numbers, version):
    numbers = list(numbers)
    for at in range(0, len(numbers), 500):
        batch = [{"id": identity(n), "vector": vector(n, version)} for n in numbers[at:at + 500]]
        status(client.post("/collections/docs/vectors", {"vectors": batch}), 200)


def check(client, versions):
    for number in range(0, ROWS, 97):
        got = status(client.get(f"/collections/docs/vectors/{identity(number)}"), 200).json()
        equal(as_floats(got["vector"]), vector(number, versions(number)), f"vector {number}")
    number = 97
    found = status(client.post("/collections/docs/search", {"vector": vector(number, versions(number)), "k": 3,
                                                           "exact": True, "include": ["vector"]}), 200).json()
    equal(found["results"][0]["id"], identity(number))
    equal(as_floats(found["results"][0]["vector"]), vector(number, versions(number)))


def memory(client):
    return status(client.get("/collections/docs"), 200).json()["memory"]


def wait_for_file(client):
    end = time.monotonic() + 120
    while memory(client)["mapped"] < BYTES * 2 // 3:
        assert time.monotonic() < end, f"vectors stay in memory: {memory(client)}"
        time.sleep(0.2)


def test_vectors_go_to_disk_and_stay_what_they_were():
    with support.Server(environment={"AKIDB_CHECKPOINT_BYTES": "1MiB"}) as server:
        client = server.client()
        made = status(client.post("/collections", {"name": "docs", "dimension": DIMENSION,
                                                   "index": {"m": 4, "ef_construction": 16, "vectors": "disk"}}), 201)
        equal(made.json()["index"]["vectors"], "disk")
        put(client, range(ROWS), 1)
        wait_for_file(client)
        after = memory(client)
        assert after["vectors"] < BYTES // 2 and after["vectors"] + after["mapped"] >= BYTES - 4096, after
        check(client, lambda number: 1)
        lines = status(client.get("/metrics"), 200).text().splitlines()
        mapped = [float(line.split()[-1]) for line in lines if line.startswith('memory_usage_bytes{component="mapped_v')]
        assert mapped and mapped[0] >= BYTES // 2, mapped
        put(client, range(0, ROWS, 2), 2)
        versions = lambda number: 1 if number % 2 else 2  # noqa: E731
        check(client, versions)
        server.kill()
        server.start()
        client = server.client()
        check(client, versions)
        shown = command("collections", "show", "docs", "--url", f"http://127.0.0.1:{server.port}")
        assert "on disk" in shown and "mapped from disk" in shown, shown
        server.stop()
        server.start()
        client = server.client()
        check(client, versions)


def test_the_program_makes_them_and_says_what_is_wrong():
    with support.Server() as server:
        url = f"http://127.0.0.1:{server.port}"
        made = command("collections", "create", "cold", "--dimension", "8", "--vectors", "disk", "--json", "--url", url)
        equal(json.loads(made)["index"]["vectors"], "disk")
        command("collections", "create", "x", "--dimension", "8", "--vectors", "tape", "--url", url, code=2)
        client = server.client()
        for index, text in (({"vectors": "tape"}, "index.vectors 'tape' is unknown: ram and disk are allowed"),
                            ({"vectors": 5}, "expected a string for 'vectors'"),
                            ({"vectors": "disk", "quantization": "none"}, "give a quantization")):
            answer = status(client.post("/collections", {"name": "y", "dimension": 8, "index": index}), 400)
            assert text in answer.json()["error"]["message"], answer
        equal(status(client.post("/collections", {"name": "z", "dimension": 8, "index": {"vectors": None}}), 201)
              .json()["index"]["vectors"], "ram")


if __name__ == "__main__":
    support.run(globals())
