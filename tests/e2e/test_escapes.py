"""Ways out of a tool host. Each one works without the sandbox and is refused with it."""
import contextlib
import os
import resource
import shlex
import shutil
import socket
import subprocess
import tempfile

import pytest

from toolbox import MODES, OwnFolder, Toolbox


@contextlib.contextmanager
def outside_of(box):
    """What an escape is after: files, sockets and processes of the same user."""
    uid = box.tool_uid
    f = box.folder

    def own(path, mode):
        os.chown(path, uid, uid)
        os.chmod(path, mode)
        return str(path)

    names = {}
    (f / "secret").write_text("secret")
    names["secret"] = own(f / "secret", 0o600)
    (f / "keys").mkdir()
    (f / "keys/llm.anthropic").write_text("key")
    own(f / "keys", 0o700)
    names["key"] = own(f / "keys/llm.anthropic", 0o600)
    (f / "open").mkdir()
    names["folder"] = own(f / "open", 0o700)
    names["up"] = os.path.relpath(f, box.workspace())
    other = box.workspace("other")
    (other / "theirs").write_text("theirs")
    names["other"] = own(other / "theirs", 0o600)
    shutil.copy(box.bin / "escape", box.workspace() / "suid")
    os.chmod(box.workspace() / "suid", 0o4755)
    names["suid"] = str(box.workspace() / "suid")
    with contextlib.ExitStack() as stack:
        def listen(name, family, kind, address):
            s = stack.enter_context(socket.socket(family, kind))
            s.bind(address)
            if kind == socket.SOCK_STREAM:
                s.listen()
            if isinstance(address, str) and address[0] == "/":
                names[name] = own(address, 0o666)
            return s
        for name in ("api", "runner", "docker"):
            listen(name, socket.AF_UNIX, socket.SOCK_STREAM, str(f / f"{name}.sock"))
        listen("dgram", socket.AF_UNIX, socket.SOCK_DGRAM, str(f / "dgram.sock"))
        names["abstract"] = f"stigmer-test-{os.getpid()}-{id(box)}"
        listen("abstract", socket.AF_UNIX, socket.SOCK_STREAM, "\0" + names["abstract"])
        tcp = listen("tcp", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
        names["port"] = str(tcp.getsockname()[1])
        who = dict(user=uid, group=uid) if os.geteuid() == 0 else {}
        victim = subprocess.Popen(["sleep", "300"], env={"VICTIM": "1"}, **who)
        names["victim"] = str(victim.pid)
        try:
            yield names
        finally:
            victim.kill()
            victim.wait()


# name of the attempt → arguments of tests/fake/escape
ATTEMPTS = {
    "path_up_out_of_the_workspace": ["read", "{up}/secret"],
    "absolute_path": ["read", "{secret}"],
    "another_sessions_workspace": ["read", "{other}"],
    "symbolic_link_out": ["symlink-read", "{secret}", "link"],
    "hard_link_out": ["hardlink", "{secret}", "hard"],
    "write_to_a_file_outside": ["write", "{secret}"],
    "create_a_file_outside": ["create", "{folder}/new"],
    "list_a_folder_outside": ["list", "{folder}"],
    "keys_folder": ["read", "{key}"],
    "environment_of_another_process": ["proc", "{victim}", "environ"],
    "memory_of_another_process": ["proc-mem", "{victim}"],
    "descriptors_of_another_process": ["list", "/proc/{victim}/fd"],
    "ptrace_of_another_process": ["ptrace", "{victim}"],
    "process_vm_readv_of_another_process": ["vm-read", "{victim}"],
    "signal_to_another_process": ["signal", "{victim}"],
    "api_socket": ["connect-unix", "{api}"],
    "runner_socket": ["connect-unix", "{runner}"],
    "docker_socket": ["connect-unix", "{docker}"],
    "abstract_socket": ["connect-abstract", "{abstract}"],
    "datagram_from_a_socket_pair": ["datagram-pair", "{dgram}"],
    "tcp_to_loopback": ["connect-tcp", "{port}"],
    "socket_with_a_wide_argument": ["wide-socket"],
    "udp_socket": ["udp"],
    "netlink_socket": ["netlink"],
    "raw_socket": ["raw-socket"],
    "setuid_program": ["setuid", "{suid}"],
    "user_namespace": ["userns"],
    "user_namespace_by_clone": ["clone-userns"],
    "user_namespace_by_clone3": ["clone3-userns"],
    "mount": ["mount"],
    "io_uring": ["io-uring"],
    "typing_into_a_terminal": ["tiocsti"],
    "kernel_keyring": ["add-key"],
    "fork_bomb": ["forks"],
    "huge_file": ["huge-file", "huge"],
    "core_file": ["core"],
    "old_abi_personality": ["personality"],
    "file_handle": ["file-handle", "."],
}


@pytest.fixture(scope="module", params=MODES)
def box(request):
    folder = tempfile.mkdtemp(prefix="stigmer-escape-", dir="/var/tmp")
    os.chmod(folder, 0o755)
    yield Toolbox(folder, request.param)
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=[m for m in MODES if os.geteuid() == 0 and not m.startswith("user")])
def own_box(request):
    folder = tempfile.mkdtemp(prefix="stigmer-escape-", dir="/var/tmp")
    os.chmod(folder, 0o755)
    yield OwnFolder(folder, request.param)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def attempts(box):
    return try_all(box)


@pytest.fixture(scope="module")
def own_attempts(own_box):
    return try_all(own_box)


def try_all(box):
    """All of them in one go each way, so that the sandbox is set up once a mode."""
    with outside_of(box) as names:
        argv = {k: [a.format(**names) for a in v] for k, v in ATTEMPTS.items()}
        free = {k: box.run_unconfined(["sh", "-c", shlex.join([str(box.bin / "escape"), *v])])
                for k, v in argv.items()}
        # bin lies outside of the workspace: the program comes along.
        shutil.copy(box.bin / "escape", box.workspace() / "escape")
        os.chmod(box.workspace() / "escape", 0o755)
        answers = box.calls([{"name": "execute", "args": {"command": shlex.join(["./escape", *v])},
                              "wait": True} for v in argv.values()])
        return free, dict(zip(argv, answers))


@pytest.mark.parametrize("name", ATTEMPTS)
def test_escape(attempts, name):
    free, confined = attempts
    if name != "core_file" or resource.getrlimit(resource.RLIMIT_CORE)[1] != 0:
        assert free[name].returncode == 0, f"without the sandbox: {free[name]}"
    assert confined[name]["outcome"] == "result", confined[name]
    last = confined[name]["text"].splitlines()[-1]
    assert last == "exit code 1", f"with the sandbox: {confined[name]['text']}"


# The kernel does not count root's processes (in a container the container's own limit does), and a set-uid
# program of root's gives root nothing.
@pytest.mark.parametrize("name", [a for a in ATTEMPTS if a not in ("fork_bomb", "setuid_program")])
def test_escape_from_roots_own_folder(own_attempts, name):
    """There the tools are root without its power."""
    test_escape(own_attempts, name)


def test_files_in_roots_own_folder_are_roots(own_box):
    text = own_box.text("execute", command="echo x > made; cat /proc/self/status; true")
    assert os.stat(own_box.own / "made").st_uid == 0
    caps = {line.split()[0]: int(line.split()[1], 16) for line in text.splitlines() if line.startswith("Cap")}
    if own_box.mode == "root":  # elsewhere /proc is out of reach
        assert caps["CapEff:"] == caps["CapPrm:"] == caps["CapInh:"] == caps["CapAmb:"] == 0, caps


def test_another_abi_is_killed(box):
    """x32 and 32-bit numbers would pass a filter of 64-bit ones."""
    box.workspace()
    shutil.copy(box.bin / "escape", box.workspace() / "escape")
    assert box.run_unconfined([str(box.bin / "escape"), "x32"]).returncode == 0
    assert box.text("execute", command="./escape x32").endswith("exit code 1\n")


def test_descriptors_are_not_inherited(box):
    """The launcher's own caller may leave descriptors open; a command sees none."""
    shutil.copy(box.bin / "escape", box.workspace() / "escape")
    with open("/etc/hostname") as f:
        os.set_inheritable(f.fileno(), True)
        free = box.run_unconfined([str(box.bin / "escape"), "descriptors"], pass_fds=[f.fileno()])
        assert free.returncode == 0
        p = box.start(pass_fds=[f.fileno()])
        out, _ = p.communicate('{"name":"execute","args":{"command":"./escape descriptors"}}\n')
    assert "exit code 1" in out


def test_the_environment_is_cleared(box):
    box.env["MY_SECRET"] = "x"
    shutil.copy(box.bin / "escape", box.workspace() / "escape")
    free = box.run_unconfined([str(box.bin / "escape"), "env", "MY_SECRET"], env=box.env)
    assert free.returncode == 0
    assert box.text("execute", command="./escape env MY_SECRET").endswith("exit code 1\n")
    names = {line.split("=")[0] for line in box.text("execute", command="env").splitlines()[:-1]}
    assert names <= {"PATH", "HOME", "PWD", "TMPDIR", "LANG", "TERM", "OLDPWD", "SHLVL", "_"}


def test_worker_and_launcher_are_out_of_reach(box):
    """The processes that hold the keys, by their real ids."""
    shutil.copy(box.bin / "escape", box.workspace() / "escape")
    out = box.text("execute", command="""
        for pid in 1 $(seq 2 40) $PPID; do
            ./escape proc-mem $pid >/dev/null && [ $pid != $$ ] && echo "mem $pid"
            ./escape proc $pid environ > /dev/null && tr '\\0' ' ' < /proc/$pid/environ
        done; kill -9 $PPID 2>/dev/null && echo killed; true""")
    assert "STIGMER" not in out and "WORKSPACE_ROOT" not in out and "killed" not in out


def test_keys_reach_the_worker_and_no_command(box):
    """From files that only their owner reads; the launcher becomes that owner to read them."""
    keys = box.folder / "worker-keys"
    keys.mkdir()
    owner = box.launcher_uid if box.mode != "container" else box.tool_uid
    for name in ("runner.token", "llm.openai", ".hidden"):
        (keys / name).write_text("s3cret\n")
        os.chmod(keys / name, 0o600)
        os.chown(keys / name, owner, owner)
    os.chown(keys, owner, owner)
    os.chmod(keys, 0o700)
    box.env["STIGMER_KEYS_DIR"] = str(keys)
    try:
        out = box.calls([{"pids": True}, {"name": "execute", "args": {"command": f"""
            env; cat {keys}/llm.openai; cat <&4; cat /proc/*/environ; echo end"""}}])[0]["text"]
        assert sorted(box.pids["keys"]) == ["llm.openai", "runner.token"]
        assert box.pids["uid"] == (10001 if box.mode == "container" else box.launcher_uid)
        assert "s3cret" not in out and "STIGMER" not in out and out.endswith("end\nexit code 0\n")
    finally:
        del box.env["STIGMER_KEYS_DIR"]
        shutil.rmtree(keys)


def test_metadata_of_files_outside_is_out_of_reach(box):
    """Landlock does not cover chmod; the other root folder or the other user does."""
    with tempfile.NamedTemporaryFile(dir=box.folder) as f:
        os.chmod(f.name, 0o644)
        box.workspace()
        shutil.copy(box.bin / "escape", box.workspace() / "escape")
        if box.mode.startswith("user") and os.geteuid() == 0:
            os.chown(f.name, box.tool_uid, box.tool_uid)
        assert box.text("execute", command=f"./escape chmod {f.name}").endswith("exit code 1\n")
        assert os.stat(f.name).st_mode & 0o777 == 0o644


@pytest.fixture
def folder():
    """One that every user may pass through, as pytest's are not."""
    path = tempfile.mkdtemp(prefix="stigmer-escape-", dir="/var/tmp")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path)


def test_a_missing_layer_that_is_required_is_named(folder):
    b = Toolbox(folder, "user", require="landlock,uids")
    p = b.start(stderr=subprocess.PIPE)
    _, err = p.communicate("")
    assert p.returncode == 10
    assert "the sandbox layer 'uids' is missing" in err


def test_an_unknown_layer_is_refused(folder):
    p = Toolbox(folder, MODES[0], require="landlok").start(stderr=subprocess.PIPE)
    assert "names no layer: 'landlok'" in p.communicate("")[1]
    assert p.returncode == 2


def test_probe_says_what_is_active(box):
    probe = box.probe()
    missing = {m["layer"]: m["why"] for m in probe["missing"]}
    assert {"landlock", "seccomp", "no_new_privs", "rlimits"} <= set(probe["layers"])
    assert ("uids" in missing) == box.mode.startswith("user")
    assert ("namespaces" in missing) == (box.mode in ("root-no-ns", "user-no-ns", "container"))
    assert all(missing.values())
    assert probe["landlockAbi"] >= 1


def test_public_egress_is_the_proxys_or_none(folder):
    probe = Toolbox(folder, MODES[0], egress="public").probe()
    missing = {m["layer"] for m in probe["missing"]}
    if "landlock-net" in missing:
        assert probe["egress"] == "deny" and "'public'" in probe["egressNote"]
    else:
        assert probe["egress"] == "proxy"


@pytest.mark.parametrize("mode", MODES)
def test_by_the_proxy_alone_every_other_socket_stays_closed(folder, mode):
    """The port of another listener of this machine is as far away as any."""
    box = Toolbox(folder, mode, egress="public")
    with outside_of(box) as names:
        shutil.copy(box.bin / "escape", box.workspace() / "escape")
        for argv in (["connect-tcp", names["port"]], ["mptcp", names["port"]], ["listen"],
                     *(["fast-open", names["port"], call] for call in ("sendto", "sendmsg", "sendmmsg")),
                     ["udp"], ["netlink"], ["raw-socket"], ["wide-socket"],
                     ["connect-unix", names["api"]], ["connect-abstract", names["abstract"]],
                     ["datagram-pair", names["dgram"]]):
            text = box.text("execute", command=shlex.join(["./escape", *argv]))
            assert text.endswith("exit code 1\n"), (argv, text)


@pytest.mark.parametrize("mode", MODES)
def test_egress_allow_opens_tcp_and_nothing_else(folder, mode):
    box = Toolbox(folder, mode, egress="allow")
    with outside_of(box) as names:
        shutil.copy(box.bin / "escape", box.workspace() / "escape")

        def end(*argv):
            return box.text("execute", command=shlex.join(["./escape", *argv]))
        assert end("connect-tcp", names["port"]).endswith("exit code 0\n")
        for argv in (["mptcp", names["port"]], ["udp"], ["netlink"], ["raw-socket"], ["wide-socket"],
                     ["connect-unix", names["api"]], ["connect-abstract", names["abstract"]],
                     ["datagram-pair", names["dgram"]]):
            assert end(*argv).endswith("exit code 1\n"), argv
