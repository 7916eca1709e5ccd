#!/usr/bin/env python3
"""A TCP proxy that breaks connections: what an S3 client must live with.

    with Proxy(target_port) as proxy:
        proxy.cut(times=3, up=(1, 100000))    # the next three bodies that go up break somewhere there
        proxy.cut(times=3, down=(1, 100000))  # … that come down
        proxy.fail(times=2, status=500)       # the next two requests are answered by 500
        … talk to 127.0.0.1:proxy.port …
        proxy.cuts, proxy.failures            # how many happened
        proxy.connections, proxy.requests     # how many came: heads of requests, also on kept-alive connections

A cut counts from the first byte of its connection, in one direction, and ends both with a reset or a
close, by turns. Every connection draws its own place from the seeded generator.
"""
import random
import socket
import struct
import threading

CHUNK = 16384


class Proxy:
    def __init__(self, target_port, seed=1):
        self.target = ("127.0.0.1", target_port)
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.plan = []  # (direction, low, high)
        self.errors = []  # statuses
        self.cuts = 0
        self.failures = 0
        self.connections = 0
        self.requests = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.closing = False
        self.thread = threading.Thread(target=self.accept, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.closing = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()

    def cut(self, times, up=None, down=None):
        with self.lock:
            self.plan += [("up",) + up if up else ("down",) + down] * times

    def fail(self, times, status):
        with self.lock:
            self.errors += [status] * times

    def idle(self):
        """Has everything that was planned happened?"""
        with self.lock:
            return not self.plan and not self.errors

    def accept(self):
        while not self.closing:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                status = self.errors.pop(0) if self.errors else None
            target = self.refuse if status else self.carry
            threading.Thread(target=target, args=(client, status), daemon=True).start()

    def refuse(self, client, status):
        """Answers one request and closes; its body, if any, is read first."""
        data = b""
        client.settimeout(10)
        try:
            while b"\r\n\r\n" not in data:
                more = client.recv(CHUNK)
                if not more:
                    return
                data += more
            head, body = data.split(b"\r\n\r\n", 1)
            length = body_length(head)
            with self.lock:
                self.requests += 1
            while len(body) < length:
                more = client.recv(CHUNK)
                if not more:
                    return
                body += more
            code = {500: "InternalError", 503: "SlowDown", 403: "AccessDenied"}[status]
            text = f"<Error><Code>{code}</Code><Message>by the proxy</Message></Error>".encode()
            client.sendall(f"HTTP/1.1 {status} X\r\nContent-Type: application/xml\r\nContent-Length: "
                           f"{len(text)}\r\nConnection: close\r\n\r\n".encode() + text)
            with self.lock:
                self.failures += 1
        except OSError:
            pass
        finally:
            client.close()

    def carry(self, client, _):
        try:
            server = socket.create_connection(self.target)
        except OSError:
            client.close()
            return
        pair = Pair(self, client, server)
        threading.Thread(target=pair.pump, args=(client, server, "up"), daemon=True).start()
        pair.pump(server, client, "down")


def body_length(head):
    """Bytes after the head of a request. S3 takes no chunked transfer coding, so a body has its length there."""
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


class Requests:
    """Counts the requests in what goes up one connection."""

    def __init__(self):
        self.head = b""
        self.left = 0  # bytes of the body to come

    def take(self, data):
        """How many heads these bytes end."""
        count = 0
        while data:
            passed = min(self.left, len(data))
            self.left -= passed
            self.head += data[passed:]
            data = b""
            if b"\r\n\r\n" in self.head:
                head, data = self.head.split(b"\r\n\r\n", 1)
                self.left, self.head = body_length(head), b""
                count += 1
        return count


class Pair:
    def __init__(self, proxy, client, server):
        self.proxy, self.client, self.server = proxy, client, server
        self.requests = Requests()
        self.broken = False
        self.limits = {}

    def limit(self, way):
        """Where this connection breaks in this direction: drawn when the first byte passes."""
        if way not in self.limits:
            with self.proxy.lock:
                place = None
                for i, (planned, low, high) in enumerate(self.proxy.plan):
                    if planned == way and not any(self.limits.values()):
                        place = self.proxy.random.randint(low, high)
                        self.planned = self.proxy.plan.pop(i)
                        break
                self.limits[way] = place
        return self.limits[way]

    def sever(self):
        self.broken = True
        with self.proxy.lock:
            self.proxy.cuts += 1
            reset = self.proxy.cuts % 2
        for end in (self.client, self.server):
            try:
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def pump(self, source, sink, way):
        passed = 0
        try:
            while True:
                data = source.recv(CHUNK)
                if not data:
                    break
                if way == "up":
                    begun = self.requests.take(data)
                    with self.proxy.lock:
                        self.proxy.requests += begun
                place = self.limit(way)
                if place is not None and passed + len(data) > place:
                    sink.sendall(data[:place - passed])
                    self.sever()
                    return
                sink.sendall(data)
                passed += len(data)
        except OSError:
            pass
        if not self.broken:
            for end in (self.client, self.server):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            if getattr(self, "planned", None) and self.limits.get(way) is not None:
                with self.proxy.lock:  # it ended before its place: the next one shall break
                    self.proxy.plan.append(self.planned)
                self.planned = None
