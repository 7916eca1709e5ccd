#!/usr/bin/env python3
"""A disk that fills up: writes become 507 and nothing else stops; with room they resume. On a tmpfs of 96 MiB, so root
only: without the right to mount the tests are skipped. Standard library only.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

import support
from support import equal, status

MIB = 1 << 20
SIZE = 96 * MIB
DIMENSION, BATCH = 1024, 50  # about 200 KiB a call
SETTINGS = ["--wal.segment_bytes", "4MiB", "--wal.max_bytes", "16MiB", "--checkpoint.bytes", "8MiB"]


class SmallDisk:
    """A server whose data folder is a small tmpfs; its log is elsewhere."""

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="akidb-full-")
        self.disk = os.path.join(self.dir, "db")
        os.mkdir(self.disk)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "akidb-full", self.disk], check=True)
        self.server = support.Server(data=self.dir, arguments=SETTINGS)
        self.client = None
        self.start()
        return self

    def __exit__(self, kind, value, trace):
        if self.client:
            self.client.close()
        if self.server.process:
            self.server.kill()
        if kind is not None:
            print(self.server.log_tail())
        subprocess.run(["umount", "-l", self.disk], check=True)
        shutil.rmtree(self.dir, ignore_errors=True)

    def start(self):
        self.server.start()
        self.client = self.server.client()

    def end(self, how):
        self.client.close()
        getattr(self.server, how)()

    def free(self):
        of = os.statvfs(self.disk)
        return of.f_bfree * of.f_frsize

    def fill(self):
        """Takes all that is left."""
        with open(os.path.join(self.disk, "filler"), "ab", 0) as out:
            try:
                while True:
                    out.write(b"x" * 65536)
            except OSError:
                pass
        assert self.free() < 4096, f"{self.free()} bytes are still free"

    def empty(self):
        os.unlink(os.path.join(self.disk, "filler"))

    def upsert(self, name, first, count=BATCH):
        return self.client.post(f"/collections/{name}/vectors", {"vectors": [
            {"external_id": str(i), "vector": [float(i)] + [0.5] * (DIMENSION - 1)} for i in range(first, first + count)]})

    def upsert_until_full(self, name):
        """Documents acknowledged before the first 507."""
        written = 0
        while True:
            answer = self.upsert(name, written)
            if answer.status != 200:
                status(answer, 507)
                error = answer.json()["error"]
                equal(error["code"], "NO_SPACE")
                assert "No space left on device" in error["message"], error
                return written
            written += BATCH
            assert written * DIMENSION * 4 < 2 * SIZE, "a disk of 96 MiB does not fill up"

    def check_reads(self, name, count):
        client = self.client
        status(client.get("/health"), 200)
        status(client.get("/ready"), 200)
        status(client.get("/metrics"), 200)
        equal(status(client.post(f"/collections/{name}/count", {}), 200).json()["count"], count, "documents")
        wanted = count // 2
        found = status(client.post(f"/collections/{name}/search", {
            "vector": [float(wanted)] + [0.5] * (DIMENSION - 1), "k": 1}), 200).json()["results"]
        equal((found[0]["external_id"], found[0]["score"]), (str(wanted), 0), "the nearest")

    def wait_for_room(self, name, first):
        end = time.monotonic() + 20
        answer = self.upsert(name, first)
        while answer.status == 507:
            assert time.monotonic() < end, f"writes do not resume with {self.free()} bytes free: {answer}"
            time.sleep(0.05)
            answer = self.upsert(name, first)
        status(answer, 200)

    def create(self, name):
        status(self.client.post("/collections", {"name": name, "dimension": DIMENSION, "metric": "l2"}), 201)


def test_a_full_disk_refuses_writes_and_serves_reads_until_there_is_room():
    with SmallDisk() as disk:
        disk.create("old")
        for first in range(0, 1000, BATCH):
            status(disk.upsert("old", first), 200)
        disk.create("c")
        count = disk.upsert_until_full("c")
        disk.check_reads("c", count)
        disk.check_reads("old", 1000)
        equal(status(disk.client.get("/ready"), 200).json()["writes"], "disk_full")
        # A checkpoint may have let go of log meanwhile: then a little more fits before the 507.
        disk.upsert_until_full("old")
        status(disk.client.delete("/collections/old"), 204)
        subprocess.run(["mount", "-o", f"remount,size={4 * SIZE}", disk.disk], check=True)
        disk.wait_for_room("c", count)
        disk.check_reads("c", count + BATCH)
        equal(status(disk.client.get("/ready"), 200).json()["writes"], "ok")
        disk.end("stop")
        disk.start()
        disk.check_reads("c", count + BATCH)


def test_dropping_a_collection_makes_room_on_a_full_disk():
    with SmallDisk() as disk:
        disk.create("keep")
        for first in range(0, 500, BATCH):
            status(disk.upsert("keep", first), 200)
        disk.create("drop")
        disk.upsert_until_full("drop")
        status(disk.client.delete("/collections/drop"), 204)
        disk.wait_for_room("keep", 500)
        disk.check_reads("keep", 550)


def test_a_server_starts_on_a_full_disk_with_all_that_was_acknowledged():
    with SmallDisk() as disk:
        disk.create("c")
        count = disk.upsert_until_full("c")
        for how in ("stop", "kill"):
            disk.end(how)
            disk.fill()
            disk.start()
            disk.check_reads("c", count)
            small = disk.upsert("c", count)
            assert small.status in (200, 507), small
            count += BATCH if small.status == 200 else 0
            disk.check_reads("c", count)
        disk.end("kill")
        disk.empty()
        disk.start()
        disk.check_reads("c", count)


def test_the_first_start_on_a_full_disk_says_so():
    with SmallDisk() as disk:
        disk.end("stop")
        for name in os.listdir(disk.disk):
            path = os.path.join(disk.disk, name)
            (shutil.rmtree if os.path.isdir(path) else os.unlink)(path)
        disk.fill()
        done = subprocess.run([support.binary(), "serve", "--data", disk.disk, "--listen", "127.0.0.1:0", "--log-level",
                               "error"], capture_output=True, text=True, timeout=60)
        assert done.returncode > 0 and done.stderr.startswith("akidb: "), done
        assert "No space left on device" in done.stderr and disk.disk in done.stderr, done
        disk.empty()
        disk.start()


def may_mount():
    with tempfile.TemporaryDirectory(prefix="akidb-full-") as folder:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "akidb-full", folder], capture_output=True).returncode:
            return False
        subprocess.run(["umount", folder], check=True)
        return True


def test_a_parquet_import_on_a_full_disk_is_507_and_gives_its_room_back():
    with SmallDisk() as small:
        equal(small.client.post("/collections", {"name": "p", "dimension": 4}).status, 201)
        before = small.free()
        answer = small.client.post("/collections/p/import", b"PAR1" * (SIZE // 4 + MIB), content_type="application/vnd.apache.parquet")
        equal((answer.status, answer.json()["error"]["code"]), (507, "NO_SPACE"), answer.text())
        end = time.monotonic() + 30
        while small.free() < before - MIB and time.monotonic() < end:
            time.sleep(0.01)
        assert small.free() >= before - MIB, (small.free(), before)
        equal(small.client.post("/collections/p/vectors", {"vector": [1, 2, 3, 4]}).status, 201)


if __name__ == "__main__":
    if not may_mount():
        print("skipped: only root may mount the small disk that this test fills")
        sys.exit(77)
    support.run(globals())
