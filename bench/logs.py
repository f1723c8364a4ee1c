"""`server logs` beside tail: the last lines of three files of 50 MB, and how long a line takes from its
write to the reader."""
import os
import select
import subprocess
import tempfile
import time

from common import SHORT, STIGMER, median_ms, row, timed

SIZE = (2 if SHORT else 50) * 1000 * 1000
ROUNDS = 5 if SHORT else 30


def fill(path):
    with open(path, "w") as f:
        n = 0
        while f.tell() < SIZE:
            f.write("".join(f'at=2026-03-01T{i // 360000 % 24:02d}:{i // 6000 % 60:02d}:{i // 100 % 60:02d}.{i % 100:03d}Z '
                            f'level=info unit=x msg="something happened" n={i}\n' for i in range(n, n + 20000)))
            n += 20000


def latencies(home, count):
    p = subprocess.Popen([STIGMER, "server", "logs", "-f", "--no-prefix", "--tail", "0", "-c", "temporal"], env=env(home),
                         stdout=subprocess.PIPE, text=True)
    got = []
    with open(f"{home}/data/logs/temporal.log", "a") as f:
        while not select.select([p.stdout], [], [], 0.05)[0]:  # it is following when a line comes back
            f.write("warm\n")
            f.flush()
        for _ in range(count):
            time.sleep(0.002)
            begun = time.monotonic()
            f.write(f"{begun}\n")
            f.flush()
            while (line := p.stdout.readline()) == "warm\n":
                pass
            got.append((time.monotonic() - float(line)) * 1000)
    p.kill()
    p.wait()
    return sorted(got)


def env(home):
    return {**os.environ, "STIGMER_HOME": home}


with tempfile.TemporaryDirectory(prefix="bl-") as d:
    os.makedirs(f"{d}/data/logs")
    files = [f"{d}/data/logs/{n}.log" for n in ("stigmer-server", "agent-runner", "temporal")]
    for path in files:
        fill(path)
    ours = [timed([STIGMER, "server", "logs", "--tail", "100"], env=env(d)) for _ in range(ROUNDS)]
    theirs = [timed(["tail", "-q", "-n", "100", *files]) for _ in range(ROUNDS)]
    row(f"`logs --tail 100` over 3 × {SIZE // 1000000} MB", f"{median_ms(ours):.1f} ms",
        f"tail -n 100 of the same files: {median_ms(theirs):.1f} ms", f"{median_ms(ours) / median_ms(theirs):.1f}", "≤ 50 ms")
    waits = latencies(d, 50 if SHORT else 500)
    row("`logs -f`, a line's write → its reader", f"p50 {waits[len(waits) // 2]:.2f} ms, p99 {waits[len(waits) * 99 // 100]:.2f} ms",
        "", "", "≤ 20 ms")
