#!/usr/bin/env python3
"""The suite of every object store (build/dev/tests/objstore_s3_suite, beside AKIDB_BIN) over each real S3 server that is
wanted here (see s3_servers.py) and over our own mock-s3. What connections do to it is in test_s3_broken.py."""
import os
import pathlib
import re
import subprocess

import s3_servers
from support import binary, equal, run

SUITE = str(pathlib.Path(binary()).parent / "tests" / "objstore_s3_suite")


def run_suite(name):
    with s3_servers.start(name) as server:
        print(f"     {name} {server.version}, ready after {server.start_seconds:.1f} s")
        done = subprocess.run([SUITE], env={**os.environ, **server.environment()}, capture_output=True, text=True,
                              timeout=600)
    closing = re.search(r"^(\d+) passed, (\d+) failed$", done.stdout, re.M)
    if done.returncode != 0 or not closing:
        raise AssertionError(f"{done.stdout}\n{done.stderr}")
    assert int(closing.group(1)) >= 19, done.stdout
    equal(closing.group(2), "0", "failures")


def tests():
    names = s3_servers.wanted()
    print(f"     S3 servers: {', '.join(names)}", flush=True)
    return {f"test_every_promise_of_a_store_is_kept_by_s3_on_{name}": lambda name=name: run_suite(name)
            for name in (*names, "mock-s3")}


if __name__ == "__main__":
    run(tests())
