"""The server as a service: the notify protocol, the watchdog and sockets that are handed over, with a
manager of the test's own; and the units that are written for a real one."""
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import pytest

from homes import STIGMER

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"


class Manager:
    """Starts `server start --foreground` as systemd does and hears what it says."""

    def __init__(self, home, env=None, sockets=(), abstract=False):
        self.home = home
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(30)
        name = f"{home.dir}/notify" if not abstract else f"\0stigmer-{os.urandom(4).hex()}"
        self.socket.bind(name)
        full = {**home.env, "NOTIFY_SOCKET": name.replace("\0", "@"), **(env or {})}

        def hand_over():
            for i, s in enumerate(sockets):
                os.dup2(s.fileno(), 100 + i)
            for i in range(len(sockets)):
                os.dup2(100 + i, 3 + i, inheritable=True)
            if sockets:
                os.environ.update(LISTEN_FDS=str(len(sockets)))
        code = "import os,sys; os.environ['LISTEN_PID']=os.environ['WATCHDOG_PID']=str(os.getpid()); os.execv(sys.argv[1],sys.argv[1:])"
        if sockets:
            full["LISTEN_FDS"] = str(len(sockets))
            full["LISTEN_FDNAMES"] = "tcp:api"[:7 if len(sockets) > 1 else 3]
        self.process = subprocess.Popen([sys.executable, "-c", code, STIGMER, "server", "start", "--foreground"], env=full,
                                        preexec_fn=hand_over, close_fds=False, stderr=subprocess.PIPE, text=True)

    def hear(self, word):
        """The datagram that has the word, and those before it."""
        heard = []
        while True:
            heard.append(self.socket.recv(4096).decode())
            if word in heard[-1]:
                return heard

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(40)
        self.socket.close()
        return self.process.stderr.read()


def answers(s):
    s.sendall(PREFACE)
    return s.recv(9)


@pytest.mark.parametrize("abstract", [False, True])
def test_it_says_when_it_is_ready_and_when_it_stops(home, abstract):
    m = Manager(home, abstract=abstract)
    try:
        assert "STATUS=127.0.0.1:" in m.hear("READY=1")[-1]
        assert home.status()["state"] == "ready"
        m.process.terminate()
        m.hear("STOPPING=1")
        assert m.process.wait(40) == 0
    finally:
        log = m.end()
    assert 'msg="ready"' in log  # what is in the log is on the manager's side as well
    assert 'msg="ready"' in pathlib.Path(f"{home.dir}/data/logs/stigmer-server.log").read_text()


def test_a_start_that_fails_is_told_with_its_reason(home):
    home.ok("config", "set", "runner.kind", "docker")
    m = Manager(home, {"DOCKER_HOST": "unix:///nonexistent/d.sock"})
    try:
        assert "/nonexistent/d.sock" in m.hear("cannot be started")[-1]
        assert m.process.wait(40) == 10
    finally:
        m.end()


def test_the_watchdog_is_fed_by_the_server_and_starves_when_it_hangs(home):
    m = Manager(home, {"WATCHDOG_USEC": "200000"})
    try:
        m.hear("READY=1")
        for _ in range(3):
            m.hear("WATCHDOG=1")
        server = home.component("stigmer-server")["pid"]
        os.kill(server, signal.SIGSTOP)
        m.socket.settimeout(1)
        with pytest.raises(TimeoutError):
            while True:
                m.hear("WATCHDOG=1")
        os.kill(server, signal.SIGCONT)
        m.hear("WATCHDOG=1")
    finally:
        m.end()


def test_sockets_that_are_handed_over_outlive_a_crash_with_who_waits_there(home):
    tcp = socket.create_server(("127.0.0.1", 0))
    api = socket.socket(socket.AF_UNIX)
    os.makedirs(f"{home.dir}/data/run", mode=0o700)
    api.bind(f"{home.dir}/data/run/api.sock")
    api.listen()
    m = Manager(home, sockets=(tcp, api))
    try:
        with socket.create_connection(tcp.getsockname(), 30) as early:  # before it has started
            assert "STATUS=127.0.0.1:%d" % tcp.getsockname()[1] in m.hear("READY=1")[-1]
            assert len(answers(early)) == 9
        assert home.status()["state"] == "ready"  # by the socket at its usual place
        server = home.component("stigmer-server")["pid"]
        os.kill(server, signal.SIGSTOP)
        with socket.create_connection(tcp.getsockname(), 30) as waiting:  # in the backlog of a server that dies
            os.kill(server, signal.SIGKILL)
            assert len(answers(waiting)) == 9
    finally:
        m.end()
        tcp.close()
        api.close()


def test_a_socket_beyond_loopback_is_not_taken_without_token_and_tls(home):
    tcp = socket.create_server(("0.0.0.0", 0))
    m = Manager(home, sockets=(tcp,))
    try:
        assert "0.0.0.0" in m.hear("beyond loopback")[-1]
        assert m.process.wait(30) == 2
    finally:
        m.end()
        tcp.close()


def test_the_units_are_written_checked_and_removed(home, tmp_path):
    home.env["XDG_CONFIG_HOME"] = str(tmp_path)
    r = home.stigmer("server", "install", "--user")
    assert r.returncode == 0 and "systemctl --user enable --now stigmer" in r.stderr
    units = [tmp_path / "systemd/user" / n for n in ("stigmer.service", "stigmer.socket")]
    text = units[0].read_text()
    assert "Type=notify" in text and f'"{STIGMER}"' in text and home.dir in text
    check = subprocess.run(["systemd-analyze", "verify", "--user", *map(str, units)], capture_output=True, text=True,
                           env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)})
    complaints = [line for line in check.stderr.splitlines() if "stigmer" in line and "man stigmer" not in line]
    assert not complaints, check.stderr
    home.ok("server", "install", "--user")  # again is fine
    units[1].write_text("[Socket]\n")
    r = home.stigmer("server", "install", "--user")
    assert r.returncode == 9 and "was not made by stigmer" in r.stderr
    units[1].unlink()
    home.ok("server", "uninstall", "--user")
    assert not units[0].exists()
    printed = home.ok("server", "install", "--system", "--print")
    assert "/etc/systemd/system/stigmer.service" in printed and "WantedBy=multi-user.target" in printed
    assert not os.path.exists("/etc/systemd/system/stigmer.service")
