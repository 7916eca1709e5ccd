#!/usr/bin/env python3
"""Starting and stopping: what was acknowledged under load is there after SIGTERM, a second server on a folder is refused,
an import that dies can be repeated, and restarts keep everything. Standard library only.
"""
import http.client
import json
import os
import pathlib
import random
import signal
import subprocess
import threading
import time

import support
from support import NDJSON, equal, status

SETTINGS = ["--wal.segment_bytes", "1MiB", "--wal.max_bytes", "4MiB", "--checkpoint.bytes", "256KiB"]


class Writer(threading.Thread):
    """Writes its own external ids until the server goes away; `acked` are those that were answered."""

    def __init__(self, server, number):
        super().__init__(daemon=True)
        self.client, self.number = support.Client(server.port), number
        self.name = f"{server.process.pid}-{number}"  # of its own in each round
        self.acked, self.wrong = set(), None

    def step(self, batch):
        keys = [f"{self.name}-{len(self.acked)}-{i}" for i in range(batch)]
        documents = [{"external_id": key, "vector": [1.0, 2.0, float(i)]} for i, key in enumerate(keys)]
        if self.number == 0:
            body = "".join(json.dumps(document) + "\n" for document in documents)
            answer = self.client.post("/collections/c/import", body, content_type=NDJSON)
        else:
            answer = self.client.post("/collections/c/vectors", {"vectors": documents})
        if answer.status == 200:
            self.acked.update(keys)
        elif answer.status != 503:
            self.wrong = answer
        return answer.status == 200

    def run(self):
        rng = random.Random(self.number)
        try:
            while self.step(rng.randint(1, 40)):
                pass
        except (OSError, http.client.HTTPException):
            pass


def external_ids(client):
    found, after = set(), None
    while True:
        page = status(client.post("/collections/c/vectors/scroll", {"limit": 10000, "include": ["external_id"],
                                                                    **({"after": after} if after else {})}), 200).json()
        found.update(document["external_id"] for document in page["vectors"])
        after = page["next"]
        if not after:
            return found


def stopped_under_load(server, signals):
    """Everything that the writers were told is there, after the server was ended by `signals` while they wrote."""
    writers = [Writer(server, number) for number in range(4)]
    for writer in writers:
        writer.start()
    while sum(len(writer.acked) for writer in writers) < 2000:
        assert server.is_alive() and not any(writer.wrong for writer in writers)
        time.sleep(0.002)
    for number in signals[:-1]:
        server.process.send_signal(number)
    code = server.end(signals[-1])
    for writer in writers:
        writer.join()
        assert writer.wrong is None, writer.wrong
    server.start()
    client = server.client()
    found = external_ids(client)
    for writer in writers:
        missing = writer.acked - found
        assert not missing, f"{len(missing)} of {len(writer.acked)} acknowledged documents are gone: {sorted(missing)[:5]}"
    equal(status(client.post("/collections/c/count", {}), 200).json()["count"], len(found), "count")
    client.close()
    return code


def test_everything_acknowledged_under_load_survives_sigterm():
    with support.Server(arguments=SETTINGS) as server:
        status(server.client().post("/collections", {"name": "c", "dimension": 3, "metric": "l2"}), 201)
        for _ in range(4):
            equal(stopped_under_load(server, [signal.SIGTERM]), 0, "exit code")
        equal(stopped_under_load(server, [signal.SIGINT]), 0, "exit code")
        equal(stopped_under_load(server, [signal.SIGTERM, signal.SIGTERM]), 0, "exit code after two signals")


def test_everything_acknowledged_survives_sigterm_and_kill_whatever_the_durability():
    for durability in ("interval", "async"):
        with support.Server(arguments=SETTINGS + ["--wal.durability", durability]) as server:
            status(server.client().post("/collections", {"name": "c", "dimension": 3, "metric": "l2"}), 201)
            equal(stopped_under_load(server, [signal.SIGTERM]), 0, "exit code")
            equal(stopped_under_load(server, [signal.SIGTERM, signal.SIGINT]), 0, "exit code")
    with support.Server(arguments=SETTINGS) as server:
        status(server.client().post("/collections", {"name": "c", "dimension": 3, "metric": "l2"}), 201)
        for _ in range(3):
            stopped_under_load(server, [signal.SIGKILL])


def test_a_second_server_on_a_folder_is_refused_and_harms_nobody():
    with support.Server() as server:
        client = server.client()
        status(client.post("/collections", {"name": "c", "dimension": 3}), 201)
        folder = os.path.join(server.data, "db")
        for _ in range(3):
            second = subprocess.run([support.binary(), "serve", "--data", folder, "--listen", "127.0.0.1:0", "--log-level",
                                     "error"], capture_output=True, text=True, timeout=60)
            assert second.returncode not in (0, 2) and second.returncode > 0, second
            told = second.stderr.strip()
            assert told.startswith("akidb: ") and folder in told and "another" in told, told
            equal(pathlib.Path(folder, "PORT").read_text(), f"{server.port}\n", "PORT after the second server")
            status(client.post("/collections/c/vectors", {"vector": [1, 2, 3]}), 201)
        taken = subprocess.run([support.binary(), "serve", "--data", folder + "2", "--listen", f"127.0.0.1:{server.port}",
                                "--log-level", "error"], capture_output=True, text=True, timeout=60)
        assert taken.returncode > 0 and "Address already in use" in taken.stderr, taken
        assert not os.path.exists(folder + "2"), "a server that has no port made a folder"
        client.close()
        server.stop()
        server.start()
        equal(status(server.client().post("/collections/c/count", {}), 200).json()["count"], 3)


def test_servers_that_race_for_a_folder_leave_one_that_serves():
    with support.Server() as made:
        folder = os.path.join(made.data, "db")
        made.stop()
        racers = [subprocess.Popen([support.binary(), "serve", "--data", folder, "--listen", "127.0.0.1:0", "--log-level",
                                    "error"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(6)]
        end = time.monotonic() + support.START_SECONDS
        while sum(racer.poll() is None for racer in racers) > 1:
            assert time.monotonic() < end, "several servers stay on one folder"
            time.sleep(0.01)
        last = [racer for racer in racers if racer.poll() is None]
        equal(len(last), 1, "servers that are left")
        while not os.path.exists(os.path.join(folder, "PORT")):
            assert time.monotonic() < end and last[0].poll() is None
            time.sleep(0.01)
        client = support.Client(int(pathlib.Path(folder, "PORT").read_text()))
        while client.get("/ready").status != 200:
            time.sleep(0.01)
        status(client.post("/collections", {"name": "c", "dimension": 3}), 201)
        client.close()
        last[0].terminate()
        equal(last[0].wait(timeout=support.START_SECONDS), 0, "exit code")
        for racer in racers:
            racer.stderr.close()
        made.start()


def test_the_port_file_tells_where_the_server_is():
    with support.Server() as server:
        port = pathlib.Path(server.data, "db", "PORT")
        equal(port.read_text(), f"{server.port}\n", "PORT")
        server.kill()
        assert port.exists(), "a killed server cannot remove PORT"
        listing = [support.binary(), "collections", "--data", str(port.parent)]
        equal(subprocess.run(listing, capture_output=True, timeout=60).returncode, 0, "exit code beside a stale PORT")
        server.start()
        equal(port.read_text(), f"{server.port}\n", "PORT after a restart")
        server.stop()
        assert not port.exists(), "PORT is left behind"
        server.start()


def test_restarts_keep_counts_documents_and_settings():
    with support.Server(arguments=SETTINGS) as server:
        client = server.client()
        want = {}
        for number in range(30):
            name = f"c{number}"
            status(client.post("/collections", {"name": name, "dimension": 8, "metric": ["cosine", "dot", "l2"][number % 3],
                                                "embedding_model": f"m{number}"}), 201)
            if number:
                status(client.post(f"/collections/{name}/vectors", {"vectors": [
                    {"external_id": str(i), "vector": [1.0 + i] * 8, "metadata": {"i": i}} for i in range(number * 7)]}), 200)
        for number in range(0, 30, 10):
            status(client.delete(f"/collections/c{number}"), 204)
        for number in range(1, 30, 5):
            status(client.post(f"/collections/c{number}/vectors/delete", {"filter": {"must": [{"key": "i", "match": 3}]}}), 200)
        for row in status(client.get("/collections?limit=1000"), 200).json()["collections"]:
            want[row["name"]] = row
        equal(len(want), 27, "collections")
        client.close()
        for way in ("stop", "kill", "stop", "stop"):
            getattr(server, way)()
            server.start(wait_ready=False)
            server.wait_ready()
            client = server.client()
            for name, row in want.items():
                equal(status(client.get(f"/collections/{name}"), 200).json(), row, f"{name} after a {way}")
                equal(status(client.post(f"/collections/{name}/count", {}), 200).json()["count"], row["documents"])
            client.close()


def test_an_import_that_is_killed_can_be_repeated():
    with support.Server(arguments=SETTINGS) as server:
        lines = os.path.join(server.data, "docs.ndjson")
        rng = random.Random(5)
        with open(lines, "w") as out:
            for i in range(20000):
                out.write(json.dumps({"external_id": str(i), "vector": [rng.random() for _ in range(32)]}) + "\n")
        url = f"http://127.0.0.1:{server.port}"
        words = [support.binary(), "import", "--url", url, "-c", "c", "--create", "--metric", "l2", lines]
        client = server.client()
        dying = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        count = 0
        while count < 2000 and dying.poll() is None:
            answer = client.post("/collections/c/count", {})
            count = answer.json()["count"] if answer.status == 200 else 0
        dying.kill()  # the client dies
        dying.wait()
        client.close()
        importing = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(0.05)  # somewhere in the middle
        server.kill()  # and the server dies
        told = importing.communicate(timeout=60)[1]
        assert importing.returncode == 0 or told.startswith("akidb: "), told
        server.start()
        words[3] = f"http://127.0.0.1:{server.port}"
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        equal(done.returncode, 0, f"exit code of the last import ({done.stderr})")
        client = server.client()
        equal(status(client.post("/collections/c/count", {}), 200).json()["count"], 20000, "documents")
        client.close()


if __name__ == "__main__":
    support.run(globals())
