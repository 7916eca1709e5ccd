"""Points of recall and speed, and what follows from them. Standard library only."""

import math

TARGETS = (0.9, 0.95, 0.99)
SURE = 0.995  # a sweep ends there


def speed(point, by):
    """Searches a second: by wall clock, or as many as a second of processor time would give."""
    return point["qps"] if by == "wall" else 1e6 / max(point["cpu_us"], 1e-9)


def at_recall(points, target, by="wall"):
    """Speed at the target by linear interpolation of its logarithm; None when no point gets there.

    Never taken from a point below the target; a curve that begins above it counts as its fastest point.
    """
    points = sorted((p["recall"], speed(p, by)) for p in points)
    best = None
    for (r0, q0), (r1, q1) in zip(points, points[1:]):
        if r0 < target <= r1:
            share = (target - r0) / (r1 - r0)
            best = max(best or 0, math.exp(math.log(q0) + share * (math.log(q1) - math.log(q0))))
    if best is None and points and points[0][0] >= target:
        best = max(q for _, q in points)
    return best


def needed(points):
    """The knobs around every target: the last below and the first at or above it."""
    order = sorted(points, key=lambda p: (p["recall"], -p["qps"]))
    keep = set()
    for target in TARGETS:
        below = [p["knob"] for p in order if p["recall"] < target]
        above = [p["knob"] for p in order if p["recall"] >= target]
        keep.update(below[-1:] + above[:1])
    return [p["knob"] for p in points if p["knob"] in keep]


def median(values):
    values = sorted(v for v in values if v is not None)
    return values[len(values) // 2] if values else None


def best(values):
    values = [v for v in values if v is not None]
    return max(values) if values else None


def passes(record, key, whose, target, by="wall"):
    """The speeds of all passes."""
    return [at_recall(p[key][whose], target, by) for p in record["passes"] if key in p]


def ratio(record, key, target, by="wall"):
    """How many times as fast as the peer AkiDB is: the median of the passes' ratios; None without both."""
    pairs = zip(passes(record, key, "own", target, by), passes(record, key, "peer", target, by))
    return median([own / peer for own, peer in pairs if own and peer])


def merged(record, key, whose):
    """One curve: of each knob the best pass."""
    found = {}
    for p in record["passes"]:
        for point in p.get(key, {}).get(whose, []):
            known = found.get(point["knob"])
            if known is None or point["qps"] > known["qps"]:
                found[point["knob"]] = point
    return [found[knob] for knob in sorted(found)]
