"""secret set, ls, rm; doctor's word about keys; model commands without a provider."""
import fcntl
import json
import os
import signal
import stat
import subprocess
import termios

from installed import program


def test_a_secret_is_kept_listed_and_removed_and_never_shown(cli, home):
    r = cli("secret", "set", "llm.openai", stdin="sk-a-real-secret\n")
    assert r.returncode == 0 and "sk-a" not in r.stdout + r.stderr
    doc = json.loads(cli("secret", "ls", "-o", "json").stdout)
    assert doc["schema"] == "stigmer.cli/secret-ls/v1"
    assert [(i["name"], i["bytes"]) for i in doc["items"]] == [("llm.openai", 16)]
    assert cli("secret", "ls", "-o", "name").stdout == "llm.openai\n"
    assert "sk-a" not in cli("secret", "ls").stdout
    assert stat.S_IMODE(os.stat(home / "secret.key").st_mode) == 0o600
    assert stat.S_IMODE(os.stat(home / "data/secrets").st_mode) == 0o700
    for folder, _, files in os.walk(home):
        for f in files:
            with open(os.path.join(folder, f), "rb") as content:
                assert b"sk-a-real" not in content.read()
    assert cli("secret", "rm", "llm.openai").returncode == 0
    assert json.loads(cli("secret", "ls", "-o", "json").stdout)["items"] == []
    assert cli("secret", "rm", "llm.openai").returncode == 4


def test_a_secret_comes_from_a_variable_or_a_file(cli, tmp_path):
    assert cli("secret", "set", "a", "--from-env", "MINE", env={"MINE": "12345"}).returncode == 0
    (tmp_path / "v").write_text("abc\n")
    assert cli("secret", "set", "b", "--from-file", str(tmp_path / "v")).returncode == 0
    items = json.loads(cli("secret", "ls", "-o", "json").stdout)["items"]
    assert [(i["name"], i["bytes"]) for i in items] == [("a", 5), ("b", 3)]


def test_what_is_no_secret_is_exit_2_and_says_why(cli):
    for args, stdin, word in [(("Bad/Name",), "x", "is no name of a secret"), (("a",), "", "1 to 65536 bytes"),
                              (("a",), "x" * 65537, "65537"), (("a",), "x\0y", "zero byte"),
                              (("llm.anthropic_api_key",), "x", "hint: stigmer secret set llm.anthropic"),
                              (("llm.opnai",), "x", "hint: stigmer secret set llm.openai"),
                              (("a", "--from-env", "NOT_SET_ANYWHERE"), "", "is not set")]:
        r = cli("secret", "set", *args, stdin=stdin)
        assert r.returncode in (1, 2) and word in r.stderr, (args, r.returncode, r.stderr)
    assert json.loads(cli("secret", "ls", "-o", "json").stdout)["items"] == []


def test_a_terminal_shows_what_is_typed_again_after_an_interrupt(home):
    """On a terminal the value is asked for without echo; Ctrl-C there must not leave it so."""
    master, slave = os.openpty()
    before = termios.tcgetattr(slave)

    def as_a_terminal_does():
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever started the tests may have it ignored
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    p = subprocess.Popen([program(), "secret", "set", "a"], stdin=slave, stdout=slave, stderr=slave,
                         env={**os.environ, "STIGMER_HOME": str(home)}, start_new_session=True,
                         preexec_fn=as_a_terminal_does)
    said = b""
    while b"not shown" not in said:
        said += os.read(master, 4096)
    while termios.tcgetattr(slave)[3] & termios.ECHO:
        pass  # until it has switched that off
    os.write(master, b"half a secr\x03")
    assert p.wait(30) == -signal.SIGINT
    assert termios.tcgetattr(slave)[3] == before[3]
    assert b"half" not in said
    os.close(master)
    os.close(slave)


def checks(r):
    return {c["id"]: c for c in json.loads(r.stdout)["checks"]}


def test_doctor_looks_at_twenty_things_and_tells_where_a_key_is_from(cli, tmp_path):
    env = {"STIGMER_LLM_PROVIDER": "anthropic", "STIGMER_LLM_BASE_URL": "http://127.0.0.1:1", "STIGMER_RUNNER": "process",
           "ANTHROPIC_API_KEY": "", "STIGMER_LISTEN": "127.0.0.1:0"}
    r = cli("doctor", "-o", "json", env=env)
    found = checks(r)
    assert len(found) >= 20, sorted(found)
    assert all(c["hint"] for c in found.values() if c["status"] != "ok"), found
    assert found["llm.key"]["status"] == "warn" and "secret set llm.anthropic" in found["llm.key"]["hint"]
    cli("secret", "set", "llm.anthropic", stdin="k1")
    assert checks(cli("doctor", "-o", "json", env=env))["llm.key"]["detail"] == "from the stored secret"
    (tmp_path / "k").write_text("k2")
    more = {**env, "ANTHROPIC_API_KEY_FILE": str(tmp_path / "k")}
    assert checks(cli("doctor", "-o", "json", env=more))["llm.key"]["detail"] == "from ANTHROPIC_API_KEY_FILE"
    more["ANTHROPIC_API_KEY"] = "k3"
    assert checks(cli("doctor", "-o", "json", env=more))["llm.key"]["detail"] == "from ANTHROPIC_API_KEY"
    r = cli("doctor", "-o", "json", env={**env, "ANTHROPIC_API_KEY_FILE": "relative"})
    assert checks(r)["llm.key"]["status"] == "fail" and "absolute path" in checks(r)["llm.key"]["detail"]


def test_a_spoiled_secret_is_told_and_the_hint_mends_it(cli, home):
    env = {"STIGMER_LLM_PROVIDER": "openai", "STIGMER_LLM_BASE_URL": "http://127.0.0.1:1", "STIGMER_RUNNER": "process",
           "OPENAI_API_KEY": ""}
    cli("secret", "set", "llm.openai", stdin="k1")
    path = home / "data/secrets/llm.openai"
    path.write_bytes(path.read_bytes()[:-1])
    c = checks(cli("doctor", "-o", "json", env=env))["llm.key"]
    assert c["status"] == "fail" and "llm.openai" in c["detail"]
    assert c["hint"] == "stigmer secret set llm.openai"
    assert cli(*c["hint"].split()[1:], stdin="k2").returncode == 0
    assert checks(cli("doctor", "-o", "json", env=env))["llm.key"]["status"] == "ok"


def test_a_model_that_is_not_reached_is_told_with_what_to_do(cli):
    env = {"STIGMER_LLM_PROVIDER": "ollama", "STIGMER_LLM_BASE_URL": "http://127.0.0.1:1"}
    for words in (["model", "ls"], ["server", "llm", "list"], ["model", "pull", "x"], ["model", "test"]):
        r = cli(*words, env=env)
        assert r.returncode != 0 and "Connection refused" in r.stderr and "ollama serve" in r.stderr, (words, r.stderr)
    r = cli("model", "status", "-o", "json", env=env)
    doc = json.loads(r.stdout)
    assert r.returncode == 1 and not doc["reachable"] and "Connection refused" in doc["why"]
