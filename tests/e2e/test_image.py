"""The runner's image: loaded, listed, and built on somebody's own image, with the engine's real builder."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

import pytest

import engines
from homes import PREFIX, STIGMER, Home, workspace_of

IMAGE = "stigmer-agent-runner:local"
ARCHIVE = os.path.join(PREFIX, "share/stigmer/agent-runner-image.tar")


class Docker:
    """The machine's engine, as the tests ask it."""
    kind, env = "docker", {}

    def __call__(self, *args, check=True):
        r = subprocess.run(["docker", *args], capture_output=True, text=True, timeout=120)
        assert not check or r.returncode == 0, (args, r.stderr)
        return r.stdout.strip()

    def close(self):
        pass


class Podman:
    kind = "podman"

    def __init__(self):
        self.engine = engines.podman().start()
        self.env = {"CONTAINER_HOST": self.engine.url, "DOCKER_HOST": f"unix://{self.engine.dir}/none.sock"}

    def __call__(self, *args, check=True):
        r = subprocess.run(["podman", "--url", self.engine.url, *args], capture_output=True, text=True, timeout=120)
        assert not check or r.returncode == 0, (args, r.stderr)
        return r.stdout.strip()

    def close(self):
        self.engine.close()


@pytest.fixture(scope="module", params=["docker", "podman"])
def engine(request):
    if request.param == "docker" and subprocess.run(["docker", "version"], capture_output=True).returncode:
        pytest.skip("no container engine answers")
    e = Docker() if request.param == "docker" else Podman()
    yield e
    e.close()


def linked(program):
    out = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
    return [w for line in out.splitlines() for w in line.split() if w.startswith("/")]


@pytest.fixture(scope="module")
def base(engine, tmp_path_factory):
    """A person's image: a shell, git and Python, from this machine's files."""
    path = tmp_path_factory.mktemp("base") / "base.tar"
    python = os.path.realpath("/usr/bin/python3")
    with tarfile.open(path, "w") as t:
        for name, to in (("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("usr/bin/python3", os.path.basename(python))):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, to
            t.addfile(link)
        seen = set()
        for program in (python, "/usr/bin/git", "/bin/dash", "/bin/cat"):
            for file in (program, *linked(program)):
                real = os.path.realpath(file)
                for place in {os.path.join("/usr", file.lstrip("/")) if not file.startswith("/usr") else file, real}:
                    if place not in seen and not seen.add(place):
                        t.add(real, place.lstrip("/"))
        t.add("/bin/dash", "usr/bin/sh")
        for name in ("encodings", "collections", "json", "re", "importlib"):
            t.add(f"/usr/lib/python3.{sys.version_info.minor}/{name}" if os.path.isdir(f"/usr/lib/python3.{sys.version_info.minor}") else
                  f"{os.path.dirname(os.__file__)}/{name}", f"usr/lib/{os.path.basename(python)}/{name}")
        lib = f"/usr/lib/{os.path.basename(python)}"
        for file in pathlib.Path(lib).glob("*.py"):
            t.add(file, f"usr/lib/{os.path.basename(python)}/{file.name}")
    name = f"stigmer-test-base:{os.urandom(4).hex()}"
    engine("import", str(path), name)
    yield name
    engine("rmi", "-f", name, check=False)


@pytest.fixture
def tag(engine):
    tag = f"stigmer-test-built:{os.urandom(4).hex()}"
    yield tag
    engine("rmi", "-f", tag, check=False)


@pytest.fixture
def home(model, engine):
    name = f"stigmer-test-{os.urandom(4).hex()}"
    with Home(model, kind=engine.kind, name=name) as h:
        h.env.update(engine.env)
        h.name = name
        yield h


def test_a_built_image_runs_agents_with_the_programs_of_its_base(home, engine, base, tag):
    built = json.loads(home.ok("image", "build", "--from", base, "--tag", tag, "-o", "json"))
    assert built["schema"] == "stigmer.cli/image-build/v1" and built["base"] == base and not built["configured"]
    home.ok("config", "set", "runner.image", tag)
    home.up()
    run = home.begin("use-git-and-python")
    assert "Both work." in home.ok("attach", run)
    text = pathlib.Path(workspace_of(home, run), "out.txt").read_text()
    assert "No commits yet" in text and text.endswith("42\n")
    box = json.loads(engine("inspect", home.name))[0]
    assert "/.stigmer/agent-runner" not in [m["Destination"] for m in box["Mounts"]]
    assert home.component("agent-runner")["image"] == tag
    [row] = [i for i in json.loads(home.ok("image", "ls", "-o", "json"))["items"] if i["id"].endswith(built["id"][-64:])]
    assert row["configured"] and row["ours"] and row["base"] == base and not row["installed"]
    assert row["version"] == json.loads(home.ok("version", "-o", "json"))["version"]
    checks = {c["id"]: c for c in json.loads(home.stigmer("doctor", "-o", "json").stdout)["checks"]}
    assert checks[f"{engine.kind}.image"]["status"] == "ok"


def test_building_twice_is_fine_and_says_how_to_use_it(home, engine, base):
    made = f"stigmer-agent-runner:{base.replace(':', '-')}"
    try:
        for _ in range(2):
            r = home.stigmer("image", "build", "--from", base)
            assert r.returncode == 0 and made in r.stdout, r.stderr
            assert f"config set runner.image {made.split('/')[-1]}" in r.stderr
    finally:
        engine("rmi", "-f", made, check=False)


def test_an_image_of_an_older_runner_is_told_by_doctor(home, engine, base, tag, tmp_path):
    (tmp_path / "Dockerfile").write_text(
        f'FROM {base}\nLABEL ai.stigmer.component=agent-runner ai.stigmer.version=0.0.1 ai.stigmer.base="{base}"\n')
    engine("build", "-t", tag, str(tmp_path))
    home.ok("config", "set", "runner.image", tag)
    [check] = [c for c in json.loads(home.stigmer("doctor", "-o", "json").stdout)["checks"] if c["id"] == f"{engine.kind}.image"]
    assert check["status"] == "warn" and check["hint"] == f"stigmer image build --from {base}"


def test_load_puts_the_installed_image_there(home, engine):
    engine("rmi", "-f", IMAGE, check=False)
    assert "a start loads" in home.stigmer("image", "ls").stderr
    r = home.stigmer("image", "load", "-o", "json")
    loaded = json.loads(r.stdout)
    installed = pathlib.Path(f"{ARCHIVE}.id").read_text().strip()
    assert loaded["schema"] == "stigmer.cli/image-load/v1" and installed.endswith(loaded["id"][-64:])
    assert "loading the runner image" in r.stderr and "\033" not in r.stderr
    rows = json.loads(home.ok("image", "ls", "-o", "json"))["items"]
    [row] = [i for i in rows if i["configured"]]
    assert row["image"].endswith(IMAGE) and row["version"] and row["sizeBytes"] > 0
    assert home.ok("image", "ls").splitlines()[0].split()[:2] == ["IMAGE", "ID"]


def test_a_bar_is_drawn_on_a_terminal(home, engine):
    out = subprocess.run(["script", "-qec", f"{STIGMER} image load", "/dev/null"], env=home.env, capture_output=True, text=True)
    assert out.returncode == 0 and "[========================] 100 %" in out.stdout and "B/s" in out.stdout, out.stdout


def test_another_configured_image_is_listed_as_one_to_be_mounted_into(home, engine, base):
    home.ok("config", "set", "runner.image", base)
    [row] = [i for i in json.loads(home.ok("image", "ls", "-o", "json"))["items"] if i["configured"]]
    assert row["image"] == base and not row["ours"]
    assert "(mounted)" in home.ok("image", "ls")


@pytest.mark.parametrize("args, code, words", [
    ((), 2, "needs --from IMAGE"),
    (("--from", "nowhere.invalid/none:1"), 4, "none is fetched unasked"),
    (("--from", "a b"), 2, "is no name of an image"),
    (("--from", IMAGE), 2, "is a runner's image already"),
    (("--from", "x", "--tag", IMAGE), 2, "the installed image's name"),
    (("--from", "x", "--tag", "Not A Tag"), 4, "none is fetched"),
    (("--from", "x", "--tag", ""), 2, "--tag is empty")])
def test_what_cannot_be_built_is_told(home, engine, args, code, words):
    home.ok("image", "load")
    r = home.stigmer("image", "build", *args)
    assert r.returncode == code and words in r.stderr, r.stderr


def test_a_bad_name_for_the_result_is_told(home, base):
    r = home.stigmer("image", "build", "--from", base, "--tag", "Not A Tag")
    assert r.returncode == 2 and "is no name of an image" in r.stderr, r.stderr


def test_no_engine_is_exit_10(model):
    with Home(model, kind="auto") as h:
        h.env.update(DOCKER_HOST="unix:///tmp/nowhere.sock", CONTAINER_HOST="unix:///tmp/nowhere.sock")
        for args in (("load",), ("ls",), ("build", "--from", "x")):
            r = h.stigmer("image", *args)
            assert r.returncode == 10 and "does not exist" in r.stderr, r.stderr
        r = h.stigmer("image", "ls", "-o", "json")
        assert json.loads(r.stdout)["schema"] == "stigmer.cli/error/v1"


def test_no_archive_names_what_makes_it(home, tmp_path, monkeypatch):
    shutil.copytree(PREFIX, tmp_path / "p")
    (tmp_path / "p/share/stigmer/agent-runner-image.tar").unlink()
    monkeypatch.setattr("homes.STIGMER", str(tmp_path / "p/bin/stigmer"))
    r = home.stigmer("image", "load")
    assert r.returncode == 4 and "scripts/build.sh" in r.stderr, r.stderr
