"""Where the program under test is."""
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]


def program():
    if os.environ.get("STIGMER_BIN"):
        return os.environ["STIGMER_BIN"]
    return str(pathlib.Path(os.environ.get("STIGMER_PREFIX", ROOT / "out")) / "bin" / "stigmer")
