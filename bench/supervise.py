"""What supervision costs and how fast it is: keeper, crash of the server and of the runner, stop, and
what an idle stack does (its wake-ups, by strace)."""
import os
import signal
import socket
import subprocess
import tempfile
import time

from common import SHORT, STIGMER, Home, children, median_ms, row, rss_kb, timed, wait_for

ROUNDS = 2 if SHORT else 8
IDLE_S = 10 if SHORT else 120
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"


def pids(home):
    with open(f"{home.dir}/data/run/server.pid") as f:
        return [int(line.split()[1]) for line in f]


def answered(path):
    """Waits until a server answers HTTP/2 there."""
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(path)
                s.sendall(PREFACE)
                if s.recv(9):
                    return
        except OSError:
            pass


def attached(home):
    with open(f"{home.dir}/data/logs/stigmer-server.log") as f:
        return sum('msg="runner attached"' in line for line in f)


def is_ready(home):
    """`server status` exits 1 while something is not."""
    return subprocess.run([STIGMER, "server", "status"], env=home.env, capture_output=True).returncode == 0


def kill_server(home):
    t = time.monotonic()
    os.kill(pids(home)[1], signal.SIGKILL)
    answered(f"{home.dir}/data/run/api.sock")
    took = time.monotonic() - t
    wait_for("the stack", lambda: is_ready(home))
    return took


def runner_crash(home, kill):
    before = attached(home)
    t = time.monotonic()
    kill()
    while attached(home) == before:
        pass
    took = time.monotonic() - t
    wait_for("the runner", lambda: is_ready(home))
    return took


def fresh(runner, measure, **settings):
    """measure(home) of ROUNDS homes of their own: each has its first crash before it."""
    samples = []
    for _ in range(ROUNDS):
        with Home(**{"runner.kind": runner, **settings}) as home:
            home.run("server", "start")
            samples.append(measure(home))
    return samples


def kill_runner(home):
    pid = next(c for c in home.status()["components"] if c["name"] == "agent-runner")["pid"]
    return runner_crash(home, lambda: os.kill(pid, signal.SIGKILL))


def kill_container(home):
    name = home.settings["runner.name"]
    return runner_crash(home, lambda: subprocess.run(["docker", "kill", name], check=True, stdout=subprocess.DEVNULL))


def idle_stop(runner):
    with Home(**{"runner.kind": runner}) as home:
        home.run("server", "start", "--runner", "process")
        home.run("server", "stop", "--grace", "1s")
        return [timed([STIGMER, "server", "stop"], env=home.env) for _ in range(ROUNDS)]


def wakeups(home):
    """How often each process returned from waiting in IDLE_S seconds."""
    runner = next(c for c in home.status()["components"] if c["name"] == "agent-runner")["pid"]
    watched = dict(zip(("keeper", "server"), pids(home)))
    watched.update(zip(("launcher", "worker"), children(runner)))
    counts = {}
    with tempfile.TemporaryDirectory() as d:
        tracers = [subprocess.Popen(["strace", "-f", "-qq", "-o", f"{d}/{n}", "-p", str(p)]) for n, p in watched.items()]
        time.sleep(IDLE_S)
        for t in tracers:
            t.terminate()
            t.wait()
        for n in watched:
            with open(f"{d}/{n}") as f:
                counts[n] = sum(1 for line in f if "_wait(" in line and "= " in line and "detached" not in line)
    return counts


def main():
    name = f"stigmer-bench-{os.getpid()}"
    engine = subprocess.run(["docker", "version"], capture_output=True).returncode == 0
    row("server killed → API answers again", f"{median_ms(fresh('process', kill_server)):.0f} ms", "", "", "≤ 150 ms")
    row("process runner killed → attached again", f"{median_ms(fresh('process', kill_runner)):.0f} ms", "", "",
        "≤ floor + 100 ms")
    if engine:
        row("runner's container killed → attached again",
            f"{median_ms(fresh('docker', kill_container, **{'runner.name': name})):.0f} ms",
            "the container's floor: see above", "", "≤ floor + 100 ms")
        row("`server stop`, nothing runs, Docker", f"{median_ms(idle_stop('docker')):.0f} ms", "", "", "≤ 300 ms")
    row("`server stop`, nothing runs, process", f"{median_ms(idle_stop('process')):.0f} ms", "", "", "≤ 50 ms")
    with Home(**{"runner.kind": "process"}) as home:
        home.run("server", "start")
        row("keeper idle RSS", f"{rss_kb(pids(home)[0]) / 1024:.2f} MB", "", "", "≤ 1.5 MB")
        counts = wakeups(home)
        row(f"idle for {IDLE_S} s: wake-ups", ", ".join(f"{n} {c}" for n, c in counts.items()), "", "", "≤ 1 a minute each")


main()
