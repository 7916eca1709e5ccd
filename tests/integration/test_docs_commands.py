#!/usr/bin/env python3
"""The commands of docs/RESTORE.md, docs/S3-CONFIGURATION-GUIDE.md and docs/mock-s3.md do what the pages say: each line of
their sh blocks and each inline command is run here, or named with the reason why not. Needs tests/requirements.txt.
"""
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import tempfile

import boto3
from botocore.config import Config

import support
from support import MockS3, equal, run, status

DOCS = support.ROOT / "docs"
FIRST = "01a2b3c4-0000-7000-8000-000000000001"  # the id of the first document
# What other tests run: the configuration's help (test_cli.py), the servers' list (test_snapshots_s3.py).
ELSEWHERE = {"akidb help config", "tools/s3_servers.sh list", "akidb mock-s3", "akidb snapshots verify", "akidb snapshots delete"}


def block_commands(page):
    """The commands of all ```sh blocks, in order, without comments; one may have several lines between quotes."""
    text = "\n".join(re.findall(r"^```sh\n(.*?)^```$", (DOCS / page).read_text(), re.M | re.S))
    commands, begun = [], ""
    for line in text.split("\n"):
        begun += line + "\n"
        if begun.count("'") % 2 == 0:
            command = begun if "'" in begun else re.sub(r"\s#\s.*", "", begun)
            if command.strip():
                commands.append(command.strip())
            begun = ""
    return commands


def inline_commands(page):
    text = re.sub(r"^```.*?^```$", "", (DOCS / page).read_text(), flags=re.M | re.S)
    return [found for found in re.findall(r"`([^`\n]+)`", text) if re.match(r"(akidb |tools/|make |curl )", found)]


def akidb(command, code=0, **more):
    words = shlex.split(command)
    equal(words[0], "akidb", "the program")
    done = subprocess.run([support.binary(), *words[1:]], capture_output=True, text=True, timeout=120, **more)
    equal(done.returncode, code, f"{command}: {done.stdout} {done.stderr}")
    return done.stdout


def fill(client, rows=40):
    status(client.post("/collections", {"name": "docs", "dimension": 4, "metric": "cosine"}), 201)
    lines = "\n".join(json.dumps(({"id": FIRST} if i == 0 else {"external_id": f"e{i}"}) | {"vector": [i + 1, 2, 3, 4]})
                      for i in range(rows))
    status(client.post("/collections/docs/import", lines, content_type=support.NDJSON), 200)
    return status(client.post("/collections/docs/snapshots?wait=true"), 201).json()


def count(client, name):
    return status(client.post(f"/collections/{name}/count"), 200).json()["count"]


def test_every_command_of_the_pages_is_known_here():
    for page, blocks, inline in (
            ("RESTORE.md", 7, {"akidb import --collection docs --create --metric cosine <snapshot id>.parquet"}),
            ("S3-CONFIGURATION-GUIDE.md", 0, set()), ("mock-s3.md", 4, set())):
        equal(len(block_commands(page)), blocks, f"commands in the blocks of {page}")
        unknown = set(inline_commands(page)) - inline - ELSEWHERE
        assert not unknown, f"{page} has commands that are not tested: {unknown}"


def test_the_restore_page_brings_back_what_was_lost():
    with MockS3() as mock, tempfile.TemporaryDirectory() as folder:
        bucket = {"AKIDB_S3_ENDPOINT": mock.url, "AKIDB_S3_BUCKET": "test", "AKIDB_S3_ACCESS_KEY_ID": mock.KEY,
                  "AKIDB_S3_SECRET_ACCESS_KEY": mock.SECRET}
        lines = block_commands("RESTORE.md")
        with support.Server(environment=bucket) as server:
            client = server.client()
            made = fill(client)
            there = {**os.environ, **bucket, "AKIDB_URL": f"http://127.0.0.1:{server.port}"}
            status(client.delete(f"/collections/docs/vectors/{FIRST}"), 204)
            equal(count(client, "docs"), 39, "after somebody deleted one")
            listed, verify, undone, in_place = (line.replace("<snapshot id>", made["id"]) for line in lines[:4])
            assert made["id"] in akidb(listed, env=there).split("\n")[1], "the list"
            assert "sound: 40 rows" in akidb(verify, env=there), "the verification"
            akidb(undone, env=there)
            equal((count(client, "docs-then"), count(client, "docs")), (40, 39), "beside")
            akidb(in_place, env=there)
            equal(count(client, "docs"), 40, "in place")
            client.close()
        with support.Server(environment=bucket) as server:  # another machine, the same bucket
            client = server.client()
            there = {**os.environ, **bucket, "AKIDB_URL": f"http://127.0.0.1:{server.port}"}
            ids = {"<collection id>": made["collection_id"], "<snapshot id>": made["id"]}
            listed, restored = lines[4:6]
            for name, value in ids.items():
                listed, restored = listed.replace(name, value), restored.replace(name, value)
            assert made["id"] in akidb(listed, env=there), "the list at the other machine"
            akidb(restored, env=there)
            equal(count(client, "docs"), 40, "documents at the other machine")
            key = made["objects"][0]["key"]
            table = pathlib.Path(folder) / f"{made['id']}.parquet"
            table.write_bytes(mock.boto().get_object(Bucket="test", Key=key)["Body"].read())
            alone, = (line for line in inline_commands("RESTORE.md") if line.startswith("akidb import"))
            akidb(alone.replace("<snapshot id>", made["id"]).replace("docs", "alone"), env=there, cwd=folder)
            shown = client.get("/collections/alone").json()
            equal((shown["documents"], shown["dimension"], shown["metric"]), (40, 4, "cosine"), "from the table alone")
            client.close()


def test_the_restore_page_makes_a_copy_that_a_server_restores_from():
    with support.Server() as server, tempfile.TemporaryDirectory() as folder:
        client = server.client()
        made = fill(client)
        client.close()
        line = block_commands("RESTORE.md")[6]
        replica = os.path.join(folder, "replica")
        line = line.replace("./akidb-data/objects", os.path.join(server.data, "db", "objects")).replace("/mnt/backup/akidb", replica)
        for result in ("3 objects copied", "0 objects copied"):
            assert result in akidb(line), result
        with support.Server(environment={"AKIDB_OBJECTS_DIR": replica}) as other:
            client = other.client()
            path = f"/collections/{made['collection_id']}/snapshots/{made['id']}/restore?wait=true"
            status(client.post(path, {"into": "docs"}), 201)
            equal(count(client, "docs"), 40, "documents")
            client.close()


def test_the_configuration_of_the_s3_page_keeps_snapshots_in_the_bucket():
    block, = re.findall(r"^```toml\n(.*?)^```$", (DOCS / "S3-CONFIGURATION-GUIDE.md").read_text(), re.M | re.S)
    with MockS3(buckets="akidb") as mock, tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "akidb.toml")
        pathlib.Path(path).write_text(block.replace("http://127.0.0.1:9000", mock.url))
        keys = {"AWS_ACCESS_KEY_ID": mock.KEY, "AWS_SECRET_ACCESS_KEY": mock.SECRET}
        with support.Server(arguments=["--config", path], environment=keys) as server:
            client = server.client()
            made = fill(client)
            listed = mock.boto().list_objects_v2(Bucket="akidb", Prefix="prod/").get("Contents", [])
            wanted = {f"prod/{one['key']}" for one in made["objects"]}
            assert wanted < {one["Key"] for one in listed}, listed
            equal(made["objects"][0]["location"], f"s3://akidb/prod/{made['objects'][0]['key']}", "where it is")
            client.close()
        table = akidb("akidb help config")
        speed, = re.findall(r"^## Speed and time\n(.*?)^## ", (DOCS / "S3-CONFIGURATION-GUIDE.md").read_text(), re.M | re.S)
        names = re.findall(r"`(\w+)`", "\n".join(line.split("|")[1] for line in speed.split("\n") if line.startswith("| `")))
        equal(len(names), 8, "keys in the table")
        for name in names:
            assert f"s3.{name} " in table, f"the page names s3.{name}, which is no key"


def started(line, folder):
    """A line of the mock's page with a port of its own: the process and its port."""
    words = shlex.split(line.replace("./s3-data", os.path.join(folder, "s3-data")))
    words[0] = support.binary()
    words += [] if "--listen" in words else ["--listen", "127.0.0.1:0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    found = re.match(r"listening on http://127\.0\.0\.1:(\d+)$", process.stdout.readline())
    assert found, f"{line}: the first line is not what the page says"
    return process, int(found.group(1))


def boto(port, key="any", secret="any"):
    return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1", aws_access_key_id=key,
                        aws_secret_access_key=secret,
                        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}))


def ended(process):
    process.send_signal(signal.SIGTERM)
    equal(process.wait(timeout=support.START_SECONDS), 0, "exit code")
    process.stdout.close()


def test_the_commands_of_the_mock_page_start_servers_that_keep_and_fail():
    plain, signed, kept, rule = block_commands("mock-s3.md")
    with tempfile.TemporaryDirectory() as folder:
        process, port = started(plain, folder)
        put = lambda n: boto(port).put_object(Bucket="test", Key=f"snapshots/{n}", Body=b"x")  # noqa: E731
        words = shlex.split(rule.replace("127.0.0.1:9000", f"127.0.0.1:{port}"))
        done = subprocess.run(words + ["-sS", "--noproxy", "*"], capture_output=True, text=True, timeout=60)
        equal(json.loads(done.stdout), {"ids": [1]}, f"the answer of {rule}")
        fates = []
        for n in range(7):
            try:
                put(n)
                fates.append("ok")
            except boto(port).exceptions.ClientError as error:
                fates.append(error.response["Error"]["Code"])
        equal(fates, ["ok"] * 2 + ["SlowDown"] * 3 + ["ok"] * 2, "two pass, three fail")
        ended(process)
        process, port = started(signed, folder)
        equal([b["Name"] for b in boto(port, "AKTEST", "SKTEST").list_buckets()["Buckets"]], ["test"], "with the right key")
        try:
            boto(port).list_buckets()
            raise AssertionError("a wrong key was taken")
        except boto(port).exceptions.ClientError:
            pass
        ended(process)
        for turn in range(2):
            process, port = started(kept, folder)
            if turn == 0:
                put("kept")
            equal(boto(port).get_object(Bucket="test", Key="snapshots/kept")["Body"].read(), b"x", "kept over restarts")
            ended(process)


if __name__ == "__main__":
    run(globals())
