#!/usr/bin/env python3
"""What the query log costs a search: processor time of the server per request, with the log off, as it is by default,
and with every query logged.

    query_log.py [--rows 20000] [--dimension 128] [--requests 20000] [--rounds 9]

Three servers over copies of one folder are asked in turn, round by round, so that what else the machine does meets all
of them; processor time is the process's own, with the log's thread in it. Everything over loopback.
"""

import argparse
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from support import AKIDB, save, say

VARIANTS = {
    "off": ["--perf.enabled", "false"],
    "default": [],
    "every query": ["--perf.max_bytes", "64GiB"],
}


class Served:
    def __init__(self, folder, words):
        self.process = subprocess.Popen(
            [AKIDB, "serve", "--data", folder, "--listen", "127.0.0.1:0", "--server.threads", "1", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        found = re.match(r"listening on (http://\S+)", self.process.stdout.readline())
        self.url = found.group(1)
        while not self.is_ready():
            time.sleep(0.01)

    def is_ready(self):
        try:
            return urllib.request.urlopen(self.url + "/ready", timeout=10).status == 200
        except urllib.error.HTTPError:
            return False

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def load(self, *words):
        subprocess.run(
            [AKIDB, "bench", "load", "--url", self.url, "--collection", "docs", "--threads", "1", *words],
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def stop(self):
        self.process.terminate()
        if self.process.wait() != 0:
            raise SystemExit("a server failed")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rows", type=int, default=20_000)
    arguments.add_argument("--dimension", type=int, default=128)
    arguments.add_argument("--requests", type=int, default=20_000)
    arguments.add_argument("--rounds", type=int, default=9)
    o = arguments.parse_args()
    took = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory(prefix="akidb-bench-") as folder:
        first = Served(f"{folder}/first", ["--perf.enabled", "false"])
        first.load("--op", "upsert", "-n", str(o.rows // 100), "-b", "100", "-d", str(o.dimension))
        first.stop()
        servers = {}
        for name, words in VARIANTS.items():
            shutil.copytree(f"{folder}/first", f"{folder}/{name}")
            servers[name] = Served(f"{folder}/{name}", words)
        for turn in range(o.rounds + 1):
            names = list(servers)
            for name in names[turn % 3 :] + names[: turn % 3]:
                before = servers[name].cpu_seconds()
                servers[name].load("--clients", "4", "-n", str(o.requests))
                if turn:  # the first round is to warm up
                    took[name].append((servers[name].cpu_seconds() - before) / o.requests * 1e6)
        for server in servers.values():
            server.stop()
        logged = sum(f.stat().st_size for f in pathlib.Path(folder, "every query", "perf").glob("*daily*"))
    result = {"options": vars(o), "daily_bytes": logged}
    for name, values in took.items():
        ratio = statistics.median(v / off for v, off in zip(values, took["off"]))
        result[name] = {"cpu_us": statistics.median(values), "cpu_us_min": min(values), "of_off": ratio}
        say(f"{name:12} {statistics.median(values):6.2f} µs a search (least {min(values):.2f}), {ratio:.3f} × off")
    save("query_log", result)


if __name__ == "__main__":
    main()
