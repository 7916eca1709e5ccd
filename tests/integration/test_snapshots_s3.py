#!/usr/bin/env python3
"""Snapshots of a real server in a bucket: of each real S3 server that is wanted here (see s3_servers.py) and of our own
mock-s3, which also fails on request. What they are in a folder is in test_snapshots.py. The numbers in names are those of
the end-to-end scenarios of the plan (the others: test_tiers.py). Needs tests/requirements.txt.
"""
import json
import os
import random
import struct
import subprocess
import tempfile

import boto3
from botocore.config import Config

import s3_servers
import support
from support import NDJSON, MockS3, command, equal, run, status

DIMENSION = 64
ROWS = 3000
PREFIX = "prod/"
STARTED = {}


def server_of(name):
    """Each started once, for all tests."""
    if name not in STARTED:
        STARTED[name] = s3_servers.start(name).__enter__()
        print(f"     {name} {STARTED[name].version}, ready after {STARTED[name].start_seconds:.1f} s", flush=True)
    return STARTED[name]


def settings(s3, prefix):
    """What tells akidb to keep snapshots there."""
    known = {key: value for key, value in s3.environment().items() if key != "AKIDB_S3_SERVER"}
    return known | {"AKIDB_S3_PREFIX": prefix}


class Bucket:
    """What lies in the bucket, as somebody sees it who is not akidb."""

    def __init__(self, s3, prefix):
        self.name = s3.bucket
        self.prefix = prefix
        self.client = boto3.client("s3", endpoint_url=s3.endpoint, region_name=s3.region, aws_access_key_id=s3.access_key,
                                   aws_secret_access_key=s3.secret_key,
                                   config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"))

    def keys(self):
        """All below the prefix, without it, in order."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=self.prefix)
        return sorted(entry["Key"].removeprefix(self.prefix) for page in pages for entry in page.get("Contents", []))

    def json(self, key):
        return json.loads(self.client.get_object(Bucket=self.name, Key=self.prefix + key)["Body"].read())


def keys_of(snapshots):
    """The keys that these snapshots, as the API shows them, have in the bucket."""
    metadata = [f"snapshots/{one['collection_id']}/{one['id']}.metadata.json" for one in snapshots]
    return sorted(metadata + [part["key"] for one in snapshots for part in one["objects"]])


def bits(vector):
    return struct.pack(f"<{len(vector)}f", *vector)


def vector(rand):
    """Floats of every mantissa and many exponents, as f32 keeps them."""
    numbers = [rand.gauss(0, 1) * 10 ** rand.randrange(-12, 6) for _ in range(DIMENSION)]
    return list(struct.unpack(f"<{DIMENSION}f", bits(numbers)))


def write(client, lines, name="docs"):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    equal(client.post(f"/collections/{name}/import", text, content_type=NDJSON).status, 200, "import")


def fill(client, rows=ROWS, name="docs"):
    """The lines that were sent."""
    equal(client.post("/collections", {"name": name, "dimension": DIMENSION, "metric": "l2"}).status, 201, "create")
    rand = random.Random(11)
    lines = [{"external_id": f"e{i}", "vector": vector(rand),
              "metadata": {"n": i, "text": f"dokument №{i} \"é\"", "deep": {"list": [i, None, True, i / 8]}}} for i in range(rows)]
    write(client, lines, name)
    return lines


def state(client, name="docs"):
    """Every document of a collection by id: external id, the bits of its vector, metadata, time."""
    documents = {}
    after = None
    while True:
        body = {"limit": 1000, "include": ["external_id", "metadata", "vector"]} | ({"after": after} if after else {})
        page = status(client.post(f"/collections/{name}/vectors/scroll", body), 200).json()
        for one in page["vectors"]:
            documents[one["id"]] = (one["external_id"], bits(one["vector"]), one["metadata"], one["inserted_at"])
        after = page["next"]
        if not after:
            return documents


def same(got, want, what):
    """Documents are many: the first that differs is told."""
    equal(len(got), len(want), f"the number of documents {what}")
    for id, document in want.items():
        equal(got.get(id), document, f"document {id} {what}")


def create(client, name="docs"):
    return status(client.post(f"/collections/{name}/snapshots?wait=true"), 201).json()


def change(client, turn):
    """Five documents come, one is replaced, one goes."""
    rand = random.Random(1000 + turn)
    seventh = {"limit": 1, "filter": {"must": [{"key": "n", "match": 7}]}}
    replaced = client.post("/collections/docs/vectors/scroll", seventh).json()["vectors"][0]["id"]
    write(client, [{"external_id": f"t{turn}-{i}", "vector": vector(rand), "metadata": {"turn": turn}} for i in range(5)] +
          [{"id": replaced, "external_id": "e7", "vector": vector(rand), "metadata": {"n": 7, "replaced": turn}}])
    gone = {"filter": {"must": [{"key": "n", "match": 100 + turn}]}}
    equal(client.post("/collections/docs/vectors/delete", gone).json(), {"deleted": 1})


def list_verify_and_restore(name):
    s3 = server_of(name)
    prefix = PREFIX + "five/"
    bucket = Bucket(s3, prefix)
    with support.Server(environment=settings(s3, prefix)) as server:
        client = server.client()
        lines = fill(client)
        made = []
        states = []
        for turn in range(5):
            if turn:
                change(client, turn)
            states.append(state(client))
            made.append(create(client))
            equal(made[-1]["vector_count"], ROWS + 4 * turn, "documents")
        sent = {line["external_id"]: (bits(line["vector"]), line["metadata"]) for line in lines}
        equal({one[0]: one[1:3] for one in states[0].values()}, sent, "what was sent")
        listed = client.get("/collections/docs/snapshots").json()
        equal((listed["snapshots"], listed["next"]), (made[::-1], None), "the list")
        equal(bucket.keys(), keys_of(made), "the bucket")
        for one in made:
            told = status(client.post(f"/collections/docs/snapshots/{one['id']}/verify"), 200).json()
            equal((told["ok"], told["rows"], told["bytes"]), (True, one["vector_count"], one["size_bytes"]), one["id"])
        for turn in (1, 4):
            into = f"then-{turn}"
            answer = client.post(f"/collections/docs/snapshots/{made[turn]['id']}/restore?wait=true", {"into": into})
            equal((answer.status, answer.json()["name"], answer.json()["rebuilt"]), (201, into, False), answer.text())
            same(state(client, into), states[turn], f"of snapshot {turn} beside")
        same(state(client), states[4], "after restores beside")
        back = status(client.post(f"/collections/docs/snapshots/{made[0]['id']}/restore?wait=true"), 201).json()
        equal((back["name"], back["documents"]), ("docs", ROWS))
        same(state(client), states[0], "in place")
        client.close()


def another_machine(name):
    """As docs/RESTORE.md has it."""
    s3 = server_of(name)
    prefix = PREFIX + "lost/"
    bucket = Bucket(s3, prefix)
    with support.Server(environment=settings(s3, prefix)) as server:
        client = server.client()
        lines = fill(client)
        first = create(client)
        before = state(client)
        change(client, 1)
        last = create(client)
        client.close()
        server.kill()  # and its folder is never looked at again
        with support.Server(environment=settings(s3, prefix)) as new:
            client = new.client()
            url = ["--url", f"http://127.0.0.1:{new.port}"]
            equal(client.get("/collections").json()["collections"], [], "collections of the new machine")
            found = {key: bucket.json(key) for key in bucket.keys() if key.endswith(".metadata.json")}
            equal([(one["name"], one["created_at"]) for _, one in sorted(found.items())],
                  [("docs", first["created_at"]), ("docs", last["created_at"])], "what the bucket says")
            collection = sorted(found)[0].split("/")[1]
            told = command("snapshots", "list", collection, *url)
            assert -1 < told.find(last["id"]) < told.find(first["id"]), told
            equal(json.loads(command("snapshots", "list", collection, "--json", *url))["snapshots"], [last, first])
            assert command("snapshots", "verify", collection, first["id"], *url).startswith("sound"), first["id"]
            told = command("snapshots", "restore", collection, first["id"], "--into", "docs", *url)
            assert "'docs' has 3,000 documents" in told and "anew" not in told, told
            same(state(client), before, "on the new machine")
            hit = client.post("/collections/docs/search", {"vector": lines[5]["vector"], "k": 1}).json()["results"][0]
            equal((hit["external_id"], hit["score"]), ("e5", 0), "the nearest")
            change(client, 2)
            again = create(client)
            assert again["collection_id"] != collection, "the restored collection is a new one"
            equal(bucket.keys(), keys_of([first, last, again]), "the bucket")
            client.close()
            new.stop()
            told = command("snapshots", "list", collection, "--json", "--data", f"{new.data}/db",
                           environment=settings(s3, prefix))
            equal(json.loads(told)["snapshots"], [last, first], "of a folder without a server")
            new.start()


def delete(name):
    s3 = server_of(name)
    prefix = PREFIX + "gone/"
    bucket = Bucket(s3, prefix)
    with support.Server(environment=settings(s3, prefix)) as server:
        client = server.client()
        fill(client, rows=200)
        made = []
        for turn in range(3):
            if turn:
                change(client, turn)
            made.append(create(client))
        equal(bucket.keys(), keys_of(made), "the bucket")
        for gone in (1, 0, 0):
            id = made.pop(gone)["id"]
            equal(client.delete(f"/collections/docs/snapshots/{id}").status, 204, "delete")
            equal(bucket.keys(), keys_of(made), "the bucket")
            equal(client.get("/collections/docs/snapshots").json()["snapshots"], made[::-1], "the list")
            equal(client.get(f"/collections/docs/snapshots/{id}").status, 404, "show")
            equal(client.delete(f"/collections/docs/snapshots/{id}").status, 404, "delete again")
        client.close()


# --- What mock-s3 does on request ---


def mocked(mock, **more):
    return {"AKIDB_S3_ENDPOINT": mock.url, "AKIDB_S3_BUCKET": "test", "AKIDB_S3_ACCESS_KEY_ID": mock.KEY,
            "AKIDB_S3_SECRET_ACCESS_KEY": mock.SECRET, **more}


def stored(mock):
    return sorted(one["Key"] for one in mock.boto().list_objects_v2(Bucket="test").get("Contents", []))


def puts(mock):
    return mock.state()["requests"].get("PutObject", 0)


def retried(client):
    return sum(float(line.split()[-1]) for line in client.get("/metrics").text().splitlines()
               if line.startswith("retry_attempts_total{"))


def test_e2e_13_a_500_that_passes_is_asked_again_and_the_snapshot_succeeds():
    with MockS3() as mock, support.Server(environment=mocked(mock)) as server:
        client = server.client()
        fill(client, rows=200)
        before = puts(mock)
        made = [create(client)]
        each = puts(mock) - before
        equal(each, 3, "puts of a snapshot")
        for skip, answer in ((0, 500), (1, 500), (2, 500), (0, 503)):
            change(client, len(made))
            expected = state(client)
            before = puts(mock)
            count = retried(client)
            mock.rule({"status": answer}, times=1, skip=skip, method="PUT", key_prefix="snapshots/")
            made.append(create(client))
            equal(mock.admin("GET", "rules").json()["rules"][0]["fired"], 1, "failures")
            mock.heal()
            equal(puts(mock) - before, each + 1, f"puts, the {skip + 1}. of which failed with {answer}")
            equal(retried(client) - count, 1, "retry_attempts_total")
            equal(client.post(f"/collections/docs/snapshots/{made[-1]['id']}/verify").status, 200, "verify")
            into = f"r{len(made)}"
            status(client.post(f"/collections/docs/snapshots/{made[-1]['id']}/restore?wait=true", {"into": into}), 201)
            same(state(client, into), expected, f"after {answer} at put {skip + 1}")
        equal(stored(mock), keys_of(made), "the bucket")
        client.close()


def test_e2e_14_a_403_fails_at_once_says_so_and_leaves_nothing():
    """Each of the three puts in turn is refused once: were it tried again, the snapshot would succeed."""
    with MockS3() as mock, support.Server(environment=mocked(mock)) as server:
        client = server.client()
        fill(client, rows=200)
        kept = create(client)
        for skip in range(3):
            change(client, skip)
            before = puts(mock)
            count = retried(client)
            mock.rule({"status": 403}, times=1, skip=skip, method="PUT", key_prefix="snapshots/")
            answer = status(client.post("/collections/docs/snapshots?wait=true"), 403)
            error = answer.json()["error"]
            equal(error["code"], "FORBIDDEN")
            assert "403" in error["message"] and "AccessDenied" in error["message"], error
            assert "policy" in error["message"] and mock.SECRET not in error["message"], error
            equal(mock.admin("GET", "rules").json()["rules"][0]["fired"], 1, "refusals")
            mock.heal()
            sent = puts(mock) - before  # documents and image go at the same time, the metadata after them
            assert sent in ((1, 2), (2,), (3,))[skip], f"{sent} puts, the {skip + 1}. of which was refused"
            equal(retried(client) - count, 0, "retry_attempts_total")
            job = client.get("/jobs?limit=1").json()["jobs"][0]
            equal((job["kind"], job["state"], job["error"]), ("snapshot", "failed", error), "the job")
            equal(client.get("/collections/docs/snapshots").json()["snapshots"], [kept], "the list")
            equal(stored(mock), keys_of([kept]), "the bucket")
        made = create(client)
        equal(stored(mock), keys_of([kept, made]), "the bucket once it may be written")
        client.close()


def test_the_bucket_may_be_in_the_name_of_the_host():
    def by_host(mock):
        return mocked(mock, AKIDB_S3_ENDPOINT=f"http://localhost:{mock.port}", AKIDB_S3_VIRTUAL_HOST="true")

    with MockS3(arguments=["--domain", "elsewhere"]) as deaf, tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([support.binary(), "serve", "--data", folder, "--listen", "127.0.0.1:0"], capture_output=True,
                              text=True, timeout=60, env={**os.environ, **by_host(deaf)})
        equal(done.returncode, 2, "the exit code where that host is no bucket")
        assert f"at http://test.localhost:{deaf.port}: " in done.stderr, done.stderr
        assert "s3.virtual_host = false" in done.stderr, done.stderr
    with MockS3() as mock, support.Server(environment=by_host(mock)) as server:
        client = server.client()
        fill(client, rows=200)
        expected = state(client)
        made = create(client)
        equal(stored(mock), keys_of([made]), "the bucket")
        status(client.post(f"/collections/docs/snapshots/{made['id']}/restore?wait=true", {"into": "beside"}), 201)
        same(state(client, "beside"), expected, "beside")
        client.close()


def tests():
    names = s3_servers.wanted()
    print(f"     S3 servers: {', '.join(names)}", flush=True)
    sentences = {"e2e_11_five_snapshots_are_listed_newest_first_verified_and_restored": list_verify_and_restore,
                 "another_machine_restores_by_the_id_of_the_collection": another_machine,
                 "e2e_12_a_deleted_snapshot_leaves_no_key": delete}
    each = {f"test_{sentence}_on_{name}": lambda name=name, test=test: test(name)
            for name in dict.fromkeys((*names, "mock-s3")) for sentence, test in sentences.items()}
    return each | globals()


if __name__ == "__main__":
    try:
        run(tests())
    finally:
        for started in STARTED.values():
            started.stop()
