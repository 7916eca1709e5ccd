#!/usr/bin/env python3
"""Tiers under pressure: memory and disk that are short, a store that is away, readers and writers while everything moves. A
real server; the store is real where it works and our mock-s3 where it must fail. Needs tests/requirements.txt.
"""
import concurrent.futures
import random
import threading
import time

import support
import tier_world
from support import MockS3, equal, status
from tier_world import World, until

MIB = 1 << 20


def mocked(mock):
    return {"AKIDB_S3_ENDPOINT": mock.url, "AKIDB_S3_BUCKET": "test", "AKIDB_S3_ACCESS_KEY_ID": mock.KEY,
            "AKIDB_S3_SECRET_ACCESS_KEY": mock.SECRET, "AKIDB_S3_RETRIES": "2", "AKIDB_S3_DEADLINE": "2s"}


def test_memory_pressure_puts_the_least_recently_used_to_the_disk_by_itself():
    with World("memory", tiering_max_hot_memory="12MiB", tiering_grace="0s") as world:
        for i in range(8):
            world.fill(f"c{i}", rows=2000, dimension=256)  # 2 MiB of vectors each
            world.advance(seconds=60)
            world.search("c0", dimension=256)  # stays in use
        shown = until("room in memory", lambda: relieved(world, "hot", "memory", 12 * MIB))
        assert shown["tiers"]["warm"]["collections"] >= 2, shown["tiers"]
        equal(world.tier("c0")["tier"], "hot", "the one that is used")
        equal(world.tier("c1")["tier"], "warm", "the one that was used least recently")
        for i in range(8):
            world.search(f"c{i}", dimension=256)
        moves = world.metric('akidb_tier_moves_total{from="hot",to="warm",reason="memory",outcome="ok"}')
        assert moves >= 2, moves


def relieved(world, tier, place, limit):
    shown = status(world.client.get("/tiers"), 200).json()
    return shown if shown["tiers"][tier]["bytes"][place] <= limit and not shown["moving"] else None


def test_disk_pressure_puts_the_least_recently_used_into_the_bucket_by_itself():
    with World("disk", tiering_max_warm_disk="6MiB", tiering_grace="0s") as world:
        for i in range(6):
            world.fill(f"c{i}", rows=1500, dimension=256)
            world.act("demote_to_warm", f"c{i}")
            world.advance(seconds=60)
        shown = until("room on the disk", lambda: relieved(world, "warm", "disk", 6 * MIB))
        assert shown["tiers"]["cold"]["collections"] >= 2, shown["tiers"]
        equal(world.tier("c0")["tier"], "cold", "the one that was used least recently")
        for i in range(6):
            world.search(f"c{i}", dimension=256)


def test_memory_goes_back_to_the_system_with_a_demotion():
    with World("rss") as world:
        world.fill(rows=5000, dimension=1024)  # 20 MiB of vectors
        full = tier_world.resident(world.server.process.pid)
        world.act("demote_to_warm")
        shown = world.tier()
        assert shown["bytes"]["memory"] < 2 * MIB, shown["bytes"]
        until("memory back at the system",
              lambda: tier_world.resident(world.server.process.pid) < full - 12 * MIB)
        world.search(dimension=1024)


def test_with_the_store_away_hot_and_warm_serve_cold_is_503_and_all_catches_up():
    with MockS3() as mock, World("away", store=mocked(mock)) as world:
        for name in ("hot", "warm", "cold", "next"):
            world.fill(name)
        world.act("demote_to_warm", "warm")
        world.act("demote_to_warm", "next")
        world.act("demote_to_cold", "cold")
        before = world.state("warm")
        mock.rule({"status": 503}, key_prefix="away/")
        answer = world.client.post("/collections/cold/search", {"vector": [0.5] * 32})
        equal((answer.status, answer.json()["error"]["code"]), (503, "UNAVAILABLE"), answer.text())
        assert int(answer.headers["Retry-After"]) >= 1 and "object store" in answer.json()["error"]["message"], answer
        for name in ("hot", "warm"):
            world.search(name)
            world.fill(name, rows=1, first=500, create=False)
            equal(world.count(name), 501, f"documents of {name}")
        answer = world.client.post("/collections/next/tier", {"action": "demote_to_cold"})
        assert answer.status >= 500 and world.tier("next")["tier"] == "warm", answer
        world.advance(days=8)
        world.run(failed=None)
        equal(world.tier("next")["tier"], "warm", "a demotion waits")
        equal(world.tier("cold")["tier"], "cold", "a cold one stays as it was")
        world.search("next")
        mock.heal()
        until("the cold one", lambda: world.client.post("/collections/cold/count").status == 200)
        world.advance(days=8)
        until("demotions that were held up", lambda: caught_up(world))
        world.search("next")
        equal(len(before[0]), 500)


def caught_up(world):
    world.run(failed=None)
    return world.tier("next")["tier"] == "cold"


def test_a_search_that_waits_too_long_is_503_and_the_collection_comes_all_the_same():
    with MockS3() as mock, World("slow", store={**mocked(mock), "AKIDB_S3_DEADLINE": "60s"}, tiering_wake_wait="1s") as world:
        world.fill()
        world.act("demote_to_cold")
        rule = mock.rule({"latency_ms": 3000}, method="GET", key_prefix="slow/")
        answer = world.client.post("/collections/docs/search", {"vector": [0.5] * 32})
        equal((answer.status, answer.json()["error"]["code"]), (503, "UNAVAILABLE"), answer.text())
        assert "Retry-After" in answer.headers and "on its way" in answer.json()["error"]["message"], answer
        until("the collection", lambda: world.tier()["tier"] == "warm")
        world.search()
        assert rule


def test_a_damaged_image_in_the_bucket_is_not_served():
    with MockS3() as mock, World("damaged", store=mocked(mock)) as world:
        world.fill(rows=2000, dimension=64)
        before = world.state()
        made = world.act("demote_to_cold")["snapshot"]
        bucket = mock.boto()
        key = next(one["Key"] for one in bucket.list_objects_v2(Bucket="test")["Contents"] if one["Key"].endswith(".akx"))
        body = bytearray(bucket.get_object(Bucket="test", Key=key)["Body"].read())
        body[len(body) // 2] ^= 1
        bucket.put_object(Bucket="test", Key=key, Body=bytes(body))
        world.search(dimension=64)  # rebuilt from the Parquet beside it
        world.same_state(before)
        assert made


def test_the_server_stops_within_moments_while_collections_come_and_go():
    with MockS3() as mock, World("stop", store={**mocked(mock), "AKIDB_S3_DEADLINE": "60s"}) as world:
        world.fill("cold")
        world.fill("warm")
        world.act("demote_to_cold", "cold")
        mock.rule({"latency_ms": 20000}, key_prefix="stop/")
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            reads = pool.submit(world.server.client().post, "/collections/cold/search", {"vector": [0.5] * 32})
            moves = pool.submit(world.server.client().post, "/collections/warm/tier", {"action": "demote_to_cold"})
            until("both under way", lambda: busy(world))
            began = time.monotonic()
            equal(world.server.end(support.signal.SIGTERM), 0, "the exit code")
            print(f"     stopped after {time.monotonic() - began:.2f} s", flush=True)
            world.server.process = None
            equal(reads.result().status, 503, "the search that waited")
            assert moves.result().status >= 500, moves.result()
        mock.heal()
        world.restart()
        equal(world.tier("cold")["tier"], "cold")
        world.search("cold")
        world.search("warm")


def busy(world):
    shown = status(world.client.get("/tiers"), 200).json()
    return shown["waiting"] == 1 and any(one["to"] == "cold" for one in shown["moving"])


def test_readers_and_writers_are_served_while_everything_moves():
    names = [f"c{i}" for i in range(4)]
    stop = threading.Event()
    with World("mixed") as world:
        for name in names:
            world.fill(name, rows=400)

        def work(seed):
            rng = random.Random(seed)
            client = world.server.client()
            done = written = 0
            while not stop.is_set():
                name, row = rng.choice(names), rng.randrange(400)
                if rng.random() < 0.2:
                    body = {"vector": tier_world.vectors(1, 32, row)[0].tolist(), "metadata": {"extra": True}}
                    status(client.post(f"/collections/{name}/vectors", body), 201)
                    written += 1
                else:
                    hits = status(client.post(f"/collections/{name}/search", {
                        "vector": tier_world.vectors(1, 32, row)[0].tolist(), "k": 5}), 200).json()["results"]
                    assert hits[0]["score"] > 0.9999, hits[0]
                done += 1
            client.close()
            return done, written

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            works = [pool.submit(work, seed) for seed in range(4)]
            rng = random.Random(5)
            try:
                for _ in range(30):
                    action = rng.choice(("demote_to_warm", "demote_to_cold", "demote_to_cold", "promote_to_hot"))
                    answer = world.client.post(f"/collections/{rng.choice(names)}/tier", {"action": action})
                    assert answer.status in (200, 409), answer
            finally:
                stop.set()
            counts = [one.result() for one in works]
        equal(sum(world.count(name) for name in names), 1600 + sum(written for _, written in counts), "documents")
        print(f"     {sum(done for done, _ in counts)} requests during 30 moves", flush=True)


def test_a_high_write_load_with_log_and_snapshots_loses_nothing():
    """Small segments and checkpoints, so that all of it goes on at once; then kill -9."""
    batches, rows = 25, 100
    with World("load", wal_segment_bytes="1MiB", wal_max_bytes="4MiB", checkpoint_bytes="1MiB") as world:
        world.fill()

        def write(number):
            client = world.server.client()
            for i in range(batches):
                first = 1000 + (number * batches + i) * rows
                documents = [{"external_id": f"doc-{first + r}", "vector": vector.tolist()}
                             for r, vector in enumerate(tier_world.vectors(rows, 32, first))]
                status(client.post("/collections/docs/vectors", {"vectors": documents}), 200)
            client.close()

        made = []
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            writes = [pool.submit(write, number) for number in range(3)]
            while not made or not all(one.done() for one in writes):
                made.append(status(world.client.post("/collections/docs/snapshots?wait=true"), 201).json()["vector_count"])
            for one in writes:
                one.result()
        equal(made, sorted(made), "documents of one snapshot after the other")
        world.restart(kill=True)
        equal(world.count(), 500 + 3 * batches * rows, "documents after kill -9")
        world.act("demote_to_cold")
        equal(world.count(), 500 + 3 * batches * rows, "documents from the bucket")
        print(f"     {len(made)} snapshots beside {3 * batches} batches", flush=True)


def test_a_local_folder_does_in_place_of_a_bucket():
    with support.Server(environment={"AKIDB_TEST_CLOCK": "1"}) as server:
        client = server.client()
        status(client.post("/collections", {"name": "docs", "dimension": 8, "metric": "l2"}), 201)
        status(client.post("/collections/docs/vectors", {"vectors": [{"vector": [i] * 8} for i in range(300)]}), 200)
        equal(status(client.post("/collections/docs/tier", {"action": "demote_to_cold"}), 200).json()["tier"], "cold")
        hit = status(client.post("/collections/docs/search", {"vector": [7] * 8, "k": 1}), 200).json()["results"][0]
        equal((hit["score"], client.get("/collections/docs/tier").json()["tier"]), (0, "warm"))
        client.close()


if __name__ == "__main__":
    tier_world.run(globals())
