"""Runners as a person starts them by hand, on another machine or as if they were: endpoint, token, authority and
keys by variables and files."""
import os
import pathlib
import signal
import subprocess

from clocks import faked
from fronts import spread
from homes import PREFIX

RUNNER = os.path.join(PREFIX, "libexec/stigmer/agent-runner")
# The same with its libc as a library: libfaketime does nothing to a static program.
DYNAMIC = pathlib.Path(os.environ.get("STIGMER_STATIC_BUILD", pathlib.Path(__file__).resolve().parents[2] / "build/release"),
                       "tests/fake/agent-runner-dynamic")
API_TOKEN = "the-token-of-the-api-0123456789"


class Runner:
    """prefix: how to get onto its machine. skew: seconds that its wall clock is ahead."""

    def __init__(self, folder, name, server, token, ca, domain=None, temporal=None, prefix=(), slots=8, skew=0, **env):
        self.name, self.log = name, pathlib.Path(folder) / f"{name}.log"
        files = pathlib.Path(folder)
        self.env = {
            "PATH": os.environ["PATH"], "STIGMER_BACKEND_ENDPOINT": server,
            "STIGMER_RUNNER_TOKEN_FILE": spread(files / f"{name}.token", token + "\n"), "STIGMER_TLS_CA": ca,
            "OPENAI_API_KEY_FILE": spread(files / f"{name}.openai", "k-openai\n"),
            "WORKSPACE_ROOT": str(files / f"workspace-{name}"), "STIGMER_SLOTS": str(slots),
            "STIGMER_SANDBOX_REQUIRE": "landlock,seccomp", "STIGMER_SANDBOX_EGRESS": "deny", **env}
        pathlib.Path(self.env["WORKSPACE_ROOT"]).mkdir(exist_ok=True)
        if domain:
            self.env["STIGMER_WORKSPACE_DOMAIN"] = domain
        if temporal:
            self.env["TEMPORAL_SERVICE_ADDRESS"] = temporal
        self.prefix, self.process, self.program = prefix, None, DYNAMIC if skew else RUNNER
        assert os.access(self.program, os.X_OK), f"{self.program} is not built"
        if skew:
            self.env.update(faked(skew))

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen([*self.prefix, self.program, "launch"], env=self.env, stdout=log, stderr=log)
        return self

    def text(self):
        return self.log.read_text() if self.log.exists() else ""

    def stop(self, sig=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
            self.process.wait(20)
        self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
