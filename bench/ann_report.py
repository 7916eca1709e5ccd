"""The part `ann` of docs/PERFORMANCE.md, from build/bench/ann.json: tables, goals, and the plots beside the page."""

from ann_curves import TARGETS, at_recall, best, merged, passes, ratio
from ann_plot import plot
from report_page import n, seconds
from support import DOCS

# Per thread, at equal recall: {what the queries are: {peer: {target: times as fast}}}
GOALS = {
    "own": {"hnswlib": {0.95: 5, 0.99: 7}, "svs": {0.95: 3.7, 0.99: 5.2}},
    "other": {"hnswlib": {0.95: 7, 0.99: 11}, "svs": {0.95: 3.7, 0.99: 5.2}},
}
OTHER = ("sentences",)  # kinds of queries that are not of the base's own distribution
GOAL_SETS = ("minilm", "100k-512", "1m-512")
NAMES = {
    "hnswlib": "hnswlib",
    "faiss": "Faiss HNSW",
    "faiss-sq8": "Faiss HNSW SQ8",
    "usearch": "usearch f32",
    "usearch-f16": "usearch f16",
    "svs": "SVS f32",
    "svs-lvq": "SVS LVQ 4+8",
    "svs-leanvec": "SVS LeanVec",
    "glass": "Glass SQ8U",
    "symqg": "SymphonyQG",
    "rabitq-hnsw": "RaBitQ HNSW",
    "vsag": "VSAG HGraph",
    "voyager": "Voyager",
    "ngt": "NGT ANNG",
    "scann": "ScaNN",
    "lancedb": "LanceDB, embedded",
    "chroma": "Chroma, embedded",
    "exact": "exact, numpy",
}
BUSY = 0.15
AGAIN = 20  # rows that a search for ten measures again in floats


def name_of(peer):
    return NAMES.get(peer, peer)


def keys_of(entry, threads=None):
    """The kinds of queries and threads that were measured, like "sentences/2"."""
    keys = entry["own"].get("points", {})
    return [k for k in keys if threads is None or k.endswith(f"/{threads}")]


def times(value):
    return "–" if value is None else f"{value:.2f} ×" if value < 9.95 else f"{value:.0f} ×"


def write(page, r):
    page.add(
        "Each peer in a process of its own, in turns with AkiDB: a pass is a sweep of ours and one of the peer's, at the same priority. Searches a "
        "second are of the best pass, by wall clock; *ours is* how many times as fast AkiDB was, the median over the passes of what the two "
        f"sweeps of a pass give at equal recall, and in brackets the same by processor time. Recall@{r['k']} is by distance; speeds lie on the line "
        "between measured points, logarithmically, never at a point below the target. *never*: no setting gets there. Peers have their best "
        "documented setting; how each was set stands below. Built by two threads.",
    )
    absent = {**r.get("not_installed", {})}
    for set_name, entry in r["sets"].items():
        if "own" not in entry:
            continue
        write_set(page, set_name, entry)
        absent |= {name_of(p): why for p, why in entry["absent"].items()}
    settings(page, r)
    if absent:
        page.add("Left out:", "", *(f"- {what}: {why.strip()}" for what, why in sorted(absent.items())), "")
    goals(page, r["sets"])


def write_set(page, set_name, entry):
    known, facts = entry["set"], entry["own"]["facts"]
    page.add("", f"### {set_name}: {known['vectors']:,} × {known['dimension']}", "")
    for kind, k in known["kinds"].items():
        page.add(
            f"*{kind}*: {k['queries']:,} queries, LID {k['lid']}, contrast {k['contrast']}, participation ratio {k['participation']}, |mean| {k['mean_norm']}; "
            f"duplicates {100 * k['duplicates']:.2f} % of the rows, {100 * k['near_duplicates']:.2f} % of the queries have a row as near as .9999.",
            "",
        )
    page.add(f"AkiDB: kernels {facts['kernels']}, codes {facts['quantization']}, m {facts['m']}, ef_construction {facts['ef_construction']}; {entry['own']['date']}.")
    for kind in known["kinds"]:
        if f"{kind}/1" not in entry["own"].get("points", {}):
            continue
        draw(page, set_name, entry, kind)
        speed_table(page, entry, kind, 1)
    for key in keys_of(entry, 2):
        speed_table(page, entry, key.split("/")[0], 2)
    cost_table(page, entry)
    sides(page, entry)


def draw(page, set_name, entry, kind):
    key = f"{kind}/1"
    points = [*entry["own"]["points"][key]]
    for record in entry["engines"].values():
        points += merged(record, key, "own")
    curves = [("AkiDB", [(p["recall"], p["qps"]) for p in points])]
    for peer, record in ranked(entry, key):
        curves.append((name_of(peer), [(p["recall"], p["qps"]) for p in merged(record, key, "peer")]))
    text = plot(f"{set_name}, {kind}", curves)
    if text:
        path = DOCS / "plots" / f"ann-{set_name}-{kind}.svg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        page.add("", f"![Recall against searches a second, {set_name}, {kind}](plots/{path.name})", "")


def ranked(entry, key):
    """The peers that were asked this, the fastest first."""
    with_key = [(p, r) for p, r in entry["engines"].items() if any(key in x for x in r["passes"])]

    def order(item):
        found = [best(passes(item[1], key, "peer", t)) or 0 for t in (TARGETS[1], TARGETS[0])]
        return (-found[0], -found[1])

    return sorted(with_key, key=order)


def speed_table(page, entry, kind, threads):
    key = f"{kind}/{threads}"
    records = ranked(entry, key)
    mine = {t: [] for t in TARGETS}
    for _, record in records:
        for t in TARGETS:
            mine[t] += passes(record, key, "own", t)
    for t in TARGETS:
        mine[t].append(at_recall(entry["own"]["points"][key], t))
    rows = [["**AkiDB**", *(x for t in TARGETS for x in (n(best(mine[t])), "")), *alone(entry["own"].get("sides", {}).get(kind), threads), ""]]
    for peer, record in records:
        row = [name_of(peer) + ("" if record["batch"] else " ¹")]
        for t in TARGETS:
            qps = best(passes(record, key, "peer", t))
            wall, cpu = ratio(record, key, t), ratio(record, key, t, "cpu")
            row += [n(qps) if qps else "never", f"{times(wall)} ({times(cpu)})" if wall else ""]
        late = record.get("alone", {}).get(kind) if threads == 1 else None
        row.append(f"{late['p50_us']:,.0f} / {late['p99_us']:,.0f}" if late else "")
        row.append(record["date"][:10] + (f", others {100 * record['others']:.0f} %" if record["others"] > BUSY else ""))
        rows.append(row)
    page.add("", f"{kind}, {threads} thread{'s' if threads > 1 else ''}")
    head = ["", *(x for t in TARGETS for x in (f"at {t:g}", "ours is")), "one a call at .95, µs p50 / p99", "measured"]
    page.table(head, rows)


def alone(side, threads):
    """Our latencies at the first point at or above .95."""
    good = [p for p in (side or {}).get("points", []) if p["recall"] >= TARGETS[1]] if threads == 1 else []
    point = min(good, key=lambda p: p["recall"], default=None)
    return [f"{point['p50_us']:,.0f} / {point['p99_us']:,.0f}" if point else ""]


def cost_table(page, entry):
    facts = entry["own"]["facts"]
    side = next(iter(entry["own"].get("sides", {}).values()), {})
    restored = side.get("restored", {})
    vectors = entry["set"]["vectors"]

    def row(name, build, resident, size, opened):
        return [
            name,
            seconds(build) if build is not None else "–",
            f"{vectors / build:,.0f}" if build else "–",
            n(resident),
            n(size / vectors if size else None),
            seconds(opened) if opened is not None else "–",
        ]

    rows = [row("**AkiDB**", facts["build_seconds"], facts["resident_per_vector"], restored.get("bytes"), restored.get("open_seconds"))]
    for peer, r in sorted(entry["engines"].items(), key=lambda item: item[1].get("seconds") or 0):
        built = r.get("seconds") if not r["loaded"] or "build_others" in r else None
        saved, opened = r.get("saved") or {}, (r.get("restored") or {}).get("open_seconds")
        rows.append(row(name_of(peer), built, r.get("resident_per_vector"), saved.get("bytes"), opened))
    page.add("", "Building, memory and opening: private memory that building left behind, the files, and the time from them to the first answer in a new process.")
    page.table(["", "build", "vectors/s", "bytes/vector in memory", "in files", "opened"], rows)


def sides(page, entry):
    for kind, side in entry["own"].get("sides", {}).items():
        floor_table(page, kind, side)
        wanted_table(page, kind, side)
        filter_table(page, entry, kind, side)
        churn_table(page, entry, kind, side)


def cell(point):
    return f"{n(point['qps'])} ({point['recall']:.4f})"


def floor_table(page, kind, side):
    rows = []
    for target in TARGETS:
        found = floor_of(side, target)
        if found:
            took, least = found
            rows.append([f"{target:g}", f"{took:.1f}", f"{least:.1f}", f"{took / least:.2f} ×"])
    if rows:
        page.add(
            "",
            f"{kind}: processor time of a search beside its floor, which is to fetch and measure its rows at random and nothing else: "
            f"{side['code_ns']:.1f} ns a code, {side['row_ns']:.0f} ns for each of {AGAIN} rows of floats.",
        )
        page.table(["recall at least", "µs a search", "floor, µs", ""], rows)


def wanted_table(page, kind, side):
    page.add("", f"{kind}: a recall that is asked for, after the index was measured with 128 queries, invented or real")
    rows = []
    for r in side["recalls"]:
        for w in r["wanted"]:
            ef = n(w["ef"]) if w["ef"] else "exact"
            rows.append([f"{w['asked']:g}, {r['measured_with']}", f"{w['recall']:.4f}", ef, n(w["qps"]), seconds(r["calibration_seconds"])])
    page.table(["asked, measured with", "got", "ef", "searches/s", "measuring took"], rows)


def filter_table(page, entry, kind, side):
    page.add(
        "",
        f"{kind}, under filters: searches a second (recall), one thread. They leave a share of the rows: any (*random*), every other one of those "
        "nearest to the query (*near*), or those around the row that is farthest from it (*far*).",
    )
    efs = [str(p["ef"]) for p in side["filtered"][0]["points"]]
    rows = [[f"{f['kind']}, {f['selectivity']:g}", *map(cell, f["points"])] for f in side["filtered"]]
    for peer, record in entry["engines"].items():
        if kind == next(iter(entry["set"]["kinds"])):
            rows += [[f"{name_of(peer)}, random, {f['selectivity']:g}", *map(cell, f["points"])] for f in record.get("filtered") or []]
    page.table(["rows left", *(f"ef {ef}" for ef in efs)], rows)


def churn_table(page, entry, kind, side):
    rows = []
    for knob, (old, new) in enumerate(zip(side["points"], side["churned"]["points"])):
        opened = side["restored"]["points"][knob]
        rows.append([f"AkiDB, ef {old['knob']}", cell(old), cell(new), cell(opened)])
    for peer, record in entry["engines"].items():
        churned = record.get("churned")
        if churned and kind == next(iter(entry["set"]["kinds"])):
            fresh = {p["knob"]: p for p in churned["fresh"]}
            rows += [[f"{name_of(peer)}, {p['knob']}", cell(fresh[p["knob"]]), cell(p), ""] for p in churned["points"] if p["knob"] in fresh]
    page.add("", f"{kind}, after {100 * side['churned']['share']:.0f} % of the rows were removed and put back, and from the file: searches a second (recall), one thread")
    page.table(["", "fresh", "after churn", "from the file"], rows)


def settings(page, r):
    rows, seen = [], set()
    for entry in r["sets"].values():
        for peer, record in entry["engines"].items():
            if peer not in seen:
                seen.add(peer)
                kernels = record["kernels"].split("<")[0]
                rows.append([name_of(peer), f"{record['package']} {record['version']}", record["settings"], kernels if len(kernels) < 80 else ""])
    page.add("", "How the peers were set:")
    page.table(["", "package", "setting", "kernels it names"], rows)
    page.add(
        "¹ has no call for many queries: a call a query from Python, one thread. Latencies of peers include the call from Python, ours do not.",
        "",
        "Seeds: data 7, hnswlib and Voyager 7, AkiDB's levels 1; the other peers have none to set.",
        "",
    )


# --- Goals ---


def goals(page, sets):
    ratio_goals(page, sets)
    ahead_of_all(page, sets)
    for set_name in GOAL_SETS:
        entry = sets.get(set_name, {})
        if "own" in entry:
            cost_goals(page, set_name, entry)
            side_goals(page, set_name, entry)


def ratio_goals(page, sets):
    for set_name in GOAL_SETS:
        entry = sets.get(set_name, {})
        for key in keys_of(entry, 1) if "own" in entry else ():
            kind = key.split("/")[0]
            for peer, targets in GOALS["other" if kind in OTHER else "own"].items():
                record = entry["engines"].get(peer)
                for target, goal in targets.items() if record else ():
                    got = ratio(record, key, target)
                    if got:
                        cpu = ratio(record, key, target, "cpu")
                        page.goal(
                            f"{set_name}, {kind}, recall {target:g}: beside {name_of(peer)}",
                            f"≥ {goal} ×",
                            f"{times(got)} (by processor time {times(cpu)})",
                            got >= goal,
                        )


def ahead_of_all(page, sets):
    for set_name, entry in sets.items():
        if set_name == "sample" or "own" not in entry:
            continue
        found = []
        for key in keys_of(entry, 1):
            for peer, record in entry["engines"].items():
                found += [(got, peer, key, t) for t in TARGETS[1:] if (got := ratio(record, key, t))]
        if found:
            got, peer, key, target = min(found)
            page.goal(
                f"{set_name}: ahead of every peer, worst case at .95 and .99",
                "> 1 ×",
                f"{times(got)} ({name_of(peer)}, {key.split('/')[0]}, {target:g})",
                got > 1,
            )


def cost_goals(page, set_name, entry):
    facts, reference = entry["own"]["facts"], entry["engines"].get("hnswlib", {})
    if reference.get("seconds"):
        share = facts["build_seconds"] / reference["seconds"]
        page.goal(f"{set_name}: build beside hnswlib's, two threads", "≤ 0.5 ×", f"{share:.2f} ×", share <= 0.5)


def side_goals(page, set_name, entry):
    for kind, side in entry["own"].get("sides", {}).items():
        for r in side["recalls"]:
            least = min(w["recall"] - w["asked"] for w in r["wanted"])
            got = ", ".join(f"{w['recall']:.3f}" for w in r["wanted"])
            asked = ", ".join(f"{w['asked']:g}" for w in r["wanted"])
            page.goal(f"{set_name}, {kind}: recall asked for, {asked}, {r['measured_with']} queries", "no less", got, least >= 0)
        floor_goal(page, set_name, kind, side)
        worst = min((f["points"][-1]["recall"], f["selectivity"], f["kind"]) for f in side["filtered"])
        page.goal(
            f"{set_name}, {kind}: recall under every filter, ef {side['filtered'][0]['points'][-1]['ef']}",
            "≥ 0.95",
            f"{worst[0]:.3f} ({worst[2]}, {worst[1]:g})",
            worst[0] >= 0.95,
        )
        lost = max(a["recall"] - b["recall"] for a, b in zip(side["points"], side["churned"]["points"]))
        slower = 1 - min(b["qps"] / a["qps"] for a, b in zip(side["points"], side["churned"]["points"]))
        page.goal(
            f"{set_name}, {kind}: after 30 % churn",
            "0.5 points, 10 %",
            f"{max(0.0, 100 * lost):.2f} points less recall, {max(0.0, 100 * slower):.0f} % slower",
            lost <= 0.005 and slower <= 0.1,
        )


def floor_of(side, target):
    """(µs a search, µs below which none gets) at the first point that reaches the target; None when none does."""
    good = [p for p in side["points"] if p["recall"] >= target]
    point = min(good, key=lambda p: p["recall"], default=None)
    if point is None or "code_ns" not in side:
        return None
    return point["cpu_us"], (point["distances"] * side["code_ns"] + AGAIN * side["row_ns"]) / 1e3


def floor_goal(page, set_name, kind, side):
    found = {t: floor_of(side, t) for t in TARGETS[1:]}
    if all(found.values()):
        got = {t: took / least for t, (took, least) in found.items()}
        text = ", ".join(f"{got[t]:.2f} × at {t:g} ({took:.0f} of {least:.0f} µs)" for t, (took, least) in found.items())
        page.goal(f"{set_name}, {kind}: of the time that fetching its rows takes", "≤ 1.8 ×", text, max(got.values()) <= 1.8)
