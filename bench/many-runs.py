"""200 executions that wait for a slow model in one runner: what each one costs in memory."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../tests/fake"))
from common import AGENT, SHORT, STIGMER, Home, children, row, rss_kb, wait_for  # noqa: E402
from scripted_model import ScriptedModel  # noqa: E402

RUNS = 50 if SHORT else 200
DELAY = 8 if SHORT else 20


def runner_kb(home):
    """Launcher, worker and tool hosts, whatever of them is there."""
    pid = next(c for c in home.status()["components"] if c["name"] == "agent-runner")["pid"]
    return sum(rss_kb(p) for p in children(pid))


def main():
    with ScriptedModel([("Done.", [])], delay=DELAY) as model, \
            Home(**{"llm.provider": "openai", "llm.model": "slow", "llm.base_url": model.url,
                    "runner.kind": "process", "runner.slots": RUNS}) as home:
        home.run("server", "start")
        home.run("apply", "-f", "-", input=AGENT)
        idle = runner_kb(home)
        starts = [subprocess.Popen([STIGMER, "run", "bench", "--detach", "-m", f"wait {i}"], env=home.env,
                                   stdout=subprocess.PIPE, text=True) for i in range(RUNS)]
        ids = [p.communicate()[0].strip() for p in starts]
        wait_for("all model calls", lambda: model.waiting == RUNS, DELAY)
        each = (runner_kb(home) - idle) / RUNS
        wait_for("the end of the runs", lambda: model.waiting == 0 and "running" not in home.run("ps").lower(),
                 DELAY + 60)
        done = sum("COMPLETED" in home.run("inspect", i, "-o", "json") for i in ids)
        row(f"{RUNS} executions waiting on a slow model, one runner", f"{each:.0f} KB RSS each, {done} complete",
            f"idle runner: {idle} KB", "", "all complete, ≤ 256 KB each")


main()
