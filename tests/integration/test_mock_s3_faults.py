"""akidb mock-s3: rules that make it fail, and the folder that it keeps over restarts and kill -9."""
import concurrent.futures
import hashlib
import os
import random
import shutil
import tempfile
import threading
import time

import botocore.exceptions

from s3_calls import begin, body, code, keys_of
from support import MockS3, equal, run, status

MIB = 1 << 20
SERVER = MockS3()


# --- failing on request ---


def test_rules_answer_with_errors_as_often_as_they_say():
    s3 = SERVER.boto()
    s3.put_object(Bucket="test", Key="rules/a", Body=b"1")
    try:
        SERVER.rule({"status": 503, "code": "SlowDown"}, operation="GetObject", key_prefix="rules/", times=2, skip=1)
        equal(body(s3, "test", "rules/a"), b"1")
        equal(code(s3.get_object, Bucket="test", Key="rules/a"), (503, "SlowDown"))
        s3.head_object(Bucket="test", Key="rules/a")
        equal(code(s3.get_object, Bucket="test", Key="rules/a"), (503, "SlowDown"))
        equal(body(s3, "test", "rules/a"), b"1")
        for number, name in [(500, "InternalError"), (403, "AccessDenied"), (503, "SlowDown")]:
            SERVER.rule({"status": number}, method="PUT", bucket="test", times=1)
            equal(code(s3.put_object, Bucket="test", Key="rules/b", Body=b"x" * 100000), (number, name))
        equal(code(s3.get_object, Bucket="test", Key="rules/b"), (404, "NoSuchKey"))
        SERVER.rule({"status": 500}, operation="PutObject", times=2)
        SERVER.boto(retries=3).put_object(Bucket="test", Key="rules/b", Body=b"2")  # the client's own retries
        equal(body(s3, "test", "rules/b"), b"2")
        rules = SERVER.admin("GET", "rules").json()["rules"]
        equal([r["fired"] for r in rules], [2, 1, 1, 1, 2])
        equal(status(SERVER.admin("DELETE", f"rules/{rules[0]['id']}"), 200).json(), {"deleted": 1})
        equal(SERVER.admin("DELETE", f"rules/{rules[0]['id']}").status, 404)
        equal(SERVER.admin("DELETE", "rules").json(), {"deleted": 4})
    finally:
        SERVER.heal()


def test_rules_cut_answers_and_uploads_off():
    s3 = SERVER.boto()
    data = random.randbytes(300000)
    s3.put_object(Bucket="test", Key="cut/a", Body=data)
    try:
        for after in [0, 1, 1000, 250000]:
            SERVER.rule({"reset_after": after}, operation="GetObject", times=1)
            try:
                body(s3, "test", "cut/a")
                raise AssertionError("the whole body came")
            except (botocore.exceptions.ResponseStreamingError, botocore.exceptions.IncompleteReadError,
                    botocore.exceptions.ConnectionClosedError, botocore.exceptions.HTTPClientError):
                pass
            SERVER.rule({"reset_after": after}, operation="PutObject", times=1)
            try:
                s3.put_object(Bucket="test", Key="cut/b", Body=data)
                raise AssertionError("the upload succeeded")
            except botocore.exceptions.HTTPClientError:
                pass
            equal(code(s3.get_object, Bucket="test", Key="cut/b"), (404, "NoSuchKey"))
        equal(body(s3, "test", "cut/a"), data)
        SERVER.rule({"drop_answer": True}, operation="PutObject", times=1)
        try:
            s3.put_object(Bucket="test", Key="cut/c", Body=b"done")
            raise AssertionError("it was answered")
        except botocore.exceptions.HTTPClientError:
            pass
        equal(body(s3, "test", "cut/c"), b"done")
    finally:
        SERVER.heal()


def test_rules_make_requests_slow_or_never_answered():
    s3 = SERVER.boto()
    hasty = SERVER.boto(read_timeout=0.3)
    data = random.randbytes(60000)
    try:
        SERVER.rule({"bytes_per_s": 200000}, key_prefix="slow/")
        began = time.monotonic()
        s3.put_object(Bucket="test", Key="slow/a", Body=data)
        equal(body(s3, "test", "slow/a"), data)
        assert time.monotonic() - began > 0.3, "two bodies at 200 kB/s"
        SERVER.rule({"latency_ms": 250}, key_prefix="late/")
        began = time.monotonic()
        s3.put_object(Bucket="test", Key="late/a", Body=data)
        equal(body(s3, "test", "late/a"), data)
        assert time.monotonic() - began > 0.5, "twice 250 ms"
        SERVER.rule({"latency_ms": 50, "status": 500}, key_prefix="both/")
        equal(code(s3.get_object, Bucket="test", Key="both/a"), (500, "InternalError"))
        SERVER.rule({"hang": True}, key_prefix="never/")
        for call in [lambda: hasty.get_object(Bucket="test", Key="never/a"),
                     lambda: hasty.put_object(Bucket="test", Key="never/a", Body=data)]:
            try:
                call()
                raise AssertionError("it was answered")
            except botocore.exceptions.ReadTimeoutError:
                pass
    finally:
        SERVER.heal()
    equal(code(s3.get_object, Bucket="test", Key="never/a"), (404, "NoSuchKey"))


def test_rules_that_mean_nothing_are_refused():
    for rule in [{}, {"action": {"status": 200}}, {"action": {"status": "x"}}, {"action": {}, "match": {"color": "red"}},
                 {"action": {"code": "SlowDown"}}, {"action": {"status": 500, "code": "a b"}}, {"action": {}, "times": 0}, [], "x",
                 {"action": {"latency_ms": -1}}, {"action": {}, "match": {"bucket": "x" * 2000}}]:
        if rule != []:
            equal(SERVER.admin("POST", "rules", rule).status, 400, rule)
    equal(SERVER.admin("POST", "rules", [{"action": {}}] * 300).status, 400)
    equal(SERVER.admin("GET", "rules").json(), {"rules": []})
    equal(SERVER.admin("GET", "nothing").status, 404)


def test_a_server_with_hanging_requests_stops():
    with MockS3() as server:
        s3 = server.boto(read_timeout=30)
        server.rule({"hang": True}, operation="GetObject")
        server.rule({"latency_ms": 600000}, operation="HeadObject")
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(s3.get_object, Bucket="test", Key="a"), pool.submit(s3.head_object, Bucket="test", Key="a")]
            while server.state()["rules_fired"] < 2:
                time.sleep(0.01)
            server.stop()
            for call in calls:
                assert call.exception(timeout=30)


def test_the_state_counts_what_was_asked():
    with MockS3() as server:
        s3 = server.boto()
        s3.put_object(Bucket="test", Key="a", Body=b"12345")
        s3.get_object(Bucket="test", Key="a")
        code(s3.get_object, Bucket="test", Key="b")
        begin(s3, "u")
        state = server.state()
        equal(state["requests"], {"PutObject": 1, "GetObject": 2, "CreateMultipartUpload": 1})
        equal((state["buckets"], state["objects"], state["multipart_uploads"], state["bytes_stored"]), (1, 1, 1, 5))
        equal((state["answers_4xx"], state["answers_5xx"]), (1, 0))


# --- on disk ---


def test_a_folder_keeps_everything_over_a_restart():
    folder = tempfile.mkdtemp(prefix="akidb-it-")
    server = MockS3(root=folder)
    data = random.randbytes(6 * MIB)
    with server:
        s3 = server.boto()
        s3.put_object(Bucket="test", Key="a/ü", Body=data, Metadata={"x": "y"}, ContentType="t/t", ChecksumAlgorithm="SHA256")
        s3.put_object(Bucket="test", Key="small", Body=b"1")
        s3.put_object(Bucket="test", Key="small", Body=b"2")
        s3.put_object(Bucket="test", Key="gone", Body=b"3")
        s3.put_object(Bucket="test", Key="empty", Body=b"")
        s3.delete_object(Bucket="test", Key="gone")
        s3.create_bucket(Bucket="other", CreateBucketConfiguration={"LocationConstraint": "eu-x-1"})
        upload = begin(s3, "multi")
        tags = [s3.upload_part(**upload, PartNumber=n, Body=data[at:at + 5 * MIB])["ETag"] for n, at in [(1, 0), (2, 5 * MIB)]]
        given_up = begin(s3, "given-up")
        s3.upload_part(**given_up, PartNumber=1, Body=b"x")
        s3.abort_multipart_upload(**given_up)
        before = s3.get_object(Bucket="test", Key="a/ü", ChecksumMode="ENABLED")
        assert before["Body"].read() == data
        stored = server.state()["bytes_stored"]
    with server:
        s3 = server.boto()
        equal(keys_of(s3.list_objects_v2(Bucket="test")), ["a/ü", "empty", "small"])
        after = s3.get_object(Bucket="test", Key="a/ü", ChecksumMode="ENABLED")
        for field in ["ETag", "Metadata", "ContentType", "LastModified", "ChecksumSHA256", "ContentLength"]:
            equal(after[field], before[field], field)
        equal(after["Body"].read() == data, True)
        equal((body(s3, "test", "small"), body(s3, "test", "empty")), (b"2", b""))
        equal(s3.get_bucket_location(Bucket="other")["LocationConstraint"], "eu-x-1")
        equal(server.state()["bytes_stored"], stored)
        equal([u["Key"] for u in s3.list_multipart_uploads(Bucket="test")["Uploads"]], ["multi"])
        parts = [{"PartNumber": n + 1, "ETag": tag} for n, tag in enumerate(tags)]
        s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        assert body(s3, "test", "multi") == data
        second = MockS3(root=folder)
        try:
            second.start()
            raise AssertionError("two servers of one folder")
        except AssertionError as error:
            assert "did not start" in str(error), error
    equal(os.listdir(f"{folder}/uploads"), [])
    with server:
        assert body(server.boto(), "test", "multi") == data
    shutil.rmtree(folder)


def test_kill_9_loses_no_answered_put_and_leaves_nothing_half():
    folder = tempfile.mkdtemp(prefix="akidb-it-")
    answered = {}
    sent = {}
    lock = threading.Lock()

    def content(key, turn):
        size = [10, 70000, 400000][turn % 3]
        return hashlib.sha256(f"{key}{turn}".encode()).digest() * (size // 32 + 1)

    def write(server, worker, base):
        s3 = server.boto()
        for turn in range(base, base + 100000):
            key = f"w{worker}/{turn % 7}"
            with lock:
                sent[key] = turn
            try:
                s3.put_object(Bucket="test", Key=key, Body=content(key, turn))
            except (botocore.exceptions.HTTPClientError, botocore.exceptions.EndpointConnectionError):
                return
            with lock:
                answered[key] = turn

    for cycle in range(4):
        server = MockS3(root=folder).start()
        s3 = server.boto()
        listed = {o["Key"]: o for o in s3.list_objects_v2(Bucket="test").get("Contents", [])}
        for key, turn in answered.items():
            got = s3.get_object(Bucket="test", Key=key)["Body"].read()
            assert got in (content(key, turn), content(key, sent[key])), f"{key} is neither {turn} nor {sent[key]}"
            equal(len(got), listed[key]["Size"])
        equal(set(listed) - set(sent), set(), "keys that nobody sent")
        equal(os.listdir(f"{folder}/temporary"), [])
        equal(len(os.listdir(f"{folder}/objects")), len(listed), "files")
        # What the kill left open is settled now: the next round compares with it.
        for key in listed:
            turn = answered.get(key)
            if turn is None or s3.get_object(Bucket="test", Key=key)["Body"].read() != content(key, turn):
                answered[key] = sent[key]
        workers = [threading.Thread(target=write, args=(server, n, (cycle + 1) * 1000000)) for n in range(4)]
        for worker in workers:
            worker.start()
        goal = len(answered) + 5 if cycle == 0 else 0
        end = time.monotonic() + 30

        def enough():
            with lock:
                return len(answered) >= goal and sum(t >= (cycle + 1) * 1000000 + 20 for t in answered.values()) >= 8

        while not enough() and time.monotonic() < end:
            time.sleep(0.01)
        server.kill()
        for worker in workers:
            worker.join()
        assert enough(), f"round {cycle}: too few puts were answered in half a minute: {answered}"
    shutil.rmtree(folder)


if __name__ == "__main__":
    with SERVER:
        run(globals())
