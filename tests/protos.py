"""Our .proto files as Python modules, generated once a process. Not our part of Temporal's: its Python SDK
brings the whole of them under the same names."""
import atexit
import functools
import importlib
import pathlib
import shutil
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROTO = ROOT / "proto"


@functools.cache
def generate():
    """Makes every file importable; their names relative to proto/."""
    from grpc_tools import protoc

    out = tempfile.mkdtemp(prefix="stigmer-pb-")
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    files = sorted(str(p.relative_to(PROTO)) for p in PROTO.rglob("*.proto"))
    own = [f for f in files if not f.startswith(("grpc/", "temporal/"))]
    include = pathlib.Path(protoc.__file__).parent / "_proto"
    assert protoc.main(["protoc", f"-I{PROTO}", f"-I{include}", f"--python_out={out}", *own]) == 0
    sys.path.insert(0, out)
    importlib.invalidate_caches()
    return own


def module(name):
    """module("ai.stigmer.agentic.agent.v1.agent") → its _pb2."""
    generate()
    return importlib.import_module(f"{name}_pb2")


def messages():
    """Every message type of every file, nested ones but map entries too."""
    def walk(m):
        if not m.GetOptions().map_entry:
            yield m
        for n in m.nested_types:
            yield from walk(n)
    for f in generate():
        for m in module(f.removesuffix(".proto").replace("/", ".")).DESCRIPTOR.message_types_by_name.values():
            yield from walk(m)
