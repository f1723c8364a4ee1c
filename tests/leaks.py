"""What a stack may leave behind: processes, containers, key folders, files of data/run. For tests that
kill parts of it and look what is left after a stop."""
import os
import pathlib
import subprocess
import time


def processes(home):
    """Everything whose arguments or environment name the home, or that works in it: tools' commands, too."""
    found, here = {}, os.getpid()
    for p in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if (p / "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z" or int(p.name) == here:
                continue
            line = (p / "cmdline").read_bytes()
            if home.encode() in line + (p / "environ").read_bytes() + os.fsencode(os.readlink(p / "cwd")):
                found[int(p.name)] = line.decode(errors="replace").split("\0")
        except OSError:
            pass
    return found


def remaining(home, within=3):
    """Of these, what is still there after a moment: a process that was killed is gone when it is scheduled next."""
    end = time.monotonic() + within
    found = processes(home)
    while found and time.monotonic() < end:
        os.sched_yield()
        found = processes(home)
    return found


def temporary(home):
    """Files beside the ones that stay: halves of writes, what a crash left."""
    stay = {"config.yaml", "secret.key", "data", "data/stigmer.db", "data/lock", "data/workspace", "data/logs", "data/run",
            "data/run/runner", "data/run/start.lock", "data/secrets"}
    found = set()
    for root, folders, files in os.walk(home):
        at = os.path.relpath(root, home)
        if at in ("data/workspace", "data/logs", "data/secrets"):
            folders.clear()
            continue
        for name in files + folders:
            path = os.path.normpath(os.path.join(at, name))
            if path not in stay and not path.startswith(("data/stigmer.db-", "data/stigmer.db.bak", "data/blobs")):
                found.add(path)
    return found


def mounts():
    """How many of the machine's mounts are of stigmer."""
    with open("/proc/self/mountinfo") as f:
        return sum("stigmer" in line for line in f)


def containers(home):
    r = subprocess.run(["docker", "ps", "-aq", "--filter", f"label=ai.stigmer.home={home}"], capture_output=True, text=True)
    return set(r.stdout.split())


def key_folders(home):
    """Named by a hash of the home (svc/keys.h): FNV-1a, 64 bits."""
    h = 14695981039346656037
    for byte in home.encode():
        h = (h ^ byte) * 1099511628211 % (1 << 64)
    found = set()
    for folder in ("/dev/shm", os.environ.get("XDG_RUNTIME_DIR", "/nonexistent"), "/var/lib/stigmer"):
        if os.path.isdir(folder):
            found.update(f"{folder}/{n}" for n in os.listdir(folder) if f"{h:016x}" in n)
    return found


def left(home):
    """What is left of a stopped stack, as a dict without empty entries."""
    found = {"processes": remaining(home), "containers": containers(home), "keys": key_folders(home),
             "run": {n for n in os.listdir(f"{home}/data/run") if n not in ("runner", "start.lock")},
             "sockets": set(os.listdir(f"{home}/data/run/runner"))}
    return {what: sorted(names) for what, names in found.items() if names}
