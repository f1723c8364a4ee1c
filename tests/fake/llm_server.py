"""A scripted HTTP/1.1 server for model endpoints: each request gets the next answer of a script.

An answer is a list of steps: bytes to send, STALL (silence until the client goes away), or RESET
(the connection is torn down). Every request is kept in `requests` as (path, headers, JSON body).
"""

import json
import socket
import struct
import threading

STALL = object()
RESET = object()


def head(status=200, content_type="text/event-stream", extra=()):
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", "Connection: close", *extra]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def sse(*events, done=True):
    """A whole streamed answer: dicts become data lines; end is where the connection closes."""
    out = [head()]
    for e in events:
        out.append(e if isinstance(e, bytes) or e is STALL or e is RESET
                   else b"data: " + json.dumps(e).encode() + b"\n\n")
    if done:
        out.append(b"data: [DONE]\n\n")
    return out


def named(*events):
    """Anthropic's way: the event's name is its data's type."""
    return [head()] + [e if not isinstance(e, dict) else
                       f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events]


def ndjson(*lines):
    return [head(content_type="application/x-ndjson")] + [
        e if not isinstance(e, dict) else json.dumps(e).encode() + b"\n" for e in lines]


def answer(status, body, content_type="application/json", extra=()):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [head(status, content_type, (*extra, f"Content-Length: {len(data)}")) + data]


class LlmServer:
    def __init__(self, *script):
        self.script = list(script)
        self.requests = []
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.sock.getsockname()[1]
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self.thread.join(10)

    def _run(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            with conn:
                try:
                    self._serve(conn)
                except OSError:
                    pass

    def _read(self, conn):
        data = b""
        while b"\r\n\r\n" not in data:
            more = conn.recv(65536)
            if not more:
                return False
            data += more
        top, _, body = data.partition(b"\r\n\r\n")
        lines = top.decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, v in (x.split(":", 1) for x in lines[1:])}
        while len(body) < int(headers.get("content-length", 0)):
            body += conn.recv(65536)
        self.requests.append((lines[0].split()[1], headers, json.loads(body) if body else None))
        return True

    def _serve(self, conn):
        if not self._read(conn):
            return
        for step in self.script.pop(0):
            if step is STALL:
                conn.recv(1)
                return
            if step is RESET:
                conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            conn.sendall(step)
