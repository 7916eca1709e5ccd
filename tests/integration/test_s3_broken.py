#!/usr/bin/env python3
"""The S3 store against every real server, through a proxy that cuts connections and answers by errors.

What must hold: the bytes that come back are the bytes that went, after 100 cuts of uploads and 100 of downloads at random
bytes; a 500 that passes is lived through; a 403 fails at once and says what to check; a list is in order; a delete
removes. Uses build/dev/tests/s3_tool (beside AKIDB_BIN).
"""
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import time

import s3_servers
from s3_proxy import Proxy
from support import binary, run

CUTS = 100
LARGE = 100_000 * 512 * 4  # a hundred thousand vectors of 512 floats
TOOL = str(pathlib.Path(binary()).parent / "tests" / "s3_tool")
SEED = int(os.environ.get("AKIDB_TEST_SEED", time.time_ns() % 1_000_000_000))
FOLDER = tempfile.mkdtemp(prefix="akidb-s3-broken-")
STARTED = {}


def servers():
    """Each started once, for all tests."""
    if not STARTED:
        for name in s3_servers.wanted():
            STARTED[name] = s3_servers.start(name).__enter__()
    return STARTED.values()


def tool(server, *words, port=None, check=True, **settings):
    environment = {**os.environ, **server.environment(), "AKIDB_S3_LAZY": "1"}
    if port:
        environment["AKIDB_S3_ENDPOINT"] = f"http://127.0.0.1:{port}"
    environment.update({f"AKIDB_S3_{name.upper()}": str(value) for name, value in settings.items()})
    done = subprocess.run([TOOL, *map(str, words)], env=environment, capture_output=True, text=True, timeout=300)
    if check and done.returncode != 0:
        raise AssertionError(f"s3_tool {words} on {server.name} (seed {SEED}): {done.stderr}")
    return done


def made(name, size, seed):
    path = os.path.join(FOLDER, name)
    with open(path, "wb") as file:
        file.write(random.Random(seed).randbytes(size))
    return path


def same(a, b):
    return subprocess.run(["cmp", "-s", a, b]).returncode == 0


def test_a_large_object_goes_up_and_comes_down_whole():
    source = made("large", LARGE, 1)
    back = os.path.join(FOLDER, "back")
    for server in servers():
        began = time.monotonic()
        tool(server, "put", source, "large")
        up = time.monotonic() - began
        began = time.monotonic()
        tool(server, "get", "large", back)
        down = time.monotonic() - began
        assert same(source, back), server.name
        tool(server, "write", source, "streamed")
        tool(server, "get", "streamed", back)
        assert same(source, back), server.name
        tool(server, "rm", "large")
        tool(server, "rm", "streamed")
        print(f"     {server.name}: {LARGE / up / 1e6:.0f} MB/s up, {LARGE / down / 1e6:.0f} MB/s down")
    os.remove(source)


def test_five_objects_are_listed_in_order_and_a_delete_removes():
    source = made("small", 1000, 2)
    names = [f"list/snapshot {i} é+%.parquet" for i in (3, 1, 5, 2, 4)]
    for server in servers():
        for name in names:
            tool(server, "put", source, name)
        listed = tool(server, "list", "list/").stdout.splitlines()
        assert listed == [f"1000 {name}" for name in sorted(names)], listed
        for name in names:
            tool(server, "rm", name)
        assert tool(server, "list", "list/").stdout == ""
        tool(server, "rm", names[0])  # once more is no error
        gone = tool(server, "cat", names[0], check=False)
        assert gone.returncode == 1 and gone.stderr.startswith("NOT_FOUND"), gone.stderr


def test_only_the_first_of_two_conditional_puts_wins():
    for server in servers():
        tool(server, "put-new", "once", "first")
        second = tool(server, "put-new", "once", "second", check=False)
        assert second.stderr.startswith("ALREADY_EXISTS"), second.stderr
        assert tool(server, "cat", "once").stdout == "first"
        tool(server, "rm", "once")


def test_errors_that_pass_are_lived_through():
    source = made("medium", 3_000_000, 3)
    back = os.path.join(FOLDER, "back")
    for server in servers():
        for status in (500, 503):
            with Proxy(server.port, SEED) as proxy:
                proxy.fail(2, status)
                tool(server, "put", source, "passing", port=proxy.port)
                assert proxy.failures == 2, proxy.failures
                proxy.fail(2, status)
                tool(server, "get", "passing", back, port=proxy.port)
                assert proxy.failures == 4, proxy.failures
            assert same(source, back)


def test_a_403_fails_at_once_and_says_what_to_check():
    for server in servers():
        with Proxy(server.port, SEED) as proxy:
            for setting, advice in (("secret_access_key", "check secret_access_key"),
                                    ("access_key_id", "check access_key_id")):
                before = proxy.requests
                refused = tool(server, "list", "", port=proxy.port, check=False, **{setting: "wrong"})
                assert refused.returncode == 1 and refused.stderr.startswith("FORBIDDEN"), refused.stderr
                assert "403" in refused.stderr and advice in refused.stderr, refused.stderr
                assert proxy.requests == before + 1, f"it was tried again: {proxy.requests - before} requests"


def cut_until(server, way, step):
    """Calls step(proxy, round) until CUTS connections were cut; each call plans its own."""
    cuts = rounds = 0
    began = time.monotonic()
    while cuts < CUTS:
        with Proxy(server.port, SEED + rounds) as proxy:
            step(proxy, rounds)
            cuts += proxy.cuts
        rounds += 1
        assert rounds < 10 * CUTS, f"{cuts} cuts in {rounds} rounds"
    print(f"     {server.name}: {cuts} {way} cut in {rounds} rounds, {time.monotonic() - began:.1f} s (seed {SEED})")


def test_uploads_that_are_cut_at_random_bytes_arrive_whole():
    size = 12_000_000
    source = made("cut", size, 4)
    small = made("cut-small", 700_000, 5)
    back = os.path.join(FOLDER, "back")
    for server in servers():
        def step(proxy, i):
            file, most, multipart = ((source, 5_000_000, 5 << 20), (small, 650_000, 0))[i % 2]
            proxy.cut(1 + i % 3, up=(1, most))
            tool(server, "write" if i % 4 == 0 else "put", file, "cut", port=proxy.port, multipart_bytes=multipart)
            tool(server, "get", "cut", back)
            assert same(file, back), f"{server.name}, round {i}, seed {SEED}"
        cut_until(server, "uploads", step)


def test_downloads_that_are_cut_at_random_bytes_arrive_whole():
    size = 40_000_000  # above 32 MiB a file comes in several ranges at once
    files = (made("cut", size, 6), made("cut-small", 700_000, 7))
    back = os.path.join(FOLDER, "back")
    for server in servers():
        for i, file in enumerate(files):
            tool(server, "put", file, f"down-{i}")

        def step(proxy, i):
            proxy.cut(2 + i % 4, down=(1, (15_000_000, 650_000)[i % 2]))
            tool(server, "get", f"down-{i % 2}", back, port=proxy.port)
            assert same(files[i % 2], back), f"{server.name}, round {i}, seed {SEED}"
        cut_until(server, "downloads", step)


class TlsMinio(s3_servers.Minio):
    """MinIO behind a certificate of its own; a folder is a bucket to it."""

    def launch(self):
        certs = os.path.join(self.folder, "certs")
        os.makedirs(certs)
        os.makedirs(os.path.join(self.folder, "data", self.bucket))
        self.ca_file = os.path.join(certs, "public.crt")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", os.path.join(certs, "private.key"), "-out", self.ca_file, "-days", "2", "-subj",
                        "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        self.endpoint = f"https://{self.host}"
        self.spawn("server.log", self.program, "server", "--certs-dir", certs, "--address", self.host,
                   "--console-address", f"127.0.0.1:{s3_servers.free_port()}", os.path.join(self.folder, "data"),
                   environment={"MINIO_ROOT_USER": self.access_key, "MINIO_ROOT_PASSWORD": self.secret_key,
                                "MINIO_UPDATE": "off", "MINIO_BROWSER": "off"})

    def make_bucket(self, bucket):
        """It is there; this waits for the server."""
        end = time.monotonic() + s3_servers.START_SECONDS
        while tool(self, "list", "", check=False, ca_file=self.ca_file).returncode != 0:
            if time.monotonic() > end:
                raise RuntimeError("MinIO does not answer over TLS")
            time.sleep(0.1)


def test_a_certificate_is_trusted_by_its_authority_and_not_without():
    found = s3_servers.programs().get("minio")
    if not found:
        print("     no MinIO here: not tested")
        return
    source = made("tls", 9_000_000, 8)
    back = os.path.join(FOLDER, "back")
    with TlsMinio(*found) as server:
        refused = tool(server, "list", "", check=False)
        assert refused.returncode == 1 and "certificate" in refused.stderr and "ca_file" in refused.stderr, refused.stderr
        trusted = {"ca_file": server.ca_file, "multipart_bytes": 5 << 20}
        tool(server, "put", source, "tls", **trusted)
        tool(server, "put", source, "unsigned", unsigned_payload=1, **trusted)
        for key in ("tls", "unsigned"):
            tool(server, "get", key, back, **trusted)
            assert same(source, back)


if __name__ == "__main__":
    try:
        run(globals())
    finally:
        for started in STARTED.values():
            started.stop()
        shutil.rmtree(FOLDER, ignore_errors=True)
