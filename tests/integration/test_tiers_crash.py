#!/usr/bin/env python3
"""Tiers and crashes: the five crash scenarios of the plan, the commit points of every move one by one, and kill -9 under load, at
random moments and at every named crash point by turns. A real server, a real S3 server; AKIDB_KILL_ROUNDS sets the number of
rounds under load. Needs a build with faults, and tests/requirements.txt.
"""
import http.client
import os
import random
import subprocess
import threading
import time

import s3_proxy
import tier_world
from support import equal, status
from tier_world import World, until

ROUNDS = int(os.environ.get("AKIDB_KILL_ROUNDS", "4"))
BROKEN = (OSError, http.client.HTTPException)


def dies(world, call, point):
    """The server ends at its crash point while it is asked."""
    try:
        answer = call()
    except BROKEN:
        world.died()
        return
    raise AssertionError(f"the crash point {point} was not passed: {answer!r} {world.server.log_tail()}")


def move(world, action):
    return world.server.client().post("/collections/docs/tier", {"action": action})


def no_leaks(world, *names):
    """No file and no object that nothing names."""
    try:
        until("the bucket without remains", lambda: world.keys() == world.keys_wanted(*names))
    except AssertionError:
        equal(world.keys(), world.keys_wanted(*names), "the bucket")
        raise
    for name in names:
        tier = world.tier(name)["tier"]
        wanted = 0 if tier == "cold" else 1
        equal(len([file for file in world.images(name) if not file.endswith(".tmp")]), wanted, f"files of {name}, which is {tier}")
        equal(len(world.images(name)), wanted, f"files of {name}")


def finishes_after(world, point, before, action="demote_to_cold", tiers=("hot", "warm", "cold")):
    """After the crash: the tier is one of `tiers`, the data as it was, and the move can be made."""
    world.restart(AKIDB_CRASH_AT=None)
    assert world.tier()["tier"] in tiers, f"after {point} the tier is {world.tier()['tier']}"
    until("recovery", lambda: not [j for j in world.client.get("/jobs").json()["jobs"] if j["state"] == "running"])
    no_leaks(world, "docs")
    world.act(action)
    no_leaks(world, "docs")
    world.same_state(before)


def crashes_at(name, point, tiers, prepare=(), action="demote_to_cold", rows=1500):
    with World(name) as world:
        world.fill(rows=rows, dimension=64)
        before = world.state()
        for step in prepare:
            world.act(step)
        world.restart(AKIDB_CRASH_AT=point)
        dies(world, lambda: move(world, action), point)
        finishes_after(world, point, before, action, tiers)


def test_crash_1_after_the_upload_and_before_the_metadata_the_snapshot_is_completed_after_the_restart():
    with World("k1") as world:
        world.fill(rows=1500, dimension=64)
        before = world.state()
        world.restart(AKIDB_CRASH_AT="after_s3_upload")
        dies(world, lambda: move(world, "demote_to_cold"), "after_s3_upload")
        world.restart(AKIDB_CRASH_AT=None)
        until("the snapshot", lambda: len(world.snapshots()) == 1)
        assert world.tier()["tier"] in ("hot", "warm"), world.tier()
        world.act("demote_to_cold")
        equal(len(world.snapshots()), 1, "snapshots: the one of before the crash covers it")
        no_leaks(world, "docs")
        world.same_state(before)


def test_crash_2_in_the_middle_of_a_demotion_it_is_still_hot():
    crashes_at("k2", "during_demotion", ("hot",), action="demote_to_warm")


def test_crash_3_in_the_middle_of_a_cycle_over_five_collections_all_finish_afterwards():
    names = [f"c{i}" for i in range(5)]
    with World("k3", tiering_moves=1) as world:
        for name in names:
            world.fill(name, rows=300)
        before = {name: world.state(name) for name in names}
        world.advance(hours=6)
        world.run()
        world.restart(AKIDB_CRASH_AT="tier_cold_before_commit:3")
        world.advance(days=7)
        dies(world, lambda: world.server.client().post("/admin/tiering/run?wait=true"), "tier_cold_before_commit")
        world.restart(AKIDB_CRASH_AT=None)
        tiers = [world.tier(name)["tier"] for name in names]
        equal((tiers.count("cold"), tiers.count("warm")), (2, 3), "in the middle of the cycle")
        world.run()
        equal([world.tier(name)["tier"] for name in names], ["cold"] * 5, "after the next cycle")
        equal([len(world.snapshots(name)) for name in names], [1] * 5, "snapshots")
        for name in names:
            world.same_state(before[name], name)
        no_leaks(world, *names)


def test_crash_4_the_connection_is_lost_during_the_upload_and_it_succeeds():
    real = tier_world.s3()
    with s3_proxy.Proxy(real.port) as proxy:
        store = {key: value for key, value in real.environment().items() if key != "AKIDB_S3_SERVER"}
        store["AKIDB_S3_ENDPOINT"] = f"http://127.0.0.1:{proxy.port}"
        with World("k4", store=store) as world:
            world.fill(rows=3000, dimension=64)
            before = world.state()
            proxy.cut(times=2, up=(1000, 300000))
            world.act("demote_to_cold")
            equal(proxy.cuts, 2, "connections that were lost")
            equal(world.tier()["tier"], "cold")
            world.same_state(before)
            no_leaks(world, "docs")


def test_crash_5_during_the_download_then_the_data_is_intact():
    crashes_at("k5", "tier_wake_after_fetch", ("cold",), ("demote_to_cold",), "promote_to_warm")


# One of every step: what is reached, and what it may be afterwards.
POINTS = {
    "tier_warm_before_commit": (("hot",), (), "demote_to_warm"),
    "tier_warm_after_commit": (("warm",), (), "demote_to_warm"),
    "tier_cold_after_snapshot": (("warm",), (), "demote_to_cold"),
    "tier_cold_before_commit": (("warm",), (), "demote_to_cold"),
    "tier_cold_after_commit": (("cold",), (), "demote_to_cold"),
    "tier_wake_before_commit": (("cold",), ("demote_to_cold",), "promote_to_warm"),
    "tier_wake_after_commit": (("warm",), ("demote_to_cold",), "promote_to_warm"),
}


# --- Under load: random moments, and every crash point of every move ---

ALL_POINTS = """
    during_demotion tier_warm_after_image tier_warm_before_commit tier_warm_after_commit tier_hot_before_commit
    tier_hot_after_commit tier_cold_after_row snapshot_after_row snapshot_after_hold snapshot_after_write after_s3_upload
    snapshot_after_commit snapshot_after_done tier_cold_after_snapshot tier_cold_before_commit tier_cold_after_commit
    tier_cold_after_remove tier_cold_before_done tier_cold_after_done tier_wake_after_row tier_wake_after_fetch
    tier_wake_before_commit tier_wake_after_commit adopt_after_remove tier_wake_before_done tier_wake_after_done
""".split()
POINT_SECONDS = 20  # a point that no move has come to within these: the server is killed then


class Load(threading.Thread):
    """Writes and reads what it has written, until the server is gone. `acked`: what was answered; `open`: what was asked."""

    def __init__(self, world, number, state, seed):
        super().__init__(daemon=True)
        self.world, self.client, self.number, self.state = world, world.server.client(), number, state
        self.rng, self.failure = random.Random(seed), None

    def step(self):
        state = self.state
        name = f"k{self.rng.randrange(3)}"
        row = 1000 * (self.number + 1) + self.rng.randrange(200)
        if self.rng.random() < 0.5 or name == self.world.quiet:
            body = {"vector": tier_world.vectors(1, 16, row)[0].tolist(), "k": 3}
            answer = self.client.post(f"/collections/{name}/search", body)
            assert answer.status in (200, 503), answer
            return
        version = state["version"] = state["version"] + 1
        id = f"01930000-0000-7000-8000-{row:012x}"
        state["open"] = (name, id, version)
        answer = self.client.post(f"/collections/{name}/vectors", {
            "id": id, "vector": tier_world.vectors(1, 16, row)[0].tolist(), "metadata": {"version": version}})
        assert answer.status in (201, 503), answer
        if answer.status == 201:
            state["acked"][name, id] = version
        state["open"] = None

    def run(self):
        try:
            while True:
                self.step()
        except BROKEN:
            pass  # the server was killed
        except (AssertionError, ValueError) as why:
            self.failure = why


class Mover(threading.Thread):
    def __init__(self, world, seed):
        super().__init__(daemon=True)
        self.world, self.client, self.rng, self.moves = world, world.server.client(), random.Random(seed), 0

    def run(self):
        actions = ("demote_to_warm", "demote_to_cold", "demote_to_cold", "promote_to_hot", "promote_to_warm")
        try:
            while True:
                name, action = f"k{self.rng.randrange(3)}", self.rng.choice(actions)
                self.world.quiet = self.rng.choice((name, None))  # nobody writes to it, or somebody does
                self.moves += self.client.post(f"/collections/{name}/tier", {"action": action}).status == 200
        except BROKEN:
            pass


def holds(world, states):
    """Every acknowledged write is there, in its version or in that of the one call that was under way."""
    for state in states:
        for (name, id), version in state["acked"].items():
            answer = status(world.client.get(f"/collections/{name}/vectors/{id}"), 200)
            found = answer.json()["metadata"]["version"]
            open_ = state["open"] and state["open"][:2] == (name, id) and state["open"][2]
            assert found in (version, open_), f"{name} {id}: version {found}, acknowledged {version}"
            state["acked"][name, id] = found
        if state["open"]:
            name, id, version = state["open"]
            answer = world.client.get(f"/collections/{name}/vectors/{id}")
            if answer.status == 200 and answer.json()["metadata"]["version"] == version:
                state["acked"][name, id] = version
        state["open"] = None


def ends(world):
    """At its crash point: true. Never without one."""
    try:
        world.server.process.wait(timeout=POINT_SECONDS)
    except subprocess.TimeoutExpired:
        world.server.kill()
        return False
    world.died()
    return True


def test_kill_9_at_random_moments_and_at_crash_points_of_moves_under_load_loses_nothing_and_leaks_nothing():
    seed = int(os.environ.get("AKIDB_TEST_SEED", random.randrange(1 << 30)))
    print(f"     AKIDB_TEST_SEED={seed}, {ROUNDS} rounds", flush=True)
    rng = random.Random(seed)
    states = [{"acked": {}, "open": None, "version": 0} for _ in range(3)]
    names = ["k0", "k1", "k2"]
    points = rng.sample(ALL_POINTS, len(ALL_POINTS))
    moves, reached, missed = 0, 0, []
    with World("kill") as world:
        world.quiet = None
        for name in names:
            world.fill(name, rows=300, dimension=16)
        for turn in range(ROUNDS):
            point = points[turn // 2 % len(points)] if turn % 2 else None
            if point:
                world.restart(AKIDB_CRASH_AT=f"{point}:{rng.randrange(1, 4)}")
            loads = [Load(world, i, state, rng.random()) for i, state in enumerate(states)]
            movers = [Mover(world, rng.random()) for _ in range(2)]
            for thread in (*loads, *movers):
                thread.start()
            if point:
                if ends(world):
                    reached += 1
                else:
                    missed.append(point)
            else:
                time.sleep(rng.uniform(0.05, 0.6))  # the moment, not a wait for something
                world.server.kill()
            for thread in (*loads, *movers):
                thread.join()
            failures = [load.failure for load in loads if load.failure]
            assert not failures, (point, failures)
            moves += sum(mover.moves for mover in movers)
            world.restart(AKIDB_CRASH_AT=None)
            tiers = {name: world.tier(name)["tier"] for name in names}
            for name, tier in tiers.items():
                images = world.images(name)
                assert (len(images) == 0) == (tier == "cold") or tier == "hot", (turn, point, name, tier, images)
            holds(world, states)
        until("recovery", lambda: not [j for j in world.client.get("/jobs?limit=1000").json()["jobs"] if j["state"] == "running"])
        for name in names:
            status(world.client.post(f"/collections/{name}/tier", {"action": "demote_to_cold"}), 200)
        no_leaks(world, *names)
        holds(world, states)
        written = sum(len(state["acked"]) for state in states)
        print(f"     {moves} moves, died {reached} times at a crash point (not at {missed or 'none'}), {written} documents acknowledged "
              "and found", flush=True)


def tests():
    each = {f"test_a_crash_at_{point}_is_finished_or_undone": lambda point=point, what=what: crashes_at(
        f"p-{point}", point, *what) for point, what in POINTS.items()}
    return {**globals(), **each}


if __name__ == "__main__":
    tier_world.run(tests())
