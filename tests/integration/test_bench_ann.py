#!/usr/bin/env python3
"""The chain of `make bench-ann` at a tiny size: data, ground truth, AkiDB and peers in turns, results, page and plots.
Needs tests/requirements.txt; hnswlib is measured too where it is installed.
"""
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

import support
from support import equal

sys.path.insert(0, str(support.ROOT / "bench"))
import ann_curves  # noqa: E402
import ann_plot  # noqa: E402

SECTION = "## Search over HTTP\n\n`bench/run.sh http` · some day\n\nKept as it is.\n"
GOALS = "## Goals\n\n|  | goal | measured | met |\n| --- | ---: | ---: | ---: |\n| over HTTP | ≥ 70 % | 85 % | yes <!-- http --> |\n"


def bench(folder, script, *words, code=0):
    """The program of bench/, its results and its page in the folder."""
    environment = {**os.environ, "AKIDB_BENCH_OUT": folder, "AKIDB_BENCH_DOCS": os.path.join(folder, "docs"),
                   "AKIDB_BUILD": os.path.dirname(support.binary()), "AKIDB_BENCH_VENVS": folder}
    done = subprocess.run([sys.executable, support.ROOT / "bench" / script, *words], env=environment, capture_output=True,
                          text=True, timeout=120)
    equal(done.returncode, code, f"{script} {words}: {done.stdout} {done.stderr}")
    return done.stdout + done.stderr


def points(*pairs):
    return [{"knob": i, "recall": r, "qps": q, "cpu_us": 1e6 / q} for i, (r, q) in enumerate(pairs)]


def near(got, wanted):
    assert got is not None and abs(got - wanted) < 1e-6 * wanted, f"{got} is not {wanted}"


def test_a_speed_lies_on_the_line_and_never_comes_from_below_the_target():
    curve = points((0.8, 1000), (0.9, 100), (0.94, 10))
    near(ann_curves.at_recall(curve, 0.85), 1000 ** 0.5 * 10)
    near(ann_curves.at_recall(curve, 0.9), 100)
    equal(ann_curves.at_recall(curve, 0.95), None)
    near(ann_curves.at_recall(points((0.97, 50), (0.99, 20)), 0.9), 50)
    equal(ann_curves.at_recall([], 0.9), None)
    equal(ann_curves.needed(points((0.7, 9), (0.85, 8), (0.93, 7), (0.96, 6), (0.98, 5), (0.999, 4))), [1, 2, 3, 4, 5])


def test_a_ratio_is_the_median_of_the_passes_and_of_both_clocks():
    fast, slow = points((0.8, 400), (1, 400)), points((0.8, 100), (1, 100))
    record = {"passes": [{"q/1": {"own": fast, "peer": slow}}, {"q/1": {"own": slow, "peer": slow}}, {"q/1": {"own": fast, "peer": slow}}]}
    near(ann_curves.ratio(record, "q/1", 0.95), 4)
    near(ann_curves.ratio(record, "q/1", 0.95, "cpu"), 4)
    equal(ann_curves.ratio(record, "q/2", 0.95), None)


def test_a_plot_is_xml_and_shows_every_curve():
    text = ann_plot.plot("a < b", [("AkiDB", [(0.9, 5000), (0.99, 900)]), ("peer & co", [(0.95, 10)]), ("unseen", [(0.1, 10)])])
    root = xml.etree.ElementTree.fromstring(text)
    words = "".join(root.itertext())
    assert "a < b" in words and "peer & co" in words and "unseen" not in words, words
    assert "prefers-color-scheme: dark" in text and len(text) < 20000
    equal(ann_plot.plot("empty", [("AkiDB", [])]), None)


def test_the_whole_chain_measures_merges_and_writes_the_page():
    peers = ["exact"] + (["hnswlib"] if importlib.util.find_spec("hnswlib") else [])
    missing = next(p for p, module in (("chroma", "chromadb"), ("voyager", "voyager"), ("ngt", "ngtpy")) if not importlib.util.find_spec(module))
    with tempfile.TemporaryDirectory(prefix="akidb-bench-") as folder:
        docs = pathlib.Path(folder, "docs")
        docs.mkdir()
        (docs / "PERFORMANCE.md").write_text(f"# Performance\n\n{GOALS}\n{SECTION}")
        words = ["--sizes", "sample", "--passes", "2", "--pass-ms", "5"]
        bench(folder, "ann_run.py", *words, "--peers", " ".join([*peers, missing]))
        results = json.loads(pathlib.Path(folder, "ann.json").read_text())
        entry = results["sets"]["sample"]
        equal((entry["set"]["vectors"], entry["set"]["dimension"]), (2000, 384))
        assert 5 < entry["set"]["kinds"]["questions"]["lid"] < 60, entry["set"]
        equal(sorted(entry["engines"]), sorted(peers))
        assert missing in entry["absent"], entry["absent"]
        record = entry["engines"]["exact"]
        equal(record["passes"][0]["questions/1"]["peer"][0]["recall"], 1.0)
        assert record["passes"][0]["questions/1"]["own"][-1]["recall"] >= 0.95, record
        assert ann_curves.ratio(record, "questions/1", 0.95) > 0
        side = entry["own"]["sides"]["questions"]
        equal([f["kind"] for f in side["filtered"]], ["random"] * 4 + ["near"] * 4 + ["far"] * 4)
        equal([w["asked"] for r in side["recalls"] for w in r["wanted"]], 2 * [0.9, 0.95, 0.99])
        assert side["restored"]["bytes"] > 2000 * 384 * 4 and side["restored"]["points"][0]["recall"] >= 0.95, side["restored"]
        assert side["churned"]["points"][0]["recall"] >= 0.95, side["churned"]

        # What is not measured again stays.
        bench(folder, "ann_run.py", *words, "--peers", "none", "--no-sides")
        again = json.loads(pathlib.Path(folder, "ann.json").read_text())["sets"]["sample"]
        equal(again["engines"], entry["engines"])
        equal(again["own"]["sides"], entry["own"]["sides"])

        bench(folder, "report.py")
        page = (docs / "PERFORMANCE.md").read_text()
        assert "### sample: 2,000 × 384" in page and "| exact, numpy |" in page, page
        assert "Kept as it is." in page and "| over HTTP | ≥ 70 % | 85 % | yes <!-- http --> |" in page, page
        bench(folder, "report.py")
        equal((docs / "PERFORMANCE.md").read_text(), page)
        xml.etree.ElementTree.fromstring((docs / "plots" / "ann-sample-questions.svg").read_text())


def test_a_word_that_is_no_set_or_peer_is_refused():
    with tempfile.TemporaryDirectory(prefix="akidb-bench-") as folder:
        assert "there is no data set 'huge'" in bench(folder, "ann_run.py", "--sizes", "huge", code=1)
        assert "there is no peer 'best'" in bench(folder, "ann_run.py", "--sizes", "sample", "--peers", "best", code=1)


if __name__ == "__main__":
    support.run(globals())
