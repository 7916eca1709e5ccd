#!/usr/bin/env python3
"""Tiers, attacked: a store that fails in every way during every move, a full disk under a collection that comes back, a clock that
is set back, a storm of collections with a stop in the middle, limits that pins do not let hold, rules that are none. A real server;
the store is our mock-s3, which fails on request. AKIDB_TIER_STORM=10000 makes the storm as large as that,
AKIDB_TIER_FAULTS=all adds the failures that take long. Needs tests/requirements.txt.
"""
import concurrent.futures
import os
import pathlib
import subprocess
import threading
import time

import test_disk_full
import tier_world
from support import MockS3, equal, signal, status
from tier_world import World, until

MIB = 1 << 20
STORM = int(os.environ.get("AKIDB_TIER_STORM", "120"))


def mocked(mock, **more):
    return {"AKIDB_S3_ENDPOINT": mock.url, "AKIDB_S3_BUCKET": "test", "AKIDB_S3_ACCESS_KEY_ID": mock.KEY,
            "AKIDB_S3_SECRET_ACCESS_KEY": mock.SECRET, "AKIDB_S3_RETRIES": "1", "AKIDB_S3_DEADLINE": "1s",
            "AKIDB_S3_BREAKER_PAUSE": "100ms", "AKIDB_S3_BREAKER_PAUSE_MAX": "200ms", **more}


def keys(mock, world):
    """All keys of the world in the mock's bucket."""
    pages = mock.boto().get_paginator("list_objects_v2").paginate(Bucket="test", Prefix=world.prefix)
    return sorted(one["Key"].removeprefix(world.prefix) for page in pages for one in page.get("Contents", []))


def nothing_runs(world):
    return not [job for job in world.client.get("/jobs?limit=1000").json()["jobs"] if job["state"] == "running"]


def moves(world, action):
    """Tried until the store is seen to be back."""
    until(action, lambda: world.client.post("/collections/docs/tier", {"action": action}).status == 200)


# --- The store ---

FAULTS = {
    "a 403": {"status": 403},
    "lost answers": {"drop_answer": True},
    "broken bodies": {"reset_after": 700},
}
SLOW_FAULTS = {"a 503": {"status": 503}, "no answer": {"hang": True}}  # with AKIDB_TIER_FAULTS=all: they are waited for
if os.environ.get("AKIDB_TIER_FAULTS") == "all":
    FAULTS.update(SLOW_FAULTS)


def test_whatever_the_store_does_a_move_fails_with_a_reason_changes_nothing_and_succeeds_later():
    with MockS3() as mock, World("faults", store=mocked(mock)) as world:
        world.fill(rows=800)
        for turn, (what, fault) in enumerate(FAULTS.items()):
            world.fill(rows=1, first=800 + turn, create=False)
            before = world.state()
            world.act("demote_to_warm")
            mock.rule(fault, key_prefix="faults/")
            refused(world, what, "warm", lambda: world.client.post("/collections/docs/tier", {"action": "demote_to_cold"}))
            world.search()
            mock.heal()
            moves(world, "demote_to_cold")
            mock.rule(fault, key_prefix="faults/")
            refused(world, what, "cold", lambda: world.client.post("/collections/docs/count"))
            refused(world, what, "cold", lambda: world.client.post("/collections/docs/tier", {"action": "promote_to_hot"}))
            mock.heal()
            moves(world, "promote_to_hot" if turn % 2 else "promote_to_warm")
            world.same_state(before)
        moves(world, "demote_to_cold")
        until("the jobs' ends", lambda: nothing_runs(world))
        until("the bucket without remains", lambda: keys(mock, world) == world.keys_wanted("docs"))


def refused(world, what, tier, call):
    answer = call()
    assert answer.status in (403, 500, 502, 503, 504), f"under {what}: {answer!r}"
    error = answer.json()["error"]
    assert error["message"], error
    if what == "a 403" and tier == "warm":
        assert "403" in error["message"], error
    if tier == "cold":
        assert answer.status == 503 and int(answer.headers["Retry-After"]) >= 1, f"under {what}: {answer!r}"
    until("the jobs' ends", lambda: nothing_runs(world))
    equal(world.tier()["tier"], tier, f"the tier under {what}")
    equal(len(world.images()), 0 if tier == "cold" else 1, f"files under {what}")


# --- The disk ---

class SmallDisk:
    """The data folder of a world that has not begun is a tmpfs."""

    def __init__(self, world, size):
        self.path = pathlib.Path(world.server.data) / "db"
        self.path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "akidb-tiers", str(self.path)], check=True)

    def fill(self, leave):
        of = os.statvfs(self.path)
        with open(self.path / "filler", "wb") as out:
            os.posix_fallocate(out.fileno(), 0, of.f_bfree * of.f_frsize - leave)

    def empty(self):
        (self.path / "filler").unlink()


def test_a_full_disk_leaves_a_collection_cold_and_with_room_it_comes_back():
    if not test_disk_full.may_mount():
        print("     left out: only root may mount the small disk that this test fills", flush=True)
        return
    with MockS3() as mock:
        world = World("full", store=mocked(mock))
        disk = SmallDisk(world, 96 * MIB)
        try:
            with world:
                world.fill(rows=6000, dimension=512)  # an image of 16 MiB
                world.fill("other", rows=300)
                before = world.state()
                world.act("demote_to_cold")
                disk.fill(leave=6 * MIB)
                for _ in range(2):
                    answer = world.client.post("/collections/docs/count")
                    equal((answer.status, answer.json()["error"]["code"]), (507, "NO_SPACE"), answer.text())
                    equal((world.tier()["tier"], world.images()), ("cold", []), "with a full disk")
                    world.search("other")
                disk.empty()
                world.search(dimension=512)
                equal(world.tier()["tier"], "warm", "with room")
                world.same_state(before)
        finally:
            subprocess.run(["umount", "-l", str(disk.path)], check=True)


# --- The clock ---

def test_a_clock_that_was_ahead_and_was_set_back_keeps_nothing_where_it_is():
    with World("clock", tiering_hot_idle="6h") as world:
        world.fill()
        before = world.state()
        world.act("demote_to_warm")
        world.advance(days=3000)
        world.search()
        world.run()
        world.ahead = 0
        world.restart()  # the clock is right again
        world.run()
        equal(world.tier()["tier"], "warm", "the tier after the clock was set back")
        now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 60))
        assert world.tier()["last_access"] < now, world.tier()
        world.advance(days=7)
        world.run()
        equal(world.tier()["tier"], "cold", "the tier seven days later")
        world.search()
        world.same_state(before)


# --- Many at a time ---

class Watcher(threading.Thread):
    """Asks for everything that can be asked for about tiers, all the while."""

    def __init__(self, world):
        super().__init__()
        self.client, self.over, self.seen, self.failure = world.server.client(), threading.Event(), 0, None

    def run(self):
        try:
            while not self.over.is_set():
                told = status(self.client.get("/tiers?limit=100"), 200).json()
                equal(sum(one["collections"] for one in told["tiers"].values()), STORM, "collections")
                assert len(told["moving"]) <= 32 and len(told["collections"]) == min(100, STORM), told
                status(self.client.get("/metrics"), 200)
                self.seen += 1
        except Exception as why:  # shown by the test
            self.failure = why
        self.client.close()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, trace):
        self.over.set()
        self.join()
        if kind is None and self.failure:
            raise self.failure


def test_a_storm_of_collections_moves_while_it_is_watched_is_stopped_in_the_middle_and_ends():
    names = [f"c{i}" for i in range(STORM)]
    with MockS3() as mock, World("storm", store=mocked(mock, AKIDB_S3_DEADLINE="60s"), wal_durability="async") as world:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda some: small(world, some), [names[i::4] for i in range(4)]))
        world.advance(hours=6)
        with Watcher(world) as watcher:
            began = time.monotonic()
            told = world.run()
            took = time.monotonic() - began
        equal(told["tiers"]["warm"]["collections"], STORM, "warm ones")
        print(f"     {STORM} to the disk in {took:.1f} s, looked at {watcher.seen} times", flush=True)
        world.advance(days=7)
        with Watcher(world):
            status(world.client.post("/admin/tiering/run"), 200)
            until("some in the bucket", lambda: cold(world) > STORM // 10)
        began = time.monotonic()
        world.client.close()
        equal(world.server.end(signal.SIGTERM), 0, "the exit code")
        world.server.process = None
        print(f"     stopped after {time.monotonic() - began:.2f} s, while all go to the bucket", flush=True)
        world.restart()
        middle = cold(world)
        assert STORM // 10 < middle <= STORM, middle
        until("all in the bucket", lambda: world.run(failed=None)["tiers"]["cold"]["collections"] == STORM)
        until("the jobs' ends", lambda: nothing_runs(world))
        equal(len(keys(mock, world)), 3 * STORM, "objects: one snapshot each")
        equal(os.listdir(pathlib.Path(world.server.data) / "db" / "collections"), [], "files")
        began = time.monotonic()
        with Watcher(world), concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda some: counted(world, some), [names[i::8] for i in range(8)]))
        equal(status(world.client.get("/tiers"), 200).json()["tiers"]["warm"]["collections"], STORM, "warm ones in the end")
        print(f"     {STORM} came back in {time.monotonic() - began:.1f} s", flush=True)


def small(world, names):
    client = world.server.client()
    for name in names:
        status(client.post("/collections", {"name": name, "dimension": 4, "metric": "l2"}), 201)
        documents = [{"vector": [i, 1, 2, 3]} for i in range(5)]
        status(client.post(f"/collections/{name}/vectors", {"vectors": documents}), 200)
    client.close()


def cold(world):
    return status(world.client.get("/tiers"), 200).json()["tiers"]["cold"]["collections"]


def counted(world, names):
    client = world.server.client()
    for name in names:
        equal(status(client.post(f"/collections/{name}/count"), 200).json()["count"], 5, f"documents of {name}")
    client.close()


# --- Limits and rules ---

def test_pins_that_take_more_than_the_limit_stay_all_others_go_and_everything_serves():
    with World("pins", tiering_max_hot_memory="4MiB", tiering_grace="0s") as world:
        for i in range(4):
            world.fill(f"pinned{i}", rows=2000, dimension=256)
            world.act("pin", f"pinned{i}")
        for i in range(3):
            world.fill(f"free{i}", rows=2000, dimension=256)
        for i in range(3):
            until("room, as far as there is any", lambda: world.tier(f"free{i}")["tier"] == "warm")
        for _ in range(12):  # busy, and there is no room for it
            world.search("free0", dimension=256)
        world.run()
        equal([world.tier(f"pinned{i}")["tier"] for i in range(4)], ["hot"] * 4, "pinned ones")
        equal([world.tier(f"free{i}")["tier"] for i in range(3)], ["warm"] * 3, "the others")
        equal(world.act("demote_to_warm", "pinned0", want=409)["error"]["code"], "CONFLICT")
        world.act("unpin", "pinned0")
        until("the one that was unpinned", lambda: world.tier("pinned0")["tier"] == "warm")
        for name in ("pinned0", "pinned1", "free1"):
            world.search(name, dimension=256)


BAD = [
    ({"rules": {"hot_idle_s": -1}}, "hot_idle_s"),
    ({"rules": {"warm_idle_s": 1e99}}, "warm_idle_s"),
    ({"rules": {"window_s": 0}}, "window"),
    ({"rules": {"hot_idle_s": "6h"}}, "number"),
    ({"rules": {"promote_accesses": -1}}, "promote_accesses"),
    ({"rules": {"promote_accesses": 4294967296}}, "4294967295"),
    ({"rules": {"promote_accesses": 1.5}}, "promote_accesses"),
    ({"rules": {"lowest": "ice"}}, "hot, warm, cold"),
    ({"rules": {"stay_cold_on_access": 1}}, "stay_cold_on_access"),
    ({"rules": {"idle": 5}}, "hot_idle_s"),
    ({"rules": [1]}, "rules"),
    ({"rules": {"hot_idle_s": 60, "warm_idle_s": -5}}, "warm_idle_s"),
    ({"action": "demote_to_cold", "rules": {"hot_idle_s": -1}}, "hot_idle_s"),
    ({"action": "melt"}, "promote_to_hot"),
    ({"action": 5}, "action"),
    ({}, "action"),
    ([], "object"),
    ({"pin": True}, "action, rules"),
]


def test_rules_and_actions_that_are_none_are_refused_by_name_and_change_nothing():
    with World("rules") as world:
        world.fill(rows=50)
        rules = {"hot_idle_s": 3600, "lowest": "warm"}
        before = status(world.client.post("/collections/docs/tier", {"rules": rules}), 200).json()
        for body, name in BAD:
            answer = world.client.post("/collections/docs/tier", body)
            equal(answer.status, 400, f"{body}: {answer.text()}")
            assert name in answer.json()["error"]["message"], (body, answer.text())
        equal(world.client.post("/collections/docs/tier", "{").status, 400, "half an object")
        equal(world.client.post("/collections/nothing/tier", {"action": "pin"}).status, 404, "no collection")
        equal(world.tier(), before, "the tier")
        world.restart(kill=True)
        equal(world.tier()["rules"], before["rules"], "rules after kill -9")


if __name__ == "__main__":
    tier_world.run(globals())
