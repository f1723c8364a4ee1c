"""Runs tests/fake/toolbox: launcher, worker and tool hosts without a server.

Modes: who starts it, and what the host allows.
  root          the launcher is root, tool hosts become another user, namespaces on top
  root-no-ns    the same without CAP_SYS_ADMIN, as in a container: Landlock, seccomp, rlimits, uids
  user          an ordinary user, one uid for everything, namespaces by a user namespace
  user-no-ns    the same where the host allows no namespaces: the least there is
  container     PID 1 of a Docker container with the runner's three capabilities, where an engine
                answers; the programs come from the static build (STIGMER_STATIC_BUILD)
"""
import atexit
import json
import os
import pathlib
import pwd
import shutil
import subprocess

REPO = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("STIGMER_BUILD", REPO / "build"))
STATIC = pathlib.Path(os.environ.get("STIGMER_STATIC_BUILD", REPO / "build/release"))
TOOLBOX = BUILD / "tests/fake/toolbox"
ESCAPE = BUILD / "tests/fake/escape"
SANDBOX_UID = 10002  # tool hosts of a root launcher whose workspaces belong to root
NOBODY = pwd.getpwnam("nobody").pw_uid
MODES = [*(["root", "root-no-ns"] if os.geteuid() == 0 else []), "user", "user-no-ns"]
if os.environ.get("CI") == "true" or subprocess.run(["docker", "version"], capture_output=True).returncode == 0:
    MODES.append("container")
IMAGE = "stigmer-toolbox:test"
APPLETS = ("sh ls cat env pwd seq sleep touch kill true setsid nohup mount chmod yes tr wc head "
           "printf").split()


made = []


def remove_image():
    subprocess.run(["docker", "rmi", "-f", IMAGE], stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, check=False)


def make_image(folder):
    """busybox and the toolbox, as the runner's image has busybox and the runner."""
    if not made:
        atexit.register(remove_image)
    remove_image()
    made.append(folder)
    root = pathlib.Path(folder) / "rootfs"
    for name in ("bin", "usr/bin", "etc", "tmp", "proc", "dev"):
        (root / name).mkdir(parents=True)
    os.chmod(root / "tmp", 0o1777)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for name in APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    shutil.copy(STATIC / "tests/fake/toolbox", root / "usr/bin/agent-runner")
    with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
        subprocess.run(["docker", "import", "-", IMAGE], stdin=tar.stdout, check=True,
                       stdout=subprocess.DEVNULL)
    shutil.rmtree(root)


class Toolbox:
    def __init__(self, folder, mode, egress="deny", require=""):
        """folder: an empty one that every user may pass through."""
        self.folder = pathlib.Path(folder)
        self.mode = mode
        self.root = self.folder / "workspace"
        self.root.mkdir()
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        for program in (TOOLBOX, ESCAPE):
            shutil.copy(program, self.bin)
        self.launcher_uid = os.geteuid()
        self.tool_uid = os.geteuid()
        if os.geteuid() == 0:
            self.tool_uid = SANDBOX_UID
            if mode.startswith("user"):
                self.launcher_uid = self.tool_uid = NOBODY
                os.chown(self.root, NOBODY, NOBODY)
        if mode == "container":
            make_image(folder)
            os.chown(self.root, self.tool_uid, self.tool_uid)
        self.env = {
            "PATH": os.environ["PATH"],
            "WORKSPACE_ROOT": str(self.root),
            "STIGMER_SANDBOX_EGRESS": egress,
            "STIGMER_SANDBOX_REQUIRE": require,
            "ASAN_OPTIONS": "detect_leaks=0",
        }

    def workspace(self, session="s1"):
        """The session's folder, made as a tool host makes it."""
        path = self.root / session
        if not path.exists():
            path.mkdir(mode=0o700)
            os.chown(path, self.tool_uid, self.tool_uid)
        return path

    def command(self, *args):
        argv = [str(self.bin / "toolbox"), *args]
        if self.mode == "container":
            # The whole folder is there, so that what holds an attempt back is the sandbox.
            return ["docker", "run", "-i", "--rm", "--read-only", "--cap-drop", "ALL",
                    *(f"--cap-add={c}" for c in ("SETUID", "SETGID", "KILL")),
                    "--security-opt", "no-new-privileges", "--tmpfs", "/tmp:mode=1777,exec",
                    "--network", "host", "-v", f"{self.folder}:{self.folder}",
                    *(f"-e{k}={v}" for k, v in self.env.items() if k != "PATH"),
                    IMAGE, "/usr/bin/agent-runner", *args]
        if self.mode == "user-no-ns":
            argv = [str(self.bin / "escape"), "without-unshare", *argv]
        if self.mode == "root-no-ns":
            argv = ["setpriv", "--bounding-set=-sys_admin", *argv]
        return argv

    def start(self, *args, **kw):
        kw.setdefault("env", self.env)
        if self.mode.startswith("user") and os.geteuid() == 0:
            kw.update(user=NOBODY, group=NOBODY, extra_groups=[])
        return subprocess.Popen(self.command(*args), stdout=subprocess.PIPE,
                                stdin=subprocess.PIPE, text=True, cwd="/", **kw)

    def probe(self):
        return json.loads(self.start("probe").communicate()[0])

    def calls(self, calls, timeout=60):
        """Every call's answer, in the order of the calls."""
        p = self.start(stderr=subprocess.PIPE)
        out, err = p.communicate("".join(json.dumps(c) + "\n" for c in calls), timeout=timeout)
        lines = [json.loads(line) for line in out.splitlines()]
        answers = {a["n"]: a for a in lines if "n" in a}
        assert len(answers) == sum("name" in c for c in calls), (p.returncode, out, err)
        self.pids = next((a for a in lines if "launcher" in a), None)
        return [answers[i] for i, c in enumerate(calls) if "name" in c]

    def call(self, name, env=None, session="s1", **args):
        call = {"name": name, "args": args, "env": env or {}, "session": session}
        return self.calls([call])[0]

    def text(self, name, **args):
        answer = self.call(name, **args)
        assert answer["outcome"] == "result", answer
        return answer["text"]

    def error(self, name, **args):
        answer = self.call(name, **args)
        assert answer["outcome"] == "error", answer
        return answer["text"]

    def run_unconfined(self, argv, session="s1", **kw):
        """The same user in the same folder, and no sandbox."""
        if os.geteuid() == 0:
            kw.update(user=self.tool_uid, group=self.tool_uid, extra_groups=[])
        return subprocess.run(argv, cwd=self.workspace(session), capture_output=True, text=True,
                              start_new_session=True, timeout=60, **kw)


class OwnFolder(Toolbox):
    """The session's workspace is a person's own folder, and the person is root."""

    def __init__(self, folder, mode):
        super().__init__(folder, mode)
        self.tool_uid = 0
        self.own = self.root / "s1"
        self.env["STIGMER_RUNNER_SESSION"] = "s1"
        if mode == "container":
            self.own.mkdir(mode=0o700)
        else:
            self.own = self.folder / "own"
            self.own.mkdir(mode=0o700)
            (self.root / "s1").symlink_to(self.own)

    def workspace(self, session="s1"):
        return self.own if session == "s1" else super().workspace(session)
