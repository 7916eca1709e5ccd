#!/usr/bin/env python3
"""docs/TIERING-TUNING-GUIDE.md: its commands run as they stand, and its tables are what the simulator says. With --write the
tables are written anew.
"""
import json
import re
import shlex
import subprocess
import sys

import support
from support import equal, status

GUIDE = support.ROOT / "docs" / "TIERING-TUNING-GUIDE.md"
SIMULATE = "akidb tiers simulate "
TABLE = r"^```sh\n((?:akidb tiers simulate .*\n)+)```\n\n((?:\|.*\n)+)"


def blocks():
    """The command lines of each ```sh block."""
    return [found.strip().split("\n") for found in re.findall(r"^```sh\n(.*?)^```$", GUIDE.read_text(), re.M | re.S)]


def akidb(*words):
    done = subprocess.run([support.binary(), *words], capture_output=True, text=True, timeout=300)
    equal(done.returncode, 0, f"akidb {' '.join(words)}: {done.stderr}")
    return done.stdout


def gib(count):
    return f"{count / (1 << 30):,.2f} GiB"


def row(line):
    """A table's row: the policy's options, and what became of it."""
    words = shlex.split(line.removeprefix("akidb "))
    told = json.loads(akidb(*words, "--json"))
    tiers, days = told["tiers"], told["days"]
    total = sum(tier["accesses"] for tier in tiers.values())
    share = [f"{100 * tiers[name]['accesses'] / total:.2f} %" for name in ("hot", "warm", "cold")]
    held = [gib(tiers[name]["mean_bytes"]) for name in ("hot", "warm", "cold")]
    moved = gib(sum(move["bytes"] for move in told["moves"]) / days)
    options = re.sub(r"--(profile|collections|days) \w+ ?", "", line.removeprefix(SIMULATE)).strip()
    return "| " + " | ".join([f"`{options}`" if options else "default", *share, *held, moved]) + " |"


def tables():
    """(lines of the simulator, rows that stand below them) for each profile."""
    text = GUIDE.read_text()
    for block in re.finditer(TABLE, text, re.M):
        yield block.group(1).strip().split("\n"), block.group(2).strip().split("\n")[2:]


def test_the_numbers_of_the_three_profiles_are_the_simulators():
    found = list(tables())
    equal([lines[0].split()[4] for lines, _ in found], ["rag", "batch", "seasonal"], "profiles")
    for lines, rows in found:
        equal(rows, [row(line) for line in lines], f"the table below {lines[0]}")


def test_the_other_commands_do_what_the_page_says():
    with support.Server() as server:
        client = server.client()
        status(client.post("/collections", {"name": "notes", "dimension": 4}), 201)
        status(client.post("/collections/notes/vectors", {"vectors": [{"vector": [i + 1, 2, 3, 4]} for i in range(20)]}), 200)
        url = f"http://127.0.0.1:{server.port}"
        ran = []
        for line in [line for block in blocks() for line in block if not line.startswith(SIMULATE)]:
            words = shlex.split(line)
            if words[0] == "curl":
                words = [word.replace("localhost:8080", f"127.0.0.1:{server.port}") for word in words]
                done = subprocess.run(words, capture_output=True, text=True, timeout=60)
                equal(json.loads(done.stdout)["rules"]["lowest"], "warm", line)
                status(client.post("/collections/notes/tier", {"rules": None}), 200)
            else:
                told = akidb(*words[1:], "--url", url)
                assert "tier" in told, (line, told)
            ran.append(" ".join(words[:3]))
        equal(len(ran), 7, f"commands: {ran}")
        shown = client.get("/collections/notes/tier").json()
        equal((shown["tier"], shown["pinned"], shown["rules"]["own"]), ("hot", False, []), "in the end")
        client.close()


def test_every_key_and_series_of_the_page_exists():
    text = GUIDE.read_text()
    config = akidb("help", "config")
    policy = text[text.index("## The default policy"):text.index("## Trying")]
    for key in re.findall(r"^\| `(\w+)`(?:, `(\w+)`)? \|", policy, re.M):
        for name in filter(None, key):
            assert f"tiering.{name}" in config, f"there is no tiering.{name}"
    with support.Server() as server:
        client = server.client()
        known = client.get("/metrics").text()
        client.close()
    for name in re.findall(r"`((?:akidb_)?\w+)(?:\{[^`]*\})?`", text):
        if name.startswith("akidb_") or name in ("collection_tier", "tier_migration_duration_seconds", "memory_usage_bytes"):
            assert f"# TYPE {name} " in known, f"there is no series {name}"


def write():
    def anew(block):
        lines = block.group(1).strip().split("\n")
        head = block.group(2).split("\n")[:2]
        print(lines[0], flush=True)
        return f"```sh\n{block.group(1)}```\n\n" + "\n".join(head + [row(line) for line in lines]) + "\n"

    GUIDE.write_text(re.sub(TABLE, anew, GUIDE.read_text(), flags=re.M))


if __name__ == "__main__":
    if "--write" in sys.argv:
        write()
    else:
        support.run(globals())
