#!/usr/bin/env python3
"""The S3 store beside boto3 and rclone, in one run, on each real server of this machine.

    s3_bench.py [--servers minio,versitygw] [--passes 3] [--puts 2000] [--threads 16] [--mb 200]

One file of --mb (100,000 vectors of 512 floats by default) up and down, then --puts objects of 64 KiB up by --threads at
once. Peers: boto3's transfer manager, on the CRT (awscrt) where it is installed and in Python; rclone (Debian). Passes are
interleaved (A B C A B C …) and the best counts, since these machines are noisy: trust the ratios. AkiDB is
build/dev/tests/s3_tool, a process a transfer, so its figures include starting, asking the server for access and probing
conditional puts. Everything that comes back is compared.
"""

import argparse
import concurrent.futures
import filecmp
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from support import ROOT, save, say

sys.path.insert(0, str(ROOT / "tests" / "integration"))
import s3_servers  # noqa: E402

TOOL = os.environ.get("AKIDB_S3_TOOL", str(ROOT / "build" / "dev" / "tests" / "s3_tool"))
PUT_BYTES = 64 << 10

try:
    import boto3
    import boto3.s3.transfer
    from botocore.config import Config
except ImportError:
    boto3 = None
try:
    import awscrt
    import botocore.session
    import s3transfer.crt
except ImportError:
    awscrt = None


class Akidb:
    name = "akidb"

    def __init__(self, server, threads):
        self.environment = {**os.environ, **server.environment()}
        self.threads = threads

    def tool(self, *words):
        done = subprocess.run(
            [TOOL, *map(str, words)], env=self.environment, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise RuntimeError(f"{words}: {done.stderr}")
        return done.stdout

    def up(self, path, key):
        self.tool("put", path, key)

    def down(self, key, path):
        self.tool("get", key, path)

    def puts(self, folder, count, prefix):
        """Seconds, measured inside the process."""
        return float(self.tool("puts", count, PUT_BYTES, self.threads, prefix).split()[0])


class Boto:
    name = "boto3"

    def __init__(self, server, threads):
        self.threads = threads
        self.bucket = server.bucket
        self.s3 = boto3.client(
            "s3",
            endpoint_url=server.endpoint,
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
            region_name=server.region,
            config=Config(
                s3={"addressing_style": "path"},
                max_pool_connections=threads,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        self.transfer = boto3.s3.transfer.TransferConfig(preferred_transfer_client="classic")

    def up(self, path, key):
        self.s3.upload_file(path, self.bucket, key, Config=self.transfer)

    def down(self, key, path):
        self.s3.download_file(self.bucket, key, path, Config=self.transfer)

    def puts(self, folder, count, prefix):
        body = (pathlib.Path(folder) / "0").read_bytes()
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(self.threads) as pool:
            for _ in pool.map(
                lambda i: self.s3.put_object(Bucket=self.bucket, Key=f"{prefix}-{i}", Body=body),
                range(count),
            ):
                pass
        return time.monotonic() - began


class BotoCrt(Boto):
    """boto3 itself gives its CRT client no endpoint, so s3transfer's is made here; and the CRT knows no port in a
    host, so the server listens on port 80."""

    name = "boto3 on the CRT"

    def __init__(self, server, threads):
        super().__init__(server, threads)
        session = botocore.session.Session()
        session.set_credentials(server.access_key, server.secret_key)
        self.manager = s3transfer.crt.CRTTransferManager(
            s3transfer.crt.create_s3_crt_client(
                region=server.region,
                crt_credentials_provider=s3transfer.crt.BotocoreCRTCredentialsWrapper(
                    session.get_credentials()
                ).to_crt_credentials_provider(),
                use_ssl=False,
            ),
            s3transfer.crt.BotocoreCRTRequestSerializer(
                session, {"region_name": server.region, "endpoint_url": server.endpoint}
            ),
        )

    def up(self, path, key):
        self.manager.upload(path, self.bucket, key).result()

    def down(self, key, path):
        self.manager.download(self.bucket, key, path).result()

    puts = None  # its uploads of bytes are those of boto3


class Rclone:
    name = "rclone"

    def __init__(self, server, threads):
        self.bucket = server.bucket
        self.threads = threads
        self.environment = {
            **{k: v for k, v in os.environ.items() if k != "AWS_CA_BUNDLE"},  # it cannot load one
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CONFIG_T_TYPE": "s3",
            "RCLONE_CONFIG_T_PROVIDER": "Other",
            "RCLONE_CONFIG_T_ENDPOINT": server.endpoint,
            "RCLONE_CONFIG_T_ACCESS_KEY_ID": server.access_key,
            "RCLONE_CONFIG_T_SECRET_ACCESS_KEY": server.secret_key,
            "RCLONE_CONFIG_T_REGION": server.region,
            "RCLONE_S3_NO_CHECK_BUCKET": "true",
        }

    def run(self, *words):
        subprocess.run(
            ["rclone", "--quiet", *words], env=self.environment, check=True, stdin=subprocess.DEVNULL
        )

    def up(self, path, key):
        self.run("copyto", "--ignore-times", path, f"t:{self.bucket}/{key}")

    def down(self, key, path):
        self.run("copyto", "--ignore-times", f"t:{self.bucket}/{key}", path)

    def puts(self, folder, count, prefix):
        began = time.monotonic()
        self.run(
            "copy",
            "--ignore-times",
            "--no-traverse",
            f"--transfers={self.threads}",
            folder,
            f"t:{self.bucket}/{prefix}",
        )
        return time.monotonic() - began


def peers(server, threads):
    found = [Akidb(server, threads)]
    if boto3:
        found.append(Boto(server, threads))
    if boto3 and awscrt and server.endpoint == "http://127.0.0.1":
        found.append(BotoCrt(server, threads))
    if shutil.which("rclone"):
        found.append(Rclone(server, threads))
    return found


def timed(call, *args):
    began = time.monotonic()
    call(*args)
    return time.monotonic() - began


def one_pass(peer, args, number, best, paths):
    source, small, back = paths
    key = peer.name.replace(" ", "-")
    best["up"] = max(best["up"], args.mb / timed(peer.up, source, key))
    if os.path.exists(back):
        os.remove(back)
    best["down"] = max(best["down"], args.mb / timed(peer.down, key, back))
    if not filecmp.cmp(source, back, shallow=False):
        raise RuntimeError("other bytes came back")
    if peer.puts:
        seconds = peer.puts(small, args.puts, f"{key}-{number}")
        best["puts"] = max(best["puts"], args.puts / seconds)


def measure(server, args, folder, source, small):
    """Peer → best MB/s up and down and puts/s."""
    found = peers(server, args.threads)
    back = os.path.join(folder, "back")
    best = {peer.name: {"up": 0.0, "down": 0.0, "puts": 0.0} for peer in found}
    for number in range(args.passes):
        for peer in list(found):
            try:
                one_pass(peer, args, number, best[peer.name], (source, small, back))
            except Exception as error:  # a peer's own kinds; ours may not fail
                if peer.name == "akidb":
                    raise
                say(f"{server.name:10} {peer.name} is left out: {error}")
                found.remove(peer)
                del best[peer.name]
    for name, b in best.items():
        say(
            f"{server.name:10} {name:17} {b['up']:7.0f} MB/s up {b['down']:7.0f} MB/s down "
            f"{b['puts']:7.0f} puts/s"
        )
    return best


def on_port_80(server):
    """Where this user may; for the CRT."""
    try:
        with socket.create_server(("127.0.0.1", 80)):
            pass
    except OSError as error:
        say(f"no port 80, so no CRT: {error}")
        return
    server.port, server.host, server.endpoint = 80, "127.0.0.1:80", "http://127.0.0.1"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--servers", default="")
    parser.add_argument("--passes", type=int, default=3)
    parser.add_argument("--puts", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--mb", type=float, default=100_000 * 512 * 4 / 1e6)
    args = parser.parse_args()
    if not os.path.exists(TOOL):
        sys.exit(f"{TOOL} is missing: cmake --preset dev && cmake --build --preset dev --target s3_tool")
    folder = tempfile.mkdtemp(prefix="akidb-s3-bench-")
    source = os.path.join(folder, "source")
    small = os.path.join(folder, "small")
    results = {}
    try:
        os.mkdir(small)
        generator = random.Random(1)
        with open(source, "wb") as file:
            for _ in range(int(args.mb)):
                file.write(generator.randbytes(1_000_000))
        args.mb = int(args.mb)
        for i in range(args.puts):
            (pathlib.Path(small) / str(i)).write_bytes(generator.randbytes(PUT_BYTES))
        for name in args.servers.split(",") if args.servers else s3_servers.wanted():
            chosen = s3_servers.start(name)
            on_port_80(chosen)
            with chosen as server:
                results[name] = measure(server, args, folder, source, small)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    save(
        "s3",
        {
            "servers": results,
            "mb": args.mb,
            "puts": args.puts,
            "threads": args.threads,
            "passes": args.passes,
            "boto3": boto3.__version__ if boto3 else None,
            "crt": awscrt.__version__ if awscrt else None,
        },
    )


if __name__ == "__main__":
    main()
