"""The runner kept by docker-compose, against a server of this machine."""
import os
import pathlib
import shutil
import subprocess

import pytest

from homes import AGENT, PREFIX, Home

REPO = pathlib.Path(__file__).resolve().parents[2]


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
