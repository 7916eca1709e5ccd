#!/usr/bin/env python3
"""Tiers from end to end: a real server, a real S3 server, and time that tests move. The numbers in the names are those of the
end-to-end scenarios of the plan; 11 to 14, which are about snapshots alone, are in test_snapshots_s3.py, crashes in
test_tiers_crash.py, pressure and outages in test_tiers_pressure.py. AKIDB_TIER_ROWS=100000 makes 4 and 9 as large as the plan
has them. Needs tests/requirements.txt.
"""
import concurrent.futures
import http.client
import json
import os
import statistics
import threading
import time

import support
import tier_world
from support import equal, status
from tier_world import World, akidb, until

ROWS = int(os.environ.get("AKIDB_TIER_ROWS", "4000"))
DIMENSION = 512
DAY = 86400


def test_e2e_01_six_hours_to_warm_seven_days_to_cold_with_one_snapshot_and_a_search_brings_all_back():
    with World("e01") as world:
        world.fill(rows=10000, dimension=DIMENSION)
        before = world.state()
        world.run()
        equal(world.tier()["tier"], "hot", "the tier at once")
        world.advance(hours=6)
        world.run()
        shown = world.tier()
        equal((shown["tier"], shown["snapshot"], world.snapshots()), ("warm", None, []), "after six hours")
        world.search(dimension=DIMENSION)
        equal(world.tier()["tier"], "warm", "the tier after a search")
        world.advance(days=7)
        world.run()
        shown = world.tier()
        made = world.snapshots()
        equal((shown["tier"], shown["documents"], len(made)), ("cold", 10000, 1), "after seven days")
        equal((shown["snapshot"], shown["bytes"]["disk"], shown["bytes"]["memory"]), (made[0]["id"], 0, 0), "what is left")
        equal(shown["bytes"]["bucket"], made[0]["size_bytes"], "bytes in the bucket")
        equal(world.images(), [], "files of a cold collection")
        world.search(dimension=DIMENSION)
        equal((world.tier()["tier"], len(world.snapshots())), ("warm", 1), "after a search")
        world.same_state(before)
        equal(world.keys(), world.keys_wanted("docs"), "the bucket")


def test_e2e_02_a_full_cycle_ends_in_memory_after_ten_searches():
    with World("e02") as world:
        world.fill()
        before = world.state()
        world.to_cold("docs")
        for i in range(9):
            world.search(row=i)
        world.run()
        shown = world.tier()
        equal((shown["tier"], shown["accesses"]), ("warm", 9), "after nine searches")
        world.search()
        until("the tenth search's promotion", lambda: world.tier()["tier"] == "hot")
        world.same_state(before)
        equal(len(world.snapshots()), 1, "snapshots")
        equal(world.metric('akidb_tier_moves_total{from="warm",to="hot",reason="busy",outcome="ok"}'), 1, "the move")


def test_e2e_03_ten_collections_go_down_at_once_and_come_back_at_once():
    names = [f"c{i}" for i in range(10)]
    with World("e03") as world:
        for name in names:
            world.fill(name, rows=200)
        world.advance(hours=6)
        told = world.run()
        equal((told["tiers"]["warm"]["collections"], told["last_pass"]["done"]), (10, 10), "warm ones")
        world.advance(days=7)
        told = world.run()
        equal((told["tiers"]["cold"]["collections"], told["last_pass"]["done"]), (10, 10), "cold ones")
        equal([len(world.snapshots(name)) for name in names], [1] * 10, "snapshots of each")
        equal(world.keys(), world.keys_wanted(*names), "the bucket")
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            for found in [pool.submit(lambda name: world.search(name, client=world.server.client()), name)
                          for name in names * 3]:
                found.result()
        equal([world.tier(name)["tier"] for name in names], ["warm"] * 10, "tiers after thirty searches")
        waits = world.metric('akidb_tier_moves_total{from="cold",to="warm",reason="used",outcome="ok"}')
        equal(waits, 10, "restores: one a collection, however many search")


def large():
    """A collection of the plan's largest size, made once; 4 and 9 look at it."""
    if not LARGE:
        world = World("e04").__enter__()
        LARGE.append(world)
        world.fill(rows=ROWS, dimension=DIMENSION)
        began = time.monotonic()
        world.act("demote_to_cold")
        print(f"     {ROWS} x {DIMENSION}: hot to cold in {time.monotonic() - began:.2f} s", flush=True)
    return LARGE[0]


LARGE = []


def test_e2e_04_a_large_cold_collection_answers_its_first_search_and_is_quick_afterwards():
    world = large()
    equal(world.tier()["tier"], "cold", "the tier")
    began = time.monotonic()
    world.search(dimension=DIMENSION, k=100)
    first = time.monotonic() - began
    times = []
    for i in range(100):
        began = time.monotonic()
        world.search(row=(i * 97) % ROWS, dimension=DIMENSION, k=100)
        times.append(time.monotonic() - began)
    print(f"     {ROWS} x {DIMENSION}: first search after {first:.2f} s, then P95 {statistics.quantiles(times, n=20)[-1] * 1e3:.1f} ms",
          flush=True)
    equal(world.tier()["documents"], ROWS, "documents")


def test_e2e_05_pinned_never_moves_and_moves_when_unpinned():
    with World("e05") as world:
        world.fill()
        world.fill("warm", rows=100)
        equal(world.act("demote_to_warm", "warm")["tier"], "warm")
        for name in ("docs", "warm"):
            equal(world.act("pin", name)["next"], {"tier": world.tier(name)["tier"], "reason": "pinned", "at": None})
        for _ in range(3):
            world.advance(days=30)
            world.run()
        equal([world.tier(name)["tier"] for name in ("docs", "warm")], ["hot", "warm"], "tiers of pinned ones after 90 days")
        told = world.act("demote_to_cold", want=409)["error"]
        assert "unpin" in told["message"], told
        world.restart(kill=True)
        equal(world.tier()["pinned"], True, "pinned after kill -9")
        world.act("unpin")
        world.act("unpin", "warm")
        world.run()
        equal([world.tier(name)["tier"] for name in ("docs", "warm")], ["warm", "cold"], "tiers of unpinned ones")


def test_e2e_06_by_hand_to_cold_where_a_snapshot_is_then_to_hot_and_searched():
    with World("e06") as world:
        world.fill()
        before = world.state()
        equal(world.act("demote_to_cold")["tier"], "cold")
        equal([one["id"] for one in world.snapshots()], [world.tier()["snapshot"]], "snapshots")
        equal(world.act("demote_to_cold")["tier"], "cold", "asked for again")
        assert "lower" in world.act("demote_to_warm", want=409)["error"]["message"]
        equal(world.act("promote_to_hot")["tier"], "hot")
        world.search()
        world.run()
        equal(world.tier()["tier"], "hot", "the pass lets it stay")
        equal(world.act("demote_to_warm")["tier"], "warm")
        equal(world.act("demote_to_cold")["tier"], "cold")
        equal(world.act("promote_to_warm")["tier"], "warm")
        world.same_state(before)
        equal(len(world.snapshots()), 1, "snapshots: nothing was written since")


def test_e2e_07_a_manual_snapshot_and_an_automatic_one_are_two():
    with World("e07") as world:
        world.fill()
        status(world.client.post("/collections/docs/snapshots?wait=true"), 201)
        world.fill(rows=5, first=500, create=False)
        world.to_cold("docs")
        made = world.snapshots()
        equal([one["vector_count"] for one in made], [505, 500], "snapshots, newest first")
        equal(world.tier()["snapshot"], made[0]["id"], "the one that it lives in")
        gone = world.client.delete(f"/collections/docs/snapshots/{made[0]['id']}")
        equal((gone.status, gone.json()["error"]["code"]), (409, "CONFLICT"), "deletion of the one that it lives in")
        equal(world.client.delete(f"/collections/docs/snapshots/{made[1]['id']}").status, 204, "deletion of the other")
        world.search(row=503)


def test_e2e_08_tiers_are_kept_across_restarts():
    with World("e08") as world:
        for name in ("hot", "warm", "cold"):
            world.fill(name, rows=300)
        before = {name: world.state(name) for name in ("hot", "warm", "cold")}
        world.act("demote_to_warm", "warm")
        world.act("demote_to_cold", "cold")
        rules = {"hot_idle_s": 3 * DAY, "lowest": "warm"}
        equal(world.client.post("/collections/hot/tier", {"rules": rules, "action": "pin"}).status, 200)
        kept = ("tier", "pinned", "since", "documents", "snapshot", "rules")
        shown = {name: {key: world.tier(name)[key] for key in kept} for name in before}
        for kill in (False, True):
            world.restart(kill=kill)
            for name, was in shown.items():
                now = world.tier(name)
                equal({key: now[key] for key in kept}, was, f"{name} after {'kill -9' if kill else 'a stop'}")
        for name, was in before.items():
            world.same_state(was, name)


def test_e2e_09_the_upload_of_a_large_snapshot_has_a_plausible_size():
    world = large()
    one, = world.snapshots()
    raw = ROWS * DIMENSION * 4
    parts = {part["key"].rsplit(".", 1)[1]: part["size_bytes"] for part in one["objects"]}
    equal((one["vector_count"], sum(parts.values())), (ROWS, one["size_bytes"]), "vectors and bytes")
    assert raw / 1000 < parts["parquet"] < raw * 1.1, (raw, parts)
    assert raw < parts["akx"] < raw * 2, (raw, parts)
    told = status(world.client.post(f"/collections/docs/snapshots/{one['id']}/verify"), 200).json()
    equal((told["ok"], told["rows"], told["bytes"]), (True, ROWS, one["size_bytes"]), "verified")
    LARGE.pop().__exit__(None, None, None)


def test_e2e_10_all_local_data_is_lost_and_comes_back_from_the_bucket():
    with World("e10") as world:
        world.fill()
        before = world.state()
        shown = world.act("demote_to_cold")
        world.client.close()
        world.server.kill()
        world.server.data, old = world.server.data + "-new", world.server.data
        world.restart()
        equal(world.client.get("/collections").json()["collections"], [], "collections of the new machine")
        found, = world.client.get(f"/collections/{shown['id']}/snapshots").json()["snapshots"]
        path = f"/collections/{shown['id']}/snapshots/{found['id']}/restore?wait=true"
        equal(status(world.client.post(path, {"into": "docs"}), 201).json()["documents"], 500)
        world.same_state(before)
        equal(world.tier()["tier"], "warm", "the tier of what was restored")
        support.shutil.rmtree(old)


def test_e2e_15_warm_to_cold_makes_exactly_one_snapshot_and_none_when_one_covers_it():
    with World("e15") as world:
        world.fill()
        for turn in range(3):
            world.act("demote_to_cold")
            equal(len(world.snapshots()), 1, "snapshots")
            world.search()
        world.fill(rows=3, first=500, create=False)
        equal(world.tier()["tier"], "hot", "the tier after a write")
        equal(world.act("demote_to_warm")["snapshot"], None, "what keeps the new state")
        world.act("demote_to_cold")
        equal([one["vector_count"] for one in world.snapshots()], [503, 500], "snapshots")
        jobs = [job for job in world.client.get("/jobs").json()["jobs"] if job["kind"] == "tier"]
        equal({job["state"] for job in jobs}, {"done"}, "states of the moves")


def test_e2e_16_cold_to_warm_restores_bit_for_bit_with_the_warm_files_gone():
    with World("e16") as world:
        world.fill(rows=3000, dimension=64)
        world.act("demote_to_warm")
        before = world.state()
        assert world.images(), "a warm collection has an image here"
        world.act("demote_to_cold")
        equal(world.images(), [], "files of a cold collection")
        equal(world.act("promote_to_warm")["tier"], "warm")
        equal(len(world.images()), 1, "files of a warm collection")
        world.same_state(before)
        equal(akidb("collections", "list", "--json", "--url", f"http://127.0.0.1:{world.server.port}").count('"docs"'), 1)


class Writer(threading.Thread):
    """Writes one document after the other, until it is told to stop; all must be taken."""

    def __init__(self, world, first=100000):
        super().__init__()
        self.client = world.server.client()
        self.first, self.written, self.stop, self.failure = first, 0, threading.Event(), None

    def run(self):
        while not self.stop.is_set():
            row = self.first + self.written
            body = {"external_id": f"doc-{row}", "vector": tier_world.vectors(1, 32, row)[0].tolist(), "metadata": {"index": row}}
            answer = self.client.post("/collections/docs/vectors", body)
            if answer.status != 201:
                self.failure = answer
                return
            self.written += 1

    def __enter__(self):
        self.start()
        until("a first write", lambda: self.written or self.failure)
        return self

    def __exit__(self, kind, value, trace):
        self.stop.set()
        self.join()
        self.client.close()
        if kind is None and self.failure:
            raise AssertionError(f"a write was refused: {self.failure!r}")


def test_e2e_17_a_snapshot_while_writes_go_on_and_moves_while_writes_go_on():
    with World("e17") as world:
        world.fill()
        with Writer(world) as writer:
            made = status(world.client.post("/collections/docs/snapshots?wait=true"), 201).json()
            assert 500 < made["vector_count"] <= 501 + writer.written, (made["vector_count"], writer.written)
            for action in ("demote_to_warm", "demote_to_cold", "promote_to_hot") * 3:
                answer = world.client.post("/collections/docs/tier", {"action": action})
                assert answer.status in (200, 409), answer  # 409: a write came between
        equal(world.count(), 500 + writer.written, "documents: every write that was answered")
        world.act("demote_to_cold")
        equal(world.count(), 500 + writer.written, "documents after the bucket")


def test_e2e_18_retention_during_tiering_keeps_the_snapshot_that_a_cold_collection_lives_in():
    with World("e18", snapshots_retain_count=2, snapshots_retain_age="1d") as world:
        world.fill()
        for turn in range(4):
            world.fill(rows=2, first=500 + 2 * turn, create=False)
            status(world.client.post("/collections/docs/snapshots?wait=true"), 201)
        until("retention", lambda: len(world.snapshots()) == 2)
        before = world.state()
        world.act("demote_to_cold")
        lives_in = world.tier()["snapshot"]
        world.advance(days=400)
        world.restart()
        world.run()
        assert lives_in in [one["id"] for one in world.snapshots()], "the snapshot of a cold collection is gone"
        world.same_state(before)


def test_e2e_19_snapshots_of_a_warm_and_of_a_cold_collection():
    with World("e19") as world:
        world.fill()
        before = world.state()
        world.act("demote_to_warm")
        first = status(world.client.post("/collections/docs/snapshots?wait=true"), 201).json()
        equal((first["vector_count"], world.tier()["tier"], world.tier()["snapshot"]), (500, "warm", first["id"]), "of a warm one")
        world.act("demote_to_cold")
        equal(len(world.snapshots()), 1, "snapshots: that one covers it")
        second = status(world.client.post("/collections/docs/snapshots?wait=true"), 201).json()
        equal((second["vector_count"], len(world.snapshots()), world.tier()["tier"]), (500, 2, "warm"), "of a cold one")
        restored = world.client.post(f"/collections/docs/snapshots/{second['id']}/restore?wait=true", {"into": "copy"})
        status(restored, 201)
        equal(world.tier("copy")["snapshot"], None, "a copy has no snapshot of its own yet")
        equal((world.act("demote_to_cold", "copy")["tier"], len(world.snapshots("copy"))), ("cold", 1), "then it has")
        world.same_state(before, "copy")


def test_e2e_20_tiering_with_two_snapshots_present_restores_the_newer_state():
    with World("e20") as world:
        world.fill()
        status(world.client.post("/collections/docs/snapshots?wait=true"), 201)
        world.fill(rows=20, first=500, create=False)
        status(world.client.post("/collections/docs/snapshots?wait=true"), 201)
        before = world.state()
        world.to_cold("docs")
        newer, older = world.snapshots()
        world.search(row=510)
        world.same_state(before)
        world.act("demote_to_cold")
        status(world.client.post(f"/collections/docs/snapshots/{older['id']}/restore?wait=true"), 201)
        equal((world.count(), world.tier()["tier"]), (500, "warm"), "the older state, restored in place of a cold one")
        world.act("demote_to_cold")
        assert world.tier()["snapshot"] != newer["id"], "it lives in a snapshot of its state"
        equal(world.count(), 500, "documents")


# --- What a cold collection does for everyone else ---

def test_every_use_of_a_cold_collection_waits_for_it_and_goes_on():
    with World("uses") as world:
        world.fill()
        id = world.client.post("/collections/docs/vectors/scroll", {"limit": 1}).json()["vectors"][0]["id"]
        vector = tier_world.vectors(1, 32, 3)[0].tolist()
        line = json.dumps({"vector": vector}) + "\n"
        uses = {
            "search": lambda: world.client.post("/collections/docs/search", {"vector": vector}),
            "batch": lambda: world.client.post("/collections/docs/search/batch", {"searches": [{"vector": vector}]}),
            "fetch": lambda: world.client.get(f"/collections/docs/vectors/{id}"),
            "count": lambda: world.client.post("/collections/docs/count"),
            "scroll": lambda: world.client.post("/collections/docs/vectors/scroll", {"limit": 3}),
            "upsert": lambda: world.client.post("/collections/docs/vectors", {"vector": vector}),
            "delete": lambda: world.client.post("/collections/docs/vectors/delete", {"ids": [id]}),
            "import lines": lambda: world.client.post("/collections/docs/import", line * 3, content_type=support.NDJSON),
            "import Parquet": lambda: world.client.post("/collections/docs/import", tier_world.parquet(5, 32, 600),
                                                        content_type=tier_world.PARQUET),
            "export": lambda: world.client.get("/collections/docs/export?format=ndjson"),
        }
        for name, use in uses.items():
            world.act("demote_to_cold")
            answer = use()
            assert answer.status in (200, 201), f"{name} of a cold collection: {answer!r}"
            assert world.tier()["tier"] in ("warm", "hot"), name
        equal(world.count(), 500 + 1 - 1 + 3 + 5, "documents")
        world.act("demote_to_cold")
        equal(world.client.get("/collections/docs").json()["tier"], "cold", "describe wakes nobody")
        equal([one["tier"] for one in world.client.get("/collections").json()["collections"]], ["cold"], "list wakes nobody")
        status(world.client.delete("/collections/docs"), 204)
        equal(world.client.get("/collections/docs/tier").status, 404, "the tier of what was dropped")


def test_an_import_whose_collection_becomes_cold_between_two_of_its_parts_goes_on():
    """The client pauses within its body; the collection is sent away meanwhile."""
    with World("pause") as world:
        world.fill()
        lines = [json.dumps({"vector": tier_world.vectors(1, 32, 1000 + i)[0].tolist()}) + "\n" for i in range(6000)]
        text = "".join(lines).encode()
        connection = http.client.HTTPConnection("127.0.0.1", world.server.port, timeout=120)
        connection.putrequest("POST", "/collections/docs/import")
        connection.putheader("Content-Type", support.NDJSON)
        connection.putheader("Content-Length", str(len(text)))
        connection.endheaders()
        half = len(text) // 2
        connection.send(text[:half])
        until("the first part", lambda: world.count() > 1000)
        while world.client.post("/collections/docs/tier", {"action": "demote_to_cold"}).status == 409:
            pass  # a batch came between
        connection.send(text[half:])
        answer = connection.getresponse()
        told = json.loads(answer.read())
        equal((answer.status, told["upserted"]), (200, 6000), told)
        equal(world.count(), 6500, "documents")
        connection.close()


def test_accesses_within_the_window_survive_a_restart():
    with World("window", tiering_access_flush="1s") as world:
        world.fill()
        world.act("demote_to_warm")
        for i in range(6):
            world.search(row=i)
        used = world.tier()["last_access"]
        world.restart()
        shown = world.tier()
        equal((shown["accesses"], shown["last_access"]), (6, used), "after an orderly stop")
        for i in range(3):
            world.search(row=i)
        counted = world.metric("vector_search_duration_seconds_count")
        equal(counted, 3, "searches")
        until("the flush", lambda: flushed(world))
        world.restart(kill=True)
        equal(world.tier()["accesses"], 9, "after kill -9, a flush later")
        world.search()
        until("the tenth search's promotion", lambda: world.tier()["tier"] == "hot")


def flushed(world):
    """Has the catalog what was counted? Another process asks it, over a copy of the folder."""
    import shutil
    import sqlite3
    copy = world.server.data + "/copy"
    shutil.rmtree(copy, ignore_errors=True)
    os.mkdir(copy)
    for name in ("catalog.db", "catalog.db-wal"):
        path = f"{world.server.data}/db/{name}"
        if os.path.exists(path):
            shutil.copy(path, copy)
    try:
        with sqlite3.connect(f"{copy}/catalog.db") as catalog:
            return catalog.execute("SELECT max(window_accesses) FROM collections").fetchone()[0] == 9
    except sqlite3.DatabaseError:
        return False  # it was written while it was copied


def test_the_next_decision_and_its_time_are_told():
    with World("next") as world:
        world.fill()
        shown = world.tier()
        equal((shown["next"]["tier"], shown["next"]["reason"]), ("warm", "idle"), "of a hot one")
        world.client.post("/collections/docs/tier", {"rules": {"hot_idle_s": 0}})
        equal(world.tier()["next"], {"tier": "hot", "reason": "stays", "at": None}, "of one that never idles")
        world.client.post("/collections/docs/tier", {"rules": {"hot_idle_s": 60, "lowest": "warm"}})
        world.advance(seconds=61)
        world.run()
        equal((world.tier()["tier"], world.tier()["next"]["reason"]), ("warm", "stays"), "at its lowest")
        world.advance(days=30)
        world.run()
        equal(world.tier()["tier"], "warm", "at its lowest after 30 days")


def test_the_command_shows_and_moves():
    with World("cli") as world:
        world.fill()
        world.fill("other", rows=10)
        url = ["--url", f"http://127.0.0.1:{world.server.port}"]
        assert "cold" in akidb("tiers", "demote", "docs", "--to", "cold", *url)
        table = akidb("tiers", *url)
        assert "docs " in table and "cold " in table and "other " in table and "limits: memory of hot ones none" in table, table
        assert "next         stays" in akidb("tiers", "show", "docs", *url)
        assert "warm" in akidb("tiers", "promote", "docs", *url)
        assert "pinned" in akidb("tiers", "pin", "docs", *url)
        assert "unpin" in akidb("tiers", "demote", "docs", *url, code=5)
        akidb("tiers", "unpin", "docs", *url)
        assert "moves: 0 under way" in akidb("tiers", "run", *url)
        equal(json.loads(akidb("tiers", "show", "docs", "--json", *url))["tier"], "warm")
        equal(len(json.loads(akidb("tiers", "--json", *url))["collections"]), 2)
        assert "allowed are list" in akidb("tiers", "melt", "docs", *url, code=2)
        assert "needs the collection" in akidb("tiers", "pin", *url, code=2)
        assert "--to hot or warm" in akidb("tiers", "promote", "docs", "--to", "cold", *url, code=2)
        assert "is hot already" in akidb("tiers", "promote", "other", *url, code=5)


def test_the_metrics_tell_tiers_moves_and_waits():
    with World("metrics") as world:
        world.fill()
        world.to_cold("docs")
        world.search()
        equal([world.metric(f'collection_tier{{tier="{tier}"}}') for tier in ("hot", "warm", "cold")], [0, 1, 0])
        for pair in (("hot", "warm"), ("warm", "cold"), ("cold", "warm")):
            series = 'tier_migration_duration_seconds_count{from_tier="%s",to_tier="%s"}' % pair
            equal(world.metric(series), 1, series)
        equal(world.metric('akidb_tier_cold_waits_total{outcome="ok"}'), 1, "waits")
        assert world.metric('akidb_tier_bytes{tier="warm",place="disk"}') > 500 * 32 * 4


def test_time_is_not_moved_in_production():
    with support.Server() as server:
        client = server.client()
        equal(client.post("/admin/test/clock", {"advance_s": 1}).status, 404, "without AKIDB_TEST_CLOCK")
        client.close()


def test_nothing_moves_by_itself_when_tiering_is_off():
    with World("off", tiering_enabled="false") as world:
        world.fill()
        equal(world.client.post("/admin/tiering/run?wait=true").status, 409, "a pass")
        equal(world.tier()["next"], {"tier": "hot", "reason": "stays", "at": None})
        equal(world.act("demote_to_cold")["tier"], "cold", "by hand")
        world.search()
        equal(world.tier()["tier"], "warm", "by use")


if __name__ == "__main__":
    tier_world.run(globals())
