"""Helpers of the integration tests: a server process, an HTTP client, and a runner.

The server is build/dev/akidb, or what AKIDB_BIN names. A test is a function `test_<sentence>`; run(globals()) calls them
in order, prints one line each and closes with "N passed, N failed". Standard library only.
"""
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
START_SECONDS = 60
JSON = "application/json"
NDJSON = "application/x-ndjson"


def binary():
    path = os.environ.get("AKIDB_BIN", str(ROOT / "build" / "dev" / "akidb"))
    if not os.path.exists(path):
        sys.exit(f"{path} is missing: build it (make), or name one in AKIDB_BIN")
    return path


class Response:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def json(self):
        return json.loads(self.body)

    def text(self):
        return self.body.decode()

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


class Client:
    """One kept-alive connection; made again when the server has closed it."""

    def __init__(self, port, prefix=""):
        self.port = port
        self.prefix = prefix
        self.connection = None

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None

    def call(self, method, path, body=None, content_type=JSON, headers=None):
        """body: bytes or str as it is, anything else as JSON."""
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        head = dict(headers or {})
        if body is not None and content_type:
            head["Content-Type"] = content_type
        for attempt in (0, 1):
            if not self.connection:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                self.connection.request(method, self.prefix + path, body, head)
                answer = self.connection.getresponse()
                result = Response(answer.status, answer.headers, answer.read())
                if answer.will_close:
                    self.close()
                return result
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self.close()
                if attempt:
                    raise

    def get(self, path, **more):
        return self.call("GET", path, **more)

    def post(self, path, body=None, **more):
        return self.call("POST", path, body, **more)

    def delete(self, path, **more):
        return self.call("DELETE", path, **more)


class Server:
    """A server process over a folder of its own, or over `data`."""

    def __init__(self, data=None, arguments=(), environment=None):
        self.own_data = data is None
        self.data = data or tempfile.mkdtemp(prefix="akidb-it-")
        self.arguments = list(arguments)
        self.environment = environment or {}
        self.process = None
        self.port = 0

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, value, trace):
        self.stop()
        if self.own_data and kind is None:
            shutil.rmtree(self.data, ignore_errors=True)
        elif kind is not None:
            print(f"         kept: {self.data}")

    def start(self, wait_ready=True):
        os.makedirs(self.data, exist_ok=True)
        self.log = open(os.path.join(self.data, "server.log"), "ab")
        command = [binary(), "serve", "--data", os.path.join(self.data, "db"), "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command + self.arguments, stdout=subprocess.PIPE, stderr=self.log,
                                        env={**os.environ, **self.environment}, text=True)
        self.port = 0
        for line in self.process.stdout:
            found = re.match(r"listening on http://127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found.group(1))
                break
        if not self.port:
            raise AssertionError(f"the server did not start (exit {self.process.wait()}): {self.log_tail()}")
        if wait_ready:
            self.wait_ready()

    def wait_ready(self):
        end = time.monotonic() + START_SECONDS
        client = self.client()
        while client.get("/ready").status != 200:
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"the server does not get ready: {self.log_tail()}")
            time.sleep(0.005)
        client.close()

    def log_tail(self):
        with open(os.path.join(self.data, "server.log"), errors="replace") as log:
            return log.read()[-2000:]

    def client(self, prefix=""):
        return Client(self.port, prefix)

    def is_alive(self):
        return self.process.poll() is None

    def end(self, number):
        """Send a signal, wait, give the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(timeout=START_SECONDS)
        self.process.stdout.close()
        self.log.close()
        return code

    def stop(self):
        if not self.process:
            return
        code = self.end(signal.SIGTERM)
        self.process = None
        if code != 0:
            raise AssertionError(f"the server ended with {code}: {self.log_tail()}")

    def kill(self):
        self.end(signal.SIGKILL)
        self.process = None


class MockS3:
    """akidb mock-s3 on a free port: in memory, or below `root`."""

    KEY = "AKTEST"
    SECRET = "SKTEST/secret+key"

    def __init__(self, root=None, buckets="test", signed=True, arguments=(), listen="127.0.0.1:0"):
        self.arguments = ["--listen", listen] + list(arguments)
        if buckets:
            self.arguments += ["--bucket", buckets]
        if signed:
            self.arguments += ["--access-key", self.KEY, "--secret-key", self.SECRET]
        if root:
            self.arguments += ["--root", root]
        self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        self.stop()

    def start(self):
        self.process = subprocess.Popen([binary(), "mock-s3"] + self.arguments, stdout=subprocess.PIPE, text=True)
        found = re.match(r"listening on (http://[^ ]+:(\d+))", self.process.stdout.readline())
        if not found:
            raise AssertionError(f"the mock did not start (exit {self.process.wait()})")
        self.port = int(found.group(2))
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def end(self, number):
        self.process.send_signal(number)
        code = self.process.wait(timeout=START_SECONDS)
        self.process.stdout.close()
        self.process = None
        return code

    def stop(self):
        if self.process:
            code = self.end(signal.SIGTERM)
            if code != 0:
                raise AssertionError(f"the mock ended with {code}")

    def kill(self):
        self.end(signal.SIGKILL)

    def admin(self, method, path, body=None):
        client = Client(self.port)
        answer = client.call(method, "/_mock/" + path, body)
        client.close()
        return answer

    def rule(self, action, times=None, skip=None, **match):
        """Make requests fail; gives the rule's id."""
        rule = {"match": match, "action": action}
        if times is not None:
            rule["times"] = times
        if skip is not None:
            rule["skip"] = skip
        return status(self.admin("POST", "rules", rule), 201).json()["ids"][0]

    def heal(self):
        status(self.admin("DELETE", "rules"), 200)

    def state(self):
        return status(self.admin("GET", "state"), 200).json()

    def boto(self, key=None, secret=None, retries=1, **config):
        """A boto3 client of this server; it tries each request `retries` times."""
        import boto3
        from botocore.config import Config

        config = {"s3": {"addressing_style": "path"}, "signature_version": "s3v4", **config}
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=key or self.KEY,
            aws_secret_access_key=secret or self.SECRET,
            config=Config(retries={"total_max_attempts": retries, "mode": "standard"}, **config),
        )


def command(*words, code=0, environment=None, **more):
    """stdout of an akidb command that sees no AKIDB_ variables but these; its exit code must be `code`."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("AKIDB_") or k == "AKIDB_BIN"}
    env.update(environment or {})
    done = subprocess.run([binary(), *words], capture_output=True, text=True, timeout=300, env=env, **more)
    equal(done.returncode, code, f"{' '.join(words)}: {done.stderr}")
    return done.stdout


def raw(port, data, half_close=True):
    """Send bytes as they are; everything that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        try:
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass
        parts = []
        try:
            while True:
                part = connection.recv(65536)
                if not part:
                    break
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)


def equal(got, want, what="value"):
    if got != want:
        raise AssertionError(f"{what} is {got!r}, want {want!r}")


def status(response, want):
    if response.status != want:
        raise AssertionError(f"status is {response!r}, want {want}")
    return response


def run(names):
    """Call the tests of a module, print the summary, exit."""
    passed = failed = 0
    wanted = sys.argv[1:]
    for name, test in list(names.items()):
        if not name.startswith("test_") or not callable(test) or (wanted and not any(w in name for w in wanted)):
            continue
        began = time.monotonic()
        try:
            test()
        except Exception:
            failed += 1
            print(f"FAILED   {name[5:]}")
            traceback.print_exc(file=sys.stdout)
        else:
            passed += 1
            print(f"ok       {name[5:]} ({(time.monotonic() - began) * 1000:.0f} ms)")
        sys.stdout.flush()
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)
