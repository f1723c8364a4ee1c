"""Our protobuf ↔ JSON beside Python's json_format: generated messages of every type, both ways."""
import base64
import json
import math
import os
import pathlib
import random
import subprocess
import sys

import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor as F

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import protos  # noqa: E402

BUILD = pathlib.Path(os.environ.get("STIGMER_BUILD", protos.ROOT / "build"))
ROUNDS = 30
TYPES = {m.full_name: m for m in protos.messages()}
TEXTS = ["", "a", "Ünï🚀", "line\nbreak\t\"quoted\" \\ /", "\u2028\x7f", "x" * 300, "null", "1e5", "\u0001"]
INT32 = [0, 1, -1, 7, 2**31 - 1, -2**31]
INT64 = [0, 1, -1, 2**53 + 1, 2**63 - 1, -2**63]
UINT32 = [0, 1, 2**32 - 1]
UINT64 = [0, 1, 2**53 + 1, 2**64 - 1]
# Not -0.0: protobuf-c takes it for the default of a number, as 0.0, and leaves it out.
REALS = [0.0, 0.1, 1 / 3, 1e300, -1e-300, 123456789.0, 1e22, 5e-324, math.inf, -math.inf, math.nan]
FLOATS = [0.0, 0.5, -1.25, 3.4028234663852886e38, 1.401298464324817e-45, math.inf, math.nan]
SCALARS = {F.TYPE_STRING: TEXTS, F.TYPE_BYTES: [b"", b"\0", b"\xff\xfe", bytes(range(256))], F.TYPE_BOOL: [True, False],
           F.TYPE_INT32: INT32, F.TYPE_SINT32: INT32, F.TYPE_SFIXED32: INT32, F.TYPE_INT64: INT64,
           F.TYPE_SINT64: INT64, F.TYPE_SFIXED64: INT64, F.TYPE_UINT32: UINT32, F.TYPE_FIXED32: UINT32,
           F.TYPE_UINT64: UINT64, F.TYPE_FIXED64: UINT64, F.TYPE_DOUBLE: REALS, F.TYPE_FLOAT: FLOATS}


def any_json(rng, depth=3):
    kind = rng.randrange(6 if depth else 4)
    if kind == 4:
        return [any_json(rng, depth - 1) for _ in range(rng.randrange(3))]
    if kind == 5:
        return {rng.choice(TEXTS): any_json(rng, depth - 1) for _ in range(rng.randrange(3))}
    return [None, rng.random() < 0.5, rng.choice([0.0, 1.5, -3.0, 1e300]), rng.choice(TEXTS)][kind]


def scalar(f, rng):
    if f.type == F.TYPE_ENUM:
        return rng.choice([*f.enum_type.values_by_number, 7777])
    return rng.choice(SCALARS[f.type])


def fill(m, rng, depth):
    name = m.DESCRIPTOR.full_name
    if name == "google.protobuf.Struct":
        m.update({rng.choice(TEXTS): any_json(rng) for _ in range(rng.randrange(4))})
    elif name == "google.protobuf.Value":
        json_format.ParseDict(any_json(rng), m)
    elif name == "google.protobuf.ListValue":
        m.extend([any_json(rng) for _ in range(rng.randrange(4))])
    elif name == "google.protobuf.Timestamp":
        m.seconds, m.nanos = rng.choice([0, 1, -62135596800, 253402300799, 1764000000]), rng.choice([0, 1, 500000000, 120000])
    elif name == "google.protobuf.Duration":
        m.seconds = rng.choice([0, 1, -1, 315576000000])
        m.nanos = rng.choice([0, 1, 999999999, 1000000]) * (-1 if m.seconds < 0 else 1) * (m.seconds != 315576000000)
    else:
        for f in m.DESCRIPTOR.fields:
            if rng.random() < 0.6:
                fill_field(m, f, rng, depth)
    return m


def fill_field(m, f, rng, depth):
    message = f.type == F.TYPE_MESSAGE
    if message and depth == 0:
        return
    if message and f.message_type.GetOptions().map_entry:
        key, value = f.message_type.fields_by_name["key"], f.message_type.fields_by_name["value"]
        for _ in range(rng.randrange(3)):
            k = scalar(key, rng)
            if value.type == F.TYPE_MESSAGE:
                fill(getattr(m, f.name)[k], rng, depth - 1)
            else:
                getattr(m, f.name)[k] = scalar(value, rng)
    elif f.is_repeated:
        for _ in range(rng.randrange(3)):
            if message:
                fill(getattr(m, f.name).add(), rng, depth - 1)
            else:
                getattr(m, f.name).append(scalar(f, rng))
    elif message:
        getattr(m, f.name).SetInParent()
        fill(getattr(m, f.name), rng, depth - 1)
    else:
        setattr(m, f.name, scalar(f, rng))


class Tool:
    def __init__(self):
        program = BUILD / "tests/fake/pbjson-tool"
        assert program.exists(), f"{program} is not built; set STIGMER_BUILD"
        self.p = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words):
        self.p.stdin.write(" ".join(words) + "\n")
        self.p.stdin.flush()
        return self.p.stdout.readline().rstrip("\n")


@pytest.fixture(scope="module")
def tool():
    t = Tool()
    yield t
    t.p.stdin.close()
    assert t.p.wait() == 0  # sanitizers have nothing to say


def made(name, seed):
    return fill(message_factory.GetMessageClass(TYPES[name])(), random.Random(f"{name} {seed}"), 4)


def same(a, b):
    """Equal as messages; NaN equals itself."""
    return a.SerializeToString(deterministic=True) == b.SerializeToString(deterministic=True)


def close(a, b):
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(close(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(close, a, b))
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def test_there_are_messages_to_compare():
    assert len(TYPES) > 100
    assert {"ai.stigmer.agentic.agent.v1.Agent", "stigmer.execution.v1.Event"} <= set(TYPES)


@pytest.mark.parametrize("name", TYPES)
def test_json_of_a_message_is_that_of_json_format(tool, name):
    for seed in range(ROUNDS):
        m = made(name, seed)
        ours = tool.ask("to", name, m.SerializeToString().hex())
        theirs = json_format.MessageToJson(m, indent=None)
        assert close(json.loads(ours), json.loads(theirs)), (ours, theirs)
        assert same(json_format.Parse(ours, type(m)()), m)


@pytest.mark.parametrize("name", TYPES)
def test_json_of_json_format_becomes_the_same_message(tool, name):
    for seed in range(ROUNDS):
        m = made(name, seed)
        for proto_names in (False, True):
            text = json_format.MessageToJson(m, indent=None, preserving_proto_field_name=proto_names)
            ours = tool.ask("from", name, text)
            assert not ours.startswith("error"), (ours, text)
            assert same(type(m).FromString(bytes.fromhex(ours)), m), text


WRONG = [("ai.stigmer.agentic.agent.v1.Agent", '{"spec":{"instructions":7}}', "instructions"),
         ("ai.stigmer.agentic.agent.v1.Agent", '{"nonsense":1}', "nonsense"),
         ("ai.stigmer.agentic.agent.v1.PortMapping", '{"hostPort":2147483648}', "hostPort"),
         ("ai.stigmer.agentic.agent.v1.PortMapping", '{"hostPort":1.5}', "hostPort"),
         ("ai.stigmer.agentic.agent.v1.PortMapping", '{"hostPort":"x"}', "hostPort"),
         ("ai.stigmer.agentic.agent.v1.VolumeMount", '{"readOnly":"true"}', "readOnly"),
         ("ai.stigmer.agentic.agentexecution.v1.AgentExecutionStatus", '{"phase":"NO_SUCH_PHASE"}', "phase"),
         ("ai.stigmer.agentic.agent.v1.McpServerDefinition", '{"stdio":{},"http":{}}', "")]


@pytest.mark.parametrize("name,text,where", WRONG)
def test_what_json_format_refuses_we_refuse_with_the_place(tool, name, text, where):
    with pytest.raises(json_format.ParseError):
        json_format.Parse(text, message_factory.GetMessageClass(TYPES[name])())
    ours = tool.ask("from", name, text)
    assert ours.startswith("error: ") and where in ours, ours


@pytest.mark.parametrize("name,text,where", [
    ("ai.stigmer.agentic.agent.v1.Agent", "[]", "object"),
    ("ai.stigmer.agentic.agentexecution.v1.AgentExecutionSpec", '{"callbackToken":"***"}', "callbackToken")])
def test_what_json_format_lets_pass_we_refuse(tool, name, text, where):
    ours = tool.ask("from", name, text)
    assert ours.startswith("error: ") and where in ours, ours


@pytest.mark.parametrize("text", ['{"callbackToken":"-_8="}', '{"callbackToken":"+/8"}'])
def test_both_alphabets_of_base64_are_read(tool, text):
    ours = tool.ask("from", "ai.stigmer.agentic.agentexecution.v1.AgentExecutionSpec", text)
    assert bytes.fromhex(ours).endswith(base64.b64decode("+/8="))


def test_deep_nesting_is_an_error_and_no_crash(tool):
    for depth in (70, 5000):
        text = '{"args":' + '{"a":' * depth + "1" + "}" * depth + "}"
        assert tool.ask("from", "ai.stigmer.agentic.agentexecution.v1.ToolCall", text).startswith("error: ")
