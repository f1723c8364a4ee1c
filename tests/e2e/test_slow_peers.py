"""Peers of the gRPC layer that take their time, or flood: each is ended in bounded time and memory, and
everybody else is served meanwhile. Raw bytes against rpc-echo-server with short limits."""
import socket
import ssl
import struct
import subprocess
import time

import pytest

from test_grpc_layer import PREFACE, SERVICE, Server, frame, pb, still_answers  # noqa: F401

HEADERS, RST, SETTINGS, PING, GOAWAY, CONTINUATION, DATA = 1, 3, 4, 6, 7, 9, 0
END_STREAM, END_HEADERS = 1, 4
HELLO = PREFACE + frame(SETTINGS, 0, 0) + frame(SETTINGS, 1, 0)
LONG = 8  # seconds that no limit of these tests comes near


def block(path="/" + SERVICE + "/echo", *more):
    out = b""
    for name, value in [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"),
                        ("content-type", "application/grpc"), ("te", "trailers"), *more]:
        out += b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
    return out


def message(data=b""):
    return struct.pack(">BI", 0, len(data)) + data


def frames(data):
    """[(kind, flags, stream, body)]"""
    out = []
    while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
        n = int.from_bytes(data[:3], "big")
        out.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:9 + n]))
        data = data[9 + n:]
    return out


def until_closed(s):
    """What came until the other side ended, and after how long."""
    start, data = time.monotonic(), b""
    try:
        while chunk := s.recv(65536):
            data += chunk
    except ConnectionResetError:
        pass
    return data, time.monotonic() - start


def trickle(s, data, pause=0.05, seconds=LONG):
    """A byte at a time, until the other side has had enough. Seconds that it took."""
    start = time.monotonic()
    s.settimeout(pause)
    at = 0
    while time.monotonic() - start < seconds:
        try:
            s.send(data[at % len(data):at % len(data) + 1])
            at += 1
            if s.recv(65536) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - start


@pytest.fixture
def short():
    server = Server("--first", "400", "--request", "300", "--answer", "900", "--idle", "700")
    yield server
    server.close()


@pytest.fixture
def secure(certs):
    server = Server("--first", "400", "--cert", certs.path("server.pem"), "--key", certs.path("server.key"))
    yield server
    server.close()


def test_a_tls_handshake_that_is_not_finished_is_ended(secure):
    context = ssl.create_default_context()
    context.check_hostname = False
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(into, out, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = out.read()
    with secure.raw() as s:  # says nothing at all
        assert until_closed(s)[1] < LONG
    with secure.raw() as s:  # the whole hello, and no more
        s.sendall(hello)
        data, took = until_closed(s)
        assert data[0] == 22 and took < LONG
    with secure.raw() as s:  # byte by byte
        assert trickle(s, hello + b"\0" * 1000) < LONG


def test_a_preface_that_trickles_is_ended(short, pb):
    with short.raw() as s:
        assert trickle(s, PREFACE[:-1] + b"\0" * 1000, 0.04) < LONG
    with short.raw() as s:  # the preface, and SETTINGS that never end
        s.sendall(PREFACE)
        assert trickle(s, frame(SETTINGS, 0, 0, b"\0\1\0\0\0\0" * 100)) < LONG
    still_answers(short, pb)


def test_headers_that_trickle_are_ended(short, pb):
    with short.raw() as s:
        s.sendall(HELLO + frame(HEADERS, 0, 1, block()[:10]))
        assert trickle(s, frame(CONTINUATION, 0, 1, b"\0\1a\1b" * 200)) < LONG
    with short.raw() as s:  # CONTINUATION, one after the other, each whole
        s.sendall(HELLO + frame(HEADERS, 0, 1, block()[:10]))
        start = time.monotonic()
        s.settimeout(0.1)
        while time.monotonic() - start < LONG:
            try:
                s.sendall(frame(CONTINUATION, 0, 1, b""))
                if s.recv(65536) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert time.monotonic() - start < LONG
    still_answers(short, pb)


def test_a_flood_of_continuations_is_ended_at_once(pb):
    server = Server()
    with server.raw() as s:
        try:
            s.sendall(HELLO + frame(HEADERS, 0, 1, block()[:10]))
            for _ in range(2000):
                s.sendall(frame(CONTINUATION, 0, 1, b"\0\1a\x7fx" + b"x" * 126) * 50)
        except OSError:
            pass
        else:
            assert until_closed(s)[1] < LONG
    assert server.rss_kb() < 150_000
    still_answers(server, pb)
    server.close()


def test_a_request_that_never_ends_is_answered_and_its_connection_stays(short, pb):
    with short.raw() as s:
        s.sendall(HELLO + frame(HEADERS, END_HEADERS, 1, block()) + frame(DATA, 0, 1, message(b"x" * 100)[:50]))
        data, start = b"", time.monotonic()
        while b"grpc-status" not in data and not any(f[0] == HEADERS for f in frames(data)):
            data += s.recv(65536)
        assert time.monotonic() - start < LONG
        while not any(f[0] == RST for f in frames(data)):  # and the stream is let go of
            data += s.recv(65536)
        s.sendall(frame(HEADERS, END_HEADERS, 3, block()) + frame(DATA, END_STREAM, 3, message()))
        while not any(f[2] == 3 and f[0] == HEADERS for f in frames(data)):
            data += s.recv(65536)


def test_a_request_that_comes_slowly_but_comes_is_served(short, pb):
    with short.raw() as s:
        s.sendall(HELLO + frame(HEADERS, END_HEADERS, 1, block()))
        body = message(b"\x0a\x10" + b"y" * 16)
        for byte in body[:-1]:
            s.sendall(frame(DATA, 0, 1, bytes([byte])))
            time.sleep(0.06)  # the whole takes four times the limit
        s.sendall(frame(DATA, END_STREAM, 1, body[-1:]))
        data = b""
        while b"y" * 16 not in data:
            data += s.recv(65536)


def test_a_window_that_stays_shut_ends_its_call_only(short, pb):
    with short.raw() as s:
        s.sendall(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)) + frame(SETTINGS, 1, 0))
        s.sendall(frame(HEADERS, END_HEADERS, 1, block(f"/{SERVICE}/stream"))
                  + frame(DATA, END_STREAM, 1, message(pb.EchoRequest(count=100000, size=10000).SerializeToString())))
        data, start = b"", time.monotonic()
        while not any(f[0] == RST and f[2] == 1 for f in frames(data)):
            data += s.recv(65536)
            assert data, "closed"
        assert 0.6 < time.monotonic() - start < LONG
        s.sendall(frame(PING, 0, 0, b"12345678"))
        while not any(f[0] == PING and f[1] == 1 for f in frames(data)):
            data += s.recv(65536)


def test_a_peer_that_reads_nothing_is_ended_though_it_talks(pb):
    server = Server("--request", "200", "--answer", "600", "--ping", "60000")
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, port = server.ipv4.split(":")
    s.connect((host, int(port)))
    window = struct.pack(">HI", 4, 0x7fffffff)
    s.sendall(PREFACE + frame(SETTINGS, 0, 0, window) + frame(SETTINGS, 1, 0) + frame(8, 0, 0, b"\x7f\0\0\0")
              + frame(HEADERS, END_HEADERS, 1, block(f"/{SERVICE}/stream"))
              + frame(DATA, END_STREAM, 1, message(pb.EchoRequest(count=100000, size=10000).SerializeToString())))
    start = time.monotonic()
    try:
        while time.monotonic() - start < LONG:
            s.sendall(frame(8, 0, 0, b"\0\0\0\1"))  # talks
            time.sleep(0.05)
    except OSError:
        pass
    assert time.monotonic() - start < LONG
    s.close()
    still_answers(server, pb)
    server.close()


def test_a_tcp_connection_without_calls_is_told_to_go_and_one_with_a_call_stays(short, pb):
    with short.raw() as s:
        s.sendall(HELLO)
        data, took = until_closed(s)
        assert took < LONG
        goaway = [f for f in frames(data) if f[0] == GOAWAY]
        assert goaway and goaway[0][3][4:8] == b"\0\0\0\0"
    with short.raw() as s, socket.socket(socket.AF_UNIX) as u:
        u.connect(short.unix.removeprefix("unix:"))
        u.sendall(HELLO)
        s.sendall(HELLO + frame(HEADERS, END_HEADERS, 1, block(f"/{SERVICE}/slow"))
                  + frame(DATA, END_STREAM, 1, message()))
        s.settimeout(2.5)
        u.settimeout(0.2)
        with pytest.raises(TimeoutError):  # far longer than the idle limit, and neither was closed
            while s.recv(65536):
                pass
        with pytest.raises(TimeoutError):
            while u.recv(65536):
                pass


def test_a_call_that_waits_for_its_answer_costs_no_wake_up(pb):
    server = Server("--request", "100")
    with server.raw() as s:
        s.sendall(HELLO + frame(HEADERS, END_HEADERS, 1, block(f"/{SERVICE}/slow"))
                  + frame(DATA, END_STREAM, 1, message()))
        time.sleep(0.5)  # the one sweep that finds nothing
        trace = subprocess.run(["timeout", "2", "strace", "-f", "-e", "trace=epoll_wait,epoll_pwait", "-p",
                                str(server.process.pid)], capture_output=True, text=True)
        assert "attached" in trace.stderr and trace.stderr.count("= 0") <= 1, trace.stderr
    server.close()


def test_rapid_resets_are_ended(pb):
    server = Server()
    with server.raw() as s:
        s.settimeout(LONG)
        head = block()
        try:
            s.sendall(HELLO)
            for i in range(300):
                s.sendall(b"".join(frame(HEADERS, END_HEADERS, n, head) + frame(RST, 0, n, b"\0\0\0\x08")
                                   for n in range(i * 200 + 1, i * 200 + 201, 2)))
        except OSError:
            pass  # it has ended already
        assert until_closed(s)[1] < LONG
    assert server.rss_kb() < 200_000
    still_answers(server, pb)
    server.close()


@pytest.mark.parametrize("flood", [frame(PING, 0, 0, b"12345678"), frame(SETTINGS, 0, 0, b"\0\3\0\0\0\1")])
def test_floods_that_want_answers_and_read_none_are_ended(pb, flood):
    server = Server()
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, port = server.ipv4.split(":")
    s.connect((host, int(port)))
    s.settimeout(LONG)
    start = time.monotonic()
    with pytest.raises(OSError) as e:
        s.sendall(HELLO)
        while time.monotonic() - start < LONG:
            s.sendall(flood * 500)
    assert not isinstance(e.value, TimeoutError)
    s.close()
    assert server.rss_kb() < 150_000
    still_answers(server, pb)
    server.close()


def test_strangers_on_tcp_do_not_lock_the_socket_of_the_owner(pb):
    server = Server("--connections", "8")
    held = [server.raw() for _ in range(12)]
    for s in held:
        try:
            s.sendall(HELLO)
        except OSError:
            pass  # one of those beyond the limit
    with socket.socket(socket.AF_UNIX) as u:
        u.settimeout(LONG)
        u.connect(server.unix.removeprefix("unix:"))
        u.sendall(HELLO)
        assert u.recv(9)[3] == SETTINGS
    for s in held:
        s.close()
    server.close()
