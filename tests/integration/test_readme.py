#!/usr/bin/env python3
"""The commands of README.md do what it says. Each line of its sh blocks is run here, or named with the reason why not.

`serve` and curl run with a folder and a port of their own; `make demo` and `make stop` run as they stand, last, since
they build. A demo that runs already is told apart and started again afterwards. Needs tests/requirements.txt.
"""
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile
import time

import duckdb

import support
from support import equal, status

README = support.ROOT / "README.md"
DEMO_DATA = support.ROOT / "akidb-data"
SERVE = "build/release/akidb serve --data ./akidb-data --listen 127.0.0.1:8080"
LISTED_ONLY = {"make test": "test", "make fresh": "fresh", "make help": "help", "make bench": "bench", "make fuzz": "fuzz"}
SNAPSHOTS = ["snapshots create notes", "snapshots list notes", "export notes notes.parquet",
             "import --collection notes-copy --create notes.parquet"]
ANSWERS = {"a feeling of great happiness": ("joy", "rejoicing"), "a tool for cutting wood": ("power saw", "adz"),
           "someone who cooks for a living": ("cook", "chef")}


def block_commands():
    """The commands of all ```sh blocks, in order: continued lines joined, comments left out."""
    text = "\n".join(re.findall(r"^```sh\n(.*?)^```$", README.read_text(), re.M | re.S))
    lines = text.replace("\\\n", " ").split("\n")
    return [" ".join(line.split()) if "'" not in line else line.strip() for line in lines
            if line.strip() and not line.startswith("#")]


def inline_commands():
    """The `akidb …`, `make …` and `curl …` of the running text."""
    text = re.sub(r"^```.*?^```$", "", README.read_text(), flags=re.M | re.S)
    return [found for found in re.findall(r"`([^`\n]+)`", text) if re.match(r"(akidb|make|curl) ", found)]


def run(words, **more):
    return subprocess.run(words, capture_output=True, text=True, timeout=600, **more)


def targets():
    return re.findall(r"^([a-z]+):.*## ", (support.ROOT / "Makefile").read_text(), re.M)


def test_every_command_of_the_page_is_known_here():
    for command in block_commands():
        known = (command in ("make demo", "make stop", "make test", SERVE) or command.startswith("curl -s localhost:8080/")
                 or command.removeprefix("build/release/akidb ") in SNAPSHOTS)
        assert known, f"README.md has a command that is not tested: {command!r}"
    for command in inline_commands():
        known = (command in LISTED_ONLY or command in ("akidb help", "akidb help config", "akidb help snapshots", "akidb import", "akidb mock-s3",
                                                       "akidb parquet verify", "akidb perf advise", "akidb perf show", "akidb serve",
                                                       "make demo", "curl localhost:8080/metrics"))
        assert known, f"README.md has a command that is not tested: {command!r}"


def test_make_has_the_targets_that_the_page_names():
    named = {command for command in block_commands() + inline_commands() if command.startswith("make ")}
    for command in named:
        assert command.split()[1] in targets(), f"there is no `{command}`"
        dry = run(["make", "-n", command.split()[1]], cwd=support.ROOT)
        equal(dry.returncode, 0, f"`make -n {command.split()[1]}`")


def test_the_files_that_the_page_names_are_there():
    for link in re.findall(r"\]\(([^)#]+)\)", README.read_text()):
        assert "://" in link or (support.ROOT / link).exists(), f"README.md names {link}, which is not there"


def test_help_and_help_config_print_what_the_page_sends_people_to():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AKIDB_")}
    for words, part in ((["help"], "import"), (["help", "config"], "wal.durability"), (["help", "import"], ".npy"),
                        (["help", "serve"], "--listen"), (["help", "snapshots"], "restore")):
        done = run([support.binary(), *words], env=environment)
        equal(done.returncode, 0, f"exit code of akidb {' '.join(words)}")
        assert part in done.stdout, f"akidb {' '.join(words)} does not mention {part}: {done.stdout}"


class Serving:
    """The README's serve line, with a folder and a port of its own."""

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="akidb-readme-")
        words = shlex.split(SERVE)
        words[0] = support.binary()
        words[words.index("./akidb-data")] = os.path.join(self.dir, "akidb-data")
        words[words.index("127.0.0.1:8080")] = "127.0.0.1:0"
        self.process = subprocess.Popen(words, cwd=self.dir, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.port = None
        for line in self.process.stdout:
            found = re.match(r"listening on http://127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found.group(1))
                break
        assert self.port, f"`{SERVE}` did not start"
        client = support.Client(self.port)
        while client.get("/ready").status != 200:
            assert self.process.poll() is None, "the server ended before it was ready"
            time.sleep(0.005)
        client.close()
        return self

    def __exit__(self, kind, value, trace):
        self.process.terminate()
        code = self.process.wait(timeout=support.START_SECONDS)
        self.process.stdout.close()
        shutil.rmtree(self.dir, ignore_errors=True)
        if kind is None:
            equal(code, 0, "exit code of the server")


def curl(command, port):
    """Answer of a curl command of the page, on another port: 2xx, and the body."""
    words = shlex.split(re.sub(r"localhost:8080", f"127.0.0.1:{port}", command))
    done = run(words + ["-w", "\n%{http_code}"], env={**os.environ, "no_proxy": "127.0.0.1"})
    equal(done.returncode, 0, f"exit code of {command}: {done.stderr}")
    body, code = done.stdout.rsplit("\n", 1)
    assert code.startswith("2"), f"{command}: {code} {body}"
    return body


def test_the_curl_lines_make_fill_and_search_a_collection():
    with Serving() as server:
        answers = {}
        commands = [command for command in block_commands() if command.startswith("curl ")]
        for command in commands:
            answers[re.search(r"localhost:8080(/[^\s']*)", command).group(1)] = json.loads(curl(command, server.port))
        equal(list(answers), ["/collections", "/collections/notes/vectors", "/collections/notes/search"])
        equal(answers["/collections"]["name"], "notes")
        equal([hit["external_id"] for hit in answers["/collections/notes/search"]["results"]], ["n1"])
        assert "# TYPE " in curl("curl -s localhost:8080/metrics", server.port)


def test_the_snapshot_lines_and_the_query_over_the_folder_agree_with_the_count():
    with Serving() as server:
        client = support.Client(server.port)
        status(client.post("/collections", {"name": "notes", "dimension": 4}), 201)
        status(client.post("/collections/notes/vectors", {"vectors": [{"vector": [i, 2, 3, 4]} for i in range(20)]}), 200)
        for command in block_commands():
            if command.removeprefix("build/release/akidb ") in SNAPSHOTS:
                words = [support.binary(), *shlex.split(command)[1:], "--url", f"http://127.0.0.1:{server.port}"]
                done = run(words, cwd=server.dir)
                equal(done.returncode, 0, f"exit code of {command}: {done.stderr}")
        query, = re.findall(r"^```sql\n(.*?)^```$", README.read_text(), re.M | re.S)
        rows, mean = duckdb.sql(query.replace("'akidb-data", f"'{server.dir}/akidb-data")).fetchall()[0]
        equal(rows, client.post("/collections/notes/count").json()["count"])
        equal(mean, sum(i * i for i in range(20)) / 20 + 29)
        equal(client.post("/collections/notes-copy/count").json()["count"], 20)
        client.close()


def test_the_example_of_the_filter_page_is_a_filter():
    examples = re.findall(r"^```json\n(.*?)^```$", (support.ROOT / "docs" / "filters.md").read_text(), re.M | re.S)
    assert examples, "docs/filters.md has no example"
    metadata = {"lang": "en", "year": 2024, "tags": ["sport", "art"], "author": {"name": "x"}}
    with support.Server() as server:
        client = server.client()
        status(client.post("/collections", {"name": "f", "dimension": 2}), 201)
        status(client.post("/collections/f/vectors", {"vectors": [
            {"vector": [1, 0], "metadata": metadata}, {"vector": [1, 0], "metadata": {**metadata, "year": 2030}},
            {"vector": [1, 0], "metadata": {**metadata, "draft": True}},
            {"vector": [1, 0], "metadata": {"lang": "en", "year": 2024}}]}), 200)
        for example in examples:
            answer = status(client.post("/collections/f/count", {"filter": json.loads(example)}), 200)
            equal(answer.json()["count"], 1, "the documents that the example of docs/filters.md matches")


# --- Last, since it builds ---

def make(target):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AKIDB_", "MAKE"))}
    done = run(["make", target], cwd=support.ROOT, env=environment)
    equal(done.returncode, 0, f"exit code of make {target}: {done.stdout[-2000:]} {done.stderr[-2000:]}")
    return done.stdout


def demo_pid():
    """The process of a demo that runs, or None."""
    try:
        pid = int((DEMO_DATA / "server.pid").read_text())
        return pid if b"serve" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes() else None
    except (OSError, ValueError):
        return None


def answers_of(shown):
    """{question: the text below it} of what make demo prints."""
    parts = re.split(r'^"(.*)"$', shown, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def check_demo(shown):
    found = answers_of(shown)
    equal(set(found), set(ANSWERS), "the questions of the demo")
    for question, words in ANSWERS.items():
        for word in words:
            assert re.search(rf"\b{word}\b", found[question]), f"{question}: no {word!r} in {found[question]}"
        assert re.search(r"\b[01]\.\d\d", found[question]), f"{question}: no score in {found[question]}"
        assert re.search(r"in [\d.]+ (µs|ms|s)\b", found[question]), f"{question}: no time in {found[question]}"
    address = re.search(r"^akidb serve listens on http://127\.0\.0\.1:(\d+)", shown, re.M)
    assert address, f"no address in {shown}"
    last = shown.strip().split("\n")[-1]
    assert "make stop" in last, f"the last line is {last!r}"
    return int(address.group(1))


def test_make_demo_answers_its_questions_and_make_stop_ends_it():
    ran_before, had_data = demo_pid() is not None, DEMO_DATA.exists()
    try:
        port = check_demo(make("demo"))
        pid = demo_pid()
        equal(check_demo(make("demo")), port, "the port of the second make demo")
        equal(demo_pid(), pid, "the process of the second make demo")
        client = support.Client(port)
        equal(status(client.post("/collections/words/count", {}), 200).json(), {"count": 2000})
        client.close()
        make("stop")
        assert demo_pid() is None, "the server runs on after make stop"
        try:
            client.get("/health")
        except ConnectionRefusedError:
            pass
        else:
            raise AssertionError("the port answers after make stop")
    finally:
        if ran_before:
            make("demo")
        else:
            make("stop")
            if not had_data:
                shutil.rmtree(DEMO_DATA, ignore_errors=True)


if __name__ == "__main__":
    support.run(globals())
