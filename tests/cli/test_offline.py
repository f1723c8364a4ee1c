"""What the command line promises without a server: usage, errors, help, configuration, logs."""
import json
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def commands(cli):
    text = cli("--help").stdout.split("Commands:\n")[1].split("\n\n")[0]
    return [line[2:24].strip() for line in text.splitlines()]


@pytest.mark.parametrize("args,near", [
    (("aply",), "apply"), (("server", "stats"), "status"), (("get", "agnets"), "agents"),
    (("server", "logs", "--sinc", "1m"), "--since"), (("config", "get", "llm.modle"), "llm.model"),
])
def test_a_slip_is_exit_2_and_names_the_nearest(cli, args, near):
    r = cli(*args)
    assert r.returncode == 2 and r.stdout == ""
    assert r.stderr.startswith("stigmer: error: ") and near in r.stderr


def test_a_stray_argument_is_an_error(cli):
    assert cli("ps", "x").returncode == 2
    r = cli("run", "reviewer", "Look at it")  # what a newcomer types
    assert r.returncode == 2 and "hint: stigmer run --help; for example: stigmer run reviewer -m" in r.stderr


def test_the_error_object_is_on_stdout_with_json(cli):
    r = cli("ps", "-o", "json")
    e = json.loads(r.stdout)
    assert r.returncode == 3
    assert list(e)[0] == "schema" and e["schema"] == "stigmer.cli/error/v1"
    assert (e["code"], e["exit"]) == ("SERVER_NOT_RUNNING", 3)
    assert e["hint"] == "stigmer server start"


@pytest.mark.parametrize("args", [("get", "agents"), ("run", "-m", "x"), ("inspect", "aex-1"),
                                  ("server", "status"), ("cancel", "aex-1"),
                                  ("send", "aex-1", "-m", "x"), ("approvals", "ls"), ("approve", "aex-1.5"),
                                  ("deny", "aex-1", "-m", "no")])
def test_without_a_server_exit_is_3(cli, args):
    assert cli(*args).returncode == 3


@pytest.mark.parametrize("args, why", [((), "send needs a message"), (("-m", ""), "the message is empty"),
                                       (("-m", "@/nowhere"), "/nowhere"), (("-m", "x" * 65537), "the limit is 65536")])
def test_send_wants_a_message_that_it_can_bring(cli, args, why):
    r = cli("send", "aex-1", *args)
    assert r.returncode in (2, 4) and why in r.stderr, (r.returncode, r.stderr)


@pytest.mark.parametrize("word", ["aex-1.x", "aex-1.", "aex-1.0", "aex-1.-1", "aex-1.99999999999999999999", ".5", "",
                                  "x" * 200 + ".1"])
def test_an_approval_is_a_run_a_dot_and_a_number(cli, word):
    for command in ("approve", "deny"):
        r = cli(command, "aex-1.5", word)
        assert r.returncode == 2 and "names no approval" in r.stderr, (r.returncode, r.stderr)


def test_every_command_has_help_with_two_examples(cli):
    names = commands(cli)
    assert len(names) > 20
    for name in names:
        r = cli(*name.split(), "--help")
        assert r.returncode == 0, name
        assert len(re.findall(r"^  # ", r.stdout, re.M)) == 2, name


def test_help_fits_in_80_columns(cli):
    for name in ["", *commands(cli)]:
        for line in cli(*name.split(), "--help").stdout.splitlines():
            assert len(line) <= 80, (name, line)


def test_help_that_cannot_be_written_is_a_failure(cli):
    import subprocess
    from installed import program
    with open("/dev/full", "w") as full:
        r = subprocess.run([program(), "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert r.returncode == 1 and "could not be written" in r.stderr


def test_a_usage_error_names_no_log(cli):
    r = cli("server", "stop", "--grace", "x")
    assert r.returncode == 2 and "log:" not in r.stderr


def test_pages_made_from_the_tables_are_checked_in(cli):
    for page in ("stigmer.1", "stigmer-server.8", "agent-runner.8"):
        assert cli("internal", "man", page).stdout == (ROOT / "docs/man" / page).read_text()
    assert cli("internal", "config-doc").stdout == (ROOT / "docs/configuration.md").read_text()


def test_config_set_unfolds_a_file_in_json(cli, home):
    home.mkdir()
    path = home / "config.yaml"
    path.write_text('{"server": {"listen": "127.0.0.1:7000"}, "runner": {"kind": "process", "slots": 4}}')
    assert cli("config", "set", "runner.name", "mine").returncode == 0
    lines = path.read_text().splitlines()
    assert lines[:2] == ["server:", "  listen: 127.0.0.1:7000"] and lines[2] == "runner:"
    assert sorted(lines[3:]) == ["  kind: process", "  name: mine", "  slots: 4"]
    assert cli("config", "unset", "runner.slots").returncode == 0
    assert cli("config", "get", "runner.slots").stdout.strip() == "16"


def test_config_set_keeps_comments_and_order(cli, home):
    home.mkdir()
    f = home / "config.yaml"
    f.write_text("# mine\nrunner:\n  slots: 4  # few\nllm:\n  provider: openai\n  model: m\n")
    assert cli("config", "set", "runner.slots", "8").returncode == 0
    assert cli("config", "set", "runner.memory", "1GiB").returncode == 0
    assert "# mine\nrunner:\n" in f.read_text() and "slots: 8  # few\n" in f.read_text()
    assert cli("config", "get", "runner.memory").stdout == "1GiB\n"
    assert cli("config", "set", "llm.provider", "anthropic").returncode == 0
    assert "model: m" not in f.read_text()


@pytest.mark.parametrize("key,value", [("runner.slots", "0"), ("runner.slot", "1"),
                                       ("engine", "temporary"), ("server.listen", "0.0.0.0:1")])
def test_a_bad_value_leaves_the_file_untouched(cli, home, key, value):
    home.mkdir()
    f = home / "config.yaml"
    f.write_text("runner: {slots: 4}\n")
    assert cli("config", "set", key, value).returncode == 2
    assert f.read_text() == "runner: {slots: 4}\n"


def test_an_unknown_key_names_its_line(cli, home):
    home.mkdir()
    (home / "config.yaml").write_text("llm:\n  provider: openai\n  modle: x\n")
    r = cli("config", "validate")
    assert r.returncode == 2 and "line 3" in r.stderr and "llm.model" in r.stderr


def test_apply_tells_all_faults_with_their_places(cli, tmp_path):
    f = tmp_path / "a.yaml"
    f.write_text("apiVersion: agentic.stigmer.ai/v1\nkind: Agent\nmetadata: {name: a}\nspec:\n"
                 "  descripton: x\n  instructions: short\n---\nkind: Skill\n")
    r = cli("apply", "-f", str(f))
    assert r.returncode == 2
    assert "a.yaml:5:3:" in r.stderr and "description" in r.stderr
    assert "at least 10 characters" in r.stderr and "not available in this version" in r.stderr


def write_logs(home):
    logs = home / "data/logs"
    logs.mkdir(parents=True)
    (logs / "stigmer-server.log").write_bytes(
        b'at=2026-01-01T00:00:01.000Z level=info unit=api msg="one"\n'
        b'at=2026-01-01T00:00:03.000Z level=warn unit=api msg="three" run=aex-1\n')
    (logs / "agent-runner.log").write_bytes(
        b'at=2026-01-01T00:00:02.000Z level=error unit=w msg="two"\nraw \xff\x00 bytes\n'
        b'at=2026-01-01T00:00:04.000Z level=info unit=w msg="four" big=' + b"x" * 1200000 + b"\n")


def test_logs_are_merged_by_time_and_prefixed(cli, home):
    write_logs(home)
    lines = cli("server", "logs").stdout.splitlines()
    assert [re.search(r'msg="(\w+)"|raw', x).group(1) for x in lines] == \
        ["one", "two", None, "three", "four"]
    assert lines[1].startswith("agent-runner ")
    assert "bytes left out" in lines[4]


def test_logs_are_filtered(cli, home):
    write_logs(home)
    def words(*args):
        out = cli("server", "logs", *args).stdout
        return re.findall(r'msg="(\w+)"', out)
    assert words("--since", "2026-01-01T00:00:03Z", "--until", "2026-01-01T00:00:03.500Z") == ["three"]
    assert words("--level", "warn") == ["two", "three"]
    assert words("--grep", "on[e]") == ["one"]
    assert words("--run", "aex-1") == ["three"]
    assert words("-c", "stigmer-server", "--tail", "1") == ["three"]
    items = [json.loads(x) for x in cli("server", "logs", "-o", "json").stdout.splitlines()]
    assert items[0]["event"] == "one" and items[0]["component"] == "stigmer-server"
    assert cli("server", "logs", "--grep", "(").returncode == 2


def test_a_pid_that_was_given_out_again_is_a_stranger(cli, home):
    import os
    run = home / "data/run"
    run.mkdir(parents=True)
    (run / "server.pid").write_text(f"keeper {os.getpid()} 1\nserver {os.getpid()} 1\n")
    r = cli("server", "status", "-o", "json")
    assert r.returncode == 3 and json.loads(r.stdout)["state"] == "stopped"
