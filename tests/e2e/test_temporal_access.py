"""Temporal behind TLS, client certificates, API keys and the namespace's header (the shape of Temporal Cloud), by
the server and by its runner; and what is told when one of them is wrong."""
import json
import os
import pathlib
import subprocess

import pytest

from fronts import Front, RealTemporal, TlsFront, spread
from homes import Home, until

KEY = "an-api-key-of-some-length-0123456789"


@pytest.fixture(scope="module")
def temporal():
    t = RealTemporal()
    yield t
    t.close()


@pytest.fixture(scope="module")
def client(certs):
    certs.leaf("client", "DNS:client.example")
    return certs


class Stack(Home):
    """settings: below temporal; a value that is a path in certs is one already."""

    def __init__(self, model, front, settings, **runner):
        super().__init__(model, **runner)
        path = pathlib.Path(self.dir) / "config.yaml"
        config = json.loads(path.read_text())
        config.update(engine="temporal", temporal={"address": front.address, "heartbeat": "2s", **settings})
        path.write_text(json.dumps(config))

    def key(self, text=KEY):
        return spread(f"{self.dir}/api-key", text + "\n")

    def notices(self, run):
        """Until the run tells why it waits."""
        p = self.follow(run)
        for line in p.stdout:
            e = json.loads(line)
            if e["kind"] == "notice":
                p.terminate()
                p.wait()
                return e["text"]


def tls(certs, **more):
    return {"tls": {"ca": certs.path("ca.pem"), **more}}


def runner_of(home):
    """The launcher and its worker."""
    launcher = home.component("agent-runner")["pid"]
    children = pathlib.Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return [launcher, *map(int, children)]


def test_certificates_key_and_namespace_reach_server_and_runner(model, temporal, client):
    front = Front(client, temporal.address, client_ca="ca.pem", keys=[KEY])
    settings = tls(client, cert=client.path("client.pem"), key=client.path("client.key"))
    with Stack(model, front, settings) as h:
        config = json.loads(pathlib.Path(f"{h.dir}/config.yaml").read_text())
        config["temporal"]["api_key_file"] = h.key()
        pathlib.Path(f"{h.dir}/config.yaml").write_text(json.dumps(config))
        h.up()
        assert "Said." in h.ok("run", "worker", "-m", "just-say")
        for pid in runner_of(h):
            seen = pathlib.Path(f"/proc/{pid}/environ").read_bytes() + pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
            assert b"TEMPORAL_TLS=true" in seen and KEY.encode() not in seen and b"PRIVATE KEY" not in seen
        assert front.wrong == [] and KEY not in h.logs()
    front.close()


def test_a_container_shows_nothing_of_it(model, temporal, client):
    front = Front(client, temporal.address, client_ca="ca.pem", keys=[KEY])
    settings = tls(client, cert=client.path("client.pem"), key=client.path("client.key"))
    name = f"st-access-{os.getpid()}"
    with Stack(model, front, settings, kind="docker", name=name) as h:
        h.env["TEMPORAL_API_KEY_FILE"] = h.key()
        h.up()
        assert "Said." in h.ok("run", "worker", "-m", "just-say")
        text = subprocess.run(["docker", "inspect", name], capture_output=True, text=True, check=True).stdout
        secret = client.read("client.key").decode().splitlines()[1]
        assert "TEMPORAL_TLS=true" in text
        assert KEY not in text and secret not in text and h.env["TEMPORAL_API_KEY_FILE"] not in text
    front.close()


WRONG = {
    "authority": (dict(cert="server"), dict(ca="other.pem"), ["authority that is not trusted", "temporal.tls.ca"]),
    "expired": (dict(cert="old"), dict(ca="ca.pem"), ["has expired"]),
    "name": (dict(cert="elsewhere"), dict(ca="ca.pem"), ["is for elsewhere.example"]),
    "certificate wanted": (dict(client_ca="ca.pem"), dict(ca="ca.pem"), ["wants a client certificate"]),
    "stranger": (dict(client_ca="other.pem"), dict(ca="ca.pem", cert="client.pem", key="client.key"),
                 ["certificate"]),
    "no key": (dict(keys=[KEY]), dict(ca="ca.pem"), ["wants to know who calls", "temporal.api_key_file"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_in_words(model, temporal, client, case):
    of_front, of_tls, words = WRONG[case]
    front = (TlsFront(client, temporal.port, **of_front) if "client_ca" in of_front
             else Front(client, temporal.address, **of_front))
    with Stack(model, front, {"tls": {k: client.path(v) for k, v in of_tls.items()}}, kind="none") as h:
        h.up()
        told = h.notices(h.begin("just-say"))
        assert front.address in told
        for w in words:
            assert w in told, told
        log = pathlib.Path(f"{h.dir}/data/logs/stigmer-server.log").read_text()
        assert "temporal does not take work" in log and words[0] in log
    front.close()


def test_a_key_that_is_denied_and_then_accepted_needs_no_restart(model, temporal, client):
    front = Front(client, temporal.address, keys=[])
    with Stack(model, front, tls(client)) as h:
        h.env["TEMPORAL_API_KEY_FILE"] = h.key()
        h.up()
        run = h.begin("just-say")
        assert "does not accept the API key: Request unauthorized." in h.notices(run)
        front.keys = [KEY]
        follow = h.follow(run)
        out = follow.stdout.read()
        assert json.loads(out.splitlines()[-1])["kind"] == "completed", out + h.logs()
        follow.wait()
        front.deny = True
        second = h.begin("just-say")
        until(lambda: "denies this to the API key: Request unauthorized for this namespace." in h.logs())
        front.deny = False
        follow = h.follow(second)
        out = follow.stdout.read()
        assert json.loads(out.splitlines()[-1])["kind"] == "completed", out + h.logs()
        follow.wait()
    front.close()


def test_files_that_are_wrong_end_the_start(model, temporal, client):
    rows = [({"tls": {"ca": "/nowhere/ca.pem"}}, "temporal.tls: cannot read the file of authorities '/nowhere/ca.pem'"),
            ({"tls": {"cert": client.path("client.pem")}}, "go together: the key is missing"),
            ({"api_key_file": "/nowhere/key"}, "temporal.api_key_file: cannot open the token file '/nowhere/key'")]
    for settings, words in rows:
        with Stack(model, temporal, settings, kind="none") as h:
            r = h.stigmer("server", "start")
            assert r.returncode != 0 and words in r.stderr, r.stderr
    with Stack(model, temporal, {"tls": {"enabled": False}, "address": "10.1.1.1:7233"}, kind="none") as h:
        h.env["TEMPORAL_API_KEY_FILE"] = h.key()
        r = h.stigmer("server", "start")
        assert r.returncode == 5 and "not sent in the clear" in r.stderr and KEY not in r.stderr
    with Stack(model, temporal, {}, kind="none") as h:
        h.env["TEMPORAL_API_KEY_FILE"] = spread(f"{h.dir}/open", KEY, 0o644)
        r = h.stigmer("server", "start")
        assert r.returncode == 5 and "others may use the token file" in r.stderr and "chmod 600" in r.stderr
