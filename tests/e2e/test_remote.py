"""The API from another machine: a token and TLS, before real clients (grpcio, grpcurl, curl, our CLI)."""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

import grpc
import pytest

from homes import STIGMER, free_port
from test_grpc_layer import Server, pb  # noqa: F401

TOKEN = "a-token-of-some-length-0123456789"
LIST = "/stigmer.execution.v1.ServerService/status"
HEALTH = "/grpc.health.v1.Health/Check"


class Machine:
    """A server without a runner, and callers of it."""

    def __init__(self, certs, listen="127.0.0.1", cert="server", token=TOKEN, **server):
        self.certs = certs
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="sr-", dir="/tmp"))
        self.port = free_port()
        self.token = self.dir / "token"
        self.token.write_text(TOKEN + "\n")
        self.token.chmod(0o600)
        config = {"listen": f"{listen}:{self.port}", **server}
        if token:
            config["token_file"] = str(self.token)
        if cert:
            config["tls"] = {"cert": certs.path(f"{cert}.pem"), "key": certs.path(f"{cert}.key")}
        (self.dir / "config.yaml").write_text(json.dumps({"server": config, "runner": {"kind": "none"}}))
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("STIGMER_")}
        self.env["STIGMER_HOME"] = str(self.dir)

    def stigmer(self, *args, env=None):
        return subprocess.run([STIGMER, *args], env={**self.env, **(env or {})}, capture_output=True, text=True,
                              timeout=60)

    def start(self):
        r = self.stigmer("server", "start")
        assert r.returncode == 0, r.stderr
        return r

    def call(self, address, *args, ca=True, token=True, env=None):
        more = ["--tls-ca", self.certs.path("ca.pem")] if ca else []
        more += ["--token-file", str(self.token)] if token else []
        return self.stigmer("get", "agents", "--server", address, *more, *args, env=env)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stigmer("server", "stop", "--grace", "1s")
        shutil.rmtree(self.dir)


@pytest.fixture(scope="module")
def machine(certs):
    with Machine(certs) as m:
        m.start()
        yield m


def ask(channel, path, token=None):
    call = channel.unary_unary(path, request_serializer=lambda b: b, response_deserializer=lambda b: b)
    return call(b"", metadata=[("authorization", f"Bearer {token}")] if token else [], timeout=10)


def status_of(fn):
    with pytest.raises(grpc.RpcError) as e:
        fn()
    return e.value


def test_the_cli_calls_with_the_right_token(machine):
    at = f"127.0.0.1:{machine.port}"
    for address in (f"tls://{at}", f"https://{at}/", f"tls://localhost:{machine.port}"):
        r = machine.call(address)
        assert r.returncode == 0, r.stderr
    r = machine.call(f"tls://{at}", ca=False, token=False,
                     env={"STIGMER_TOKEN": TOKEN, "STIGMER_TLS_CA": machine.certs.path("ca.pem")})
    assert r.returncode == 0, r.stderr
    r = machine.stigmer("server", "status", "-o", "json", "--server", f"tls://{at}", "--tls-ca",
                        machine.certs.path("ca.pem"), "--token-file", str(machine.token))
    assert json.loads(r.stdout)["listen"][1] == f"tls://{at}"


def test_without_the_right_token_nothing_is_told(machine):
    at = f"tls://127.0.0.1:{machine.port}"
    r = machine.call(at, token=False)
    assert r.returncode == 5 and "the server wants a token" in r.stderr and "--token-file" in r.stderr
    r = machine.call(at, token=False, env={"STIGMER_TOKEN": TOKEN + "x"})
    assert r.returncode == 5 and "does not accept this token" in r.stderr
    assert TOKEN not in r.stderr + r.stdout
    r = machine.stigmer("server", "status", "--server", at, "--tls-ca", machine.certs.path("ca.pem"), "-o", "json")
    assert r.returncode == 5 and json.loads(r.stdout)["code"] == "UNAUTHENTICATED"


def test_the_unix_socket_needs_no_token(machine):
    assert machine.stigmer("get", "agents").returncode == 0
    assert os.stat(machine.dir / "data/run/api.sock").st_mode & 0o777 == 0o600


def test_grpcio_over_tls(machine):
    trust = grpc.ssl_channel_credentials(machine.certs.read("ca.pem"))
    with grpc.secure_channel(f"localhost:{machine.port}", trust) as c:
        assert b"server-status" in ask(c, LIST, TOKEN)
        assert ask(c, HEALTH) == b"\x08\x01"  # SERVING, to anybody
        for path, token in ((LIST, None), (LIST, TOKEN[:-1]), (LIST, TOKEN + "1"), ("/no.such.Service/x", None)):
            e = status_of(lambda: ask(c, path, token))
            assert e.code() == grpc.StatusCode.UNAUTHENTICATED
        e = status_of(lambda: ask(c, "/no.such.Service/x", TOKEN))
        assert e.code() == grpc.StatusCode.UNIMPLEMENTED
    with grpc.secure_channel(f"localhost:{machine.port}", grpc.ssl_channel_credentials(machine.certs.read("other.pem"))) as c:
        assert status_of(lambda: ask(c, HEALTH)).code() == grpc.StatusCode.UNAVAILABLE


def test_grpcurl_over_tls(machine):
    tool = shutil.which("grpcurl") or "/root/go/bin/grpcurl"

    def run(*args):
        return subprocess.run([tool, "-cacert", machine.certs.path("ca.pem"), "-max-time", "10", *args],
                              capture_output=True, text=True)

    at = f"localhost:{machine.port}"
    r = run("-H", f"authorization: Bearer {TOKEN}", at, "list")
    assert "ai.stigmer" in r.stdout, r.stderr
    r = run(at, "list")
    assert r.returncode != 0 and "Unauthenticated" in r.stderr


def test_an_authority_that_is_not_known_is_refused(machine):
    r = machine.call(f"tls://127.0.0.1:{machine.port}", ca=False)
    assert r.returncode == 5 and "authority that is not trusted" in r.stderr
    assert "--tls-ca FILE" in r.stderr and "STIGMER_TLS_CA" in r.stderr
    r = machine.call(f"tls://127.0.0.1:{machine.port}", "--tls-ca", machine.certs.path("none.pem"), ca=False)
    assert r.returncode == 4 and "none.pem" in r.stderr


def test_a_wrong_name_is_refused(certs):
    with Machine(certs, cert="elsewhere") as m:
        m.start()
        r = m.call(f"tls://127.0.0.1:{m.port}")
        assert r.returncode == 5 and "is for elsewhere.example" in r.stderr


def test_an_expired_certificate_is_told_at_start_by_doctor_and_to_callers(certs):
    with Machine(certs, cert="old") as m:
        assert "the TLS certificate has expired" in m.start().stderr
        r = m.call(f"tls://127.0.0.1:{m.port}")
        assert r.returncode == 5 and "has expired" in r.stderr and "hint:" in r.stderr
        checks = {c["id"]: c for c in json.loads(m.stigmer("doctor", "-o", "json").stdout)["checks"]}
        assert checks["tls"]["status"] == "warn" and checks["token"]["status"] == "ok"


def test_ipv6(certs):
    with Machine(certs, listen="[::1]") as m:
        m.start()
        assert m.call(f"tls://[::1]:{m.port}").returncode == 0
        r = m.call(f"tls://[::1]:{m.port}", token=False)
        assert r.returncode == 5


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:7234"])
def test_listening_beyond_loopback_without_token_and_tls_is_refused(certs, address):
    with Machine(certs, cert=None, token=None) as m:
        r = m.stigmer("server", "start", "--listen", address)
        assert r.returncode == 2
        assert "beyond loopback" in r.stderr and "server.token_file, server.tls.cert, server.tls.key" in r.stderr
        r = m.stigmer("server", "start", "--listen", address, env={"STIGMER_TOKEN_FILE": str(m.token)})
        assert r.returncode == 2 and "set server.tls.cert, server.tls.key" in r.stderr
        r = m.stigmer("config", "set", "server.listen", address)
        assert r.returncode == 2 and "config set server.token_file" in r.stderr
        assert not os.path.exists(m.dir / "data/run/api.sock")


@pytest.mark.parametrize("listen,host", [("0.0.0.0", "127.0.0.1"), ("[::]", "[::1]")])
def test_listening_everywhere_with_token_and_tls(certs, listen, host):
    with Machine(certs, listen=listen) as m:
        m.start()
        assert m.call(f"tls://{host}:{m.port}").returncode == 0
        assert m.call(f"tls://{host}:{m.port}", token=False).returncode == 5


def test_on_loopback_a_token_alone_is_asked_for_in_the_clear(certs):
    with Machine(certs, cert=None) as m:
        m.start()
        at = f"127.0.0.1:{m.port}"
        assert m.call(at).returncode == 0
        assert m.call(f"tcp://{at}").returncode == 0
        assert m.call(at, token=False).returncode == 5
        r = m.call(f"tls://{at}")
        assert r.returncode == 1 and "does not speak TLS" in r.stderr and f"--server tcp://{at}" in r.stderr


def test_a_token_never_leaves_in_the_clear(certs):
    with Machine(certs) as m:
        for address in ("tcp://192.0.2.1:7234", "http://127.evil.example:80"):
            r = m.call(address)
            assert r.returncode == 5 and "not sent in the clear" in r.stderr and "tls://" in r.stderr


def test_cleartext_on_a_tls_port_gets_words(machine):
    at = f"127.0.0.1:{machine.port}"
    for address in (at, f"tcp://{at}"):
        r = machine.call(address)
        assert r.returncode == 1 and "speaks TLS" in r.stderr and "--server tls://" in r.stderr, r.stderr
    with grpc.insecure_channel(at) as c:
        e = status_of(lambda: ask(c, HEALTH))
        assert e.code() == grpc.StatusCode.FAILED_PRECONDITION and "this port speaks TLS" in e.details()
    r = subprocess.run(["curl", "-s", "-i", f"http://{at}/"], capture_output=True, text=True)
    assert r.stdout.startswith("HTTP/1.1 400") and "This port speaks TLS" in r.stdout
    r = subprocess.run(["curl", "-s", "-i", "--http1.1", "--cacert", machine.certs.path("ca.pem"), f"https://{at}/"],
                       capture_output=True, text=True)
    assert "This is a gRPC port" in r.stdout, r.stderr


def test_hostile_bytes_on_the_tls_port(machine):
    for junk in (b"\x16\x03\x01\xff\xff" + os.urandom(4000), b"\x16", os.urandom(3000), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 500,
                 b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00" * 100, b"\x15\x03\x01\x00\x02\x02\x28" * 50):
        with socket.create_connection(("127.0.0.1", machine.port), timeout=10) as s:
            try:
                s.sendall(junk)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
            except OSError:
                pass  # closed already
    assert machine.call(f"tls://127.0.0.1:{machine.port}").returncode == 0


def test_old_versions_of_tls_are_refused(machine):
    r = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{machine.port}", "-tls1_1",
                        "-cipher", "ALL:@SECLEVEL=0"], input="", capture_output=True, text=True)
    assert "protocol version" in r.stderr or "no protocols available" in r.stderr
    r = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{machine.port}", "-tls1_2", "-alpn", "h2"],
                       input="", capture_output=True, text=True)
    assert "ALPN protocol: h2" in r.stdout and "TLSv1.2" in r.stdout


def test_files_that_others_may_read_stop_the_start(certs):
    with Machine(certs) as m:
        m.token.chmod(0o644)
        r = m.stigmer("server", "start")
        assert r.returncode == 5 and "mode 644" in r.stderr and "chmod 600" in r.stderr
        m.token.chmod(0o600)
        m.token.write_text("short\n")
        r = m.stigmer("server", "start")
        assert r.returncode == 2 and "5 characters" in r.stderr and "openssl rand" in r.stderr
        m.token.write_text(TOKEN + "\nand another line\n")
        assert "more than one line" in m.stigmer("server", "start").stderr
        m.token.write_text(TOKEN)
        key = m.dir / "key.pem"
        shutil.copy(certs.path("server.key"), key)
        key.chmod(0o640)
        r = m.stigmer("server", "start", "--set", f"server.tls.key={key}")
        assert r.returncode == 5 and "TLS key" in r.stderr and "chmod 600" in r.stderr
        r = m.stigmer("server", "start", env={"STIGMER_TLS_KEY": certs.path("elsewhere.key")})
        assert r.returncode == 2 or "does not" in r.stderr
        assert m.stigmer("server", "start").returncode == 0


def test_the_callers_own_mistakes_are_named(machine):
    at = f"tls://127.0.0.1:{machine.port}"
    r = machine.call(at, "--token-file", str(machine.dir / "none"), token=False)
    assert r.returncode == 4 and "token file" in r.stderr
    r = machine.call(at, token=False, env={"STIGMER_TOKEN": "two words and more of it"})
    assert r.returncode == 2 and "STIGMER_TOKEN" in r.stderr and "two words" not in r.stderr
    r = machine.call("ftp://x:1")
    assert r.returncode == 2 and "no address of a server" in r.stderr
    r = machine.call("tls://127.0.0.1")
    assert r.returncode == 2
    r = machine.call(f"tls://127.0.0.1:{free_port()}")
    assert r.returncode == 3 and "refused" in r.stderr


def test_a_server_that_wants_a_client_certificate_is_understood(certs, machine):
    server = Server("--cert", certs.path("server.pem"), "--key", certs.path("server.key"),
                    "--client-ca", certs.path("ca.pem"))
    try:
        r = machine.call(f"tls://{server.ipv4}", token=False)
        assert r.returncode == 5 and "wants a client certificate" in r.stderr, r.stderr
    finally:
        server.close()


def test_a_run_is_followed_over_tls(machine):
    """The stream that attach and run use, not only unary calls."""
    r = machine.stigmer("attach", "aex-01jc0000000000000000000000", "--server", f"tls://127.0.0.1:{machine.port}",
                        "--tls-ca", machine.certs.path("ca.pem"), "--token-file", str(machine.token))
    assert r.returncode == 4, r.stderr


def test_the_token_does_not_reach_the_server_of_a_start(certs):
    with Machine(certs, token=None, cert=None) as m:
        m.stigmer("server", "start", env={"STIGMER_TOKEN": TOKEN})
        for line in (m.dir / "data/run/server.pid").read_text().splitlines():
            environment = pathlib.Path(f"/proc/{line.split()[1]}/environ").read_bytes()
            assert TOKEN.encode() not in environment
