"""`server start` until ready, and sizes: the runner's binary, idle memory, a command without a server."""
import os

from common import PREFIX, SHORT, STIGMER, Home, children, median_ms, row, rss_kb, timed, wait_for

ROUNDS = 3 if SHORT else 10


def starts(home, runner):
    samples = []
    for _ in range(ROUNDS):
        samples.append(timed([STIGMER, "server", "start", "--runner", runner], env=home.env))
        home.run("server", "stop", "--grace", "1s")
    return samples


def idle(home, runner):
    home.run("server", "start", "--runner", runner)
    s = home.status()
    by = {c["name"]: c for c in s["components"]}
    server = by["stigmer-server"]["pid"]
    pid = by["agent-runner"].get("pid")
    total = 0
    if pid:
        wait_for("runner", lambda: len(children(pid)) >= 2, 10)
        total = sum(rss_kb(p) for p in children(pid))
    out = rss_kb(server) / 1024, total / 1024
    home.run("server", "stop", "--grace", "1s")
    return out


def main():
    runner = os.path.join(PREFIX, "libexec/stigmer/agent-runner")
    row("agent-runner, one static binary", f"{os.path.getsize(runner) / 1e6:.2f} MB",
        "original's image: 2040 MB", "", "≤ 10 MB")
    cli = [timed([STIGMER, "version"]) for _ in range(ROUNDS * 10)]
    row("CLI command without a server", f"{median_ms(cli):.1f} ms",
        f"/bin/true: {median_ms([timed(['/bin/true']) for _ in range(ROUNDS * 10)]):.1f} ms", "", "≤ 10 ms")
    with Home(**{"runner.kind": "process"}) as home:
        row("`server start` → ready, process runner", f"{median_ms(starts(home, 'process')):.0f} ms",
            "original: about 3 s for its runner alone", "", "≤ 100 ms")
        server, runner = idle(home, "process")
        row("server idle RSS", f"{server:.1f} MB", "", "", "≤ 12 MB")
        row("runner idle RSS (launcher and worker)", f"{runner:.1f} MB", "original: 150 MB", "", "≤ 8 MB")


main()
