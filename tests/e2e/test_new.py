"""stigmer new: what it writes works as its own README says."""
import json
import os
import re
import subprocess

from homes import STIGMER


def test_the_commands_of_the_readme_work_as_they_stand(home, tmp_path):
    r = subprocess.run([STIGMER, "new", "My Reviewer"], cwd=tmp_path, env=home.env, capture_output=True, text=True)
    assert r.returncode == 0 and "my-reviewer" in r.stderr, r.stderr
    assert "next: cd 'My Reviewer' && stigmer" in r.stderr
    folder = tmp_path / "My Reviewer"
    assert sorted(os.listdir(folder)) == [".gitignore", "README.md", "agent.yaml"]
    block = re.search(r"```sh\n(.*?)```", (folder / "README.md").read_text(), re.S)[1]
    env = {**home.env, "PATH": os.path.dirname(STIGMER) + ":" + os.environ["PATH"]}
    r = subprocess.run(["bash", "-e"], input=block, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
    assert r.returncode == 0 and "A quiet folder." in r.stdout, (r.stdout, r.stderr)
    x = json.loads(home.ok("get", "agents", "my-reviewer", "-o", "json"))
    assert "workspace" in json.dumps(x)


def test_a_folder_that_is_not_empty_is_left_alone(home, tmp_path):
    (tmp_path / "mine").write_text("x")
    r = subprocess.run([STIGMER, "new", "-o", "json"], cwd=tmp_path, env=home.env, capture_output=True, text=True)
    assert r.returncode == 9 and "there is mine" in r.stderr and os.listdir(tmp_path) == ["mine"]
    (tmp_path / "empty").mkdir()
    r = subprocess.run([STIGMER, "new", "empty", "-o", "json"], cwd=tmp_path, env=home.env, capture_output=True, text=True)
    assert json.loads(r.stdout) == {"schema": "stigmer.cli/new/v1", "folder": "empty", "agent": "empty",
                                    "files": ["agent.yaml", "README.md", ".gitignore"]}
    r = subprocess.run([STIGMER, "new", "no/where"], cwd=tmp_path, env=home.env, capture_output=True, text=True)
    assert r.returncode != 0 and "no/where" in r.stderr
