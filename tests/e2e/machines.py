"""Machines as network namespaces: each has an address on one bridge (in a namespace of its own), a name that the
others find in /etc/hosts, and a cable that can be pulled. Needs root."""
import ctypes
import os
import pathlib
import shutil
import subprocess
import threading

CLONE_NEWNET = 0x40000000
NET = "10.213.77"


def ip(*args, check=True):
    subprocess.run(["ip", *args], check=check, capture_output=True)


class Machine:
    def __init__(self, site, name, number):
        self.site, self.name, self.ip = site, name, f"{NET}.{number}"
        self.netns, self.cable = f"{site.id}-{name}", f"v{site.number}{name[:6]}"
        ip("netns", "add", self.netns)
        ip("-n", site.hub, "link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", self.netns)
        ip("-n", site.hub, "link", "set", self.cable, "master", "br0", "up")
        ip("-n", self.netns, "addr", "add", f"{self.ip}/24", "dev", "eth0")
        ip("-n", self.netns, "link", "set", "eth0", "up")
        ip("-n", self.netns, "link", "set", "lo", "up")

    @property
    def prefix(self):
        """Before a command: it runs on this machine, which has a name of its own."""
        return ["ip", "netns", "exec", self.netns, "unshare", "--uts", "sh", "-c", 'hostname "$0"; exec "$@"', self.name]

    def run(self, *args, **kw):
        return subprocess.run([*self.prefix, *args], capture_output=True, text=True, timeout=120, **kw)

    def pull(self):
        ip("-n", self.site.hub, "link", "set", self.cable, "down")

    def plug(self):
        ip("-n", self.site.hub, "link", "set", self.cable, "up")

    def there(self, fn):
        """fn() by a thread that is on this machine: sockets that it makes stay there."""
        got = []

        def body():
            with open(f"/run/netns/{self.netns}") as f:
                if ctypes.CDLL(None, use_errno=True).setns(f.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            got.append(fn())

        t = threading.Thread(target=body)
        t.start()
        t.join()
        return got[0]


class Site:
    def __init__(self, *names):
        self.number = os.getpid() % 100000
        self.id = f"st{self.number}"
        self.hub = f"{self.id}-hub"
        self.machines, self.hosts = {}, []
        ip("netns", "add", self.hub)
        ip("-n", self.hub, "link", "add", "br0", "type", "bridge")
        ip("-n", self.hub, "link", "set", "br0", "up")
        for number, name in enumerate(names, 1):
            self.machines[name] = Machine(self, name, number)
        hosts = "127.0.0.1 localhost\n" + "".join(f"{m.ip} {m.name}.site\n" for m in self.machines.values())
        for m in self.machines.values():
            folder = pathlib.Path("/etc/netns", m.netns)
            folder.mkdir(parents=True)
            (folder / "hosts").write_text(hosts)
            self.hosts.append(folder)

    def __getitem__(self, name):
        return self.machines[name]

    def close(self):
        for m in self.machines.values():
            ip("netns", "del", m.netns, check=False)
        ip("netns", "del", self.hub, check=False)
        for folder in self.hosts:
            shutil.rmtree(folder, ignore_errors=True)
        if self.hosts and not os.listdir("/etc/netns"):
            os.rmdir("/etc/netns")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
