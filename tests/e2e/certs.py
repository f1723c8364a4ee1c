"""Certificates of a private authority, made by the openssl command."""
import os
import pathlib
import shutil
import subprocess
import tempfile

from clocks import faked

DAY_S = 86400
KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Certs:
    """ca and other (authorities); server, old (expired), elsewhere (another name): each NAME.pem, NAME.key."""

    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="sc-", dir="/tmp"))
        for name in ("ca", "other"):
            self.run("req", "-x509", *KEY, "-days", "30", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                     "-out", f"{name}.pem")
        self.leaf("server", "DNS:localhost,IP:127.0.0.1,IP:::1")
        self.leaf("old", "DNS:localhost,IP:127.0.0.1", days="-1")
        self.leaf("elsewhere", "DNS:elsewhere.example")

    def run(self, *args):
        """As of yesterday: what is valid from now on is not yet valid where clocks are behind."""
        subprocess.run(["openssl", *args], cwd=self.dir, env={**os.environ, **faked(-DAY_S)}, check=True, capture_output=True)

    def leaf(self, name, names, days="30"):
        self.run("req", *KEY, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (self.dir / f"{name}.ext").write_text(f"subjectAltName={names}\n")
        self.run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                 "-extfile", f"{name}.ext", "-days", days, "-out", f"{name}.pem")
        (self.dir / f"{name}.key").chmod(0o600)

    def path(self, name):
        return str(self.dir / name)

    def read(self, name):
        return (self.dir / name).read_bytes()

    def close(self):
        shutil.rmtree(self.dir)
