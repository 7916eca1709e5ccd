#!/usr/bin/env python3
"""A server whose bucket goes away and comes back: what needs the bucket fails at once, what does not goes on, and it recovers
by itself.
"""
import time

import support
from support import MockS3, equal, run, status

LIMIT_SECONDS = 120  # until which something must have happened; nothing depends on how soon it does


def settings(mock):
    return {"AKIDB_S3_ENDPOINT": mock.url, "AKIDB_S3_BUCKET": "test", "AKIDB_S3_ACCESS_KEY_ID": mock.KEY,
            "AKIDB_S3_SECRET_ACCESS_KEY": mock.SECRET, "AKIDB_S3_BREAKER_PAUSE": "100ms",
            "AKIDB_S3_BREAKER_PAUSE_MAX": "200ms"}


def metric(client, line):
    for text in status(client.get("/metrics"), 200).text().splitlines():
        if text.startswith(line + " "):
            return float(text.split()[-1])
    raise AssertionError(f"there is no {line} in /metrics")


def breaker(client):
    return metric(client, 'circuit_breaker_state{service="s3"}')


def refused(client):
    return metric(client, 'akidb_circuit_breaker_refused_total{service="s3"}')


def until(what, holds):
    end = time.monotonic() + LIMIT_SECONDS
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"never happened: {what}")
        time.sleep(0.01)


def refusal(answer):
    """A 503 that nobody asked the bucket for."""
    status(answer, 503)
    error = answer.json()["error"]
    equal(error["code"], "UNAVAILABLE", "the code")
    assert "away" in error["message"], error
    assert int(answer.headers["retry-after"]) >= 1, answer.headers
    return error["message"]


def search(client):
    found = status(client.post("/collections/docs/search", {"vector": [1, 0, 0, 0], "k": 1}), 200).json()["results"]
    equal(len(found), 1, "hits")


def test_what_needs_a_bucket_that_is_away_fails_at_once_and_works_again_when_it_is_back():
    with MockS3() as mock, support.Server(environment=settings(mock)) as server:
        client = server.client()
        status(client.post("/collections", {"name": "docs", "dimension": 4, "metric": "l2"}), 201)
        status(client.post("/collections/docs/vectors", {"vector": [1, 0, 0, 0]}), 201)
        kept = status(client.post("/collections/docs/snapshots?wait=true"), 201).json()
        equal(breaker(client), 0, "closed")
        mock.rule({"status": 500})
        one = f"/collections/docs/snapshots/{kept['id']}"
        status(client.get(one), 503)  # with its retries
        until("the breaker opens after one failed call", lambda: breaker(client) != 0)
        before = refused(client)
        jobs = len(client.get("/jobs").json()["jobs"])
        calls = [client.get(one), client.get("/collections/docs/snapshots"), client.post(one + "/restore", {"into": "new"}),
                 client.post(one + "/verify"), client.delete(one)]
        for answer in calls:
            assert "asked again in" in refusal(answer), answer
        refusal(client.post("/collections/docs/snapshots?wait=true"))
        assert refused(client) >= before + len(calls), "calls that nobody asked the bucket for"
        equal(len(client.get("/jobs").json()["jobs"]), jobs, "jobs begun meanwhile")
        search(client)
        status(client.post("/collections/docs/vectors", {"vector": [0, 1, 0, 0]}), 201)
        equal(client.get("/health").status, 200, "health")
        equal(client.get("/ready").status, 200, "ready")
        mock.heal()
        until("the breaker closes by itself", lambda: breaker(client) == 0)
        equal(status(client.get(one), 200).json(), kept, "the snapshot")
        made = status(client.post("/collections/docs/snapshots?wait=true"), 201).json()
        equal(made["vector_count"], 2, "documents")
        status(client.delete(one), 204)
        client.close()


def test_a_bucket_that_answers_no_is_not_away():
    with MockS3() as mock, support.Server(environment=settings(mock)) as server:
        client = server.client()
        status(client.post("/collections", {"name": "docs", "dimension": 4, "metric": "l2"}), 201)
        status(client.post("/collections/docs/vectors", {"vector": [1, 0, 0, 0]}), 201)
        mock.rule({"status": 403})
        for _ in range(6):
            status(client.get("/collections/docs/snapshots"), 403)
        mock.heal()
        equal(breaker(client), 0, "the breaker")
        for _ in range(6):
            status(client.get("/collections/docs/snapshots/0198a1b2-0000-7000-8000-000000000000"), 404)
        equal(breaker(client), 0, "the breaker")
        equal(refused(client), 0, "refused")
        client.close()


def test_a_bucket_that_takes_calls_and_says_nothing_is_found_out_before_they_time_out():
    slow = {"AKIDB_S3_CONNECT_TIMEOUT": "200ms", "AKIDB_S3_STALL_TIMEOUT": "600s", "AKIDB_S3_DEADLINE": "3600s"}
    with MockS3() as mock, support.Server(environment=settings(mock) | slow) as server:
        client = server.client()
        status(client.post("/collections", {"name": "docs", "dimension": 4, "metric": "l2"}), 201)
        status(client.post("/collections/docs/vectors", {"vector": [1, 0, 0, 0]}), 201)
        one = f"/collections/docs/snapshots/{status(client.post('/collections/docs/snapshots?wait=true'), 201).json()['id']}"
        mock.rule({"hang": True})
        status(client.get(one), 503)  # the client gives up after a minute, the transfer would after ten
        assert breaker(client) != 0, "the store counts as away"
        search(client)
        mock.heal()
        until("the breaker closes by itself", lambda: breaker(client) == 0)
        status(client.get(one), 200)
        client.close()


def test_a_snapshot_under_way_outlasts_an_outage_and_a_restart_and_says_what_it_waits_for():
    with MockS3() as mock, support.Server(environment=settings(mock)) as server:
        client = server.client()
        status(client.post("/collections", {"name": "docs", "dimension": 4, "metric": "l2"}), 201)
        status(client.post("/collections/docs/vectors", {"vector": [1, 0, 0, 0]}), 201)
        mock.rule({"status": 500}, operation="PutObject")
        job = status(client.post("/collections/docs/snapshots"), 202).json()
        path = f"/jobs/{job['id']}"
        until("the job is held up", lambda: "held_up" in client.get(path).json())
        held_up = client.get(path).json()
        equal(held_up["state"], "running", "the state")
        assert "500" in held_up["held_up"]["error"]["message"] or "away" in held_up["held_up"]["error"]["message"], held_up
        client.close()
        server.kill()
        server.start()
        client = server.client()
        until("the job is begun anew, and held up again", lambda: "held_up" in client.get(path).json())
        mock.heal()
        until("it ends", lambda: client.get(path).json()["state"] != "running")
        equal(client.get(path).json()["state"], "done", "the state")
        listed = status(client.get("/collections/docs/snapshots"), 200).json()["snapshots"]
        equal([one["id"] for one in listed], [job["snapshot_id"]], "the snapshots")
        client.close()


def test_an_upload_that_kill_9_breaks_off_leaves_no_parts_in_the_bucket():
    rows, dimension = 2600, 1024  # more than the 8 MiB of one part
    with MockS3() as mock, support.Server(environment=settings(mock)) as server:
        client = server.client()
        status(client.post("/collections", {"name": "docs", "dimension": dimension, "metric": "l2"}), 201)
        line = '{"vector":[' + ",".join(["1"] * dimension) + "]}\n"
        status(client.post("/collections/docs/import", line * rows, content_type=support.NDJSON), 200)
        mock.rule({"hang": True}, operation="UploadPart")
        body = {"compression": "none", "encoding": "plain"}
        job = status(client.post("/collections/docs/snapshots", body), 202).json()
        until("an upload is under way", lambda: mock.state()["multipart_uploads"] > 0)
        client.close()
        server.kill()
        mock.heal()
        server.start()
        client = server.client()
        path = f"/jobs/{job['id']}"
        until("the job has failed", lambda: client.get(path).json()["state"] == "failed")
        until("its parts are gone", lambda: mock.state()["multipart_uploads"] == 0)
        until("and its objects", lambda: mock.state()["objects"] == 0)
        equal(client.get("/collections/docs/snapshots").json()["snapshots"], [], "the snapshots")
        client.close()


def test_a_server_that_stops_does_not_wait_for_a_bucket_that_is_away():
    with MockS3() as mock, support.Server(environment=settings(mock)) as server:
        client = server.client()
        status(client.post("/collections", {"name": "docs", "dimension": 4, "metric": "l2"}), 201)
        status(client.post("/collections/docs/vectors", {"vector": [1, 0, 0, 0]}), 201)
        mock.kill()
        status(client.get("/collections/docs/snapshots"), 503)
        until("the breaker opens", lambda: breaker(client) != 0)
        client.close()
        server.stop()
        server.start()  # and starts without it
        client = server.client()
        search(client)
        status(client.get("/collections/docs/snapshots"), 503)
        client.close()


if __name__ == "__main__":
    run(globals())
