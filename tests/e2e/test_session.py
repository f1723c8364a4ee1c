"""Sessions: listed, shown, and removed with their runs, their workspace and their container."""
import json
import os
import pathlib
import subprocess

import pytest

from homes import Home, workspace_of

docker_missing = pytest.mark.skipif(subprocess.run(["docker", "version"], capture_output=True).returncode != 0,
                                    reason="no container engine answers")


def session_of(home, run):
    return json.loads(home.ok("inspect", run, "-o", "json"))["spec"]["sessionId"]


@pytest.fixture
def used(home):
    """A home with one session that has had a run."""
    home.up()
    home.ok("run", "worker", "-m", "write-it")
    [home.session] = json.loads(home.ok("session", "ls", "-o", "json"))["items"]
    return home


def test_sessions_are_listed_and_shown(used):
    s = used.session
    assert s["runs"] == 1 and s["underWay"] == 0 and s["workspace"] is None and s["lastRunAt"]
    assert used.ok("session", "ls", "-q").split() == [s["id"]] == used.ok("session", "ls", "-o", "name").split()
    assert s["id"] in used.ok("session", "ls") and s["id"] in used.ok("session", "show", s["id"])
    shown = json.loads(used.ok("session", "show", s["id"], "-o", "json"))
    assert shown["schema"] == "stigmer.cli/session-show/v1" and [x["phase"] for x in shown["executions"]] == ["completed"]
    assert used.stigmer("session", "show", "ses-nothing").returncode == 4


def test_rm_takes_the_runs_and_the_workspace(used):
    id = used.session["id"]
    place = pathlib.Path(f"{used.dir}/data/workspace/{id}")
    (place / "way-out").symlink_to("/")
    r = used.stigmer("session", "rm", id)
    assert r.returncode == 2 and "--yes" in r.stderr and "1 run" in r.stderr and place.exists()
    done = json.loads(used.ok("session", "rm", id, "--yes", "-o", "json"))
    assert done == {"schema": "stigmer.cli/session-rm/v1", "items": [{"id": id, "runs": 1, "workspaceRemoved": True}]}
    assert not os.path.lexists(place) and json.loads(used.ok("session", "ls", "-o", "json"))["items"] == []
    assert json.loads(used.ok("ps", "-a", "-o", "json"))["items"] == []
    assert used.stigmer("session", "rm", id, "--yes").returncode == 4


def test_a_run_under_way_refuses_and_force_cancels_it_first(home):
    home.up()
    run = home.begin("wait-at-gate")
    id = session_of(home, run)
    while not os.path.exists(f"{workspace_of(home, run)}/count"):
        os.sched_yield()
    r = home.stigmer("session", "rm", id, "--yes")
    assert r.returncode == 9 and f"stigmer cancel {run}" in r.stderr, (r.returncode, r.stderr)
    r = home.stigmer("session", "rm", id, "--yes", "--force")
    assert r.returncode == 0 and f"cancelling {run}" in r.stderr, r.stderr
    assert not os.path.exists(f"{home.dir}/data/workspace/{id}")
    assert json.loads(home.ok("ps", "-a", "-o", "json"))["items"] == []


def test_nothing_goes_when_one_name_is_wrong(used):
    r = used.stigmer("session", "rm", used.session["id"], "ses-nothing", "--yes")
    assert r.returncode == 4 and len(used.ok("session", "ls", "-q").split()) == 1


def test_a_persons_folder_stays(home, tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p/mine").write_text("kept")
    home.up()
    home.ok("run", "worker", "-m", "write-it", "--workspace", str(tmp_path / "p"))
    [s] = json.loads(home.ok("session", "ls", "-o", "json"))["items"]
    assert s["workspace"] == str(tmp_path / "p")
    assert "folder stays" in home.stigmer("session", "rm", s["id"]).stderr
    done = json.loads(home.ok("session", "rm", s["id"], "--yes", "-o", "json"))
    assert not done["items"][0]["workspaceRemoved"] and not os.path.lexists(f"{home.dir}/data/workspace/{s['id']}")
    assert (tmp_path / "p/mine").read_text() == "kept" and (tmp_path / "p/out.txt").exists()


@docker_missing
def test_the_container_of_a_session_goes_with_it(model):
    name = f"stigmer-test-{os.urandom(4).hex()}"
    project = pathlib.Path(subprocess.run(["mktemp", "-d", "/tmp/se-own-XXXXXX"], capture_output=True, text=True).stdout.strip())
    try:
        with Home(model, kind="docker", name=name) as home:
            home.up()
            home.ok("run", "worker", "-m", "write-it", "--workspace", str(project))
            [s] = json.loads(home.ok("session", "ls", "-o", "json"))["items"]
            box = f"{name}-{s['id']}"
            assert subprocess.run(["docker", "inspect", box], capture_output=True).returncode == 0
            home.ok("session", "rm", s["id"], "--yes")
            assert subprocess.run(["timeout", "30", "docker", "wait", box], capture_output=True).returncode in (0, 1)
            while any(c["name"].endswith(s["id"]) for c in home.status()["components"]):
                os.sched_yield()
            assert subprocess.run(["docker", "inspect", box], capture_output=True).returncode == 1
            assert home.component("agent-runner")["state"] == "ready" and (project / "out.txt").exists()
    finally:
        subprocess.run(["rm", "-rf", str(project)], check=True)
