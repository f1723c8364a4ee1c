"""The model client against aimock (the three wire formats) and against a scripted server (what
real servers do that aimock cannot show). Each request is one run of tests/fake/model-tool."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "fake"))
from llm_server import RESET, STALL, LlmServer, answer, head, named, ndjson, sse  # noqa: E402

BUILD = Path(os.environ.get("STIGMER_BUILD", HERE.parent.parent / "build" / "san"))
PEERS = Path(os.environ.get("STIGMER_PEERS", HERE.parent / "node_modules"))
KEY = "sk-test-abcdefghijklmnop"
PROVIDERS = ["anthropic", "openai", "ollama"]
LS = {"name": "ls", "description": "list a folder", "schema": '{"type":"object","properties":{}}'}

FIXTURES = {"fixtures": [
    {"match": {"userMessage": "hello"},
     "response": {"content": "Grüße! How can I help you today? 🙂",
                  "usage": {"prompt_tokens": 21, "completion_tokens": 9, "total_tokens": 30,
                            "input_tokens": 21, "output_tokens": 9}}},
    {"match": {"userMessage": "two tools"},
     "response": {"toolCalls": [
         {"name": "ls", "arguments": '{"path":"."}'},
         {"name": "read_file", "arguments": '{"file_path":"a.c"}'}]}},
    {"match": {"userMessage": "cut off"}, "latency": 20, "chunkSize": 5,
     "truncateAfterChunks": 4,
     "response": {"content": "a text that is cut off in the middle of a sentence"}},
    {"match": {"userMessage": "limited"},
     "response": {"error": {"message": "Rate limited", "type": "rate_limit_error"},
                  "status": 429, "retryAfter": 7}},
    {"match": {"userMessage": "broken server"},
     "response": {"error": {"message": "boom", "type": "server_error"}, "status": 500}},
    {"match": {"userMessage": "slow"}, "latency": 5000,
     "response": {"content": "one two three four five six seven eight nine ten"}},
    {"match": {"userMessage": "garbled"}, "chaos": {"malformedRate": 1.0},
     "response": {"content": "x"}},
    {"match": {"userMessage": "large"}, "response": {"content": "abcdefgh " * 600000}},
]}


def start_aimock(folder, env=None):
    fixtures = folder / "fixtures.json"
    fixtures.write_text(json.dumps(FIXTURES))
    cli = PEERS / "@copilotkit" / "aimock" / "dist" / "cli.js"
    assert cli.exists(), f"{cli} is missing; run scripts/setup.sh --tests or set STIGMER_PEERS"
    proc = subprocess.Popen(["node", str(cli), "-p", "0", "-f", str(fixtures)],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env={**os.environ, **(env or {})})
    for line in proc.stdout:
        if m := re.search(r"listening on (http://\S+)", line):
            return proc, m.group(1)
    raise AssertionError("aimock did not start")


def stop(proc):
    proc.kill()
    proc.wait()
    proc.stdout.close()


@pytest.fixture(scope="module")
def aimock(tmp_path_factory):
    proc, url = start_aimock(tmp_path_factory.mktemp("aimock"))
    yield url
    stop(proc)


class Result:
    def __init__(self, lines):
        self.lines = lines
        self.text = "".join(x["text"] for x in lines if "text" in x)
        self.records = [x["record"] for x in lines if "record" in x]
        self.done = lines[-1].get("done")
        self.fail = lines[-1].get("fail")


def call(url, message="hi", provider="openai", **more):
    req = {"provider": provider, "model": "m1", "base_url": url, "api_key": KEY,
           "system": "be kind", "messages": [{"role": "user", "text": message}], "tools": [LS],
           **more}
    run = subprocess.run([BUILD / "tests" / "fake" / "model-tool"], input=json.dumps(req),
                         capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert KEY not in run.stdout
    return Result([json.loads(x) for x in run.stdout.splitlines()])


# ---- aimock: the same behaviour in all three formats --------------------------------------------

@pytest.mark.parametrize("provider", PROVIDERS)
def test_text_streams_and_ends(aimock, provider):
    r = call(aimock, "hello", provider)
    assert r.done["text"] == "Grüße! How can I help you today? 🙂" == r.text
    assert r.done["stop"] == "end_turn" and r.done["calls"] == [] and r.done["model"] == "m1"
    assert len(r.lines) > 2


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_usage_is_read(aimock, provider):
    assert call(aimock, "hello", provider).done["usage"][:2] == [21, 9]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_parallel_tool_calls_come_whole_with_ids_of_their_own(aimock, provider):
    d = call(aimock, "two tools", provider).done
    assert [(c["name"], json.loads(c["args"])) for c in d["calls"]] == [
        ("ls", {"path": "."}), ("read_file", {"file_path": "a.c"})]
    assert len({c["id"] for c in d["calls"]}) == 2 and all(c["id"] for c in d["calls"])
    assert d["stop"] == "tool_use"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_tool_results_go_back(aimock, provider):
    r = call(aimock, provider=provider, messages=[
        {"role": "user", "text": "start"},
        {"role": "assistant", "text": "", "calls": [{"id": "a.1", "name": "ls", "args": "{bad"}]},
        {"role": "tool", "text": "no such folder", "call_id": "a.1", "tool_name": "ls",
         "is_error": True},
        {"role": "user", "text": "hello"}])
    assert r.done["text"].startswith("Grüße")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_rate_limit_says_when_to_come_back(aimock, provider):
    f = call(aimock, "limited", provider).fail
    assert (f["fault"], f["status"], f["retry_after_ms"], f["retryable"]) == (
        "rate", 429, 7000, True)
    assert f"{provider} m1: HTTP 429: Rate limited" in f["message"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_server_error_is_retryable(aimock, provider):
    f = call(aimock, "broken server", provider).fail
    assert (f["fault"], f["status"], f["retryable"]) == ("overloaded", 500, True)
    assert "boom" in f["message"] and f["hint"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_truncated_stream_is_broken(aimock, provider):
    f = call(aimock, "cut off", provider).fail
    assert f["fault"] == "broken" and f["retryable"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_malformed_answer_is_broken(aimock, provider):
    assert call(aimock, "garbled", provider).fail["fault"] == "broken"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_silence_is_noticed(aimock, provider):
    f = call(aimock, "slow", provider, first_byte_ms=300, stall_ms=300).fail
    assert f["fault"] in ("first_byte", "stalled") and "300 ms" in f["message"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_five_megabyte_answer_is_taken(aimock, provider):
    r = call(aimock, "large", provider)
    assert len(r.done["text"]) == 5400000 and r.text == r.done["text"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_refused_key_names_the_variable_and_not_the_key(tmp_path, provider):
    proc, url = start_aimock(tmp_path, {"AIMOCK_API_KEYS": "another"})
    try:
        f = call(url, "hello", provider).fail
        assert (f["fault"], f["status"], f["retryable"]) == ("auth", 401, False)
        if provider != "ollama":
            assert f"{provider.upper()}_API_KEY" in f["hint"]
            assert "no key was sent" in call(url, "hello", provider, api_key="").fail["hint"]
    finally:
        stop(proc)


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("message", ["hello", "two tools", "limited", "broken server", "cut off"])
def test_a_recording_plays_back_the_same(aimock, provider, message):
    first = call(aimock, message, provider, record=True)
    line, = first.records
    assert "authorization" not in line.lower() and "x-api-key" not in line.lower()
    cassette = '{"schema":"stigmer.cassette/v1"}\n' + line + "\n"
    again = call("http://127.0.0.1:1", message, "replay", cassette=cassette, record=True)
    assert again.text == first.text and again.done == first.done
    assert again.records == first.records
    if first.fail:
        for k in ("fault", "status", "retry_after_ms"):
            assert again.fail[k] == first.fail[k]


# ---- failures below the format ------------------------------------------------------------------

def test_a_refused_connection_is_told_with_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as s:
        url = "http://127.0.0.1:%d" % s.getsockname()[1]
    f = call(url, provider="ollama").fail
    assert f["fault"] == "connect" and "ollama serve" in f["hint"] and url in f["message"]


def test_no_first_byte_and_a_stall_are_told_apart():
    with LlmServer([STALL], [head(), b": ping\n\n", STALL]) as s:
        assert call(s.url, first_byte_ms=200, stall_ms=9000).fail["fault"] == "first_byte"
        assert call(s.url, first_byte_ms=9000, stall_ms=200).fail["fault"] == "stalled"


def test_a_chunked_body_without_its_end_is_broken():
    with LlmServer([head(extra=("Transfer-Encoding: chunked",)), b"40\r\ndata: {}\n\n"]) as s:
        assert call(s.url).fail["fault"] == "broken"


def test_a_reset_connection_is_broken():
    with LlmServer([RESET]) as s:
        assert call(s.url).fail["fault"] == "broken"


def test_an_answer_over_the_limit_is_refused():
    piece = {"choices": [{"delta": {"content": "x" * 900000}}]}
    with LlmServer(sse(*[piece] * 12)) as s:
        f = call(s.url).fail
        assert f["fault"] == "too_large" and not f["retryable"]


def test_arguments_over_the_limit_are_refused():
    piece = {"choices": [{"delta": {"tool_calls": [
        {"index": 0, "id": "a", "function": {"name": "ls", "arguments": "x" * 600000}}]}}]}
    with LlmServer(sse(piece, piece)) as s:
        assert call(s.url).fail["fault"] == "too_large"


def test_too_many_tool_calls_are_refused():
    pieces = [{"choices": [{"delta": {"tool_calls": [
        {"index": i, "id": f"c{i}", "function": {"name": "ls", "arguments": "{}"}}]}}]}
        for i in range(129)]
    with LlmServer(sse(*pieces)) as s:
        assert call(s.url).fail["fault"] == "too_large"


def test_a_call_can_be_cancelled_from_its_own_text():
    with LlmServer(sse({"choices": [{"delta": {"content": "a"}}]},
                       {"choices": [{"delta": {"content": "b"}}]}, STALL)) as s:
        assert call(s.url, cancel_after=1).lines[-1] == {"cancelled": True}


def test_a_connection_left_open_after_the_end_is_not_waited_for():
    with LlmServer(sse({"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]},
                       b"data: [DONE]\n\n", STALL)) as s:
        assert call(s.url, stall_ms=20000).done["text"] == "a"


def test_no_such_provider_and_no_such_host():
    f = call("http://127.0.0.1:1", provider="nobody").fail
    assert f["fault"] == "request" and "anthropic, openai or ollama" in f["message"]
    assert call("http://no-such-host.invalid").fail["fault"] == "connect"
    assert call("ftp://127.0.0.1/").fail["fault"] in ("request", "broken")


# ---- error answers ------------------------------------------------------------------------------

@pytest.mark.parametrize("status,body,fault", [
    (400, {"error": {"message": "This model's maximum context length is 8192 tokens",
                     "code": "context_length_exceeded"}}, "context"),
    (400, {"type": "error", "error": {"type": "invalid_request_error",
                                      "message": "prompt is too long: 210000 tokens"}}, "context"),
    (413, b"", "context"),
    (404, {"error": {"message": "no such model"}}, "request"),
    (422, {"detail": [{"msg": "field required"}]}, "request"),
    (429, {"error": {"message": "You exceeded your current quota",
                     "type": "insufficient_quota"}}, "auth"),
    (403, b"<html><body>Forbidden</body></html>", "auth"),
    (503, b"", "overloaded"),
    (529, {"error": {"type": "overloaded_error", "message": "Overloaded"}}, "overloaded"),
    (301, b"", "request"),
])
def test_what_an_error_answer_means(status, body, fault):
    with LlmServer(answer(status, body)) as s:
        f = call(s.url).fail
        assert (f["fault"], f["status"]) == (fault, status)
        assert f["hint"] and f"HTTP {status}" in f["message"]


def test_a_key_in_an_error_is_redacted_and_the_message_is_one_line():
    with LlmServer(answer(401, {"error": {"message": f"bad\nkey {KEY} or sk-proj-1234567890"}})) as s:
        m = call(s.url).fail["message"]
        assert KEY not in m and "1234567890" not in m and "\n" not in m and "bad key" in m


@pytest.mark.parametrize("header,low,high", [
    ("Retry-After: 3", 3000, 3000), ("retry-after-ms: 250", 250, 250),
    ("Retry-After: Wed, 21 Oct 2015 07:28:00 GMT", 0, 0), ("Retry-After: soon", -1, -1),
    ("Retry-After: Fri, 31 Dec 2100 23:59:59 GMT", 86400000, 366 * 86400000)])
def test_retry_after_is_read_in_every_spelling(header, low, high):
    with LlmServer(answer(429, {"error": {"message": "slow down"}}, extra=(header,))) as s:
        assert low <= call(s.url).fail["retry_after_ms"] <= high


def test_a_missing_ollama_model_says_how_to_get_it():
    with LlmServer(answer(404, {"error": "model 'm1' not found"})) as s:
        f = call(s.url, provider="ollama").fail
        assert f["hint"] == "run: ollama pull m1" and "not found" in f["message"]


# ---- dialects of chat completions ---------------------------------------------------------------

def tool(**piece):
    return {"choices": [{"delta": {"tool_calls": [piece]}}]}


def fn(name="ls", args="{}"):
    return {"name": name, "arguments": args}


STOP = {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}
SAY = {"choices": [{"delta": {"content": "ok"}}]}
END = {"choices": [{"delta": {}, "finish_reason": "stop"}]}


@pytest.mark.parametrize("name,events,calls", [
    ("pieces by index, interleaved",
     [tool(index=0, id="a", function=fn("ls", "")), tool(index=1, id="b", function=fn("cat", "")),
      tool(index=0, function={"arguments": '{"p"'}), tool(index=1, function={"arguments": "{}"}),
      tool(index=0, function={"arguments": ":1}"})],
     [("a", "ls", '{"p":1}'), ("b", "cat", "{}")]),
    ("two whole calls in one piece",
     [{"choices": [{"delta": {"tool_calls": [
         {"index": 0, "id": "a", "function": fn()}, {"index": 1, "id": "b", "function": fn()}]}}]}],
     [("a", "ls", "{}"), ("b", "ls", "{}")]),
    ("the same index for all", [tool(index=0, id="a", function=fn()),
                                tool(index=0, id="b", function=fn("cat"))],
     [("a", "ls", "{}"), ("b", "cat", "{}")]),
    ("no index", [tool(id="a", function=fn("ls", '{"x":')), tool(function={"arguments": "2}"}),
                  tool(id="b", function=fn("cat"))],
     [("a", "ls", '{"x":2}'), ("b", "cat", "{}")]),
    ("no id", [tool(index=0, function=fn()), tool(index=1, function=fn("cat"))],
     [(None, "ls", "{}"), (None, "cat", "{}")]),
    ("no id and no index", [tool(function=fn("ls", '{"a":1}')), tool(function=fn("ls", '{"a":2}'))],
     [(None, "ls", '{"a":1}'), (None, "ls", '{"a":2}')]),
    ("the same id twice", [tool(index=0, id="a", function=fn()), tool(index=1, id="a", function=fn())],
     [("a", "ls", "{}"), ("a_1", "ls", "{}")]),
    ("empty arguments", [tool(index=0, id="a", function=fn("ls", ""))], [("a", "ls", "{}")]),
    ("arguments null", [tool(index=0, id="a", function=fn("ls", None))], [("a", "ls", "{}")]),
    ("arguments as an object", [tool(index=0, id="a", function=fn("ls", {"p": 1}))],
     [("a", "ls", '{"p":1}')]),
    ("arguments that are no JSON", [tool(index=0, id="a", function=fn("ls", '{"p": oops'))],
     [("a", "ls", '{"p": oops')]),
    ("id and name in every piece",
     [tool(index=0, id="a", function=fn("ls", "{")), tool(index=0, id="a", function=fn("ls", "}"))],
     [("a", "ls", "{}")]),
])
def test_tool_calls_of_every_dialect(name, events, calls):
    with LlmServer(sse(*events, STOP)) as s:
        d = call(s.url).done
        assert [(c["name"], c["args"]) for c in d["calls"]] == [c[1:] for c in calls]
        assert len({c["id"] for c in d["calls"]}) == len(calls)
        for got, want in zip(d["calls"], calls):
            assert got["id"] and want[0] in (None, got["id"])
        assert d["stop"] == "tool_use"


@pytest.mark.parametrize("name,stream", [
    ("no finish_reason", sse(SAY)),
    ("no [DONE]", sse(SAY, END, done=False)),
    ("content null first", sse({"choices": [{"delta": {"role": "assistant", "content": None}}]},
                               SAY, END)),
    ("content as parts", sse({"choices": [{"delta": {"content": [{"type": "text", "text": "ok"}]}}]},
                             END)),
    ("reasoning aside", sse({"choices": [{"delta": {"reasoning_content": "hm"}}]}, SAY, END)),
    ("usage null", sse({**SAY, "usage": None}, END)),
    ("the old function_call", sse({"choices": [{"delta": {"function_call": {"name": "x"}}}]}, SAY,
                                  END)),
    ("no choices at first", sse({"choices": [], "prompt_filter_results": []}, SAY, END)),
    ("not streamed", answer(200, {"choices": [{"message": {"content": "ok"},
                                               "finish_reason": "stop"}]})),
    ("CRLF and comments", [head(), b": hi\r\n\r\ndata: " + json.dumps(SAY).encode() +
                           b"\r\n\r\ndata: [DONE]\r\n\r\n"]),
])
def test_answers_of_every_dialect(name, stream):
    with LlmServer(stream) as s:
        d = call(s.url).done
        assert d["text"] == "ok" and d["stop"] == "end_turn"


def test_usage_on_a_last_piece_without_choices_counts():
    usage = {"choices": [], "usage": {"prompt_tokens": 50, "completion_tokens": 7,
                                      "prompt_tokens_details": {"cached_tokens": 40}}}
    with LlmServer(sse(SAY, END, usage)) as s:
        assert call(s.url).done["usage"] == [50, 7, 40, 0]


@pytest.mark.parametrize("error,fault", [
    ({"message": "Rate limit reached", "type": "rate_limit_exceeded"}, "rate"),
    ({"message": "provider died", "code": 502}, "overloaded"),
    ({"message": "context length exceeded", "code": 400}, "context"),
    ("out of memory", "overloaded")])
def test_an_error_inside_a_good_stream_is_an_error(error, fault):
    with LlmServer(sse(SAY, {"error": error}, done=False)) as s:
        assert call(s.url).fail["fault"] == fault


def test_a_stream_with_no_end_of_either_kind_is_broken():
    with LlmServer(sse(SAY, done=False)) as s:
        assert call(s.url).fail["fault"] == "broken"


def test_bad_bytes_cost_one_character_each():
    raw = b'data: {"choices":[{"delta":{"content":"a\xffb\\ud83dc\\u0000d\\ud83d\\ude42"}}]}\n\n'
    with LlmServer(sse(raw, END)) as s:
        assert call(s.url).done["text"] == "a\ufffdb\ufffdcd🙂"


@pytest.mark.parametrize("base,path", [
    ("", "/v1/chat/completions"), ("/", "/v1/chat/completions"), ("/v1", "/v1/chat/completions"),
    ("/v1/", "/v1/chat/completions"), ("/openai/v1", "/openai/v1/chat/completions"),
    ("/v1/chat/completions", "/v1/chat/completions"),
    ("/d/x?api-version=1", "/d/x/chat/completions?api-version=1")])
def test_base_urls_as_people_write_them(base, path):
    with LlmServer(sse(SAY, END)) as s:
        call(s.url + base)
        assert s.requests[0][0] == path
        assert s.requests[0][1]["authorization"] == "Bearer " + KEY


@pytest.mark.parametrize("model,name", [("gpt-4.1", "max_tokens"), ("o3-mini", "max_completion_tokens"),
                                        ("gpt-5", "max_completion_tokens")])
def test_the_output_limit_goes_by_the_name_the_model_knows(model, name):
    with LlmServer(sse(SAY, END)) as s:
        call(s.url, model=model, max_output_tokens=77)
        assert s.requests[0][2][name] == 77


# ---- Anthropic ----------------------------------------------------------------------------------

def test_anthropic_thinking_is_kept_and_sent_back():
    stream = named(
        {"type": "message_start", "message": {"model": "claude-x", "usage": {
            "input_tokens": 5, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 20,
            "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {
            "type": "thinking", "thinking": "", "signature": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {
            "type": "thinking_delta", "thinking": "let me "}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {
            "type": "thinking_delta", "thinking": "see"}},
        {"type": "content_block_delta", "index": 0, "delta": {
            "type": "signature_delta", "signature": "c2ln"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {
            "type": "tool_use", "id": "toolu_1", "name": "ls", "input": {}}},
        {"type": "content_block_delta", "index": 1, "delta": {
            "type": "input_json_delta", "partial_json": '{"path":'}},
        {"type": "content_block_delta", "index": 1, "delta": {
            "type": "input_json_delta", "partial_json": '"."}'}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"},
         "usage": {"output_tokens": 33}},
        {"type": "message_stop"})
    with LlmServer(stream, stream) as s:
        d = call(s.url, provider="anthropic").done
        assert d["usage"] == [125, 33, 100, 20] and d["model"] == "claude-x"
        assert d["calls"] == [{"id": "toolu_1", "name": "ls", "args": '{"path":"."}'}]
        call(s.url, provider="anthropic", messages=[
            {"role": "user", "text": "go"},
            {"role": "assistant", "text": "", "calls": d["calls"], "state": d["state"]},
            {"role": "tool", "text": "a.c", "call_id": "toolu_1", "tool_name": "ls"}])
        path, headers, body = s.requests[1]
        assert path == "/v1/messages" and headers["anthropic-version"] == "2023-06-01"
        assert headers["x-api-key"] == KEY and body["max_tokens"] > 0
        assert body["messages"][1]["content"] == [
            {"type": "thinking", "thinking": "let me see", "signature": "c2ln"},
            {"type": "tool_use", "id": "toolu_1", "name": "ls", "input": {"path": "."}}]
        assert body["messages"][2]["content"][0]["tool_use_id"] == "toolu_1"
        assert body["system"][0]["cache_control"] == {"type": "ephemeral"}


def test_anthropic_results_of_one_turn_go_in_one_message():
    end = named({"type": "message_stop"})
    calls = [{"id": "a:1", "name": "ls", "args": "{}"}, {"id": "b", "name": "ls", "args": "nonsense"}]
    with LlmServer(end) as s:
        call(s.url, provider="anthropic", messages=[
            {"role": "user", "text": "go"}, {"role": "assistant", "text": "", "calls": calls},
            {"role": "tool", "text": "1", "call_id": "a:1", "tool_name": "ls"},
            {"role": "tool", "text": "2", "call_id": "b", "tool_name": "ls", "is_error": True},
            {"role": "user", "text": "on"}])
        m = s.requests[0][2]["messages"]
        assert [x["role"] for x in m] == ["user", "assistant", "user"]
        assert [x["type"] for x in m[2]["content"]] == ["tool_result", "tool_result", "text"]
        assert m[1]["content"][0]["id"] == m[2]["content"][0]["tool_use_id"] == "a_1"
        assert isinstance(m[1]["content"][1]["input"], dict) and m[2]["content"][1]["is_error"]


@pytest.mark.parametrize("kind,fault,status", [("overloaded_error", "overloaded", 529),
                                               ("rate_limit_error", "rate", 429),
                                               ("api_error", "overloaded", 500),
                                               ("authentication_error", "auth", 401)])
def test_anthropic_errors_in_the_stream(kind, fault, status):
    with LlmServer(named({"type": "message_start", "message": {}},
                         {"type": "error", "error": {"type": kind, "message": "so it is"}})) as s:
        f = call(s.url, provider="anthropic").fail
        assert (f["fault"], f["status"]) == (fault, status) and "so it is" in f["message"]


# ---- Ollama -------------------------------------------------------------------------------------

def test_ollama_calls_thinking_and_counts():
    stream = ndjson(
        {"model": "q", "message": {"role": "assistant", "thinking": "hm", "content": ""}},
        {"message": {"content": "", "tool_calls": [
            {"function": {"name": "ls", "arguments": {"path": "ü"}}},
            {"function": {"name": "ls", "arguments": {}}}]}},
        {"message": {"content": ""}, "done": True, "done_reason": "stop",
         "prompt_eval_count": 11, "eval_count": 4})
    with LlmServer(stream, stream) as s:
        d = call(s.url, provider="ollama").done
        assert [json.loads(c["args"]) for c in d["calls"]] == [{"path": "ü"}, {}]
        assert d["usage"] == [11, 4, 0, 0] and d["stop"] == "tool_use"
        call(s.url + "/v1", provider="ollama", context_tokens=40000, messages=[
            {"role": "user", "text": "go"},
            {"role": "assistant", "text": "", "calls": d["calls"], "state": d["state"]},
            {"role": "tool", "text": "x", "call_id": d["calls"][0]["id"], "tool_name": "ls"}])
        assert [r[0] for r in s.requests] == ["/api/chat"] * 2
        assert s.requests[0][2]["options"]["num_ctx"] == 16384
        body = s.requests[1][2]
        assert body["options"]["num_ctx"] == 40000
        assert body["messages"][2]["thinking"] == "hm"
        assert body["messages"][2]["tool_calls"][0]["function"]["arguments"] == {"path": "ü"}
        assert body["messages"][3]["tool_name"] == "ls"


def test_ollama_context_grows_with_the_prompt():
    with LlmServer(ndjson({"done": True})) as s:
        call(s.url, "x" * 120000, "ollama")
        assert s.requests[0][2]["options"]["num_ctx"] == 65536


def test_ollama_error_lines_and_ends():
    with LlmServer(ndjson({"message": {"content": "a"}}, {"error": "llama runner died"}),
                   ndjson({"message": {"content": "a"}}),
                   ndjson({"message": {"content": "a"}, "done": True, "done_reason": "length"}),
                   ndjson(b'{"message":{"content":"a"}}\n{"done":true}')) as s:
        f = call(s.url, provider="ollama").fail
        assert f["fault"] == "overloaded" and "llama runner died" in f["message"]
        assert call(s.url, provider="ollama").fail["fault"] == "broken"
        assert call(s.url, provider="ollama").done["stop"] == "max_tokens"
        assert call(s.url, provider="ollama").done["text"] == "a"


# ---- cassettes ----------------------------------------------------------------------------------

HEADER = '{"schema":"stigmer.cassette/v1"}\n'


@pytest.mark.parametrize("cassette,words", [
    ("", "no cassette"), ("hello\n", "no cassette"), (HEADER, "0 model calls"),
    (HEADER + "{}\n", "no recorded exchange"), (HEADER + "[\n", "no recorded exchange"),
    (HEADER + '{"provider":"openai","status":200,"too_large":true,"chunks":[]}\n', "too large"),
    (HEADER + " " * (4 << 20), "4 MiB")])
def test_a_cassette_that_cannot_be_played_says_why(cassette, words):
    f = call("", provider="replay", cassette=cassette).fail
    assert f["fault"] == "cassette" and words in f["message"] and not f["retryable"]


def test_running_out_of_recorded_calls_says_how_many_there_are():
    line = json.dumps({"provider": "openai", "status": 200, "headers": {}, "chunks": ["data: [DONE]\n\n"]})
    cassette = HEADER + line + "\n" + line + "\n"
    assert call("", provider="replay", cassette=cassette, exchange=1).done["text"] == ""
    f = call("", provider="replay", cassette=cassette, exchange=2).fail
    assert f["fault"] == "cassette" and "has 2 model calls" in f["message"]


def test_an_answer_too_large_to_record_says_so_when_played():
    piece = {"choices": [{"delta": {"content": "y" * 500000}}]}
    with LlmServer(sse(*[piece] * 5, END)) as s:
        line, = call(s.url, record=True).records
    assert len(line) < 4096
    f = call("", provider="replay", cassette=HEADER + line).fail
    assert f["fault"] == "cassette" and "too large to record" in f["message"]


def test_bytes_that_are_no_text_are_recorded_whole():
    raw = b'data: {"choices":[{"delta":{"content":"a\xffb"}}]}\n\n'
    with LlmServer(sse(raw, END)) as s:
        first = call(s.url, record=True)
    again = call("", provider="replay", cassette=HEADER + first.records[0])
    assert again.done == first.done and again.text == "a\ufffdb"
