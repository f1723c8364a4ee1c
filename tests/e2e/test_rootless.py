"""Rootless Podman: an ordinary user with an API socket of their own, which is found by itself."""
import json
import os
import pathlib
import pwd
import shutil
import subprocess
import tempfile
import time

import pytest

import homes
from homes import Home, workspace_of

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes a user")
USER = "stigmer-test-user"


@pytest.fixture(scope="module")
def person():
    """A user with a range of sub-uids, a home, and a runtime folder."""
    subprocess.run(["userdel", "-rf", USER], capture_output=True)
    subprocess.run(["useradd", "-m", USER], check=True)
    p = pwd.getpwnam(USER)
    runtime = tempfile.mkdtemp(prefix="rt-", dir="/tmp")
    os.chown(runtime, p.pw_uid, p.pw_gid)
    yield {"user": p.pw_uid, "group": p.pw_gid, "extra_groups": [], "cwd": p.pw_dir,
           "env": {"PATH": os.environ["PATH"], "HOME": p.pw_dir, "XDG_RUNTIME_DIR": runtime, "USER": USER}}
    shutil.rmtree(runtime, ignore_errors=True)
    subprocess.run(["userdel", "-rf", USER], capture_output=True)


@pytest.fixture(scope="module")
def podman(person):
    """Its API service, run by the person; what it keeps lies in the person's home. It has no systemd here."""
    folder = f"{person['env']['XDG_RUNTIME_DIR']}/podman"
    command = ["podman", "--runtime", shutil.which("runc") or "runc", "--cgroup-manager", "cgroupfs", "--storage-driver", "vfs"]
    log = open("/tmp/rootless-podman.log", "wb")
    subprocess.run(["mkdir", "-p", folder], check=True, **person)
    p = subprocess.Popen([*command, "system", "service", "--time=0", f"unix://{folder}/podman.sock"], stdout=log, stderr=log, **person)
    end = time.monotonic() + 60
    while subprocess.run(["curl", "-sf", "--unix-socket", f"{folder}/podman.sock", "http://d/_ping"], capture_output=True).returncode:
        assert p.poll() is None and time.monotonic() < end, pathlib.Path(log.name).read_text()
    yield [*command]
    p.terminate()
    p.wait(30)
    subprocess.run([*command, "unshare", "rm", "-rf", f"{person['cwd']}/.local"], **person)
    log.close()
    os.unlink(log.name)


class PersonsHome(Home):
    """Everything is done as that user, with a copy of the programs that the user can reach."""

    def __init__(self, model_port, person, prefix, **runner):
        super().__init__(model_port, kind="podman", name=f"stigmer-test-{os.urandom(4).hex()}", **runner)
        self.person, self.prefix = person, prefix
        subprocess.run(["chown", "-R", f"{person['user']}:{person['group']}", self.dir], check=True)
        self.person = {**person, "env": {**person["env"], "STIGMER_HOME": self.dir, "OPENAI_API_KEY": "k"}}

    def stigmer(self, *args, input=None):
        return subprocess.run([f"{self.prefix}/bin/stigmer", *args], input=input, capture_output=True, text=True,
                              timeout=120, **self.person)


@pytest.fixture(scope="module")
def prefix():
    d = tempfile.mkdtemp(prefix="rp-", dir="/tmp")
    shutil.copytree(homes.PREFIX, f"{d}/p")
    subprocess.run(["chmod", "-R", "go+rX", d], check=True)
    yield f"{d}/p"
    shutil.rmtree(d)


def test_a_person_without_root_has_a_container_and_owns_what_it_writes(model, podman, person, prefix):
    with PersonsHome(model, person, prefix) as h:
        h.up()
        runner = h.component("agent-runner")
        assert (runner["kind"], runner["runtime"]) == ("container", "podman")
        assert h.ok("run", "worker", "-m", "write-it").strip() == "It is written."
        run = json.loads(h.ok("ps", "-a", "-o", "json"))["items"][0]["id"]
        folder = workspace_of(h, run)
        assert {os.stat(p).st_uid for p in (folder, f"{folder}/out.txt")} == {person["user"]}
        own = f"{person['cwd']}/project"
        subprocess.run(["mkdir", own], check=True, **person)
        assert h.ok("run", "worker", "-m", "write-it", "-w", own).strip() == "It is written."
        assert os.stat(f"{own}/out.txt").st_uid == person["user"]
        h.ok("server", "stop")
        left = subprocess.run([*podman, "ps", "-aq"], capture_output=True, text=True, **person).stdout
        assert left.strip() == ""
