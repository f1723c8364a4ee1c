"""`stigmer run` of a one-tool task against `codex exec` of the same task, same endpoint, in turn."""
import os
import resource
import shutil
import subprocess
import tempfile

from common import AGENT, PEERS, SHORT, Aimock, Home, STIGMER, median_ms, row, timed

ROUNDS = 3 if SHORT else 15


def codex_home(port):
    home = tempfile.mkdtemp(prefix="sb-codex-", dir=os.path.expanduser("~"))
    with open(os.path.join(home, "config.toml"), "w") as f:
        f.write(f"""model = "gpt-5"
model_provider = "aimock"
[model_providers.aimock]
name = "aimock"
base_url = "http://127.0.0.1:{port}/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
supports_websockets = false
""")
    return home


def main():
    with Aimock() as model, Home(**{"llm.provider": "openai", "llm.model": "gpt-4o-mini",
                                    "llm.base_url": f"http://127.0.0.1:{model.port}/v1",
                                    "runner.kind": "process"}) as home:
        home.run("server", "start")
        home.run("apply", "-f", "-", input=AGENT)
        work = tempfile.mkdtemp(prefix="sb-work-")
        chome = codex_home(model.port)
        codex = [os.path.join(PEERS, ".bin/codex"), "exec", "--skip-git-repo-check",
                 "--dangerously-bypass-approvals-and-sandbox", "bench-codex: write hello to out.txt"]
        cenv = {**os.environ, "CODEX_HOME": chome, "OPENAI_API_KEY": "bench"}
        ours = [STIGMER, "run", "bench", "-m", "bench-stigmer: write hello to out.txt"]
        try:
            a, b = [], []
            for _ in range(ROUNDS):
                a.append(timed(ours, env=home.env))
                b.append(timed(codex, env=cenv, cwd=work, stdin=subprocess.DEVNULL))
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            row("`stigmer run`, one tool, sandboxed, journaled", f"{median_ms(a):.0f} ms",
                f"codex exec, no sandbox: {median_ms(b):.0f} ms, {peak:.0f} MB",
                f"1/{median_ms(b) / median_ms(a):.1f}", "≤ 1/8")
        finally:
            shutil.rmtree(work)
            shutil.rmtree(chome)


main()
