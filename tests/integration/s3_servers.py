#!/usr/bin/env python3
"""Real S3 servers for tests, each in a temporary folder on free loopback ports.

    for name in s3_servers.wanted():          # builds or installs what is missing, waits for it
        with s3_servers.start(name) as server:
            … server.endpoint, .access_key, .secret_key, .region, .bucket (it exists, empty) …
            … server.environment() is all of it as AKIDB_S3_* …

    s3_servers.py start [NAME]                # by hand: prints the settings, runs until interrupted

versitygw, MinIO (tools/s3_servers.sh builds them) and Ceph's radosgw (Debian packages): every one that is on this
machine, or those that AKIDB_S3_SERVERS names. The standard library only; requests are signed here a second time,
independently of AkiDB's own signatures.
"""
import datetime
import errno
import hashlib
import hmac
import http.client
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import uuid

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "s3_servers.sh"
ACCESS_KEY = "AKIDBTEST1"
SECRET_KEY = "akidb-test-secret/with+signs"
REGION = "us-east-1"
START_SECONDS = 90
END_SECONDS = 10


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def programs():
    """Name → (version, program) of every server on this machine."""
    lines = subprocess.run([SCRIPT, "list"], check=True, capture_output=True, text=True).stdout.splitlines()
    here = {name: (version, program) for name, version, program in (line.split(" ", 2) for line in lines)}
    akidb = os.environ.get("AKIDB_BIN", str(ROOT / "build" / "dev" / "akidb"))
    if os.access(akidb, os.X_OK):
        here["mock-s3"] = ("of this build", os.path.abspath(akidb))
    return here


def wanted():
    """The real servers to test against, built first where one is missing. AKIDB_S3_SERVERS may name mock-s3 as well."""
    chosen = os.environ.get("AKIDB_S3_SERVERS", "").replace(",", " ").split()
    if not chosen or any(name in ("versitygw", "minio") for name in chosen):
        built = subprocess.run([SCRIPT, "build"]).returncode == 0
    here = programs()
    missing = [name for name in chosen if name not in here]
    if missing:
        raise RuntimeError(f"AKIDB_S3_SERVERS names {missing}, which tools/s3_servers.sh list does not have")
    real = sorted(name for name in here if name != "mock-s3")
    if not chosen and not real:
        raise RuntimeError("no S3 server: " + ("none was built" if built else "tools/s3_servers.sh build failed"))
    return chosen or real


def sign(server, method, path, query, body):
    """Headers of a request by AWS Signature Version 4; path and query as they are, unescaped."""
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": server.host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
    names = ";".join(sorted(headers))
    canonical = "\n".join([method, urllib.parse.quote(path, safe="/~"),
                           urllib.parse.urlencode(sorted(query.items()), quote_via=urllib.parse.quote, safe="~"),
                           *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names, digest])
    scope = f"{stamp[:8]}/{server.region}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"AWS4" + server.secret_key.encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={server.access_key}/{scope}, SignedHeaders={names}, "
                                f"Signature={signature}")
    return headers


class S3Server:
    """One server's processes; start() returns when it answers signed requests and the bucket is there."""

    access_key = ACCESS_KEY
    secret_key = SECRET_KEY
    region = REGION
    name = "?"

    def __init__(self, version, program):
        self.version = version
        self.program = program
        self.folder = tempfile.mkdtemp(prefix=f"akidb-{self.name}-")
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.endpoint = f"http://{self.host}"
        self.bucket = f"akidb-{secrets.token_hex(4)}"
        self.processes = []

    def __enter__(self):
        try:
            began = time.monotonic()
            self.launch()
            self.make_bucket(self.bucket)
            self.start_seconds = time.monotonic() - began
            return self
        except BaseException:
            print(self.log_tails())
            self.stop()
            raise

    def __exit__(self, kind, value, trace):
        if kind is not None:
            print(self.log_tails())
        self.stop()

    def environment(self):
        return {"AKIDB_S3_ENDPOINT": self.endpoint, "AKIDB_S3_REGION": self.region, "AKIDB_S3_BUCKET": self.bucket,
                "AKIDB_S3_ACCESS_KEY_ID": self.access_key, "AKIDB_S3_SECRET_ACCESS_KEY": self.secret_key,
                "AKIDB_S3_SERVER": self.name}

    def spawn(self, log, *command, environment=None):
        with open(os.path.join(self.folder, log), "ab") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                       env={**os.environ, **(environment or {})}, cwd=self.folder)
        self.processes.append(process)
        return process

    def call(self, method, path, query=None, body=b""):
        """A signed request: (status, body)."""
        query = query or {}
        headers = sign(self, method, path, query, body)
        target = urllib.parse.quote(path, safe="/~")
        if query:
            target += "?" + urllib.parse.urlencode(sorted(query.items()), quote_via=urllib.parse.quote, safe="~")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def make_bucket(self, bucket):
        """Also waits for the server: everything before its first good answer counts as not yet started."""
        end = time.monotonic() + START_SECONDS
        answer = None
        while time.monotonic() < end:
            if any(process.poll() is not None for process in self.processes):
                raise RuntimeError(f"{self.name} ended while it started")
            try:
                answer = self.call("PUT", f"/{bucket}")
            except (OSError, http.client.HTTPException) as error:
                if isinstance(error, OSError) and error.errno not in (errno.ECONNREFUSED, errno.ECONNRESET, None):
                    raise
                answer = error
            else:
                if answer[0] == 200 or (answer[0] == 409 and b"BucketAlready" in answer[1]):
                    return
                if 400 <= answer[0] < 500 and answer[0] not in (404, 409):
                    break
            time.sleep(0.05)
        raise RuntimeError(f"{self.name} does not make a bucket: {answer}")

    def log_tails(self):
        texts = []
        for path in sorted(pathlib.Path(self.folder).glob("*.log")):
            texts.append(f"--- {path}:\n{path.read_text(errors='replace')[-1500:]}")
        return "\n".join(texts)

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in reversed(self.processes):
            try:
                process.wait(timeout=END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes = []
        shutil.rmtree(self.folder, ignore_errors=True)


class Versitygw(S3Server):
    name = "versitygw"

    def launch(self):
        for sub in ("data", "meta"):
            os.mkdir(os.path.join(self.folder, sub))
        data = os.path.join(self.folder, "data")
        options = []
        try:  # it keeps what it knows of objects in extended attributes, where there are any
            os.setxattr(data, "user.akidb", b"1")
            os.removexattr(data, "user.akidb")
        except OSError:
            options = ["--sidecar", os.path.join(self.folder, "meta")]
        self.spawn("server.log", self.program, "--quiet", "--access", self.access_key, "--secret", self.secret_key,
                   "--port", self.host, "--region", self.region, "posix", *options, data)


class Minio(S3Server):
    name = "minio"

    def launch(self):
        os.mkdir(os.path.join(self.folder, "data"))
        self.spawn("server.log", self.program, "server", "--address", self.host, "--console-address",
                   f"127.0.0.1:{free_port()}", os.path.join(self.folder, "data"),
                   environment={"MINIO_ROOT_USER": self.access_key, "MINIO_ROOT_PASSWORD": self.secret_key,
                                "MINIO_UPDATE": "off", "MINIO_BROWSER": "off"})


CEPH_CONF = """\
[global]
fsid = {fsid}
mon initial members = a
mon host = v2:127.0.0.1:{mon2}/0,v1:127.0.0.1:{mon1}/0
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
keyring = {folder}/keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail crit = 1
osd objectstore = memstore
memstore device bytes = 4294967296
run dir = {folder}
pid file = {folder}/$name.pid
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
mon cluster log file = {folder}/cluster.log
mon data = {folder}/mon
osd data = {folder}/osd
[client.rgw]
rgw frontends = beast endpoint={host}
rgw data = {folder}/rgw
"""

CEPH_CAPS = {"mon.": ["mon", "allow *"],
             "client.admin": ["mon", "allow *", "osd", "allow *", "mgr", "allow *"],
             "client.rgw": ["mon", "allow *", "osd", "allow *", "mgr", "allow *"],
             "osd.0": ["mon", "allow profile osd", "osd", "allow *", "mgr", "allow *"]}


class Radosgw(S3Server):
    """A whole Ceph on loopback: a monitor, one memory-backed OSD (at most 4 GiB), and the gateway."""

    name = "radosgw"

    def ceph(self, program, *arguments):
        done = subprocess.run([program, "-c", self.conf, *arguments], cwd=self.folder, text=True, timeout=START_SECONDS,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise RuntimeError(f"{program} {' '.join(arguments)} gave {done.returncode}: {done.stdout[-1500:]}")
        return done.stdout

    def launch(self):
        fsid = str(uuid.uuid4())
        osd = str(uuid.uuid4())
        mon2, mon1 = free_port(), free_port()
        for sub in ("mon", "osd", "rgw"):
            os.mkdir(os.path.join(self.folder, sub))
        self.conf = os.path.join(self.folder, "ceph.conf")
        with open(self.conf, "w") as out:
            out.write(CEPH_CONF.format(folder=self.folder, host=self.host, fsid=fsid, mon1=mon1, mon2=mon2))
        self.ceph("ceph-authtool", "--create-keyring", "keyring")
        for entity, caps in CEPH_CAPS.items():
            pairs = zip(caps[::2], caps[1::2])
            self.ceph("ceph-authtool", "keyring", "--gen-key", "-n", entity,
                      *(word for pair in pairs for word in ("--cap", *pair)))
        self.ceph("monmaptool", "--create", "--fsid", fsid, "--addv", "a",
                  f"[v2:127.0.0.1:{mon2},v1:127.0.0.1:{mon1}]", "monmap")
        self.ceph("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
        self.spawn("mon.out.log", "ceph-mon", "-c", self.conf, "-i", "a", "-f")
        self.ceph("ceph", "--connect-timeout", str(START_SECONDS), "osd", "new", osd)
        self.ceph("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self.spawn("osd.out.log", "ceph-osd", "-c", self.conf, "-i", "0", "-f")
        self.ceph("radosgw-admin", "-n", "client.rgw", "user", "create", "--uid", "akidb", "--display-name", "akidb",
                  "--access-key", self.access_key, "--secret-key", self.secret_key)
        self.spawn("rgw.out.log", self.program, "-c", self.conf, "-n", "client.rgw", "-f")


class Mock(S3Server):
    """Our own, which tests that need no real server may use; started by name only."""

    name = "mock-s3"

    def launch(self):
        self.spawn("server.log", self.program, "mock-s3", "--listen", self.host, "--access-key", self.access_key,
                   "--secret-key", self.secret_key)


CLASSES = {server.name: server for server in (Versitygw, Minio, Radosgw, Mock)}


def start(name):
    """A context manager: the server runs within it."""
    here = programs()
    if name not in CLASSES or name not in here:
        raise RuntimeError(f"there is no S3 server '{name}' here, but {sorted(here)}: tools/s3_servers.sh build")
    return CLASSES[name](*here[name])


def main():
    if len(sys.argv) not in (2, 3) or sys.argv[1] != "start":
        sys.exit(__doc__)
    with start(sys.argv[2] if len(sys.argv) == 3 else wanted()[0]) as server:
        for key, value in server.environment().items():
            print(f"export {key}='{value}'")
        print(f"# {server.name} started in {server.start_seconds:.1f} s; Ctrl-C ends it", flush=True)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        try:
            while all(process.poll() is None for process in server.processes):
                time.sleep(0.2)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
