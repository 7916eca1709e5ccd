#!/usr/bin/env python3
"""akidb snapshots copy: from a folder to a bucket and back, again, after a break, and what is damaged."""
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import s3_servers
import support
from support import MockS3, command, equal, run, status

ROWS = 300


def settings(mock):
    return {"AKIDB_S3_ENDPOINT": mock.url, "AKIDB_S3_ACCESS_KEY_ID": mock.KEY, "AKIDB_S3_SECRET_ACCESS_KEY": mock.SECRET,
            "AKIDB_S3_RETRIES": "1", "AKIDB_S3_DEADLINE": "2s"}


def make(server, snapshots):
    """A collection and that many snapshots of it; its id and the folder of objects."""
    client = server.client()
    status(client.post("/collections", {"name": "docs", "dimension": 16, "metric": "l2"}), 201)
    for turn in range(snapshots):
        lines = "\n".join(json.dumps({"vector": [turn, row] + [0.5] * 14}) for row in range(ROWS))
        status(client.post("/collections/docs/import", lines, content_type=support.NDJSON), 200)
        status(client.post("/collections/docs/snapshots?wait=true"), 201)
    identity = client.get("/collections/docs").json()["id"]
    client.close()
    return identity, pathlib.Path(server.data) / "db" / "objects"


def files(folder):
    """All objects in a folder: key to SHA-256."""
    folder = pathlib.Path(folder)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.glob("snapshots/**/*") if path.is_file()}


def objects(mock, bucket="test", prefix=""):
    listed = mock.boto().list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    return {one["Key"].removeprefix(prefix):
            hashlib.sha256(mock.boto().get_object(Bucket=bucket, Key=one["Key"])["Body"].read()).hexdigest() for one in listed}


def copy_with(environment, *words, code=0):
    """The objects' results by key, and the last line."""
    lines = [json.loads(line) for line in
             command("snapshots", "copy", "--json", *words, code=code, environment=environment).splitlines()]
    return {one["key"]: one for one in lines[:-1]}, lines[-1]


def copy(mock, *words, code=0):
    return copy_with(settings(mock), *words, code=code)


def results(told):
    return sorted(one["result"] for one in told.values())


def test_from_a_folder_to_a_bucket_to_another_folder_and_into_a_server():
    with support.Server() as server, MockS3() as mock, tempfile.TemporaryDirectory() as there:
        identity, folder = make(server, 3)
        stranger = folder / "snapshots" / "notes.txt"
        stranger.write_text("not ours")
        unfinished = folder / "snapshots" / identity / "0198a1b2-0000-7000-8000-000000000000.parquet"
        unfinished.write_text("no metadata")
        want = files(folder)
        del want["snapshots/notes.txt"], want[str(unfinished.relative_to(folder))]
        equal(len(want), 9, "objects")
        text = pathlib.Path(there) / "metrics"
        told, last = copy(mock, "--from", str(folder), "--to", "s3://test/a/b", "--metrics", str(text))
        equal(results(told), ["copied"] * 9, "results")
        equal((last["snapshots"], last["failed"], last["objects"]), (3, 0, {"copied": 9, "there": 0, "failed": 0}), "the report")
        equal(objects(mock, prefix="a/b/"), want, "the bucket")
        assert 'akidb_uploads_total{result="ok"} 9\n' in text.read_text(), "the uploader's metrics"
        before = mock.state()["requests"].get("PutObject", 0)
        told, _ = copy(mock, "--from", str(folder), "--to", "s3://test/a/b/")
        equal(results(told), ["there"] * 9, "the second time")
        probes = 2  # of conditional puts, at every opening
        assert mock.state()["requests"]["PutObject"] <= before + probes, "puts of a copy that had nothing to do"
        told, _ = copy(mock, "--from", "s3://test/a/b", "--to", os.path.join(there, "replica"), "--stage", there)
        equal(results(told), ["copied"] * 9, "to a folder")
        equal(files(os.path.join(there, "replica")), want, "the folder")
        equal(sorted(os.listdir(there)), ["metrics", "replica"], "what is left on the stage")
        with support.Server(environment={"AKIDB_OBJECTS_DIR": os.path.join(there, "replica")}) as other:
            client = other.client()
            listed = status(client.get(f"/collections/{identity}/snapshots"), 200).json()["snapshots"]
            equal(len(listed), 3, "snapshots at another server")
            path = f"/collections/{identity}/snapshots/{listed[0]['id']}/restore?wait=true"
            status(client.post(path, {"into": "here"}), 201)
            equal(client.post("/collections/here/count").json()["count"], 3 * ROWS, "documents")
            client.close()


def test_a_real_server_takes_a_copy_and_gives_it_back():
    names = s3_servers.wanted()
    name = "versitygw" if "versitygw" in names else names[0]
    with support.Server() as server, s3_servers.start(name) as s3, tempfile.TemporaryDirectory() as there:
        print(f"     {name} {s3.version}", flush=True)
        environment = {key: value for key, value in s3.environment().items() if key not in ("AKIDB_S3_SERVER", "AKIDB_S3_BUCKET")}
        identity, folder = make(server, 2)
        want = files(folder)
        bucket = f"s3://{s3.bucket}/copies/ä b"
        told, last = copy_with(environment, "--from", str(folder), "--to", bucket)
        equal(results(told), ["copied"] * 6, "results")
        equal((last["snapshots"], last["failed"]), (2, 0), "the report")
        told, _ = copy_with(environment, "--from", str(folder), "--to", bucket)
        equal(results(told), ["there"] * 6, "the second time")
        image = next(path for path in folder.glob("snapshots/*/*.akx"))
        damaged = image.read_bytes()[:-1] + b"?"  # what is damaged here is not taken over there
        image.unlink()  # it may have a second name
        image.write_bytes(damaged)
        told, last = copy_with(environment, "--from", str(folder), "--to", bucket + "/2", code=7)
        equal((last["snapshots"], last["failed"]), (2, 1), "the report")
        told, _ = copy_with(environment, "--from", bucket, "--to", os.path.join(there, "replica"))
        equal(results(told), ["copied"] * 6, "to a folder")
        equal(files(os.path.join(there, "replica")), want, "the folder")
        with support.Server(environment={**environment, "AKIDB_S3_BUCKET": s3.bucket, "AKIDB_S3_PREFIX": "copies/ä b/"}) as other:
            client = other.client()
            listed = status(client.get(f"/collections/{identity}/snapshots"), 200).json()["snapshots"]
            status(client.post(f"/collections/{identity}/snapshots/{listed[0]['id']}/restore?wait=true", {"into": "here"}), 201)
            equal(client.post("/collections/here/count").json()["count"], 2 * ROWS, "documents")
            client.close()


def test_what_is_damaged_here_stays_here_and_what_is_damaged_there_is_replaced():
    with support.Server() as server, MockS3() as mock:
        identity, folder = make(server, 3)
        want = files(folder)
        ids = sorted(path.name.split(".")[0] for path in folder.glob("snapshots/*/*.metadata.json"))
        below = folder / "snapshots" / identity
        copy(mock, "--from", str(folder), "--to", "s3://test")
        key = f"snapshots/{identity}/{ids[0]}.akx"
        body = bytearray((folder / key).read_bytes())
        body[100] ^= 1
        mock.boto().put_object(Bucket="test", Key=key, Body=bytes(body))  # the same size
        told, _ = copy(mock, "--from", str(folder), "--to", "s3://test", "--by-size")
        equal(results(told), ["there"] * 9, "by size")
        told, _ = copy(mock, "--from", str(folder), "--to", "s3://test")
        equal([one["key"] for one in told.values() if one["result"] == "copied"], [key], "what was damaged there")
        equal(objects(mock), want, "the bucket")
        flipped = bytearray((below / f"{ids[1]}.parquet").read_bytes())
        flipped[len(flipped) // 2] ^= 0x40
        for path, content in ((below / f"{ids[1]}.parquet", flipped), (below / f"{ids[2]}.metadata.json", b"{")):
            path.unlink()  # it may have a second name
            path.write_bytes(content)
        told, last = copy(mock, "--from", str(folder), "--to", "s3://test/fresh", code=7)
        failed = {key: one["error"]["code"] for key, one in told.items() if one["result"] == "failed"}
        equal(sorted(failed.values()), ["CORRUPT", "CORRUPT"], "codes")
        equal((last["snapshots"], last["failed"]), (3, 2), "the report")
        listed = [key for key in objects(mock, prefix="fresh/") if key.endswith(".metadata.json")]
        equal(listed, [f"snapshots/{identity}/{ids[0]}.metadata.json"], "what counts as a snapshot there")


def test_a_copy_goes_on_after_failures_and_after_a_kill():
    with support.Server() as server, MockS3() as mock:
        _, folder = make(server, 3)
        want = files(folder)
        words = ["--from", str(folder), "--to", "s3://test"]
        mock.rule({"status": 403}, skip=1, method="PUT", key_prefix="snapshots/")
        told, last = copy(mock, *words, code=4)
        assert last["failed"] >= 1 and "failed" in results(told), last
        equal([key for key in objects(mock) if key.endswith(".metadata.json") and key not in want], [], "metadata")
        for key, one in told.items():
            if one["result"] == "failed":
                assert "403" in one["error"]["message"], one
        mock.heal()
        mock.rule({"latency_ms": 50}, method="PUT", key_prefix="snapshots/")
        environment = {**os.environ, **settings(mock)}
        for _ in range(2):
            process = subprocess.Popen([support.binary(), "snapshots", "copy", *words], env=environment,
                                       stdout=subprocess.DEVNULL)
            begun = len(objects(mock))
            end = time.monotonic() + 60
            while process.poll() is None and len(objects(mock)) == begun and time.monotonic() < end:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait()
            there = objects(mock)
            for key in there:
                if key.endswith(".metadata.json"):
                    parts = {name for name in want if name.startswith(key.removesuffix(".metadata.json"))}
                    assert parts <= set(there), f"{key} is listed without its parts"
        mock.heal()
        copy(mock, *words)
        equal(objects(mock), want, "in the end")


def test_what_cannot_be_is_said():
    with tempfile.TemporaryDirectory() as folder, MockS3() as mock:
        for words, code, part in ((["--from", "a"], 2, "--to"), (["--from", "x", "--to", "x"], 2, "same"),
                                  (["--from", os.path.join(folder, "none"), "--to", folder], 3, "none"),
                                  (["--from", folder, "--to", "s3://"], 2, "s3://BUCKET/PREFIX"),
                                  (["--from", folder, "--to", "s3://nobody"], 2, "NoSuchBucket"),
                                  (["x"], 2, "x")):
            done = subprocess.run([support.binary(), "snapshots", "copy", *words], capture_output=True, text=True, timeout=60,
                                  env={**os.environ, **settings(mock)})
            equal(done.returncode, code, f"{words}: {done.stderr}")
            assert part in done.stderr, done.stderr
        assert not os.path.exists(os.path.join(folder, "none")), "a folder was made"
        shutil.rmtree(os.path.join(folder, ".tmp"), ignore_errors=True)
        equal(copy(mock, "--from", folder, "--to", "s3://test")[1]["snapshots"], 0, "of nothing")


if __name__ == "__main__":
    run(globals())
