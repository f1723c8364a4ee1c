"""Programs whose wall clock is not the machine's: libfaketime, which does nothing to a static program."""
import pathlib

MONOTONIC = {"DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}  # as the machine has it


def library():
    found = [*pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), *pathlib.Path("/usr/lib").glob("faketime/libfaketime.so.1")]
    assert found, "there is no libfaketime: scripts/setup.sh --tests installs it"
    return str(found[0])


def faked(seconds):
    """The environment of a program whose wall clock is ahead by that."""
    return {"LD_PRELOAD": library(), "FAKETIME": f"{seconds:+d}s", **MONOTONIC}
