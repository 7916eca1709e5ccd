"""Signature Version 4 by hand, for requests that boto3 does not send: signed chunks, trailers, wrong ones."""
import base64
import datetime
import hashlib
import hmac
import http.client
import urllib.parse
import zlib

EMPTY = hashlib.sha256(b"").hexdigest()
REGION = "us-east-1"


def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signing_key(secret, day):
    key = sign(("AWS4" + secret).encode(), day)
    for part in (REGION, "s3", "aws4_request"):
        key = sign(key, part)
    return key


def crc32(data):
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


class Signed:
    """One request to `server` (support.MockS3), signed; the parts can be spoiled before send()."""

    def __init__(self, server, method, path, query="", headers=None, payload=None, body=b"", age_s=0):
        self.server = server
        self.method = method
        self.target = urllib.parse.quote(path, safe="/-_.~") + (f"?{query}" if query else "")
        self.body = body
        now = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=age_s)
        self.date = now.strftime("%Y%m%dT%H%M%SZ")
        self.scope = f"{self.date[:8]}/{REGION}/s3/aws4_request"
        self.key = signing_key(server.SECRET, self.date[:8])
        self.headers = {"host": f"127.0.0.1:{server.port}", "x-amz-date": self.date,
                        "x-amz-content-sha256": payload or hashlib.sha256(body).hexdigest(), **(headers or {})}
        names = sorted(self.headers)
        canonical = "\n".join(
            [method, urllib.parse.quote(path, safe="/-_.~"),
             "&".join(sorted(p if "=" in p else p + "=" for p in query.split("&") if p)),
             "".join(f"{n}:{self.headers[n].strip()}\n" for n in names), ";".join(names),
             self.headers["x-amz-content-sha256"]])
        text = "\n".join(["AWS4-HMAC-SHA256", self.date, self.scope, hashlib.sha256(canonical.encode()).hexdigest()])
        self.signature = sign(self.key, text).hex()
        self.headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={server.KEY}/{self.scope}, "
                                         f"SignedHeaders={';'.join(names)}, Signature={self.signature}")

    def next_signature(self, kind, *parts):
        text = "\n".join([f"AWS4-HMAC-SHA256-{kind}", self.date, self.scope, self.signature, *parts])
        self.signature = sign(self.key, text).hex()
        return self.signature

    def send(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        connection.putrequest(self.method, self.target, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            connection.putheader(name, value)
        connection.putheader("content-length", str(len(self.body)))
        connection.endheaders(self.body)
        answer = connection.getresponse()
        answer.body = answer.read()
        connection.close()
        return answer


def chunked_put(server, path, data, size=65536, signed=True, trailer=None, spoil=None, headers=None, decoded=None):
    """PutObject with Content-Encoding: aws-chunked. spoil(chunk index, bytes) changes data after signing."""
    kind = ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD" if signed else "STREAMING-UNSIGNED-PAYLOAD")
    if trailer or not signed:
        kind += "-TRAILER"
    head = {"content-encoding": "aws-chunked", **(headers or {}),
            "x-amz-decoded-content-length": str(len(data) if decoded is None else decoded)}
    if trailer:
        head["x-amz-trailer"] = trailer[0]
    request = Signed(server, "PUT", path, headers=head, payload=kind)
    body = bytearray()
    for number, at in enumerate([*range(0, len(data), size), len(data)]):
        chunk = data[at:at + size] if at < len(data) else b""
        line = f"{len(chunk):x}"
        if signed:
            line += ";chunk-signature=" + request.next_signature("PAYLOAD", EMPTY, hashlib.sha256(chunk).hexdigest())
        body += line.encode() + b"\r\n"
        if chunk:
            body += (spoil(number, chunk) if spoil else chunk) + b"\r\n"
    if trailer:
        line = f"{trailer[0]}:{trailer[1]}"
        body += line.encode() + b"\r\n"
        if signed:
            mark = request.next_signature("TRAILER", hashlib.sha256(f"{line}\n".encode()).hexdigest())
            body += b"x-amz-trailer-signature:" + mark.encode() + b"\r\n"
    body += b"\r\n"
    request.body = bytes(body)
    return request
