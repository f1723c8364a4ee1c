"""The tools' way out: what real programs reach through the proxy, and what they do not."""
import base64
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import zipfile

import pytest

from homes import AGENT, STIGMER, Home

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../fake"))
from scripted_model import ScriptedModel, call  # noqa: E402

HAS_DOCKER = subprocess.run(["docker", "version"], capture_output=True).returncode == 0


class Site(http.server.ThreadingHTTPServer):
    """A web server of this machine with a folder of files; /away redirects."""

    def __init__(self, folder):
        site = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __init__(self, *a):
                super().__init__(*a, directory=str(folder))

            def do_GET(self):
                site.asked.append((self.path, dict(self.headers)))
                if self.path == "/away":
                    self.send_response(302)
                    self.send_header("Location", site.away)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                else:
                    super().do_GET()

            def log_message(self, *a):
                pass
        self.asked, self.away, self.folder = [], "", folder
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def site(tmp_path):
    (tmp_path / "hello").write_text("hello from here\n")
    s = Site(tmp_path)
    yield s
    s.shutdown()
    s.server_close()


def run(command, egress, kind="process", before=None):
    """What one command of an agent prints, and the runner's log."""
    with ScriptedModel([("", [call("c", "execute", command=command)]), ("Done.", [])]) as model:
        with Home(1, kind=kind, name=f"stigmer-test-{os.urandom(4).hex()}") as h:
            with open(f"{h.dir}/config.yaml") as f:
                config = json.load(f)
            config["llm"]["base_url"] = model.url
            config["sandbox"] = {"egress": egress} if egress else {}
            with open(f"{h.dir}/config.yaml", "w") as f:
                json.dump(config, f)
            h.ok("server", "start")
            h.ok("apply", "-f", "-", input=AGENT)
            if before:
                before(h)
            r = subprocess.run([STIGMER, "run", "worker", "-m", "go", "-o", "jsonl"], env=h.env, capture_output=True,
                               text=True, timeout=120)
            assert r.returncode == 0, (r.stderr, h.logs())
            events = [json.loads(line) for line in r.stdout.splitlines()]
            text = next(e for e in events if e["kind"] == "tool_finished")
            return text["text"], h.logs()


def test_curl_reaches_what_is_named_and_nothing_else(site):
    text, log = run(f"curl -sS http://127.0.0.1:{site.port}/hello; curl -sS -p http://127.0.0.1:{site.port}/hello; "
                    f"curl -sS http://127.0.0.1:{site.port + 1}/; curl -sS http://example.org/",
                    f"127.0.0.1:{site.port}")
    assert text.count("hello from here") == 2, text
    assert text.count("egress refused") == 2 and "not among the hosts" in text, text
    asked, headers = site.asked[0]
    assert asked == "/hello" and not any(k.lower().startswith("proxy-") for k in headers)
    lines = [line for line in log.splitlines() if 'msg="egress"' in line or "msg=egress" in line]
    assert sum("verdict=allowed" in line for line in lines) == 2 and sum("verdict=refused" in line for line in lines) == 2
    assert all(re.search(r"run=aex-\w+ host=\S+ port=\d+", line) for line in lines), lines


REFUSED = ["http://127.0.0.1:{port}/hello", "http://localhost:{port}/hello", "http://[::1]:{port}/", "http://[::ffff:127.0.0.1]:{port}/",
           "http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://192.168.1.1/", "http://[fd00:ec2::254]/",
           "http://0.0.0.0:{port}/hello", "http://127.1:{port}/hello", "http://0x7f000001:{port}/hello",
           "http://2130706433:{port}/hello", "http://0177.0.0.1:{port}/hello", "http://LOCALHOST.:{port}/hello"]


def test_public_reaches_nothing_of_this_machine_or_its_networks(site):
    """Directly, by names, by odd spellings, inside IPv6: by both ways to ask a proxy."""
    urls = [u.format(port=site.port) for u in REFUSED]
    text, log = run("; ".join(f"echo; echo '== {u}'; curl -sS -m 20 -g '{u}'; curl -sS -m 20 -g -p '{u}'" for u in urls) + "; true",
                    None)
    assert site.asked == [] and "hello from here" not in text, text
    for u, part in zip(urls, text.split("\n== ")[1:]):
        assert part.count("403") + part.count("egress refused") >= 1 or "502" in part, part
    assert "verdict=allowed" not in log


def test_the_host_that_is_asked_for_is_the_one_that_was_judged(site):
    text, _ = run(f"curl -sS -H 'Host: elsewhere.example' http://127.0.0.1:{site.port}/hello", f"127.0.0.1:{site.port}")
    assert "hello from here" in text
    assert [headers["Host"] for _, headers in site.asked] == [f"127.0.0.1:{site.port}"]


def test_a_refusal_is_read_by_a_client_that_still_sends(site):
    text, _ = run("head -c 4000000 /dev/zero | curl -sS -H Expect: --data-binary @- http://10.0.0.1/", "public")
    assert "a private address. sandbox.egress says" in text, text


def test_a_redirect_leads_nowhere_that_is_refused(site, tmp_path):
    other = Site(tmp_path)
    try:
        site.away = f"http://127.0.0.1:{other.port}/hello"
        text, _ = run(f"curl -sS -L http://127.0.0.1:{site.port}/away", f"127.0.0.1:{site.port}")
        assert "egress refused" in text and other.asked == [], text
        assert site.asked[0][0] == "/away"
    finally:
        other.shutdown()
        other.server_close()


def test_pip_and_git_work_through_it(site):
    """The real programs, from a package index and a repository of this machine."""
    wheel = site.folder / "simple/tinything/tinything-1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as z:
        z.writestr("tinything.py", "x = 'tiny'\n")
        z.writestr("tinything-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinything\nVersion: 1.0\n")
        z.writestr("tinything-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr("tinything-1.0.dist-info/RECORD", "")
    (wheel.parent / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    git = {**os.environ, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    work, bare = site.folder / "work", site.folder / "repo.git"
    for words in (["git", "init", "-q", work], ["git", "-C", work, "commit", "-q", "--allow-empty", "-m", "one"],
                  ["git", "clone", "-q", "--bare", work, bare], ["git", "-C", bare, "update-server-info"]):
        subprocess.run(words, check=True, env=git, capture_output=True)
    at = f"http://127.0.0.1:{site.port}"
    text, log = run(f"export HOME=$PWD; /usr/bin/python3 -m pip install -q --no-cache-dir --target here --index-url {at}/simple "
                    f"tinything 2>&1; PYTHONPATH=here /usr/bin/python3 -c 'import tinything; print(tinything.x)'; "
                    f"git clone -q {at}/repo.git copy && git -C copy log --oneline", f"127.0.0.1:{site.port}")
    assert "tiny\n" in text and re.search(r"^[0-9a-f]{7} one$", text, re.M), (text, log)


def test_the_ways_around_are_closed(site):
    """No socket but to the proxy: not TCP to elsewhere, not UDP, not a listener."""
    code = f"""
import socket
def attempt(what, f):
    try:
        f(); print(what, "OPEN")
    except OSError as e:
        print(what, "closed", e.errno)
attempt("tcp", lambda: socket.create_connection(("127.0.0.1", {site.port}), 5))
attempt("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
attempt("bind", lambda: socket.create_server(("127.0.0.1", 0)))
attempt("unix", lambda: socket.socket(socket.AF_UNIX).connect("/var/run/docker.sock"))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
there = ("127.0.0.1", {site.port})
for protocol in (262, 132, 256):  # MPTCP, SCTP, SMC
    attempt(str(protocol), lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol).connect(there))
first = 0x20000000  # MSG_FASTOPEN
attempt("sendto", lambda: socket.socket().sendto(b"GET /hello HTTP/1.0\\r\\n\\r\\n", first, there))
attempt("sendmsg", lambda: socket.socket().sendmsg([b"x"], [], first, there))
attempt("listen", lambda: socket.socket().listen(1))
"""
    text, _ = run(f"/usr/bin/python3 -c '{code}'", "public")
    assert "OPEN" not in text and text.count("closed") == 11, text
    assert site.asked == []


def test_a_stranger_gets_407_and_nothing_else(site):
    """Another user of the machine finds the port; without a run's token it is of no use."""
    seen = {}

    def ask(home):
        launcher = home.component("agent-runner")["pid"]
        with open(f"/proc/{launcher}/task/{launcher}/children") as f:
            worker = int(f.read().split()[0])
        inodes = {os.readlink(f"/proc/{worker}/fd/{fd}") for fd in os.listdir(f"/proc/{worker}/fd")}
        with open("/proc/net/tcp") as f:
            ports = [int(r[1].split(":")[1], 16) for r in (line.split() for line in f.readlines()[1:])
                     if r[3] == "0A" and f"socket:[{r[9]}]" in inodes]
        for i, auth in enumerate(["", "Proxy-Authorization: Basic " + base64.b64encode(b"stigmer:" + b"0" * 32).decode() + "\r\n"]):
            with socket.create_connection(("127.0.0.1", ports[0]), 10) as s:
                s.sendall(f"CONNECT 127.0.0.1:{site.port} HTTP/1.1\r\n{auth}\r\n".encode())
                seen[i] = s.recv(4096)
        for i, junk in enumerate([b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\r\n\r\n", b"A" * 20000, b"CONNECT\r\n\r\n"]):
            with socket.create_connection(("127.0.0.1", ports[0]), 10) as s:
                s.sendall(junk)
                seen[f"junk{i}"] = s.recv(4096)
    run("true", f"127.0.0.1:{site.port}", before=ask)
    assert all(v.startswith((b"HTTP/1.1 407", b"HTTP/1.1 431")) for v in seen.values()), seen
    assert site.asked == []


@pytest.mark.skipif(not HAS_DOCKER, reason="no container engine answers")
def test_a_container_has_the_same_way_out(site):
    text, log = run(f"wget -q -O - http://127.0.0.1:{site.port}/hello; wget -q -O - http://10.0.0.1/; true",
                    f"127.0.0.1:{site.port}", kind="docker")
    assert "verdict=allowed" in log and "verdict=refused" in log, (text, log)
    assert [path for path, _ in site.asked] == ["/hello"]


def test_deny_has_no_way_out_and_no_proxy(site):
    text, _ = run(f"echo \"[$HTTP_PROXY]\"; curl -sS http://127.0.0.1:{site.port}/hello; true", "deny")
    assert "[]" in text and site.asked == []
