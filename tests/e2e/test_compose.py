"""The runner kept by docker-compose, against a server of this machine."""
import json
import os
import pathlib
import shutil
import subprocess

import pytest

from fronts import spread
from homes import AGENT, PREFIX, Home, until

REPO = pathlib.Path(__file__).resolve().parents[2]


def compose_of(tmp_path, env, *words, check=True):
    r = subprocess.run(["docker-compose", "-f", str(REPO / "image/scale-out.yml"), "-p", f"so{os.getpid()}", *words],
                       cwd=tmp_path, env={**os.environ, **env}, capture_output=True, text=True, timeout=120)
    assert not check or r.returncode == 0, r.stderr
    return r


def test_scale_out_asks_for_what_it_needs_and_shows_no_secret(tmp_path):
    assert "the folder of" in compose_of(tmp_path, {}, "config", check=False).stderr
    env = {"STIGMER_ENDPOINT": "tls://stigmer.example.org:7234", "STIGMER_KEYS": str(tmp_path), "STIGMER_WORKSPACE": str(tmp_path)}
    text = compose_of(tmp_path, env, "config").stdout
    assert "tls://stigmer.example.org:7234" in text and "temporalio/auto-setup" in text


def test_scale_out_runs_a_runner_that_comes_over_the_network(model, certs, tmp_path):
    """Two of them, as on two machines: here both reach the server over TLS on this one."""
    subprocess.run(["docker", "load", "-qi", f"{PREFIX}/share/stigmer/agent-runner-image.tar"], check=True, capture_output=True)
    with Home(model, kind="none") as h:
        config = json.loads(pathlib.Path(h.dir, "config.yaml").read_text())
        config["server"].update(token_file=spread(f"{h.dir}/api-token", "a-token-of-some-length-0123456789"),
                                tls={"cert": certs.path("server.pem"), "key": certs.path("server.key")})
        pathlib.Path(h.dir, "config.yaml").write_text(json.dumps(config))
        h.up()
        keys, workspace = tmp_path / "keys", tmp_path / "workspace"
        keys.mkdir(mode=0o700)
        workspace.mkdir()
        os.chown(workspace, 10002, 10002)  # root has no power over files in the container
        spread(keys / "runner.token", h.ok("server", "runner-token"))
        spread(keys / "server.ca", certs.read("ca.pem").decode())
        spread(keys / "llm.openai", "k-openai\n")
        env = {"STIGMER_ENDPOINT": f"tls://localhost:{h.port}", "STIGMER_KEYS": str(keys), "STIGMER_WORKSPACE": str(workspace),
               "STIGMER_WORKSPACE_DOMAIN": "both",
               # the image of this build, whoever has moved the name meanwhile
               "STIGMER_RUNNER_IMAGE": pathlib.Path(PREFIX, "share/stigmer/agent-runner-image.tar.id").read_text().strip()}
        try:
            compose_of(tmp_path, env, "up", "-d", "--scale", "agent-runner=2", "agent-runner")
            runners = until(lambda: len(r := h.status()["runners"]) == 2 and r)
            assert {r["domain"] for r in runners} == {"both"} and all(r["remote"] for r in runners)
            assert "It is written." in h.ok("run", "worker", "-m", "write-it")
            assert len(list(workspace.glob("*/out.txt"))) == 1
        finally:
            compose_of(tmp_path, env, "down", "-v", check=False)


@pytest.mark.skipif(not shutil.which("docker-compose") or subprocess.run(["docker", "version"], capture_output=True).returncode,
                    reason="needs docker-compose and an engine")
def test_compose_runs_the_runner_for_a_server_on_the_host(model, tmp_path):
    subprocess.run(["docker", "load", "-qi", f"{PREFIX}/share/stigmer/agent-runner-image.tar"], check=True, capture_output=True)
    shutil.copy(REPO / "image/docker-compose.yml", tmp_path)
    with Home(model, kind="none") as h:
        env = {**h.env, "STIGMER_RUNNER_NAME": f"stigmer-test-{os.urandom(4).hex()}"}

        def compose(*words, check=True):
            r = subprocess.run(["docker-compose", "-p", f"st{os.getpid()}", *words], cwd=tmp_path, env=env, capture_output=True,
                               text=True, timeout=120)
            assert not check or r.returncode == 0, r.stderr
            return r
        assert "runner-env" in compose("config", check=False).stderr  # says what comes first
        r = h.stigmer("internal", "runner-env")
        assert r.returncode == 3 and "server start --runner none" in r.stderr
        h.ok("server", "start")
        h.ok("apply", "-f", "-", input=AGENT)
        (tmp_path / ".env").write_text(h.ok("internal", "runner-env"))
        compose("up", "-d")
        try:
            assert h.ok("run", "worker", "-m", "write-it").strip() == "It is written."
            box = subprocess.run(["docker", "inspect", env["STIGMER_RUNNER_NAME"]], capture_output=True, text=True).stdout
            assert "k-openai" not in box and '"ReadonlyRootfs": true' in box and h.component("agent-runner")["state"] == "ready"
        finally:
            compose("down")
