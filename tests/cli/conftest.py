"""Black-box tests of `stigmer`. STIGMER_PREFIX names an installed tree (scripts/build.sh)."""
import os
import subprocess

import pytest

from installed import program


@pytest.fixture
def home(tmp_path):
    return tmp_path / "h"


@pytest.fixture
def cli(home):
    def run(*args, env=None, stdin=""):
        clean = {k: v for k, v in os.environ.items()
                 if not k.startswith("STIGMER_") or k == "STIGMER_LIBEXEC"}
        clean.update(STIGMER_HOME=str(home), **(env or {}))
        return subprocess.run([program(), *args], env=clean, input=stdin, text=True,
                              capture_output=True, timeout=30, errors="replace")
    return run
