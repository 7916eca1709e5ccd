#!/usr/bin/env python3
"""Snapshots, export and import of a real server over a local folder: what pyarrow and DuckDB read there, what damage, kills
and a full disk do, and the commands. Needs tests/requirements.txt.
"""
import io
import json
import os
import pathlib
import random
import re
import subprocess
import tempfile
import threading
import time

import duckdb
import pyarrow
import pyarrow.parquet

import support
from support import NDJSON, command, equal

PARQUET = "application/vnd.apache.parquet"
DIMENSION = 24
ROWS = 3000


def objects_of(server):
    return pathlib.Path(server.data) / "db" / "objects"


def fill(client, name="docs", rows=ROWS, metric="l2"):
    """Documents whose numbers f32 keeps exactly; the lines that were sent."""
    status = client.post("/collections", {"name": name, "dimension": DIMENSION, "metric": metric}).status
    equal(status, 201, "create")
    rand = random.Random(7)
    lines = [{"external_id": f"e{i}", "vector": [rand.randrange(-512, 512) / 64 for _ in range(DIMENSION)],
              "metadata": {"n": i}} for i in range(rows)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    equal(client.post(f"/collections/{name}/import", text, content_type=NDJSON).status, 200, "import")
    return lines


def create(client, name="docs", **body):
    answer = client.post(f"/collections/{name}/snapshots?wait=true", body or None)
    equal(answer.status, 201, answer.text())
    return answer.json()


def count(client, name="docs"):
    return client.post(f"/collections/{name}/count").json()["count"]


def table_of(client, name="docs", query=""):
    answer = client.get(f"/collections/{name}/export?format=parquet{query}")
    equal((answer.status, answer.headers["Content-Type"]), (200, PARQUET), "export")
    return pyarrow.parquet.read_table(io.BytesIO(answer.body))


def check_table(table, lines):
    equal(table.column_names, ["document_id", "external_id", "vector", "metadata", "inserted_at"], "columns")
    by_id = {row["external_id"]: row for row in table.to_pylist()}
    equal(len(by_id), len(lines), "rows")
    for line in lines:
        row = by_id[line["external_id"]]
        equal((row["vector"], json.loads(row["metadata"])), (line["vector"], line["metadata"]), line["external_id"])


def test_a_snapshot_is_created_listed_and_restored_in_place_and_beside():
    with support.Server() as server:
        client = server.client()
        lines = fill(client)
        made = create(client)
        equal((made["vector_count"], made["format"], made["lossless"]), (ROWS, "parquet", True))
        for one in made["objects"]:
            equal((objects_of(server) / one["key"]).stat().st_size, one["size_bytes"], one["key"])
        second = create(client, format="json")
        listed = client.get("/collections/docs/snapshots").json()
        equal(([one["id"] for one in listed["snapshots"]], listed["next"]), ([second["id"], made["id"]], None))
        equal(client.post("/collections/docs/vectors/delete", {"filter": {"must": [{"key": "n", "range": {"lt": 1000}}]}}).json(),
              {"deleted": 1000})
        beside = client.post(f"/collections/docs/snapshots/{made['id']}/restore?wait=true", {"into": "beside"})
        equal((beside.status, beside.json()["documents"]), (201, ROWS), beside.text())
        equal((count(client), count(client, "beside")), (ROWS - 1000, ROWS))
        back = client.post(f"/collections/docs/snapshots/{made['id']}/restore?wait=true")
        equal((back.status, back.json()["name"], count(client)), (201, "docs", ROWS), back.text())
        found = client.post("/collections/docs/search", {"vector": lines[5]["vector"], "k": 1}).json()["results"]
        equal(found[0]["external_id"], "e5")
        client.close()


def test_duckdb_and_pyarrow_read_what_is_in_the_folder():
    with support.Server() as server:
        client = server.client()
        lines = fill(client)
        made = create(client)
        data = objects_of(server) / made["objects"][0]["key"]
        check_table(pyarrow.parquet.read_table(data), lines)
        rows, mean = duckdb.sql(f"SELECT count(*), avg(list_dot_product(vector, vector)) FROM '{data.parent}/*.parquet'").fetchall()[0]
        equal(rows, count(client))
        want = sum(sum(x * x for x in line["vector"]) for line in lines) / len(lines)
        assert abs(mean - want) < 1e-3 * want, (mean, want)
        client.close()


def test_a_snapshot_says_where_other_programs_find_its_objects():
    with support.Server() as server:
        client = server.client()
        fill(client, rows=50)
        made = create(client)
        for one in made["objects"]:
            equal(one["location"], str((objects_of(server) / one["key"]).resolve()), "where it is")
        shown = command("snapshots", "show", "docs", made["id"], "--url", f"http://127.0.0.1:{server.port}")
        (path,) = re.findall(r"^table +(.*)$", shown, re.M)
        equal(duckdb.sql(f"SELECT count(*) FROM '{path}'").fetchall()[0][0], 50, "rows")
        client.close()


def test_export_and_import_keep_every_number():
    with support.Server() as server:
        client = server.client()
        lines = fill(client)
        for query in ("", "&compression=snappy", "&compression=none&encoding=plain", "&compression=lz4", "&compression=gzip"):
            check_table(table_of(client, query=query), lines)
        client.post("/collections", {"name": "copy", "dimension": DIMENSION, "metric": "l2"})
        whole = client.get("/collections/docs/export").body
        answer = client.post("/collections/copy/import", whole, content_type=PARQUET)
        equal((answer.status, answer.json()["upserted"]), (200, ROWS), answer.text())
        check_table(table_of(client, "copy"), lines)
        again = client.get("/collections/docs/export?format=ndjson").text()
        equal(client.post("/collections/copy/import", again, content_type=NDJSON).json()["upserted"], ROWS)
        equal(count(client, "copy"), ROWS, "the same ids")
        client.close()


def test_parquet_made_by_others_is_imported_or_refused_with_column_and_row():
    with support.Server() as server:
        client = server.client()
        client.post("/collections", {"name": "p", "dimension": 2, "metric": "l2"})

        def send(table):
            sink = io.BytesIO()
            pyarrow.parquet.write_table(table, sink)
            return client.post("/collections/p/import", sink.getvalue(), content_type=PARQUET)

        floats = pyarrow.list_(pyarrow.float32())
        good = pyarrow.table({"vector": pyarrow.array([[1, 2], [3, 4]], floats), "external_id": ["a", None]})
        equal((send(good).status, count(client, "p")), (200, 2))
        equal(send(pyarrow.table({"vector": pyarrow.array([[0.5, 2.0]], pyarrow.list_(pyarrow.float64()))})).status, 200)
        for bad, part in ((pyarrow.table({"v": [1]}), "vector"),
                          (pyarrow.table({"vector": pyarrow.array([[1, 2], [1]], floats)}), "row"),
                          (pyarrow.table({"vector": pyarrow.array([[1, 2], None], floats)}), "vector")):
            answer = send(bad)
            equal(answer.status, 400, answer.text())
            assert part in answer.json()["error"]["message"], answer.text()
        path = os.path.join(server.data, "duck.parquet")
        duckdb.sql(f"COPY (SELECT [i::FLOAT, 1::FLOAT] AS vector, 'd' || i AS external_id FROM range(500) t(i)) TO '{path}' (FORMAT parquet)")
        with open(path, "rb") as file:
            equal(client.post("/collections/p/import", file.read(), content_type=PARQUET).json()["upserted"], 500)
        client.close()


def test_one_damaged_byte_is_found_and_not_restored():
    with support.Server() as server:
        client = server.client()
        fill(client)
        for which in (0, 1):
            made = create(client)
            equal(client.post(f"/collections/docs/snapshots/{made['id']}/verify").json()["ok"], True)
            path = objects_of(server) / made["objects"][which]["key"]
            damaged = bytearray(path.read_bytes())
            damaged[len(damaged) * 2 // 3] ^= 4
            path.write_bytes(damaged)
            answer = client.post(f"/collections/docs/snapshots/{made['id']}/verify")
            equal((answer.status, answer.json()["error"]["code"]), (422, "CORRUPT"), answer.text())
            assert made["objects"][which]["key"] in answer.json()["error"]["message"], answer.text()
        equal(count(client), ROWS)
        client.close()


def test_a_missing_or_damaged_image_is_built_anew_and_that_is_said():
    with support.Server() as server:
        client = server.client()
        lines = fill(client)
        made = create(client)
        url = ["--url", f"http://127.0.0.1:{server.port}"]
        path = f"/collections/docs/snapshots/{made['id']}/restore?wait=true"
        image = objects_of(server) / next(one["key"] for one in made["objects"] if one["key"].endswith(".akx"))
        damaged = bytearray(image.read_bytes())
        damaged[len(damaged) // 2] ^= 1

        def restored(into, rebuilt):
            answer = client.post(path, {"into": into})
            equal((answer.status, answer.json()["rebuilt"], answer.json()["documents"]), (201, rebuilt, ROWS), answer.text())
            jobs = [job for job in client.get("/jobs").json()["jobs"] if job["collection_id"] == answer.json()["id"]]
            equal([(job["kind"], job["state"], job["rebuilt"]) for job in jobs], [("restore", "done", rebuilt)], into)
            check_table(table_of(client, into), lines)
            told = command("snapshots", "restore", "docs", made["id"], "--into", f"{into}-too", *url)
            equal("built anew" in told, rebuilt, told)
            check_table(table_of(client, f"{into}-too"), lines)

        restored("mapped", False)
        image.write_bytes(damaged)
        restored("damaged", True)
        image.unlink()
        restored("missing", True)
        found = client.post("/collections/missing/search", {"vector": lines[5]["vector"], "k": 1}).json()["results"]
        equal(found[0]["external_id"], "e5")
        assert "rebuilt" not in client.get("/collections/missing").json(), "rebuilt outside the answer to a restore"
        client.close()


def test_a_deleted_snapshot_leaves_no_object():
    with support.Server() as server:
        client = server.client()
        fill(client, rows=10)
        made = create(client)
        equal(client.delete(f"/collections/docs/snapshots/{made['id']}").status, 204)
        equal(client.delete(f"/collections/docs/snapshots/{made['id']}").status, 404)
        left = [path for path in objects_of(server).rglob("*") if made["id"] in path.name]
        equal(left, [], "objects")
        client.close()


def test_kill_during_snapshot_and_restore_leaves_whole_snapshots_and_one_state():
    """Twenty kills at random moments; after each start all that is listed is sound and the documents are all there."""
    rand = random.Random(3)
    with support.Server() as server:
        client = server.client()
        fill(client, rows=500)
        first = create(client)
        for turn in range(20):
            path = "/collections/docs/snapshots" if turn % 2 else f"/collections/docs/snapshots/{first['id']}/restore"
            body = None if turn % 2 else {"into": f"r{turn}"}
            answers = []
            try:
                connection = server.client()
                connection.post("/collections/docs/count")
                ask = threading.Thread(target=lambda: answers.append(try_post(connection, path, body)))
                ask.start()
                time.sleep(rand.random() * 0.05)
            finally:
                server.kill()
                ask.join()
            server.start()
            client = server.client()
            settle(client)
            listed = client.get("/collections/docs/snapshots?limit=1000").json()["snapshots"]
            assert any(one["id"] == first["id"] for one in listed)
            for one in listed[:2]:
                equal(client.post(f"/collections/docs/snapshots/{one['id']}/verify").status, 200, one["id"])
            known = {one["id"] for one in listed}
            for path in objects_of(server).rglob("*.*"):
                if path.is_file() and path.parent.parent.name == "snapshots":
                    assert path.name.split(".")[0] in known, f"orphan {path}"
            equal(count(client), 500)
            if not turn % 2 and client.get(f"/collections/r{turn}").status == 200:
                equal(count(client, f"r{turn}"), 500)
            client.close()


def try_post(client, path, body):
    try:
        return client.call("POST", path, body).status
    except OSError:
        return None


def settle(client):
    """Until no job of the former life runs."""
    end = time.monotonic() + 60
    while any(job["state"] == "running" for job in client.get("/jobs?limit=1000").json()["jobs"]):
        assert time.monotonic() < end, "a job does not end"
        time.sleep(0.02)


def commands(where, folder):
    name = ["docs", *where]
    made = json.loads(command("snapshots", "create", *name, "--json"))
    assert made["id"] in command("snapshots", "list", *name)
    assert "lossless" in command("snapshots", "show", "docs", made["id"], *where)
    assert "--into NAME" in subprocess.run([support.binary(), "snapshots", "restore", "docs", made["id"], *where],
                                           capture_output=True, text=True).stderr
    assert "'copy' has" in command("snapshots", "restore", "docs", made["id"], "--into", "copy", *where)
    equal(json.loads(command("snapshots", "restore", "docs", made["id"], "--yes", "--json", *where))["name"], "docs")
    assert command("snapshots", "verify", "docs", made["id"], *where).startswith("sound")
    for kind in ("parquet", "ndjson"):
        file = os.path.join(folder, f"x.{kind}")
        command("export", "docs", file, *where)
        command("import", "-c", f"from-{kind}", "--create", *(["-d", str(DIMENSION)] if kind == "parquet" else []), file, *where)
        equal(json.loads(command("collections", "show", f"from-{kind}", "--json", *where))["documents"], 200, kind)
        assert not os.path.exists(file + ".part")
    equal(len(command("export", "docs", "-", "--format", "ndjson", *where).splitlines()), 200)
    equal(command("snapshots", "delete", "docs", made["id"], "--yes", *where), "deleted\n")
    command("snapshots", "show", "docs", made["id"], *where, code=3)
    command("export", "docs", os.path.join(folder, "no", "x.parquet"), *where, code=3)


def test_the_commands_work_on_a_server_and_on_its_folder():
    with support.Server() as server:
        client = server.client()
        fill(client, rows=200)
        client.close()
        commands(["--url", f"http://127.0.0.1:{server.port}"], server.data)
        for name in ("copy", "from-parquet", "from-ndjson"):
            command("collections", "drop", name, "--yes", "--url", f"http://127.0.0.1:{server.port}")
        server.stop()
        commands(["--data", os.path.join(server.data, "db")], server.data)
        server.start()


def test_the_list_shows_one_with_damaged_metadata_as_such_and_the_others_as_ever():
    with support.Server() as server:
        client = server.client()
        fill(client, rows=50)
        bad, good = create(client), create(client)
        (path,) = objects_of(server).glob(f"snapshots/*/{bad['id']}.metadata.json")
        path.write_bytes(path.read_bytes()[:100])
        answer = support.status(client.get("/collections/docs/snapshots"), 200).json()
        equal(answer["snapshots"], [good], "those that are whole")
        (shown,) = answer["damaged"]
        equal((shown["id"], shown["key"]), (bad["id"], str(path.relative_to(objects_of(server)))), "the damaged one")
        lines = command("snapshots", "list", "docs", "--url", f"http://127.0.0.1:{server.port}").splitlines()
        assert good["id"] in lines[1] and lines[2].startswith(f"{bad['id']}  damaged "), lines
        assert shown["why"][:40] in lines[2], lines
        assert 'akidb_snapshots_damaged_total 2\n' in client.get("/metrics").text()
        support.status(client.delete(f"/collections/docs/snapshots/{bad['id']}"), 204)
        equal(support.status(client.get("/collections/docs/snapshots"), 200).json()["damaged"], [], "after it was deleted")
        client.close()


def test_snapshots_come_by_themselves_and_only_the_newest_are_kept():
    with tempfile.TemporaryDirectory() as folder:
        keys = {"AKIDB_SNAPSHOTS_INTERVAL": "1s", "AKIDB_SNAPSHOTS_RETAIN_COUNT": "2", "AKIDB_OBJECTS_DIR": folder}
        with support.Server(environment=keys) as server:
            client = server.client()
            lines = fill(client, rows=100)
            below = pathlib.Path(folder) / "snapshots" / client.get("/collections/docs").json()["id"]
            seen = set()
            written = len(lines)
            end = time.monotonic() + 60

            def there():
                """Ids of the snapshots in the folder, oldest first: their names are in the order of time."""
                found = sorted(path.name.split(".")[0] for path in below.glob("*.metadata.json"))
                seen.update(found)
                return found

            while len(seen) < 4 or min(seen) in there():
                assert time.monotonic() < end, f"{len(seen)} snapshots in a minute, {there()} are there"
                line = json.dumps(lines[0] | {"external_id": f"more{written}"})
                equal(client.post("/collections/docs/import", line, content_type=NDJSON).status, 200, "import")
                written += 1
                time.sleep(0.02)
                there()
            while True:  # the last changes are kept too, and then exactly two are left
                listed = client.get("/collections/docs/snapshots").json()["snapshots"]
                left = sorted(path.name for path in below.iterdir())
                if len(listed) == 2 and listed[0]["vector_count"] == written and len(left) == 6:
                    break
                assert time.monotonic() < end, f"{written} documents, {left} are there, listed are {listed}"
                time.sleep(0.02)
            equal([one["id"] for one in reversed(listed)], there())
            parts = (".akx", ".metadata.json", ".parquet")
            equal(left, sorted(one["id"] + part for one in listed for part in parts), "objects")
            assert not objects_of(server).exists(), "objects outside objects.dir"
            for one in listed:
                equal(client.post(f"/collections/docs/snapshots/{one['id']}/verify").status, 200, one["id"])
            equal(client.get(f"/collections/docs/snapshots/{min(seen)}").status, 404, "the oldest")
            fill(client, "other", rows=10)
            while len(client.get("/collections/other/snapshots").json()["snapshots"]) < 2:
                assert time.monotonic() < end, "no second snapshot of the other collection"
                client.post("/collections/other/import", json.dumps(lines[0]), content_type=NDJSON)
                time.sleep(0.02)
            equal(client.get("/collections/docs/snapshots").json()["snapshots"], listed, "while nothing was written")
            client.close()


def test_half_a_configuration_of_s3_is_refused_and_no_secret_is_shown():
    for environment, part in (({"AKIDB_S3_ENDPOINT": "http://127.0.0.1:9"}, "AKIDB_S3_BUCKET"),
                              ({"AKIDB_OBJECTS_STORE": "s3"}, "AKIDB_S3_BUCKET"),
                              ({"AKIDB_S3_BUCKET": "b", "AKIDB_S3_SECRET_ACCESS_KEY": "hush-hush"}, "s3.access_key_id")):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([support.binary(), "serve", "--data", os.path.join(folder, "db"), "--listen", "127.0.0.1:0"],
                                  capture_output=True, text=True, timeout=60, env={**os.environ, **environment})
        equal(done.returncode, 2, f"exit code with {environment}")
        assert part in done.stderr and "hush" not in done.stderr + done.stdout, done.stderr


def test_the_server_starts_while_the_bucket_is_away():
    away = {"AKIDB_S3_BUCKET": "b", "AKIDB_S3_ENDPOINT": "http://127.0.0.1:9", "AKIDB_S3_ACCESS_KEY_ID": "id",
            "AKIDB_S3_SECRET_ACCESS_KEY": "hush-hush", "AKIDB_S3_DEADLINE": "1s", "AKIDB_S3_RETRIES": "1"}
    with support.Server(environment=away) as server:
        client = server.client()
        fill(client, rows=10)
        equal(client.get("/collections/docs/snapshots").status, 503)
        equal(count(client), 10)
        assert "hush" not in server.log_tail()
        client.close()


if __name__ == "__main__":
    support.run(globals())
