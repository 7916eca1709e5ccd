#!/usr/bin/env python3
"""Damaged files: what was synced and is damaged is refused with the file and the place, and nothing on disk is touched;
damage that nobody needs does no harm; a torn tail is cut. The process never crashes. Standard library only.
"""
import hashlib
import os
import pathlib
import random
import re
import shutil
import subprocess
import tempfile

import support
from support import equal, status

DIMENSION, SEGMENT = 128, 1 << 20
SETTINGS = ["--wal.segment_bytes", "1MiB", "--wal.max_bytes", "1GiB", "--checkpoint.bytes", "1GiB"]
CORRUPT = 7  # exit code


def vector(i):
    return [float(i), float(i * i % 101)] + [1.0] * (DIMENSION - 2)


def fill(client, name, first, count, batch=50):
    for at in range(first, first + count, batch):
        status(client.post(f"/collections/{name}/vectors", {"vectors": [
            {"external_id": str(i), "vector": vector(i), "metadata": {"n": i}} for i in range(at, at + batch)]}), 200)


class Folder:
    """A data folder made once; damage is done to copies of it."""

    def __init__(self, clean):
        self.dir = tempfile.mkdtemp(prefix="akidb-corrupt-")
        server = support.Server(data=os.path.join(self.dir, "made"), arguments=SETTINGS)
        server.start()
        client = server.client()
        status(client.post("/collections", {"name": "c", "dimension": DIMENSION, "metric": "l2"}), 201)
        fill(client, "c", 0, 5000)
        client.close()
        if clean:
            server.stop()
        else:
            server.kill()
        self.number = 0

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            shutil.rmtree(self.dir, ignore_errors=True)
        else:
            print(f"         kept: {self.dir}")

    def copy(self):
        self.number += 1
        to = os.path.join(self.dir, f"copy{self.number}")
        shutil.copytree(os.path.join(self.dir, "made"), to)
        return pathlib.Path(to)


def flip(path, at, count=1):
    with open(path, "r+b") as file:
        file.seek(at)
        old = file.read(count)
        file.seek(at)
        file.write(bytes(b ^ 0xff for b in old))


def digest(folder):
    """Of log and images. (SQLite moves its own log into the catalog when it opens it.)"""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for name in ("wal", "collections")
            for path in sorted((folder / name).iterdir())}


def refused(copy, *parts):
    """serve does not start: exit code of damage, one sentence with the parts; twice, and the files stay as they are."""
    before = digest(copy / "db")
    for _ in range(2):
        done = subprocess.run([support.binary(), "serve", "--data", str(copy / "db"), "--listen", "127.0.0.1:0",
                               "--log-level", "error"], capture_output=True, text=True, timeout=60)
        assert done.returncode == CORRUPT, f"exit code {done.returncode}, want {CORRUPT}: {done.stderr}"
        told = [line for line in done.stderr.split("\n") if line.startswith("akidb: ")]
        equal(len(told), 1, f"sentences in {done.stderr!r}")
        for part in parts:
            assert re.search(part, told[0]), f"no {part!r} in {told[0]!r}"
        equal(digest(copy / "db"), before, "the files after a refusal")
    return told[0]


def segments(copy):
    return sorted((copy / "db" / "wal").glob("[0-9a-f]*.wal"))


def starts(copy):
    server = support.Server(data=str(copy), arguments=SETTINGS)
    server.start()
    return server


def test_a_flipped_byte_in_the_log_is_refused_with_segment_and_byte():
    with Folder(clean=False) as made:
        rng = random.Random(7)
        count = len(segments(made.copy()))
        assert count >= 3, f"{count} segments"
        for number in (0, count // 2):
            copy = made.copy()
            at = rng.randrange(8192, SEGMENT - 65536)
            segment = segments(copy)[number]
            flip(segment, at)
            told = refused(copy, re.escape(segment.name), r"byte \d+")
            named = int(re.search(r"byte (\d+)", told).group(1))
            assert named <= at < named + (64 << 10), f"byte {at} was flipped: {told}"
        copy = made.copy()  # the head of a segment
        flip(segments(copy)[1], 9)
        refused(copy, re.escape(segments(copy)[1].name), "header at byte 0 is damaged")


def test_a_log_with_a_segment_missing_or_cut_is_refused():
    with Folder(clean=False) as made:
        copy = made.copy()
        gone = segments(copy)[1]
        gone.unlink()
        refused(copy, re.escape(segments(copy)[0].name), "the segment after it is missing")
        copy = made.copy()
        segments(copy)[0].unlink()
        refused(copy, r"begins at LSN \d+, but it is needed from LSN")
        copy = made.copy()
        os.truncate(segments(copy)[1], SEGMENT // 2)
        refused(copy, re.escape(segments(copy)[1].name), "has been cut to 524288 of its 1048576 bytes")


def test_a_torn_tail_is_cut_and_writing_goes_on():
    with Folder(clean=False) as made:
        copy = made.copy()
        last = segments(copy)[-1]
        content = last.read_bytes()
        used = len(content.rstrip(b"\0"))
        flip(last, used - 20)  # inside the last record, which nothing after it vouches for
        server = starts(copy)
        client = server.client()
        equal(status(client.post("/collections/c/count", {}), 200).json()["count"], 4950, "all but the torn batch")
        fill(client, "c", 4950, 50)
        client.close()
        server.kill()
        server.start()
        equal(status(server.client().post("/collections/c/count", {}), 200).json()["count"], 5000)
        server.stop()


def test_damage_in_a_cleanly_closed_log_is_not_taken_for_a_torn_tail():
    with Folder(clean=True) as made:
        copy = made.copy()
        equal(len(list((copy / "db" / "collections").glob("*.akx"))), 1, "images after a clean stop")
        for segment in segments(copy):  # the image has it all: nobody needs these bytes
            flip(segment, 5000, 100)
        server = starts(copy)
        equal(status(server.client().post("/collections/c/count", {}), 200).json()["count"], 5000)
        server.stop()


def verify(copy):
    return subprocess.run([support.binary(), "collections", "verify", "--data", str(copy / "db")], capture_output=True,
                          text=True, errors="backslashreplace", timeout=60)


def add_other_collection(folder):
    server = starts(folder)
    client = server.client()
    status(client.post("/collections", {"name": "other", "dimension": 2}), 201)
    status(client.post("/collections/other/vectors", {"vector": [1, 2]}), 201)
    client.close()
    server.stop()


def damage_image(image, place):
    if place == "cut":
        os.truncate(image, image.stat().st_size // 2)
    elif place == "empty":
        os.truncate(image, 0)
    elif place == "gone":
        image.unlink()
    else:
        flip(image, place)


def check_server_on_damaged_image(copy, image, place):
    """The damaged collection answers or says CORRUPT and can be dropped; the other one is as it was."""
    server = starts(copy)
    client = server.client()
    answer = client.post("/collections/c/search", {"vector": vector(7), "k": 3})
    if answer.status != 200:
        status(answer, 500)
        assert image.name in answer.json()["error"]["message"], f"{place}: {answer}"
    assert answer.status != 200 or not isinstance(place, str), f"an image that is {place} was searched"
    found = status(client.post("/collections/other/search", {"vector": [1, 2], "k": 3}), 200).json()["results"]
    equal(len(found), 1, "hits in the other collection")
    status(client.delete("/collections/c"), 204)
    client.close()
    server.stop()


def test_a_damaged_image_is_told_and_takes_no_other_collection_with_it():
    with Folder(clean=True) as made:
        add_other_collection(pathlib.Path(made.dir, "made"))
        size = next(pathlib.Path(made.dir, "made", "db", "collections").glob("*.akx")).stat().st_size
        rng = random.Random(11)
        for place in [0, 9, 40, "cut", "empty", "gone"] + [rng.randrange(4096, size) for _ in range(12)]:
            copy = made.copy()
            image = next((copy / "db" / "collections").glob("*.akx"))
            damage_image(image, place)
            told = verify(copy)
            wanted = (CORRUPT,) if isinstance(place, str) or place < 4096 else (0, CORRUPT)
            assert told.returncode in wanted, f"{place}: {told}"
            if told.returncode:
                assert image.name in told.stderr, f"{place}: {told}"
            check_server_on_damaged_image(copy, image, place)
            shutil.rmtree(copy)


def test_a_damaged_catalog_is_refused_by_name():
    with Folder(clean=True) as made:
        size = pathlib.Path(made.dir, "made", "db", "catalog.db").stat().st_size
        for place in (0, 20, 100, "cut", "text"):
            copy = made.copy()
            catalog = copy / "db" / "catalog.db"
            if place == "cut":
                os.truncate(catalog, size // 2)
            elif place == "text":
                catalog.write_text("this is not a database\n" * 1000)
            else:
                flip(catalog, place, 64)
            refused(copy, "/catalog.db")
            shutil.rmtree(copy)


def test_a_lost_catalog_is_refused_and_nothing_is_taken_for_garbage():
    for clean in (True, False):
        with Folder(clean=clean) as made:
            for way in ("gone", "empty"):
                copy = made.copy()
                for path in (copy / "db").glob("catalog.db*"):
                    path.unlink()
                if way == "empty":
                    (copy / "db" / "catalog.db").touch()
                refused(copy, "/catalog.db' is missing or empty")
                restored = made.copy()
                for path in (restored / "db").glob("catalog.db*"):
                    shutil.copy(path, copy / "db")
                server = starts(copy)
                equal(status(server.client().post("/collections/c/count", {}), 200).json()["count"], 5000)
                server.stop()


def test_no_damage_of_the_catalog_crashes_the_program():
    with Folder(clean=True) as made:
        content = pathlib.Path(made.dir, "made", "db", "catalog.db").read_bytes()
        rng = random.Random(13)
        for at in rng.sample([i for i, byte in enumerate(content) if byte], 60):
            copy = made.copy()
            flip(copy / "db" / "catalog.db", at)
            told = verify(copy)
            assert 0 <= told.returncode <= CORRUPT, f"byte {at}: {told}"
            assert told.returncode == 0 or told.stderr.splitlines()[-1].startswith("akidb: "), f"byte {at}: {told}"
            shutil.rmtree(copy)


if __name__ == "__main__":
    support.run(globals())
