"""What the benches share: paths, the C programs, a server to measure, data, results as JSON.

All traffic is on 127.0.0.1. Results go to build/bench/<part>.json, which report.py reads.
Standard library only; data is made by programs that run in the venv (build/venv-bench).
"""

import contextlib
import datetime
import http.client
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"
BUILD = pathlib.Path(os.environ.get("AKIDB_BUILD", ROOT / "build" / "release"))
OUT = pathlib.Path(os.environ.get("AKIDB_BENCH_OUT", ROOT / "build" / "bench"))
DOCS = pathlib.Path(os.environ.get("AKIDB_BENCH_DOCS", ROOT / "docs"))
DATA = OUT / "data"
AKIDB = BUILD / "akidb"
SHARED = pathlib.Path(os.environ.get("AKIDB_SHARED", ROOT.parent / "shared"))
START_SECONDS_MAX = 300
STOP_SECONDS_MAX = 300


def say(text):
    print(text, flush=True)


# --- Programs in C ---


def program(name, *libraries):
    """Compile bench/<name>.c when it is newer than its program; returns the path."""
    out = OUT / "bin" / name
    out.parent.mkdir(parents=True, exist_ok=True)
    library = BUILD / "libakidb.a"
    sources = [BENCH / f"{name}.c", BENCH / "common.h"] + (
        [library] if "akidb" in libraries else []
    )
    if out.exists() and all(out.stat().st_mtime > s.stat().st_mtime for s in sources):
        return out
    command = [
        os.environ.get("CC", "cc"),
        "-std=gnu11",
        "-D_GNU_SOURCE",
        "-O2",
        "-Wall",
        "-Wextra",
        f"-I{ROOT}/include",
        f"-I{ROOT}/src",
        str(sources[0]),
        "-o",
        str(out),
    ]
    if name.startswith("lib"):
        command += ["-shared", "-fPIC", "-ldl"]
    if "akidb" in libraries:
        command += [str(library), "-lcrypto", "-lxxhash", "-lsqlite3"]
    command += [f"-l{x}" for x in libraries if x != "akidb"] + ["-pthread", "-lm"]
    subprocess.run(command, check=True)
    return out


def run_json(*command, timeout=900, env=None):
    """The JSON that a program prints."""
    done = subprocess.run(
        [str(c) for c in command],
        stdout=subprocess.PIPE,
        timeout=timeout,
        check=True,
        env={**os.environ, **(env or {})},
    )
    return json.loads(done.stdout)


# --- Data ---


def clustered(n=200_000, dimension=512):
    """(base, query): .npy files of embedding-like vectors, made once."""
    out = DATA / f"clustered-{dimension}-{n}"
    base, query = pathlib.Path(f"{out}.base.npy"), pathlib.Path(f"{out}.query.npy")
    if not (base.exists() and query.exists()):
        DATA.mkdir(parents=True, exist_ok=True)
        say(f"making {n:,} vectors of {dimension} dimensions")
        subprocess.run(
            [
                sys.executable,
                SHARED / "tools" / "make_vectors.py",
                out,
                "--n",
                str(n),
                "--d",
                str(dimension),
                "--queries",
                "2000",
            ],
            check=True,
            timeout=1800,
        )
    return base, query


def data_file(name, verb, *args):
    """A file that data.py makes, once; None among the arguments stands for its path."""
    out = DATA / name
    if not out.exists():
        DATA.mkdir(parents=True, exist_ok=True)
        say(f"making {name}")
        part = out.with_name("part-" + name)
        subprocess.run(
            [
                sys.executable,
                BENCH / "data.py",
                verb,
                *[str(part if a is None else a) for a in args],
            ],
            check=True,
            timeout=900,
        )
        part.rename(out)
    return out


def rows_of(base, first, count):
    return data_file(
        f"{base.name.removesuffix('.npy')}.{first}+{count}.npy", "slice", base, None, first, count
    )


def bodies(query, k, ef):
    """NDJSON of search bodies, for wrk."""
    return data_file(
        f"{query.name.removesuffix('.npy')}.k{k}.ef{ef}.ndjson", "bodies", query, None, k, ef
    )


def vectors_of(query, count):
    """The first vectors of a .npy of queries, as lists."""
    with open(bodies(query, 10, 64), encoding="utf-8") as lines:
        return [json.loads(line)["vector"] for line, _ in zip(lines, range(count))]


# --- The machine and the results ---


def first_line(command):
    try:
        return (
            subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=20
            )
            .stdout.strip()
            .splitlines()[0]
        )
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return ""


def proc_line(path, key):
    """What follows the key in the first line that begins with it."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return next(
            (line[len(key) :].lstrip(" \t:").strip() for line in file if line.startswith(key)), ""
        )


def sync_us(folder):
    """Median time of a 4 KiB write and its fdatasync there, in microseconds."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sync-probe"
    took = []
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        os.truncate(fd, 4 << 20)
        for i in range(500):
            began = time.perf_counter()
            os.pwrite(fd, b"x" * 4096, i * 4096)
            os.fdatasync(fd)
            took.append(time.perf_counter() - began)
    finally:
        os.close(fd)
        path.unlink()
    return sorted(took)[len(took) // 2] * 1e6


def busy_share(interval=1.0):
    """Share of the processors' time that others take, while nothing of ours runs."""

    def read():
        fields = [int(x) for x in proc_line("/proc/stat", "cpu ").split()]
        return sum(fields), fields[3] + fields[4]  # all, idle and waiting for disks

    total, idle = read()
    time.sleep(interval)
    total_after, idle_after = read()
    return round(1 - (idle_after - idle) / max(1, total_after - total), 2)


def machine():
    git = ["git", "-C", str(ROOT)]
    changed = first_line([*git, "status", "--porcelain", "--", "src", "include"])
    return {
        "cpu": proc_line("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(proc_line("/proc/meminfo", "MemTotal").split()[0]) / 2**20, 1),
        "kernel": platform.release(),
        "compiler": first_line(["cc", "--version"]),
        "sync_us": round(sync_us(OUT), 1),
        "akidb": run_json(AKIDB, "version", "--json"),
        "commit": first_line([*git, "rev-parse", "--short", "HEAD"])
        + (" with changes" if changed else ""),
    }


def save(part, results):
    """Write build/bench/<part>.json with what is needed to judge the numbers."""
    OUT.mkdir(parents=True, exist_ok=True)
    results = {
        "part": part,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "busy": busy_share(),
        **results,
    }
    (OUT / f"{part}.json").write_text(json.dumps(results, indent=1) + "\n")
    say(f"wrote {OUT / part}.json")


# --- A server ---


def pinned(cores):
    """The words before a command that is to run on these cores."""
    return ["taskset", "-c", ",".join(map(str, cores))] if cores else []


class Server:
    """akidb serve on a free port of loopback; `settings` are configuration keys: {"wal.max_bytes": "8GiB"}.
    The log is <folder>.log. Leaving the block without stop() kills it."""

    def __init__(self, folder, settings=None, env=None, cores=None):
        self.folder = pathlib.Path(folder)
        self.settings = settings or {}
        self.env = {**os.environ, **(env or {})}
        self.cores = cores  # None: all
        self.process = None
        self.ready_seconds = None  # from exec to the first 200 of /ready

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        flags = [x for key, value in self.settings.items() for x in (f"--{key}", str(value))]
        self.log = open(self.folder.with_suffix(".log"), "ab")
        began = time.perf_counter()
        self.process = subprocess.Popen(
            [
                *pinned(self.cores),
                AKIDB,
                "serve",
                "--data",
                self.folder,
                "--listen",
                "127.0.0.1:0",
                *flags,
            ],
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=self.env,
        )
        line = self.process.stdout.readline().decode()
        if "listening on http://" not in line:
            self.process.kill()
            raise SystemExit(f"the server did not start: {line or self.folder.with_suffix('.log')}")
        self.port = int(line.strip().rsplit(":", 1)[1])
        self.url = f"http://127.0.0.1:{self.port}"
        with self.client() as client:
            while client.request("GET", "/ready")[0] != 200:
                if (
                    self.process.poll() is not None
                    or time.perf_counter() - began > START_SECONDS_MAX
                ):
                    raise SystemExit(
                        f"the server did not get ready: see {self.folder.with_suffix('.log')}"
                    )
                time.sleep(0.001)
        self.ready_seconds = time.perf_counter() - began
        return self

    def stop(self, how=signal.SIGTERM):
        """Seconds until the process was gone."""
        if self.process is None:
            return 0.0
        began = time.perf_counter()
        self.process.send_signal(how)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            say(f"the server did not stop within {STOP_SECONDS_MAX} s and was killed")
        self.process.stdout.close()
        self.log.close()
        self.process = None
        return time.perf_counter() - began

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process is not None:
            self.stop(signal.SIGKILL)

    def memory_mib(self):
        """(resident now, highest so far, of which anonymous) in MiB."""
        status = f"/proc/{self.process.pid}/status"
        return tuple(
            round(int(proc_line(status, key).split()[0]) / 1024, 1)
            for key in ("VmRSS", "VmHWM", "RssAnon")
        )

    def cpu_seconds(self):
        fields = (
            pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        )
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def client(self):
        return Client(self.port)

    def metric(self, name):
        """The value of a gauge or counter without labels."""
        with self.client() as client:
            for line in client.request("GET", "/metrics")[1].decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.split()[1])
        return 0.0

    def wait_linked(self, seconds=900):
        """Wait until every vector is in its graph; returns the seconds it took."""
        began = time.perf_counter()
        while self.metric("akidb_vectors_pending") > 0:
            if time.perf_counter() - began > seconds:
                raise SystemExit(f"vectors still wait for linking after {seconds} s")
            time.sleep(0.05)
        return time.perf_counter() - began


class Client:
    """One kept-alive connection."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def request(self, method, path, body=None, content_type="application/json"):
        headers = {"Content-Type": content_type} if body is not None else {}
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def call(self, method, path, body=None):
        """JSON in, JSON out; anything but 2xx ends the bench."""
        status, text = self.request(method, path, None if body is None else json.dumps(body))
        if not 200 <= status < 300:
            raise SystemExit(f"{method} {path}: {status} {text[:300]!r}")
        return json.loads(text) if text else None

    def create(self, name, dimension, metric="cosine"):
        return self.call(
            "POST", "/collections", {"name": name, "dimension": dimension, "metric": metric}
        )

    def count(self, name):
        return self.call("POST", f"/collections/{name}/count")["count"]


@contextlib.contextmanager
def scratch(name):
    """An empty folder under build/bench/run, gone afterwards; server logs beside it stay."""
    folder = OUT / "run" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class HealthPoll:
    """GET /health every 10 ms in a process of its own; .result after the block."""

    def __init__(self, server, interval_ms=10):
        self.command = [program("poll_health"), str(server.port), str(interval_ms)]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(self, *_):
        out, _ = self.process.communicate(timeout=60)
        self.result = json.loads(out) if self.process.returncode == 0 else None


# --- Load ---


def import_file(server, collection, vectors, wait=True):
    """akidb import of a .npy into a new collection, and wait until it is linked."""
    return run_json(
        AKIDB,
        "import",
        "--url",
        server.url,
        "--collection",
        collection,
        "--create",
        "--json",
        *(["--wait"] if wait else []),
        vectors,
    )


def wrk(server, collection, texts, connections, seconds, cores=None):
    """Searches per second and latencies; also the server's processor time per search."""
    before = server.cpu_seconds()
    done = subprocess.run(
        [
            *pinned(cores),
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "-s",
            BENCH / "search.lua",
            server.url,
            "--",
            f"/collections/{collection}/search",
            texts,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=seconds + 120,
        check=True,
    )
    result = json.loads(done.stderr.strip().splitlines()[-1])
    if result["errors"]:
        raise SystemExit(f"wrk met {result['errors']} errors in {result['calls']} searches")
    result["server_us"] = 1e6 * (server.cpu_seconds() - before) / max(1, result["calls"])
    return result


def load_start(server, collection, vectors, clients, rows, count=0, seconds=0, first=0):
    """Single upserts over kept-alive connections, in the background: begins when this returns."""
    process = subprocess.Popen(
        [
            program("http_upserts", "akidb"),
            *map(str, (server.port, collection, vectors, clients, first, rows, count, seconds)),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stderr.readline()
    if line.strip() != "rendered":
        raise SystemExit(f"http_upserts: {line}{process.stderr.read()}")
    return process


def load_result(process):
    out, errors = process.communicate(timeout=900)
    if process.returncode:
        raise SystemExit(f"http_upserts: {errors}")
    return json.loads(out)


def load(*args, **named):
    return load_result(load_start(*args, **named))
