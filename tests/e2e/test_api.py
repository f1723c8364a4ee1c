"""The API before an old client: every case that was observed at the original, and what we answer
where the original was wrong (status-codes.tsv: method, case, original, ours)."""
import concurrent.futures
import csv
import os
import re
import sys

import grpc
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import protos  # noqa: E402
from homes import Home, until  # noqa: E402

API_VERSION = "agentic.stigmer.ai/v1"
agent = protos.module("ai.stigmer.agentic.agent.v1.agent")
instance = protos.module("ai.stigmer.agentic.agentinstance.v1.agentinstance")
session = protos.module("ai.stigmer.agentic.session.v1.session")
execution = protos.module("ai.stigmer.agentic.agentexecution.v1.agentexecution")
meta = protos.module("ai.stigmer.commons.apiresource.apiresource")
with open(os.path.join(os.path.dirname(__file__), "status-codes.tsv"), newline="") as f:
    CASES = list(csv.DictReader(f, delimiter="\t"))
OK, INVALID, NOT_FOUND = grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


class Api:
    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)

    def call(self, method, request, timeout=20):
        """method: agent.v1.AgentQueryController/get. The answer, or grpc.RpcError."""
        service, name = method.removeprefix("agentic.").rsplit("/", 1)
        package, controller = service.rsplit(".", 1)
        file = {"agent.v1": agent, "agentinstance.v1": instance, "session.v1": session,
                "agentexecution.v1": execution}[package]
        output = file.DESCRIPTOR.services_by_name[controller].methods_by_name[name].output_type
        return self.channel.unary_unary(
            f"/ai.stigmer.agentic.{service}/{name}", request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=protos_class(output).FromString)(request, timeout=timeout)

    def code(self, method, request):
        try:
            self.call(method, request)
        except grpc.RpcError as e:
            return e.code()
        return OK

    def refusal(self, method, request):
        with pytest.raises(grpc.RpcError) as e:
            self.call(method, request)
        return e.value.code(), e.value.details()


def protos_class(descriptor):
    from google.protobuf import message_factory
    return message_factory.GetMessageClass(descriptor)


@pytest.fixture(scope="module")
def home():
    with Home(1, kind="none") as h:  # nothing runs: executions stay pending
        h.ok("server", "start")
        yield h


@pytest.fixture(scope="module")
def api(home):
    a = Api(f"127.0.0.1:{home.port}")
    yield a
    a.channel.close()


# ---- requests -----------------------------------------------------------------------------------

def an_agent(name, **metadata):
    return agent.Agent(api_version=API_VERSION, kind="Agent",
                       metadata={"name": name, "org": "local", "owner_scope": 2, **metadata},
                       spec={"instructions": "You do what you are told."})


class Case:
    """Builds the request of one case. What must exist before it is made through the API."""

    def __init__(self, api, package):
        self.api, self.package = api, package
        self.service = f"{package}.v1"
        self.controller = {"agent": "Agent", "agentinstance": "AgentInstance", "session": "Session",
                           "agentexecution": "AgentExecution"}[package]
        self.scope = {"agent": 2, "agentinstance": 2, "session": 2, "agentexecution": 0}[package]
        self.kind = {"agent": 40, "agentinstance": 45, "session": 42, "agentexecution": 41}[package]
        self.parent = api.call("agent.v1.AgentCommandController/apply", an_agent(f"parent of {package}"))

    def command(self, verb, m):
        return self.api.call(f"{self.service}.{self.controller}CommandController/{verb}", m)

    def valid(self, name):
        metadata = {"name": name, "org": "local", "owner_scope": self.scope}
        spec = {"agent": {"instructions": "You do what you are told."},
                "agentinstance": {"agent_id": self.parent.metadata.id},
                "session": {"agent_instance_id": self.parent.status.default_instance_id},
                "agentexecution": {"agent_id": self.parent.metadata.id, "message": "hello"}}[self.package]
        cls = {"agent": agent.Agent, "agentinstance": instance.AgentInstance, "session": session.Session,
               "agentexecution": execution.AgentExecution}[self.package]
        return cls(api_version=API_VERSION, kind=self.controller, metadata=metadata, spec=spec)

    def made(self, name):
        return self.command("create", self.valid(name))

    def id_request(self, verb, value):
        if self.package == "agentexecution" and verb == "delete":
            return meta.ApiResourceId(value=value)
        cls = {"agent": agent.AgentId, "agentinstance": instance.AgentInstanceId, "session": session.SessionId,
               "agentexecution": execution.AgentExecutionId}[self.package]
        return cls(value=value)

    # -- one function a verb; each knows its cases --

    def spoil(self, m, case):
        """The ways in which any resource can be wrong."""
        def set_(path, value):
            *above, last = path.split(".")
            at = m
            for p in above:
                at = getattr(at, p)
            setattr(at, last, value)
        if case == "empty-message":
            return type(m)()
        if case == "no-metadata":
            m.ClearField("metadata")
        elif case == "no-spec":
            m.ClearField("spec")
        else:
            path, value = {
                "missing-name": ("metadata.name", ""), "wrong-kind": ("kind", "Wrong"),
                "wrong-api-version": ("api_version", "wrong/v1"), "bad-enum-scope-99": ("metadata.owner_scope", 99),
                "forbidden-scope-1": ("metadata.owner_scope", 1), "forbidden-scope-2": ("metadata.owner_scope", 2),
                "forbidden-scope-3": ("metadata.owner_scope", 3), "unicode-name": ("metadata.name", "Uni-Çödé x"),
                "name-without-slug-chars": ("metadata.name", "!!!")}[case]
            set_(path, value)
        return m

    def create(self, case):
        m = self.valid(f"{self.package} create {case}")
        if case.startswith("valid"):
            self.choose_valid(m, case)
        elif case == "duplicate":
            self.made(m.metadata.name)
        elif case == "same-name-again":
            self.made(m.metadata.name)
        elif case == "client-id-and-slug":
            prefix = self.parent.metadata.id[:3] if self.package == "agent" else {
                "agentinstance": "ain", "session": "ses"}[self.package]
            m.metadata.id = f"{prefix}-01hzzzzzzzzzzzzzzzzzzzzzz{'0'}"
            m.metadata.slug = "a-slug-of-my-own"
        elif not self.spoil_spec(m, case):
            m = self.spoil(m, case)
        return m

    def choose_valid(self, m, case):
        if case == "valid-by-session":
            s = Case(self.api, "session").made("for a run")
            m.spec.agent_id, m.spec.session_id = "", s.metadata.id
        elif case == "valid-runtime-env":
            m.spec.runtime_env["K"].value = "v"

    def spoil_spec(self, m, case):
        spec = m.spec
        changes = {
            "instructions-too-short": lambda: setattr(spec, "instructions", "short"),
            "mcp-stdio": lambda: spec.mcp_servers.add(name="files", stdio={"command": "server"}),
            "mcp-no-name": lambda: spec.mcp_servers.add(stdio={"command": "server"}),
            "mcp-port-0": lambda: spec.mcp_servers.add(name="d", docker={
                "image": "i", "ports": [{"host_port": 0, "container_port": 1}]}),
            "skill-ref-wrong-kind": lambda: spec.skill_refs.add(kind=40, slug="x"),
            "skill-ref-unknown": lambda: spec.skill_refs.add(kind=43, slug="x"),
            "three-violations": lambda: (setattr(spec, "instructions", ""), setattr(m, "kind", "X"),
                                         setattr(m, "api_version", "X")),
            "client-status-ignored": lambda: setattr(m.status, "default_instance_id", "ain-mine"),
            "unknown-agent": lambda: setattr(spec, "agent_id", "agt-01hzzzzzzzzzzzzzzzzzzzzzz9"),
            "env-ref-wrong-kind": lambda: spec.environment_refs.add(kind=40, slug="x"),
            "env-ref-kind-52": lambda: spec.environment_refs.add(kind=52, slug="x"),
            "env-ref-kind-53": lambda: spec.environment_refs.add(kind=53, slug="x"),
            "neither-agent-nor-session": lambda: setattr(spec, "agent_id", ""),
            "unknown-session": lambda: (setattr(spec, "agent_id", ""),
                                        setattr(spec, "session_id", "ses-01hzzzzzzzzzzzzzzzzzzzzzz9")),
            "empty-chat-message": lambda: setattr(spec, "message", ""),
            "empty-env-value": lambda: setattr(spec.runtime_env["K"], "value", ""),
        }
        if case not in changes:
            return False
        changes[case]()
        return True

    def apply(self, case):
        m = self.valid(f"{self.package} apply {case}")
        if case == "valid-again":
            self.command("apply", m)
        elif case == "unknown-client-id":
            prefix = {"agent": "agt", "agentinstance": "ain", "session": "ses"}[self.package]
            m.metadata.id = f"{prefix}-01hzzzzzzzzzzzzzzzzzzzzzz5"
        elif case != "valid-new":
            m = self.spoil(m, case)
        return m

    def update(self, case):
        old = self.made(f"{self.package} update {case}")
        m = self.valid(old.metadata.name)
        m.metadata.id = old.metadata.id
        if case == "by-slug":
            m.metadata.id, m.metadata.slug = "", old.metadata.slug
        elif case == "no-id":
            m.metadata.id = ""
        elif case == "unknown-id":
            m.metadata.id = re.sub(r".{8}$", "zzzzzzzz", old.metadata.id)
        elif case != "valid":
            m = self.spoil(m, case)
        return m

    def get(self, case):
        if case == "unknown-id" or case == "empty-id":
            return self.id_request("get", "" if case == "empty-id" else "agt-01hzzzzzzzzzzzzzzzzzzzzzz8")
        if case == "default-instance":
            return self.id_request("get", self.parent.status.default_instance_id)
        old = self.made(f"{self.package} get {case}")
        if case == "deleted":
            self.command("delete", self.id_request("delete", old.metadata.id))
        return self.id_request("get", old.metadata.id)

    def delete(self, case):
        if case in ("unknown-id", "empty-id"):
            return self.id_request("delete", "" if case == "empty-id" else "agt-01hzzzzzzzzzzzzzzzzzzzzzz8")
        old = self.made(f"{self.package} delete {case}")
        if case == "again":
            self.command("delete", self.id_request("delete", old.metadata.id))
        return self.id_request("delete", old.metadata.id)

    def getByReference(self, case):  # noqa: N802
        old = self.made(f"{self.package} by reference {case}")
        r = meta.ApiResourceReference(scope=self.scope, org="local", kind=self.kind, slug=old.metadata.slug)
        change = {"valid": {}, "kind-0": {"kind": 0}, "no-org": {"org": ""}, "other-org": {"org": "other"},
                  "unknown-slug": {"slug": "nobody"}, "slug-is-an-id": {"slug": old.metadata.id},
                  "empty-slug": {"slug": ""}, "wrong-kind": {"kind": 43}, "bad-enum-kind-9999": {"kind": 9999},
                  "bad-enum-scope-99": {"scope": 99}, "bad-version": {"version": "not a version!"}}
        if case == "empty-message":
            return type(r)()
        for k, v in change[case].items():
            setattr(r, k, v)
        return r

    def getByAgent(self, case):  # noqa: N802
        return instance.GetAgentInstancesByAgentRequest(agent_id={
            "valid": self.parent.metadata.id, "unknown-id": "agt-01hzzzzzzzzzzzzzzzzzzzzzz8", "empty-id": ""}[case])

    def listByAgent(self, case):  # noqa: N802
        return session.ListSessionsByAgentRequest(agent_id={
            "valid": self.parent.metadata.id, "unknown-id": "agt-01hzzzzzzzzzzzzzzzzzzzzzz8", "empty-id": ""}[case])

    def listBySession(self, case):  # noqa: N802
        if case == "valid":
            return execution.ListAgentExecutionsBySessionRequest(
                session_id=self.made("in a session").spec.session_id)
        return execution.ListAgentExecutionsBySessionRequest(
            session_id="" if case == "empty-id" else "ses-01hzzzzzzzzzzzzzzzzzzzzzz8")

    def list(self, case):
        cls = session.ListSessionsRequest if self.package == "session" else execution.ListAgentExecutionsRequest
        return cls(**{"valid": {}, "page-size-1": {"page_size": 1}, "page-size-negative": {"page_size": -1},
                      "phase-pending": {"phase": 1}, "phase-completed": {"phase": 3},
                      "bad-enum-phase-99": {"phase": 99}}[case])

    def updateStatus(self, case):  # noqa: N802
        cls = execution.AgentExecutionUpdateStatusInput
        if case == "empty-message":
            return cls()
        id_ = "aex-01hzzzzzzzzzzzzzzzzzzzzzz8" if case == "unknown-id" else self.made(f"status {case}").metadata.id
        if case == "no-status":
            return cls(execution_id=id_)
        status = {"valid-in-progress": {"phase": 2}, "valid-partial-merge": {"error": "x"}, "unknown-id": {"phase": 2},
                  "bad-enum-phase-99": {"phase": 99}}[case]
        return cls(execution_id=id_, status=status)


@pytest.mark.parametrize("row", CASES, ids=[f"{r['method'].split('.', 1)[1]}-{r['case']}" for r in CASES])
def test_status_code(api, row):
    method = row["method"].removeprefix("agentic.")
    case = row["case"]
    c = Case(api, method.split(".")[0])
    request = getattr(c, method.rsplit("/", 1)[1])(case)
    assert api.code(method, request).name == row["ours"]


def test_every_case_of_the_four_services_is_here():
    assert len(CASES) == 186
    assert {r["method"].split(".")[1] for r in CASES} == {"agent", "agentinstance", "session", "agentexecution"}


# ---- what is answered, not only whether -----------------------------------------------------------

def test_all_violations_come_at_once(api):
    code, text = api.refusal("agent.v1.AgentCommandController/create",
                             agent.Agent(api_version="x", kind="y", metadata={"owner_scope": 3}, spec={}))
    assert code == INVALID
    assert text.startswith("validation errors:\n")
    for field in ("api_version", "kind", "metadata.owner_scope", "spec.instructions"):
        assert f"\n - {field}: " in text, text


def test_a_duplicate_names_the_id_that_has_the_slug(api):
    first = api.call("agent.v1.AgentCommandController/create", an_agent("Twice  Told"))
    assert first.metadata.slug == "twice-told"
    code, text = api.refusal("agent.v1.AgentCommandController/create", an_agent("twice told"))
    assert code == grpc.StatusCode.ALREADY_EXISTS and first.metadata.id in text


def test_ids_slugs_and_audit(api):
    m = api.call("agent.v1.AgentCommandController/create", an_agent("Uni-Çödé y"))
    assert re.fullmatch(r"agt-[0-9a-hjkmnp-tv-z]{26}", m.metadata.id)
    assert m.metadata.slug == "uni-code-y"
    audit = m.status.audit
    assert audit.spec_audit.event == "created" and audit.spec_audit.created_by.id not in ("", "system")
    assert re.fullmatch(r"ain-[0-9a-hjkmnp-tv-z]{26}", m.status.default_instance_id)
    d = api.call("agentinstance.v1.AgentInstanceQueryController/get",
                 instance.AgentInstanceId(value=m.status.default_instance_id))
    assert d.metadata.name == "Uni-Çödé y-default" and d.spec.agent_id == m.metadata.id


def test_update_keeps_what_is_the_servers_and_replaces_the_spec(api):
    old = api.call("agent.v1.AgentCommandController/create", an_agent("to be updated"))
    m = an_agent("another name", id=old.metadata.id, slug="another", org="elsewhere")
    m.spec.instructions = "These are other instructions."
    new = api.call("agent.v1.AgentCommandController/update", m)
    assert (new.metadata.id, new.metadata.slug, new.metadata.org) == (old.metadata.id, old.metadata.slug, "local")
    assert new.spec.instructions == "These are other instructions."
    assert new.status.default_instance_id == old.status.default_instance_id
    assert new.status.audit.spec_audit.event == "updated"


def test_the_session_of_an_execution_cannot_be_changed(api):
    old = Case(api, "agentexecution").made("stays in its session")
    other = Case(api, "session").made("another session")
    m = execution.AgentExecution()
    m.CopyFrom(old)
    m.spec.session_id = other.metadata.id
    code, text = api.refusal("agentexecution.v1.AgentExecutionCommandController/update", m)
    assert code == INVALID and "spec.session_id" in text


def test_an_apply_of_the_same_changes_nothing(api):
    m = an_agent("applied twice")
    first = api.call("agent.v1.AgentCommandController/apply", m)
    again = api.call("agent.v1.AgentCommandController/apply", m)
    assert again.metadata.id == first.metadata.id and again.spec == first.spec


def test_unknown_fields_are_kept_and_come_back(api):
    """A newer client's field: number 1999, length-delimited."""
    data = an_agent("from the future").SerializeToString() + b"\xfa\x7c\x05hello"
    make = api.channel.unary_unary("/ai.stigmer.agentic.agent.v1.AgentCommandController/create")
    made = make(data, timeout=10)
    assert b"\xfa\x7c\x05hello" in made
    id_ = agent.Agent.FromString(made).metadata.id
    get = api.channel.unary_unary("/ai.stigmer.agentic.agent.v1.AgentQueryController/get")
    assert b"\xfa\x7c\x05hello" in get(agent.AgentId(value=id_).SerializeToString(), timeout=10)


def nested(depth):
    """AgentExecutionStatus → tool_calls → args → Struct → Value → …"""
    value = b""
    for _ in range(depth):  # Value.list_value { ListValue.values { … } }
        inner = b"\x0a" + varint(len(value)) + value
        value = b"\x32" + varint(len(inner)) + inner
    field = b"\x0a\x01a\x12" + varint(len(value)) + value
    struct = b"\x0a" + varint(len(field)) + field
    call = b"\x1a" + varint(len(struct)) + struct
    status = b"\x1a" + varint(len(call)) + call
    return b"\x0a\x1eaex-01hzzzzzzzzzzzzzzzzzzzzzz8\x12" + varint(len(status)) + status


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


@pytest.mark.parametrize("depth", [40, 1000, 20000])
def test_deep_nesting_is_refused_before_it_is_unpacked(api, depth):
    send = api.channel.unary_unary("/ai.stigmer.agentic.agentexecution.v1.AgentExecutionCommandController/updateStatus")
    with pytest.raises(grpc.RpcError) as e:
        send(nested(depth), timeout=10)
    assert e.value.code() == INVALID and "nest" in e.value.details().lower()
    assert api.code("agentexecution.v1.AgentExecutionQueryController/list", execution.ListAgentExecutionsRequest()) == OK


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0b", b"\x0a\x02\xc3\x28", os.urandom(64) + b"\xff"])
def test_bytes_that_are_no_message_are_invalid_and_say_where(api, data):
    send = api.channel.unary_unary("/ai.stigmer.agentic.agent.v1.AgentCommandController/create")
    with pytest.raises(grpc.RpcError) as e:
        send(data, timeout=10)
    assert e.value.code() == INVALID and re.search(r"\d", e.value.details())


def test_many_creates_at_once_never_collide(api):
    c = Case(api, "agentexecution")
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        made = list(pool.map(lambda i: c.made("all at once"), range(40)))
    assert len({m.metadata.id for m in made}) == 40
    assert len({m.spec.session_id for m in made}) == 40


def test_lists_have_pages_in_a_stable_order(api):
    c = Case(api, "agentexecution")
    s = Case(api, "session").made("a long session")
    ids = []
    for i in range(7):
        m = c.valid(f"page {i}")
        m.spec.agent_id, m.spec.session_id = "", s.metadata.id
        ids.append(c.command("create", m).metadata.id)
    seen, token = [], ""
    for _ in range(4):
        page = api.call("agentexecution.v1.AgentExecutionQueryController/listBySession",
                        execution.ListAgentExecutionsBySessionRequest(session_id=s.metadata.id, page_size=2, page_token=token))
        assert page.total_pages == 4
        seen += [e.metadata.id for e in page.entries]
        token = str(len(seen) // 2 + 1)
    assert seen == ids


def test_sessions_are_listed_by_agent_and_by_instance(api):
    c = Case(api, "session")
    m = c.made("by agent or instance")
    for id_ in (c.parent.metadata.id, c.parent.status.default_instance_id):
        found = api.call("session.v1.SessionQueryController/listByAgent", session.ListSessionsByAgentRequest(agent_id=id_))
        assert m.metadata.id in [s.metadata.id for s in found.entries]


def test_status_of_an_old_runner_is_told_to_subscribers_and_ends_the_stream(api):
    m = Case(api, "agentexecution").made("by an old runner")
    stream = api.channel.unary_stream(
        "/ai.stigmer.agentic.agentexecution.v1.AgentExecutionQueryController/subscribe",
        response_deserializer=execution.AgentExecution.FromString)(
            execution.AgentExecutionId(value=m.metadata.id).SerializeToString(), timeout=20)
    first = next(stream)
    assert first.HasField("status") and first.status.phase == 1
    update = execution.AgentExecutionUpdateStatusInput(execution_id=m.metadata.id, status={"phase": 2})
    api.call("agentexecution.v1.AgentExecutionCommandController/updateStatus", update)
    update = execution.AgentExecutionUpdateStatusInput(
        execution_id=m.metadata.id, status={"phase": 3, "messages": [{"type": 2, "content": "Done."}],
                                         "tool_calls": [{"id": "1", "name": "ls"}]})
    api.call("agentexecution.v1.AgentExecutionCommandController/updateStatus", update)
    last = list(stream)[-1]  # and it ends
    assert last.status.phase == 3 and last.status.messages[-1].content == "Done."
    assert (last.status.counts.turns, last.status.counts.tool_calls) == (1, 1)
    code, _ = api.refusal("agentexecution.v1.AgentExecutionCommandController/updateStatus", update)
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    again = api.channel.unary_stream(
        "/ai.stigmer.agentic.agentexecution.v1.AgentExecutionQueryController/subscribe",
        response_deserializer=execution.AgentExecution.FromString)(
            execution.AgentExecutionId(value=m.metadata.id).SerializeToString(), timeout=20)
    assert [x.status.phase for x in again] == [3]


def test_slow_subscribers_cost_bounded_memory_and_get_the_last_word(api, home):
    """Two that do not read while a large status changes many times."""
    m = Case(api, "agentexecution").made("watched by the slow")
    subscribe = api.channel.unary_stream(
        "/ai.stigmer.agentic.agentexecution.v1.AgentExecutionQueryController/subscribe",
        response_deserializer=execution.AgentExecution.FromString)
    request = execution.AgentExecutionId(value=m.metadata.id).SerializeToString()
    slow = [subscribe(request, timeout=60) for _ in range(2)]
    for s in slow:
        assert next(s).status.phase == 1
    before = home.component("stigmer-server")["rssBytes"]
    for i in range(60):
        api.call("agentexecution.v1.AgentExecutionCommandController/updateStatus", execution.AgentExecutionUpdateStatusInput(
            execution_id=m.metadata.id, status={"phase": 2, "messages": [{"type": 2, "content": "x" * 1000000 + str(i)}]}))
    assert home.component("stigmer-server")["rssBytes"] - before < 64 << 20  # 120 MB were told to the two
    api.call("agentexecution.v1.AgentExecutionCommandController/updateStatus", execution.AgentExecutionUpdateStatusInput(
        execution_id=m.metadata.id, status={"phase": 3, "messages": [{"type": 2, "content": "the end"}]}))
    for s in slow:
        assert list(s)[-1].status.messages[-1].content == "the end"


def test_a_slow_follower_gets_every_event(api):
    """Ours, resumable: more is waiting than a call may have unsent, again and again."""
    service = protos.module("stigmer.execution.v1.service")
    m = Case(api, "agentexecution").made("followed by the slow")
    for i in range(12):
        api.call("agentexecution.v1.AgentExecutionCommandController/updateStatus", execution.AgentExecutionUpdateStatusInput(
            execution_id=m.metadata.id, status={"phase": 2 if i < 11 else 3, "messages": [{"type": 2, "content": "x" * 500000}]}))
    stream = api.channel.unary_stream("/stigmer.execution.v1.ExecutionService/events",
                                      response_deserializer=service.EventsResponse.FromString)(
        service.EventsRequest(execution_id=m.metadata.id).SerializeToString(), timeout=30)
    seqs = [r.event.seq for r in stream if r.HasField("event")]
    assert seqs == list(range(1, len(seqs) + 1)) and len(seqs) == 13


def last_line(home, req):
    with open(f"{home.dir}/data/logs/stigmer-server.log") as f:
        found = [line for line in f if line.rstrip().endswith(f" req={req}")]
    return found[-1] if found else ""


@pytest.mark.parametrize("theirs", ["order-17:a.b_C", "a", "x" * 64, None, "", "x" * 65, "two words", "quo\"te"])
def test_a_failed_call_is_logged_under_the_id_that_its_client_is_told(home, api, theirs):
    metadata = [("x-request-id", theirs)] if theirs is not None else []
    calls = api.channel.unary_unary("/ai.stigmer.agentic.agent.v1.AgentQueryController/get")
    with pytest.raises(grpc.RpcError) as e:
        calls(b"\x0a\x07agt-nil", metadata=metadata, timeout=20)
    told = dict(e.value.trailing_metadata())["x-request-id"]
    sane = theirs and len(theirs) <= 64 and re.fullmatch(r"[\w.:-]+", theirs)
    assert told == theirs if sane else re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]+", told)
    line = until(lambda: last_line(home, told), 10)  # its keeper writes it
    assert 'msg="call failed" method=/ai.stigmer.agentic.agent.v1.AgentQueryController/get code=' in line
    assert re.search(r" ms=\d+ ", line)


def test_an_unknown_method_is_logged_and_a_good_call_has_an_id(home, api):
    with pytest.raises(grpc.RpcError) as e:
        api.channel.unary_unary("/no.Such/thing")(b"", timeout=20)
    assert "code=UNIMPLEMENTED" in until(lambda: last_line(home, dict(e.value.trailing_metadata())["x-request-id"]), 10)
    _, call = api.channel.unary_unary("/grpc.health.v1.Health/Check").with_call(b"", timeout=20)
    ids = [v for k, v in call.trailing_metadata() if k == "x-request-id"]
    assert len(ids) == 1 and not last_line(home, ids[0])
