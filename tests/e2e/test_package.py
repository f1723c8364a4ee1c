"""The .deb: made twice with the same bytes, clean, installed on a bare Debian, used, removed."""
import os
import pathlib
import shutil
import subprocess

import pytest

from homes import PREFIX, free_port

REPO = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("STIGMER_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or
                                                                     os.path.expanduser("~/.cache"), "stigmer"))

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("debootstrap") or not shutil.which("lintian"),
                                reason="needs root, debootstrap and lintian")


def run(*words, **kw):
    r = subprocess.run([str(w) for w in words], capture_output=True, text=True, timeout=600, **kw)
    assert r.returncode == 0, (words, r.stdout[-2000:], r.stderr[-2000:])
    return r.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    made = [run(REPO / "scripts/package.sh", "--from", PREFIX, "--to", tmp_path_factory.mktemp("deb")).strip() for _ in range(2)]
    assert pathlib.Path(made[0]).read_bytes() == pathlib.Path(made[1]).read_bytes()
    return made[0]


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A bare Debian with what the package needs; kept as an archive for the next time."""
    root = tmp_path_factory.mktemp("bare")
    archive = CACHE / "bare-bookworm-1.tar"
    if not archive.exists():
        run("debootstrap", "--variant=minbase",
            "--include=ca-certificates,libc-ares2,libnghttp2-14,libsodium23,libsqlite3-0,libssl3", "bookworm", root)
        part = archive.with_suffix(".part")
        run("tar", "-C", root, "-cf", part, ".")
        part.rename(archive)
    else:
        run("tar", "-C", root, "-xpf", archive)
    mounted = []
    for name in ("proc", "dev"):
        run("mount", "--rbind", f"/{name}", root / name)
        run("mount", "--make-rslave", root / name)
        mounted.append(root / name)
    yield root
    for m in mounted:
        subprocess.run(["umount", "-R", "-l", m])


def test_lintian_has_nothing_to_say(package):
    out = run("lintian", "--allow-root", "--fail-on", "error,warning", package)
    assert "E:" not in out and "W:" not in out, out


def test_it_is_installed_used_and_removed(package, bare):
    shutil.copy(package, bare / "stigmer.deb")
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "STIGMER_HOME": "/root/.stigmer",
           "STIGMER_LISTEN": f"127.0.0.1:{free_port()}", "STIGMER_RUNNER": "process", "LC_ALL": "C"}

    def inside(*words, check=True):
        r = subprocess.run(["chroot", str(bare), *words], env=env, capture_output=True, text=True, timeout=120)
        assert not check or r.returncode == 0, (words, r.stdout, r.stderr)
        return r
    inside("dpkg", "-i", "/stigmer.deb")
    assert inside("stigmer", "version").stdout.startswith("stigmer ")
    doctor = inside("stigmer", "doctor", check=False)
    assert "programs" in doctor.stdout and "fail" not in doctor.stdout.split(), doctor.stdout
    inside("stigmer", "server", "start")
    try:
        assert "state       ready" in inside("stigmer", "server", "status").stdout
        inside("stigmer", "apply", "-f", "/usr/share/doc/stigmer/examples/tour.yaml")
        r = inside("stigmer", "run", "tour", "-m", "Show me around.", "--replay", "/usr/share/doc/stigmer/examples/tour.cassette")
        assert "TOUR.md" in r.stdout
    finally:
        inside("stigmer", "server", "stop", check=False)
    for shell in ("bash-completion/completions/stigmer", "zsh/vendor-completions/_stigmer", "fish/vendor_completions.d/stigmer.fish"):
        assert (bare / "usr/share" / shell).exists()
    inside("dpkg", "-r", "stigmer")
    left = [p for p in ("usr/bin/stigmer", "usr/libexec/stigmer", "usr/share/stigmer", "usr/lib/systemd/system/stigmer.service")
            if (bare / p).exists()]
    assert not left and (bare / "root/.stigmer/data").exists()
