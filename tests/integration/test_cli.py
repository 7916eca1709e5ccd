#!/usr/bin/env python3
"""The akidb program as a person or a script meets it: help, exit codes, configuration, import, search. Standard library only."""
import json
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import tempfile

import support
from support import equal

DATA = support.ROOT / "examples" / "data"
COMMANDS = ["serve", "import", "export", "snapshots", "search", "collections", "parquet", "tiers", "perf", "bench",
            "mock-s3", "version", "help"]


class Work:
    """A folder to run commands in, so that no ./akidb.toml or ./akidb-data of the checkout is met."""

    def __enter__(self):
        self.dir = tempfile.mkdtemp(prefix="akidb-cli-")
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            shutil.rmtree(self.dir, ignore_errors=True)
        else:
            print(f"         kept: {self.dir}")

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, content):
        with open(self.path(name), "wb") as out:
            out.write(content.encode() if isinstance(content, str) else content)
        return self.path(name)

    def run(self, *words, code=0, stdin=None, environment=None):
        """stdout of the command; the exit code must be `code`, and a failure must say one sentence on stderr."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("AKIDB_")}
        env.update(environment or {})
        done = subprocess.run([support.binary(), *map(str, words)], cwd=self.dir, env=env, timeout=300,
                              input=stdin, capture_output=True)
        self.stdout = done.stdout.decode()
        self.stderr = done.stderr.decode()
        if done.returncode != code:
            raise AssertionError(f"{words} gave {done.returncode}, want {code}: {self.stderr or self.stdout}")
        if code:
            lines = self.stderr.strip().split("\n")
            if len(lines) != 1 or not lines[0].startswith("akidb: "):
                raise AssertionError(f"{words} printed {self.stderr!r} on stderr: one sentence was expected")
            return lines[0][len("akidb: "):]
        return self.stdout

    def json(self, *words, **more):
        return json.loads(self.run(*words, "--json", **more))


def npy(rows, kind="<f4", fortran=False):
    code = {"<f4": "f", "<f2": "e", "<f8": "d"}[kind]
    header = str({"descr": kind, "fortran_order": fortran, "shape": (len(rows), len(rows[0]))}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    flat = [x for row in rows for x in row]
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + struct.pack(f"<{len(flat)}{code}", *flat)


def three_documents():
    return "".join(json.dumps(d) + "\n" for d in (
        {"external_id": "a", "vector": [1, 0], "metadata": {"text": "east", "n": 1}},
        {"external_id": "b", "vector": [0, 1], "metadata": {"text": "north", "n": 2}},
        {"external_id": "c", "vector": [1, 1], "metadata": {"text": "between", "n": 3}}))


# --- Help and errors ---

def test_without_words_the_commands_are_listed():
    with Work() as work:
        text = work.run()
        listed = text[text.index("\nCommands:\n"):text.index("\nFirst steps:\n")]
        equal(re.findall(r"^  (\S+) +\S", listed, re.M), COMMANDS, "the commands")
        equal(work.run("help"), text)
        equal(work.run("--help"), text)


def test_every_command_explains_itself_with_examples():
    with Work() as work:
        for words in [[c] for c in COMMANDS if c not in ("bench", "version")] + [["bench", "ann"], ["bench", "load"]]:
            text = work.run("help", *words)
            assert text.startswith(f"Usage: akidb {' '.join(words)} "), text[:80]
            assert "\nOptions:\n" in text and "\nExamples:\n  " in text, text
            equal(work.run(*words, "--help"), text)
            for line in text.split("\n"):
                assert len(line) <= 120, f"a line of {len(line)} columns: {line}"
        assert work.run("help", "version").startswith("Usage: akidb version")
        assert "kernels" in work.run("help", "bench")


def test_what_is_not_known_is_refused_with_the_nearest_word():
    with Work() as work:
        equal(work.run("serv", code=2), "there is no command 'serv'; did you mean serve?")
        equal(work.run("help", "serv", code=2), "there is no command 'serv'; did you mean serve?")
        equal(work.run("xyzzy", code=2), "there is no command 'xyzzy'; `akidb help` lists them")
        equal(work.run("search", "--colection", "x", code=2),
              "`akidb search` has no option --colection; did you mean --collection?")
        assert "is \"0\"; it takes a whole number from 1 to 10000" in work.run("search", "-c", "x", "-k", "0", code=2)
        assert "one of --vector" in work.run("search", "-c", "x", code=2)
        assert "--collection NAME is needed" in work.run("import", "x.ndjson", code=2)
        assert "allowed are list, create, show, verify, drop" in work.run("collections", "lst", code=2)
        assert "allowed are ann, load, kernels" in work.run("bench", "fast", code=2)


def test_version_says_what_the_program_is_made_of():
    with Work() as work:
        told = work.json("version")
        equal(told["version"], (support.ROOT / "VERSION").read_text().strip())
        for key in ("compiler", "simd", "sqlite", "openssl", "commit", "build"):
            assert key in told, told
        assert told["sqlite"].startswith("3."), told
        equal(work.json("version", environment={"AKIDB_SIMD": "scalar"})["simd"], "scalar")
        assert f"akidb     {told['version']}\n" in work.run("version")
        equal(work.run("--version"), work.run("version"))


# --- Configuration ---

def test_the_configuration_is_documented_and_the_example_is_what_help_prints():
    with Work() as work:
        table = work.run("help", "config")
        example = work.run("help", "config", "--toml")
        equal(example, (support.ROOT / "examples" / "akidb.toml").read_text(), "examples/akidb.toml")
        for section, key in re.findall(r"AK_CONFIG\((\w+), (\w+),",
                                       (support.ROOT / "src" / "cli" / "config.def").read_text()):
            if section == "section":
                continue
            assert f"  {section}.{key} " in table, f"{section}.{key} is not in the table"
            assert f"AKIDB_{section.upper()}_{key.upper()}" in table, f"the variable of {section}.{key}"


def test_a_bad_configuration_stops_the_start_with_code_2_and_its_place():
    with Work() as work:
        work.write("akidb.toml", "[wal]\n\ndurability = \"sink\"\n")
        equal(work.run("serve", code=2),
              "akidb.toml:3: wal.durability is \"sink\"; allowed are sync, interval, async")
        work.write("akidb.toml", "[wal]\ndurabilty = \"sync\"\n")
        equal(work.run("serve", code=2), "akidb.toml:2: unknown key 'wal.durabilty'; did you mean wal.durability?")
        work.write("akidb.toml", "[wal\n")
        assert work.run("serve", code=2).startswith("akidb.toml:1: ")
        work.write("akidb.toml", "")
        equal(work.run("serve", code=2, environment={"AKIDB_WAL_INTERVAL_MS": "0"}),
              "AKIDB_WAL_INTERVAL_MS: wal.interval_ms is \"0\"; allowed are 1 to 60000")
        equal(work.run("serve", "--checkpoint.bytes", "many", code=2),
              "--checkpoint.bytes: checkpoint.bytes is \"many\"; it takes a number of bytes, or text like \"64MiB\"")
        equal(work.run("serve", "--log-level=loud", code=2),
              "--log-level: log.level is \"loud\"; allowed are debug, info, warn, error")
        assert "other.toml" in work.run("serve", "--config", "other.toml", code=3)
        assert "listen address" in work.run("serve", "--listen", "nowhere", "--log-level", "error", code=2)


def test_the_guide_of_s3_names_keys_and_defaults_that_there_are():
    with Work() as work:
        told = dict(re.findall(r"^  s3\.(\w+) .*\n +default ([^;]*);", work.run("help", "config"), re.M))
    guide = (support.ROOT / "docs" / "S3-CONFIGURATION-GUIDE.md").read_text()
    section = re.search(r"^## Speed and time\n(.*?)^## ", guide, re.M | re.S).group(1)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| `")]
    assert len(rows) >= 4, section
    for key, default, _ in rows:
        name = key.strip("`")
        assert name in told, f"the guide names {name}; the keys of s3 are {sorted(told)}"
        equal(default.replace(" ", ""), told[name], f"the default of s3.{name} in the guide")


def test_true_and_false_are_words_of_the_file_where_a_key_takes_them():
    with Work() as work:
        for i, value in enumerate(("true", "false", '"true"', '"false"')):
            work.write("akidb.toml", f"[s3]\nvirtual_host = {value}\n")
            work.run("collections", "create", f"c{i}", "-d", "4", "--data", "db")
        equal(len(work.json("collections", "--data", "db")["collections"]), 4)
        work.write("akidb.toml", "[s3]\nvirtual_host = 1\n")
        told = work.run("serve", code=2)
        assert told.startswith("akidb.toml:2: s3.virtual_host is "), told
        work.write("akidb.toml", "[wal]\ndurability = true\n")
        equal(work.run("serve", code=2), "akidb.toml:2: wal.durability is \"true\"; allowed are sync, interval, async")
        work.write("akidb.toml", "[s3]\nbucket = true\n")
        told = work.run("serve", code=2)
        assert told.startswith("akidb.toml:2: s3.bucket is ") and "text in quotes" in told, told
    with support.Server() as server:
        server.stop()
        path = os.path.join(server.data, "akidb.toml")
        pathlib.Path(path).write_text("[s3]\nvirtual_host = true\n")
        server.arguments = ["--config", path]
        server.start()


# --- A data folder, without a server ---

def test_documents_go_into_a_folder_and_are_found_there():
    with Work() as work:
        work.write("docs.ndjson", three_documents())
        told = work.json("import", "-c", "docs", "--create", "--data", "db", "--wait", "docs.ndjson")
        equal(told["documents"], 3)
        for key in ("seconds", "parse_seconds", "log_seconds", "index_seconds"):
            assert told[key] >= 0, told
        found = work.json("search", "-c", "docs", "--data", "db", "--vector", "[1, 0.1]", "-k", "2")
        equal([hit["external_id"] for hit in found["results"]], ["a", "c"])
        equal(found["results"][0]["metadata"], {"text": "east", "n": 1})
        text = work.run("search", "-c", "docs", "--data", "db", "--like", "b")
        assert re.search(r"^1 +1\.0000 +b +north$", text, re.M), text
        assert "3 documents in " in text
        filtered = work.json("search", "-c", "docs", "--data", "db", "--like", "b", "--filter",
                             '{"must":[{"key":"n","range":{"lt":3}}]}')
        equal([hit["external_id"] for hit in filtered["results"]], ["b", "a"])
        shown = work.json("collections", "show", "docs", "--data", "db")
        equal((shown["documents"], shown["dimension"], shown["metric"]), (3, 2, "cosine"))


def test_importing_the_same_file_again_replaces_its_documents():
    with Work() as work:
        work.write("docs.ndjson", three_documents())
        for _ in range(2):
            work.run("import", "-c", "docs", "--create", "--data", "db", "docs.ndjson")
            equal(work.json("collections", "show", "docs", "--data", "db")["documents"], 3)


def test_a_bad_document_names_file_and_line_and_what_is_wrong():
    with Work() as work:
        work.write("docs.ndjson", three_documents() + '{"vector":[1]}\n')
        assert work.run("import", "-c", "d", "--create", "--data", "db", "docs.ndjson", code=2).startswith("docs.ndjson:4: ")
        equal(work.run("import", "-c", "d", "--data", "db", "none.ndjson", code=3).split(":")[0], "none.ndjson")
        work.write("empty.ndjson", "\n\n")
        assert "holds no document" in work.run("import", "-c", "d", "--data", "db", "empty.ndjson", code=2)
        work.write("three.ndjson", '{"vector":[1,2,3]}\n')
        assert "those of collection 'd' have 2" in work.run("import", "-c", "d", "--data", "db", "three.ndjson", code=2)
        assert "add --create" in work.run("import", "-c", "other", "--data", "db", "docs.ndjson", code=3)
        assert "allowed are cosine, dot, l2" in work.run("import", "-c", "x", "--create", "--metric", "near", "--data", "db",
                                                         "docs.ndjson", code=2)
        assert "exists with metric cosine" in work.run("import", "-c", "d", "--metric", "l2", "--data", "db",
                                                       "docs.ndjson", code=2)


def test_npy_files_of_both_widths_are_imported_with_their_documents():
    rows = [[1.0, 0.5], [0.25, -2.0], [3.0, 4.0]]
    with Work() as work:
        work.write("docs.ndjson", "".join(json.dumps({"external_id": str(i)}) + "\n" for i in range(3)))
        for kind, name in (("<f4", "full"), ("<f2", "half")):
            work.write(f"{name}.npy", npy(rows, kind))
            work.run("import", "-c", name, "--create", "--metric", "l2", "--data", "db", f"{name}.npy",
                     "--documents", "docs.ndjson")
            found = work.json("search", "-c", name, "--data", "db", "--vector", "[3, 4]", "-k", "1")
            equal((found["results"][0]["external_id"], found["results"][0]["score"]), ("2", 0))
            found = work.json("search", "-c", name, "--data", "db", "--vector-file", f"{name}.npy", "--row", "1")
            equal(found["results"][0]["external_id"], "1")
        work.write("double.npy", npy(rows, "<f8"))
        assert "astype('<f4')" in work.run("import", "-c", "full", "--data", "db", "double.npy", code=2)
        work.write("column.npy", npy(rows, "<f4", fortran=True))
        assert "Fortran" in work.run("import", "-c", "full", "--data", "db", "column.npy", code=2)
        work.write("nan.npy", npy([[1.0, 0.5], [0.25, float("nan")]]))
        equal(work.run("import", "-c", "full", "--data", "db", "nan.npy", code=2), "nan.npy row 1: number 1 is not finite")
        work.write("short.ndjson", "{}\n")
        assert "must be as many" in work.run("import", "-c", "full", "--data", "db", "full.npy", "--documents",
                                             "short.ndjson", code=2)
        assert "--row is 3; the rows of full.npy are 0 to 2" in work.run(
            "search", "-c", "full", "--data", "db", "--vector-file", "full.npy", "--row", "3", code=2)
        assert "the collection's vectors have 2" in work.run("search", "-c", "full", "--data", "db", "--vector", "[1]", code=2)
        equal(work.run("search", "-c", "full", "--data", "db", "--like", "nobody", code=3),
              "'full' holds no document 'nobody'")


def test_standard_input_is_a_file_too():
    with Work() as work:
        work.run("import", "-c", "docs", "--create", "--data", "db", "-", stdin=three_documents().encode())
        equal(work.json("collections", "show", "docs", "--data", "db")["documents"], 3)


def test_collections_are_made_listed_and_dropped():
    with Work() as work:
        assert "is no data folder" in work.run("collections", "--data", "db", code=3)
        assert not os.path.exists(work.path("db"))
        made = work.json("collections", "create", "a", "--dimension", "8", "--metric", "dot", "--m", "8", "--data", "db")
        equal((made["name"], made["dimension"], made["metric"], made["index"]["m"]), ("a", 8, "dot", 8))
        work.run("collections", "create", "b", "-d", "4", "--data", "db")
        assert "exists" in work.run("collections", "create", "b", "-d", "4", "--data", "db", code=3)
        equal([c["name"] for c in work.json("collections", "--data", "db")["collections"]], ["a", "b"])
        assert re.search(r"^a +0 +8 +dot ", work.run("collections", "list", "--data", "db"), re.M)
        assert "--yes" in work.run("collections", "drop", "a", "--data", "db", code=2)
        work.run("collections", "drop", "a", "--yes", "--data", "db")
        equal([c["name"] for c in work.json("collections", "--data", "db")["collections"]], ["b"])
        work.run("collections", "show", "a", "--data", "db", code=3)
        assert "--dimension N is needed" in work.run("collections", "create", "c", "--data", "db", code=2)


# --- A server ---

def test_the_sample_is_imported_into_a_server_and_its_questions_are_answered():
    with Work() as work, support.Server() as server:
        url = f"http://127.0.0.1:{server.port}"
        told = work.json("import", "--url", url, "-c", "words", "--create", "--wait", DATA / "vectors.npy",
                         "--documents", DATA / "documents.ndjson")
        equal(told["documents"], 2000)
        for row, wanted in ((1, {"power saw", "adz"}), (2, {"joy", "rejoicing"}), (3, {"cook", "chef"})):
            found = work.json("search", "-c", "words", "--vector-file", DATA / "questions.npy", "--row", row, "-k", "5",
                              environment={"AKIDB_URL": url})
            words = {hit["metadata"]["word"] for hit in found["results"]}
            assert wanted <= words, f"question {row} found {words}"
        like = work.json("search", "--url", url, "-c", "words", "--like", "n07527352", "-k", "1")
        equal(like["results"][0]["external_id"], "n07527352")
        filtered = work.json("search", "--url", url, "-c", "words", "--like", "n07527352", "-k", "5", "--filter",
                             '{"must":[{"key":"pos","match":"verb"}]}')
        equal({hit["metadata"]["pos"] for hit in filtered["results"]}, {"verb"})
        query = json.loads((DATA / "query.json").read_text())
        answer = support.status(server.client().post("/collections/words/search", query), 200).json()
        equal(len(answer["results"]), 3)
        work.run("import", "--url", url, "-c", "words", DATA / "vectors.npy", "--documents", DATA / "documents.ndjson")
        equal(work.json("collections", "show", "words", "--url", url)["documents"], 2000, "after the second import")


def test_a_server_and_a_folder_give_the_same_answers():
    with Work() as work, support.Server() as server:
        url = f"http://127.0.0.1:{server.port}"
        work.write("docs.ndjson", three_documents())
        answers = []
        for where in (["--url", url], ["--data", work.path("db")]):
            work.run("import", "-c", "docs", "--create", *where, "docs.ndjson")
            found = work.json("search", "-c", "docs", "--vector", "[0.3, 0.4]", *where)
            found.pop("took_ms")
            answers.append(found)
            shown = work.json("collections", "show", "docs", *where)
            answers.append({k: v for k, v in shown.items() if k not in ("id", "created_at", "memory")})
        equal(answers[:2], answers[2:])


def test_commands_find_a_server_by_its_folder_and_see_that_it_holds_it():
    with Work() as work, support.Server() as server:
        folder = os.path.join(server.data, "db")
        equal(pathlib.Path(folder, "PORT").read_text().strip(), str(server.port))
        work.run("collections", "create", "x", "-d", "3", "--data.dir", folder)
        told = work.run("collections", "--data", folder, code=5)
        assert f"--url http://127.0.0.1:{server.port}" in told, told
        equal([c["name"] for c in work.json("collections", "--data.dir", folder)["collections"]], ["x"])
        server.stop()
        assert not os.path.exists(os.path.join(folder, "PORT")), "PORT is left behind"
        equal([c["name"] for c in work.json("collections", "--data", folder)["collections"]], ["x"])
        server.start()


def test_a_server_that_is_not_there_or_refuses_is_said_in_one_sentence():
    with Work() as work, support.Server() as server:
        told = work.run("collections", "--url", "http://127.0.0.1:1", code=5)
        equal(told, "cannot reach http://127.0.0.1:1: Connection refused; is `akidb serve` running?")
        url = f"http://127.0.0.1:{server.port}"
        work.run("search", "--url", url, "-c", "none", "--vector", "[1]", code=3)
        work.run("collections", "--url", "ftp://x", code=2)
        assert "TLS" in work.run("collections", "--url", "https://x", code=2)
        work.write("bad.ndjson", '{"vector":[1,2]}\n{"vector":[1,2],"metadata":{"a":1,"a":2}}\n')
        assert work.run("import", "--url", url, "-c", "b", "--create", "bad.ndjson", code=2).startswith("bad.ndjson:2: ")
        work.write("zero.ndjson", '{"vector":[1,2]}\n{"vector":[0,0]}\n')
        told = work.run("import", "--url", url, "-c", "b", "--create", "zero.ndjson", code=2)
        assert "line 2" in told and "zero" in told, told


def test_a_signal_stops_the_server_with_code_0_and_a_second_start_has_everything():
    with Work() as work, support.Server() as server:
        url = f"http://127.0.0.1:{server.port}"
        work.write("docs.ndjson", three_documents())
        work.run("import", "--url", url, "-c", "docs", "--create", "docs.ndjson")
        equal(server.end(signal.SIGINT), 0)
        server.start()
        url = f"http://127.0.0.1:{server.port}"
        equal(work.json("collections", "show", "docs", "--url", url)["documents"], 3)


def test_two_signals_stop_at_once_and_lose_nothing_acknowledged():
    for durability in ("sync", "interval", "async"):
        with Work() as work, support.Server(arguments=["--wal.durability", durability]) as server:
            url = f"http://127.0.0.1:{server.port}"
            work.run("import", "--url", url, "-c", "words", "--create", DATA / "vectors.npy",
                     "--documents", DATA / "documents.ndjson")
            server.process.send_signal(signal.SIGTERM)
            equal(server.end(signal.SIGTERM), 0)
            server.start()
            url = f"http://127.0.0.1:{server.port}"
            equal(work.json("collections", "show", "words", "--url", url)["documents"], 2000, durability)


def test_listening_beyond_loopback_is_warned_about():
    with Work() as work:
        process = subprocess.Popen([support.binary(), "serve", "--data", work.path("db"), "--listen", "0.0.0.0:0"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=work.dir)
        try:
            assert process.stdout.readline().startswith("listening on http://0.0.0.0:")
            assert f"kill {process.pid}" in process.stdout.readline()
            line = process.stderr.readline()
            while "WARN" not in line:
                assert line, "no warning"
                line = process.stderr.readline()
            assert "there is no authentication" in line, line
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
        equal(process.returncode, 0)


def test_a_port_that_is_taken_is_an_error_of_one_sentence():
    with Work() as work, support.Server() as server:
        told = work.run("serve", "--data", "db", "--log-level", "error", "--listen", f"127.0.0.1:{server.port}", code=6)
        assert "Address already in use" in told, told


# --- Measuring ---

def test_a_tiering_policy_is_simulated_on_a_log_and_on_made_up_loads():
    day = "2026-01-{:02d}T{:02d}:00:00Z"
    with Work() as work:
        lines = [{"timestamp": day.format(1, 0), "collection": "a", "bytes": 1000},
                 {"timestamp": day.format(1, 8), "collection": "a"},
                 {"timestamp": day.format(20, 0), "collection": "a", "accesses": 12, "more": [1]},
                 {"timestamp": day.format(20, 1), "collection": "b"}]
        work.write("log.ndjson", "".join(json.dumps(line) + "\n" for line in lines))
        report = work.json("tiers", "simulate", "log.ndjson")
        equal(report["collections"], 2)
        equal({t: v["accesses"] for t, v in report["tiers"].items()}, {"hot": 2, "warm": 12, "cold": 1})
        moves = {(m["from"], m["to"]): m["count"] for m in report["moves"]}
        equal(moves, {("hot", "warm"): 1, ("warm", "cold"): 1, ("cold", "warm"): 1, ("warm", "hot"): 1})
        never = work.json("tiers", "simulate", "log.ndjson", "--hot-idle", "0", "--warm-idle", "0")
        equal(never["moves"], [])
        assert re.search(r"^cold +1 +6\.67 %", work.run("tiers", "simulate", "log.ndjson"), re.M)
        for profile in ("rag", "batch", "seasonal"):
            report = work.json("tiers", "simulate", "--profile", profile, "--collections", "300", "--days", "20",
                               "--max-hot", "1GB", "--interval", "30m")
            equal((report["collections"], report["days"], report["passes"]), (300, 20.0, 960))
            assert report["evicted"]["memory"] > 0 and sum(t["accesses"] for t in report["tiers"].values()) > 300
        work.write("back.ndjson", json.dumps(lines[1]) + "\n" + json.dumps(lines[0]) + "\n")
        assert work.run("tiers", "simulate", "back.ndjson", code=2).startswith("back.ndjson:2: time goes back")
        work.write("bad.ndjson", '{"timestamp":"yesterday","collection":"a"}\n')
        assert "RFC 3339" in work.run("tiers", "simulate", "bad.ndjson", code=2)
        assert "either a LOG or --profile" in work.run("tiers", "simulate", code=2)
        assert "6h or 7d" in work.run("tiers", "simulate", "log.ndjson", "--hot-idle", "soon", code=2)


def test_bench_ann_prints_recall_and_speed():
    with Work() as work:
        told = work.json("bench", "ann", "--base", DATA / "vectors.npy", "--query", DATA / "questions.npy", "--threads", "1",
                         "--ef", "64", "--recall", "0.9", "--filter-selectivity", "0.5", "--filter-correlated", "near", "--churn", "0.3")
        equal((told["vectors"], told["dimension"], told["queries"]), (2000, 384, 20))
        assert told["points"][0]["recall"] >= 0.95 and told["points"][0]["qps"] > 0, told
        assert told["wanted"][0]["asked"] == 0.9 and told["wanted"][0]["recall"] >= 0.85, told
        assert told["filtered"][0]["kind"] == "near" and told["filtered"][0]["points"][0]["recall"] >= 0.95, told
        assert told["churned"]["share"] == 0.3 and told["churned"]["points"][0]["recall"] >= 0.95, told
        assert "--base F.npy and --query F.npy are needed" in work.run("bench", "ann", code=2)
        assert "it takes up to" in work.run("bench", "ann", "--base", "a", "--query", "b", "--ef", "x", code=2)
        for option, value, says in (("--recall", "0.9,2", "above 0 and up to 1"), ("--filter-selectivity", "0", "above 0 and up to 1"),
                                    ("--filter-correlated", "far", "goes with --filter-selectivity"),
                                    ("--filter-correlated", "x", "allowed are near, far, random"), ("--churn", "2", "from 0 to 1")):
            assert says in work.run("bench", "ann", "--base", "a", "--query", "b", option, value, code=2), option
        assert "--recall is 1.5" in work.run("search", "--collection", "a", "--vector", "[1]", "--recall", "1.5", code=2)


def test_bench_ann_measures_step_by_step():
    with Work() as work:
        command = ["bench", "ann", "--base", DATA / "vectors.npy", "--query", DATA / "questions.npy", "--threads", "2",
                   "--pass-ms", "1", "--steps"]
        steps = ["ef 1 16,64", "", "recall 2 0.9 invented", "recall 1 0.9,0.99 real", "floor 1", f"image 1 {work.path('i.akx')} 32", "filter 1 far 0.1,0.01 32,64",
                 "churn 2 0.3", "ef 2 64"]
        built, points, wanted, real, floor, image, filtered, churned, after = map(
            json.loads, work.run(*command, stdin="\n".join(steps).encode()).splitlines())
        equal((built["vectors"], built["threads"]), (2000, 2))
        equal([p["ef"] for p in points["points"]], [16, 64])
        assert points["points"][1]["recall"] >= 0.95 and points["points"][1]["cpu_us"] > 0, points
        equal((wanted["measured_with"], [w["asked"] for w in wanted["wanted"]]), ("invented", [0.9]))
        equal((real["measured_with"], [w["asked"] for w in real["wanted"]]), ("real", [0.9, 0.99]))
        assert 0 < floor["code_ns"] and 0 < floor["row_ns"], floor
        equal(image["bytes"], os.path.getsize(work.path("i.akx")))
        equal(image["points"][0]["recall"], 1.0)
        equal([(f["kind"], f["selectivity"], len(f["points"])) for f in filtered["filtered"]], [("far", 0.1, 2), ("far", 0.01, 2)])
        assert churned["churned"]["share"] == 0.3 and after["points"][0]["recall"] >= 0.95, (churned, after)
        for step, says in (("ef 1", "has 2 words"), ("jump 1 2", 'begins with "jump"'), ("ef 0 16", "it takes 1 to 256"),
                           ("ef 1 16,x", "it takes up to"), ("recall 1 0.9 odd", "allowed are invented, real"), ("recall 1 2 real", "above 0 and up to 1"), ("filter 1 odd 0.1 16", "allowed are near, far"),
                           ("churn 1 0.1\nfilter 1 far 0.1 16", "before churn"), ("churn 1 0.1\nchurn 1 0.1", "churned already"),
                           ("ef 1 " + "1" * 5000, "more than 4094 bytes")):
            told = work.run(*command, stdin=step.encode() + b"\n", code=2)
            assert says in told, (step, told)
        told = work.run(*command, stdin=f"image 1 {work.path('no/such')} 16".encode(), code=3)
        assert "no/such" in told, told


def test_bench_load_counts_every_request_and_probes_health():
    with Work() as work, support.Server() as server:
        url = f"http://127.0.0.1:{server.port}"
        told = work.json("bench", "load", "--url", url, "-c", "load", "--op", "upsert", "--dim", "16", "--batch", "10",
                         "--count", "50", "--clients", "4")
        equal((told["requests"], told["refused"], told["broken"]), (50, 0, 0))
        equal(work.json("collections", "show", "load", "--url", url)["documents"], 500)
        told = work.json("bench", "load", "--url", url, "-c", "load", "--count", "300", "--clients", "3", "--pipeline", "8")
        equal((told["requests"], told["refused"], told["broken"], told["health_failed"]), (300, 0, 0, 0))
        assert told["health_probes"] >= 1, told


if __name__ == "__main__":
    support.run(globals())
