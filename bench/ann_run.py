#!/usr/bin/env python3
"""Approximate search beside the peers that install here, in one run, on the same data: `make bench-ann`.

    ann_run.py [--sizes "100k"] [--peers "hnswlib svs"] [--passes 3] [--threads 1,2] [--reuse] [--no-sides]

Each peer runs in a process of its own (ann_worker.py) and is measured in turns with AkiDB (`akidb bench ann --steps`), at
the same priority: a pass is one sweep of ours, one of the peer's, for every kind of query and number of threads. Ratios
are of the two sweeps of a pass, so that a machine that is busy slows both; wall clock and processor time are both kept.

The first pass goes through all knobs up to a recall of .995; the others repeat the points around the targets. Recall@10
is by distance: a row counts when its score is at least the tenth true score - 1e-5.

Results go to build/bench/ann.json, a record for each set and peer, with its date: a later run replaces the records of
what it measures and leaves the others. --reuse loads the indexes that an earlier run has saved and keeps what it knows of
their building. A peer that is not installed, or fails, is listed with the reason.
"""

import argparse
import datetime
import json
import os
import pathlib
import subprocess
import sys

import numpy as np

from ann_curves import SURE, TARGETS, needed
from ann_engines import EFS, ENGINES
from ann_sets import expand, prepare
from support import AKIDB, BENCH, OUT, ROOT, busy_share, machine, say

K = 10
BUILD_THREADS = 2
SHARES = (0.5, 0.1, 0.01, 0.001)
FILTER_EFS = [16, 32, 64, 128]
CHURN = 0.3
VENVS = pathlib.Path(os.environ.get("AKIDB_BENCH_VENVS", ROOT / "build"))
RESULTS = OUT / "ann.json"


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


class Failed(Exception):
    pass


class Lines:
    """A process that answers each line with a line of JSON."""

    def __init__(self, command, log):
        self.log = open(log, "ab")
        self.process = subprocess.Popen(
            [str(c) for c in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        self.where = log

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            raise Failed(f"ended with {code}: {last_line(self.where)}")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def ask(self, line):
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # read() says how it ended
        return self.read()

    def close(self):
        try:
            self.process.stdin.close()
            self.process.wait(60)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()

    def ticks(self):
        try:
            text = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        except OSError:
            return 0
        fields = text.rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])


def last_line(path):
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"


class Own:
    """AkiDB over one set, for one kind of query."""

    def __init__(self, known, kind, pass_ms):
        files = known["kinds"][kind]["files"]
        command = [AKIDB, "bench", "ann", "--base", known["base"], "--metric", "cosine", "--k", K]
        command += ["--query", files["query"], "--truth-scores", files["scores"], "--truth", files["truth"]]
        command += ["--threads", BUILD_THREADS, "--pass-ms", pass_ms, "--steps"]
        self.lines = Lines(command, OUT / "run" / f"akidb-{kind}.log")
        self.facts = self.lines.read()
        self.knobs = {}

    def step(self, *words):
        return self.lines.ask(" ".join(map(str, words)))

    def sweep(self, threads, knobs):
        points = self.step("ef", threads, ",".join(map(str, knobs)))["points"]
        return [{"knob": p.pop("ef"), **p} for p in points]


class Peer:
    def __init__(self, name, known, fresh):
        engine = ENGINES[name]
        self.name = name
        folder = OUT / "run" / f"{known['name']}-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        sets = OUT / "run" / f"{known['name']}.sets.json"
        sets.write_text(json.dumps({kind: k["files"] for kind, k in known["kinds"].items()}))
        python = VENVS / f"venv-{engine.venv}" / "bin" / "python"
        command = [python if python.exists() else sys.executable]
        command += [BENCH / "ann_worker.py", name, folder, known["base"], sets]
        log = folder / "log"
        if fresh:
            log.unlink(missing_ok=True)
        self.lines = Lines(command, log)

    def do(self, verb, **options):
        return self.lines.ask(json.dumps({"do": verb, **options}))


def ticks():
    """(all, busy) of the machine's processors."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(x) for x in file.readline().split()[1:]]
    return sum(fields), sum(fields) - fields[3] - fields[4]


class Others:
    """The share of the processors that others took."""

    def __init__(self, lines):
        self.lines = lines
        self.before = (*ticks(), self.mine())

    def mine(self):
        own = os.times()
        hertz = os.sysconf("SC_CLK_TCK")
        return sum(x.ticks() for x in self.lines) + int((own.user + own.system) * hertz)

    def share(self):
        total, busy = ticks()
        mine = self.mine()
        passed = max(1, total - self.before[0])
        return round(max(0.0, (busy - self.before[1] - (mine - self.before[2])) / passed), 3)


def turns(peer, owns, record, args):
    """The passes: record gets, for each of them, kind and threads, the points of both."""
    threads = args.threads if record["batch"] else args.threads[:1]
    knobs = {}
    for turn in range(args.passes):
        if record["slow"] and turn > 0:
            break  # its numbers are an order of magnitude away: once is enough
        others = Others([peer.lines, *(own.lines for own in owns.values())])
        passed = {}
        for kind, own in owns.items():
            for t in threads:
                first = (kind, t) not in knobs
                mine = own.knobs.get((kind, t), EFS) if first else own.knobs[(kind, t)]
                ours = own.sweep(t, mine)
                own.knobs.setdefault((kind, t), needed(ours))
                theirs = peer.do(
                    "sweep",
                    set=kind,
                    threads=t,
                    knobs=knobs.get((kind, t), record["knobs"]),
                    enough=SURE if first else 2.0,
                    pass_ms=0 if record["slow"] else args.pass_ms,
                )["points"]
                if first:
                    knobs[(kind, t)] = needed(theirs)
                    for more in threads:  # recall does not depend on the threads
                        knobs.setdefault((kind, more), needed(theirs))
                        own.knobs.setdefault((kind, more), own.knobs[(kind, t)])
                passed[f"{kind}/{t}"] = {"own": ours, "peer": theirs}
        record["passes"].append(passed)
        share = others.share()
        record["others"] = max(record["others"], share)
        say(f"  {peer.name}: pass {turn + 1} of {args.passes}, others took {100 * share:.0f} %")


def at_recall(points, target):
    """The first knob that gets there, or the last."""
    good = [p for p in sorted(points, key=lambda p: p["recall"]) if p["recall"] >= target]
    return (good[0] if good else points[-1])["knob"]


def sides_of_peer(peer, known, record, args):
    kind = next(iter(known["kinds"]))
    curves = {k: record["passes"][0][f"{k}/1"]["peer"] for k in known["kinds"]}
    first = curves[kind]
    record["knob"] = at_recall(first, TARGETS[1])
    record["alone"] = {k: peer.do("alone", set=k, knob=at_recall(points, TARGETS[1])) for k, points in curves.items()}
    if args.no_sides:
        return
    if not record["loaded"]:
        record["saved"] = peer.do("save")
    rng = np.random.default_rng(31)
    filtered = []
    for share in SHARES if not record["slow"] else ():
        allowed = OUT / "run" / "allowed.npy"
        np.save(allowed, rng.random(known["vectors"]) < share)
        one = peer.do("filtered", set=kind, share=share, knobs=FILTER_EFS, allowed=str(allowed))
        filtered += [one] if one else []
    record["filtered"] = filtered
    churned = peer.do("churn", share=CHURN, threads=BUILD_THREADS)
    if churned:
        points = peer.do("sweep", set=kind, threads=1, knobs=needed(first), enough=2.0, pass_ms=args.pass_ms)["points"]
        record["churned"] = {"share": CHURN, **churned, "points": points, "fresh": first}


def restore(name, known, record):
    """In a process that has not seen the index."""
    if not record.get("saved"):
        return
    peer = Peer(name, known, fresh=False)
    try:
        kind = next(iter(known["kinds"]))
        record["restored"] = peer.do("restore", set=kind, knob=record["knob"], threads=BUILD_THREADS)
    finally:
        peer.lines.close()


def measure_peer(name, known, owns, args, before):
    peer = Peer(name, known, fresh=True)
    record = {"engine": name, "date": now(), "passes": [], "others": 0.0}
    try:
        others = Others([peer.lines])
        record.update(peer.do("build", threads=BUILD_THREADS, reuse=args.reuse))
        record["build_others"] = others.share()
        if record["loaded"]:  # what is known of its building is of an earlier run
            kept = ("seconds", "cpu_seconds", "resident_per_vector", "build_others", "saved", "restored")
            record.update({key: before[key] for key in kept if key in before})
        say(f"  {name} {record['version']}: " + ("loaded" if record["loaded"] else f"built in {record['seconds']:.1f} s"))
        turns(peer, owns, record, args)
        sides_of_peer(peer, known, record, args)
    finally:
        peer.lines.close()
    if not record["loaded"] and not args.no_sides:
        restore(name, known, record)
    for key in ("filtered", "churned", "restored", "saved"):
        if key not in record and key in before:
            record[key] = before[key]
    return record


def measure_own_sides(known, owns, args):
    """What only AkiDB is asked: latencies come with the points."""
    sides = {}
    for kind, own in owns.items():
        side = {"points": own.sweep(1, own.knobs.get((kind, 1), EFS))}
        side |= own.step("floor", 1)
        side["recalls"] = [own.step("recall", 1, "0.9,0.95,0.99", how) for how in ("invented", "real")]
        side["filtered"] = []
        for rows in ("random", "near", "far"):
            shares, efs = (",".join(map(str, x)) for x in (SHARES, FILTER_EFS))
            side["filtered"] += own.step("filter", 1, rows, shares, efs)["filtered"]
        efs = ",".join(str(p["knob"]) for p in side["points"])
        image = OUT / "run" / "akidb.akx"
        side["restored"] = own.step("image", 1, image, efs)
        image.unlink(missing_ok=True)
        side["churned"] = own.step("churn", BUILD_THREADS, CHURN)["churned"]
        side["churned"]["points"] = own.step("ef", 1, efs)["points"]
        sides[kind] = side
        say(f"  AkiDB: recalls, filters, image and churn for {kind}")
    return sides


def absent_peers():
    """What did not install, as run.sh has noted it: {package: reason}."""
    out = {}
    for path in VENVS.glob("venv-*/left-out.txt"):
        for line in path.read_text().splitlines():
            requirement, _, reason = line.partition("\t")
            out[requirement] = reason
    return out


def store(results):
    part = RESULTS.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    part.rename(RESULTS)


def measure_set(name, args, results):
    known = prepare(name)
    if known is None:
        return
    entry = results["sets"].setdefault(name, {"engines": {}, "absent": {}})
    entry["set"] = known
    say(f"{name}: {known['vectors']:,} x {known['dimension']}")
    for kind, k in known["kinds"].items():
        say(f"  {kind}: LID {k['lid']}, contrast {k['contrast']}, duplicates {k['duplicates']}, queries with a near duplicate {k['near_duplicates']}")
    owns = {}
    try:
        for kind in known["kinds"]:
            others = Others([])
            owns[kind] = Own(known, kind, args.pass_ms)
            facts = owns[kind].facts
            facts["others"] = others.share()
            say(f"  AkiDB, kernels {facts['kernels']}: built in {facts['build_seconds']:.1f} s")
        entry.setdefault("own", {})
        entry["own"]["facts"] = min((o.facts for o in owns.values()), key=lambda f: f["build_seconds"])
        entry["own"]["date"] = now()
        for kind, own in owns.items():
            for t in args.threads:
                entry["own"].setdefault("points", {})[f"{kind}/{t}"] = own.sweep(t, EFS)
        store(results)
        for peer in args.peers:
            try:
                record = measure_peer(peer, known, owns, args, entry["engines"].get(peer, {}))
                entry["engines"][peer] = record
                entry["absent"].pop(peer, None)
            except Failed as reason:
                say(f"  {peer} is left out: {reason}")
                if peer not in entry["engines"]:
                    entry["absent"][peer] = str(reason)
            store(results)
        if not args.no_sides:
            entry["own"]["sides"] = measure_own_sides(known, owns, args)
    finally:
        for own in owns.values():
            own.lines.close()
    store(results)


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="100k")
    parser.add_argument("--peers", default="all")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--pass-ms", type=int, default=250, help="a point is measured for so long in a pass")
    parser.add_argument("--reuse", action="store_true")
    parser.add_argument("--no-sides", action="store_true")
    args = parser.parse_args()
    args.sizes = expand(args.sizes.split())
    args.threads = [int(t) for t in args.threads.split(",")]
    words = args.peers.split()
    args.peers = list(ENGINES) if words == ["all"] else [w for w in words if w != "none"]
    unknown = [p for p in args.peers if p not in ENGINES]
    if unknown:
        raise SystemExit(f"there is no peer '{unknown[0]}'; the peers are: {' '.join(ENGINES)}, all, none")
    if args.passes < 1:
        raise SystemExit("--passes takes at least 1")
    return args


def main():
    args = options()
    (OUT / "run").mkdir(parents=True, exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if "sets" not in results:  # nothing yet, or of an older form
        results = {"part": "ann", "sets": {}}
    results |= {"date": now(), "machine": machine(), "busy": busy_share(), "k": K, "not_installed": absent_peers()}
    for name in args.sizes:
        measure_set(name, args, results)
    store(results)
    say(f"wrote {RESULTS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
