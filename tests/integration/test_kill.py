#!/usr/bin/env python3
"""kill -9 of the real server under concurrent writes over HTTP: what was answered is there, bit for bit.

Each round starts the server, lets four clients upsert (single and in batches) and delete for a random moment, kills it
with SIGKILL, and looks: every document is as last answered, or as the one call that was under way intended; a batch
under way is there as a whole or not at all. In every other round `akidb collections verify` checks graph, documents and
checksums before the server sees the folder again. AKIDB_REST_KILL_ROUNDS sets the number of rounds (default 200).
"""
import http.client
import os
import random
import struct
import subprocess
import threading
import time

from support import Client, Server, binary, run

THREADS, KEYS, DIMENSION, BATCH = 4, 60, 24, 12
SETTINGS = ["--wal.segment_bytes", "1MiB", "--wal.max_bytes", "16MiB", "--checkpoint.bytes", "64KiB"]


def key_id(thread, key):
    return f"01930000-0000-7000-8000-0000{thread:04x}{key:04x}"


def vector_of(thread, key, version):
    rng = random.Random(thread * 1000003 + key * 1009 + version)
    return list(struct.unpack(f"<{DIMENSION}f", struct.pack(f"<{DIMENSION}f", *(rng.gauss(0, 1) for _ in range(DIMENSION)))))


class Writer(threading.Thread):
    """One client. `acked` and `intended` map a key to its version; None: absent."""

    def __init__(self, number, state, port, seed):
        super().__init__(daemon=True)
        self.number, self.state, self.client, self.rng = number, state, Client(port), random.Random(seed)
        self.calls = 0

    def step(self):
        state, rng = self.state, self.rng
        count = rng.randint(2, BATCH) if rng.random() < 0.25 else 1
        keys = rng.sample(range(KEYS), count)
        if rng.random() < 0.25:
            state["open"] = {k: None for k in keys}
            answer = self.client.post("/collections/kill/vectors/delete", {"ids": [key_id(self.number, k) for k in keys]})
            wanted = (200,)
        else:
            state["version"] += 1
            state["open"] = {k: state["version"] for k in keys}
            documents = [{"id": key_id(self.number, k), "vector": vector_of(self.number, k, state["version"]),
                          "metadata": {"version": state["version"]}} for k in keys]
            answer = self.client.post("/collections/kill/vectors", documents[0] if count == 1 else {"vectors": documents})
            wanted = (200, 201)
        if answer.status not in wanted:
            raise AssertionError(f"{answer.status} {answer.body[:200]}")
        state["acked"].update(state["open"])
        state["open"] = {}
        self.calls += 1

    def run(self):
        try:
            while True:
                self.step()
        except (OSError, http.client.HTTPException, ValueError):
            pass  # the server was killed


def check(port, states):
    client = Client(port)
    live = 0
    for number, state in enumerate(states):
        seen_open = set()
        for key in range(KEYS):
            acked, intended = state["acked"].get(key), state["open"].get(key, state["acked"].get(key))
            answer = client.get(f"/collections/kill/vectors/{key_id(number, key)}")
            found = None
            if answer.status == 200:
                document = answer.json()
                found = document["metadata"]["version"]
                got = struct.pack(f"<{DIMENSION}f", *document["vector"])
                assert got == struct.pack(f"<{DIMENSION}f", *vector_of(number, key, found)), "a vector has changed"
                live += 1
            else:
                assert answer.status == 404, answer
            assert found in (acked, intended), f"client {number} key {key}: found {found}, answered {acked}, intended {intended}"
            if key in state["open"] and acked != intended:
                seen_open.add(found == intended)
            state["acked"][key] = found
        assert len(seen_open) <= 1, f"client {number}: a batch is half there"
        state["open"] = {}
    count = client.post("/collections/kill/count", {}).json()["count"]
    assert count == live, f"count says {count}, there are {live}"
    client.close()


def test_every_answered_write_survives_kill_9():
    rounds = int(os.environ.get("AKIDB_REST_KILL_ROUNDS", "200"))
    seed = int(os.environ.get("AKIDB_TEST_SEED", str(time.time_ns() % 1000000007)))
    print(f"         AKIDB_TEST_SEED={seed}, {rounds} rounds")
    rng = random.Random(seed)
    states = [{"acked": {}, "open": {}, "version": 0} for _ in range(THREADS)]
    calls = 0
    with Server(arguments=SETTINGS) as server:
        answer = server.client().post("/collections", {"name": "kill", "dimension": DIMENSION, "metric": "cosine"})
        assert answer.status == 201, answer
        for number in range(rounds):
            writers = [Writer(t, states[t], server.port, rng.random()) for t in range(THREADS)]
            for writer in writers:
                writer.start()
            time.sleep(rng.uniform(0.005, 0.25))  # the random moment is the point of the test
            server.kill()
            for writer in writers:
                writer.join()
                calls += writer.calls
            if number % 2:
                subprocess.run([binary(), "collections", "verify", "--data", os.path.join(server.data, "db")], check=True,
                               stdout=subprocess.DEVNULL)
            server.start()
            check(server.port, states)
    print(f"         {calls} writes were answered")
    assert calls > rounds


if __name__ == "__main__":
    run(globals())
