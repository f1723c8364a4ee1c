"""server logs over files of any shape, and followed while the real keeper writes and rotates them."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import textwrap

import pytest

from installed import program

PREFIX = pathlib.Path(program()).parents[1]


def stamp(second, ms=0):
    return f"2026-03-01T10:{second // 60:02d}:{second % 60:02d}.{ms:03d}Z"


def record(second, text, level="info", **fields):
    more = "".join(f" {k}={v}" for k, v in fields.items())
    return f'at={stamp(second)} level={level} unit=u msg="{text}"{more}\n'


@pytest.fixture
def logs(home):
    folder = home / "data/logs"
    folder.mkdir(parents=True)
    return folder


def lines(r):
    assert r.returncode == 0, r.stderr
    return r.stdout.splitlines()


def test_components_are_merged_by_time_and_rotated_files_take_part(cli, logs):
    (logs / "stigmer-server.log.2").write_text(record(1, "s1") + record(3, "s3"))
    (logs / "stigmer-server.log.1").write_text(record(5, "s5"))
    (logs / "stigmer-server.log").write_text(record(7, "s7"))
    (logs / "agent-runner.log").write_text(record(2, "r2") + "no stamp: with the line before\n" + record(6, "r6"))
    (logs / "temporal.log").write_text(record(4, "t4"))
    shown = [line.split("|", 1)[1].strip() for line in lines(cli("server", "logs"))]
    assert [s.split('"')[1] if '"' in s else s for s in shown] == [
        "s1", "r2", "no stamp: with the line before", "s3", "t4", "s5", "r6", "s7"]
    assert [line.split('"')[1] for line in lines(cli("server", "logs", "-c", "stigmer-server", "--tail", "2"))] == ["s5", "s7"]
    assert lines(cli("server", "logs", "--tail", "0")) == []


def test_levels_of_temporal_are_capitals(cli, logs):
    (logs / "temporal.log").write_text(record(1, "a", "INFO") + record(2, "b", "WARN") + record(3, "c", "ERROR"))
    assert [line.split('"')[1] for line in lines(cli("server", "logs", "--level", "warn"))] == ["b", "c"]


def test_filters_and_a_tail_of_what_matches(cli, logs):
    (logs / "stigmer-server.log").write_text("".join(
        record(n, f"n{n}", "warn" if n % 10 == 0 else "info", run=f"aex-{n % 3}") for n in range(600)))

    def names(*args):
        return [line.split('"')[1] for line in lines(cli("server", "logs", "--no-prefix", *args))]
    assert names("--level", "warn", "--tail", "2") == ["n580", "n590"]
    assert len(names("--run", "aex-1")) == 200 and names("--run", "aex-1", "--tail", "1") == ["n598"]
    assert names("--grep", "n59[0-2]\"") == ["n590", "n591", "n592"]
    assert names("--since", stamp(597)) == ["n597", "n598", "n599"]
    assert names("--since", stamp(597)[:-5] + "Z", "--until", stamp(598)) == ["n597", "n598"]
    assert names("--since", "2026-03-01T11:09:58+01:00") == ["n598", "n599"]
    assert len(names("--since", "2026-03-01")) == 600 and len(names("--until", "2026-02-28")) == 0
    assert names("--since", "1772359798") == ["n598", "n599"]
    assert names("--since", "1m") == []


@pytest.mark.parametrize("args,word", [(["-c", "nope"], "stigmer-server"), (["--since", "yesterday"], "neither a time"),
                                       (["--grep", "("], "regular expression"), (["--tail", "-1"], "tail"),
                                       (["--level", "loud"], "level")])
def test_a_wrong_option_is_exit_2_and_says_what_is_right(cli, logs, args, word):
    r = cli("server", "logs", *args)
    assert r.returncode == 2 and word in r.stderr, r.stderr


def test_json_is_valid_whatever_the_bytes(cli, logs):
    (logs / "agent-runner.log").write_bytes(record(1, "good", run="aex-1").encode() + b'\xff\xfe\x00\x1b[31m\n' +
                                            b"at=2026-03-01T10:00:02.000Z level=warn msg=\"x\xff\" k=\"\x00\"\n" + b"no end")
    got = [json.loads(line) for line in lines(cli("server", "logs", "-o", "json"))]
    assert [sorted(o) for o in got] == [["at", "component", "event", "fields", "level", "raw"]] * 4
    assert got[0]["at"] == stamp(1) and got[0]["event"] == "good" and got[0]["fields"] == {"unit": "u", "run": "aex-1"}
    assert got[2]["level"] == "warn" and got[3]["raw"] == "no end"


def test_a_long_line_keeps_its_ends_and_says_what_is_left_out(cli, logs):
    text = record(1, "a") + "b" * 70000 + "\n" + "HEAD" + "x" * 3_000_000 + "TAIL\n" + record(2, "c")
    (logs / "agent-runner.log").write_text(text)
    shown = lines(cli("server", "logs", "--no-prefix", "--tail", "all"))
    assert len(shown) == 4 and shown[1] == "b" * 70000
    assert shown[2].startswith("HEADxxx") and shown[2].endswith("xTAIL") and " bytes left out … " in shown[2]
    assert len(shown[2]) < 1_100_000


def test_a_terminal_is_not_driven_by_what_a_log_holds(cli, home, logs):
    (logs / "agent-runner.log").write_bytes(b"\x1b]0;owned\x07\x1b[2J\rx\n")
    out = subprocess.run(["script", "-qec", f"{program()} server logs", "/dev/null"], capture_output=True,
                         env={**os.environ, "STIGMER_HOME": str(home), "NO_COLOR": "1"}, timeout=30).stdout
    assert b"\x1b" not in out and b"\x07" not in out and b"owned" in out


def test_what_cannot_be_read_is_told_and_the_rest_is_shown(cli, logs):
    (logs / "stigmer-server.log").mkdir()
    os.mkfifo(logs / "temporal.log")
    (logs / "agent-runner.log").write_text(record(1, "good"))
    r = cli("server", "logs")
    assert "good" in r.stdout and "stigmer-server.log: Is a directory" in r.stderr, r.stderr


def test_a_log_that_may_not_be_read_is_told(cli, logs):
    (logs / "stigmer-server.log").write_text(record(1, "good"))
    (logs / "agent-runner.log").symlink_to("agent-runner.log")
    r = cli("server", "logs")
    assert "good" in r.stdout and "agent-runner.log: Too many levels" in r.stderr, r.stderr


def test_a_log_that_is_another_users_is_told():
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        folder = pathlib.Path(home, "data/logs")
        folder.mkdir(parents=True)
        os.chmod(home, 0o755)
        (folder / "stigmer-server.log").write_text(record(1, "good"))
        (folder / "agent-runner.log").write_text(record(1, "hidden"))
        (folder / "agent-runner.log").chmod(0)
        r = subprocess.run([program(), "server", "logs"], capture_output=True, text=True, timeout=30,
                           env={**os.environ, "STIGMER_HOME": home}, **({"user": 65534} if os.geteuid() == 0 else {}))
    assert "good" in r.stdout and "hidden" not in r.stdout and "agent-runner.log: Permission denied" in r.stderr, r


def test_a_log_that_is_a_link_is_read(cli, logs, tmp_path):
    (tmp_path / "elsewhere").write_text(record(1, "good"))
    (logs / "agent-runner.log").symlink_to(tmp_path / "elsewhere")
    assert "good" in cli("server", "logs").stdout


def test_hostile_lines_are_one_line_each_and_drive_no_terminal_behind_a_pipe(cli, logs):
    hostile = [b"\x1b]0;owned\x07\x1b[2J", b"nul \0 inside", b"bad \xff\xfe utf-8", "c1 \u009b2J".encode(), b"back\rover",
               b"stigmer-server |at=2026-03-01T10:00:09.000Z level=error unit=u msg=\"forged\"", "t\u00fcr \t tab".encode()]
    (logs / "agent-runner.log").write_bytes(b"\n".join([*hostile, b"q" * 1_000_000, b"no end"]))
    shown = lines(cli("server", "logs", "--tail", "all"))
    assert len(shown) == len(hostile) + 2 and all(line.startswith("agent-runner   |") for line in shown)
    text = [line.split("|", 1)[1][1:] for line in shown]
    assert text[:4] == ["\\x1b]0;owned\\x07\\x1b[2J", "nul \\x00 inside", "bad \\xff\\xfe utf-8", "c1 \\x9b2J"]
    assert text[4] == "back\\x0dover" and text[6] == "t\u00fcr \t tab" and text[7] == "q" * 1_000_000 and text[8] == "no end"
    raw = [json.loads(line)["raw"] for line in lines(cli("server", "logs", "-o", "json", "--tail", "all"))]
    assert raw[0] == "\x1b]0;owned\x07\x1b[2J" and raw[1] == "nul \ufffd inside" and raw[4] == "back\rover"


def test_lines_of_one_moment_keep_their_order_and_that_of_the_components(cli, logs):
    for name in ("temporal", "agent-runner", "stigmer-server"):
        (logs / f"{name}.log").write_text("".join(record(1, f"{name}-{n}") for n in range(200)))
    expected = [f"{name}-{n}" for name in ("stigmer-server", "agent-runner", "temporal") for n in range(200)]
    for args in (("--tail", "all"), ("--since", stamp(1)), ("--tail", "200")):
        assert [line.split('"')[1] for line in lines(cli("server", "logs", "--no-prefix", *args))] == expected


def test_since_finds_what_was_logged_before_a_clock_was_set_back(cli, logs):
    def hour(minutes, name):
        return "".join(record(60 * m + n, f"{name}-{m}-{n} {'x' * 100}") for m in minutes for n in range(60))
    (logs / "stigmer-server.log").write_text(hour(range(0, 59), "first") + hour(range(10, 59), "second"))
    for minute in (1, 20, 40, 58):
        shown = lines(cli("server", "logs", "--since", stamp(60 * minute), "--tail", "all"))
        begun = {name: sum(f'"{name}-' in line for line in shown) for name in ("first", "second")}
        assert begun == {"first": 60 * (59 - minute), "second": 60 * (59 - max(10, minute))}, minute


def test_no_logs_yet_is_said(cli):
    r = cli("server", "logs")
    assert r.returncode == 0 and "no logs yet" in r.stderr


# ---- followed -------------------------------------------------------------------------------------

WRITER = textwrap.dedent("""\
    #!{python}
    import os, random, select, socket, sys, time
    s = socket.socket(fileno=int(sys.argv[sys.argv.index("--keeper-fd") + 1]))
    past = s.recv(8192).decode()
    s.send(b"up")
    s.send(b"log 65536 16")
    run = int(past.split("restarts ")[1].split()[0])
    random.seed({seed} + run)
    def put(data):
        while data:
            try:
                data = data[os.write(1, data):]
            except BlockingIOError:
                select.select([], [1], [])
    n = run * {count}
    end = n + {count}
    while n < end:
        burst = min(random.choice((1, 7, 300)), end - n)
        put("".join("line %07d %s\\n" % (i, "x" * random.randint(0, 60)) for i in range(n, n + burst)).encode())
        n += burst
        if random.random() < 0.3:
            time.sleep(0.002)
    while {crash}:
        os.kill(os.getpid(), 9)
    """)


def follow(home, *args):
    return subprocess.Popen([program(), "server", "logs", "-f", "--no-prefix", "--tail", "all", *args], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "STIGMER_HOME": str(home)})


@pytest.mark.parametrize("seed", range(3))
def test_a_follower_sees_every_line_once_while_the_keeper_rotates(home, logs, tmp_path, seed):
    """Each file is renamed again and again while it is read."""
    count = 20000
    writer = tmp_path / "server"
    writer.write_text(WRITER.format(python=sys.executable, seed=seed, count=count, crash="False"))
    writer.chmod(0o755)
    p = follow(home)
    keeper = subprocess.Popen([PREFIX / "libexec/stigmer/stigmer-keeper", writer, logs / "stigmer-server.log",
                               tmp_path / "pid", "-1", "0"])
    got = []
    for line in p.stdout:
        if line.startswith("line "):
            got.append(int(line.split()[1]))
            if got[-1] == count - 1:
                break
    assert keeper.wait(30) == 0
    p.send_signal(signal.SIGINT)
    assert p.wait(10) == 130
    assert got == list(range(count)), [(a, b) for a, b in zip(got, got[1:]) if b != a + 1][:5]
    assert len(list(logs.iterdir())) > 5
    assert all(f.stat().st_size < 65536 + 8192 for f in logs.iterdir())


def test_nothing_is_lost_between_two_servers(home, logs, tmp_path):
    """What one wrote before it was killed is in the log, in front of what the next one writes."""
    writer = tmp_path / "server"
    writer.write_text(WRITER.format(python=sys.executable, seed=1, count=300, crash="run < 2"))
    writer.chmod(0o755)
    keeper = subprocess.run([PREFIX / "libexec/stigmer/stigmer-keeper", writer, logs / "stigmer-server.log", tmp_path / "pid",
                             "-1", "0"], timeout=60)
    assert keeper.returncode == 0
    text = "".join(f.read_text() for f in sorted(logs.iterdir(), reverse=True))
    assert [int(line.split()[1]) for line in text.splitlines() if line.startswith("line ")] == list(range(900))
    assert text.count('msg="server ended; it is started again" why="signal 9 (Killed)"') == 2
    assert not (tmp_path / "pid").exists()


def test_a_folder_that_is_made_later_is_followed(home):
    p = follow(home)
    assert "no logs yet" in p.stderr.readline()
    (home / "data/logs").mkdir(parents=True)
    (home / "data/logs/agent-runner.log").write_text("one\n")
    assert p.stdout.readline() == "one\n"
    (home / "data/logs/agent-runner.log").rename(home / "data/logs/gone")
    (home / "data/logs/agent-runner.log").write_text("two\n")
    assert p.stdout.readline() == "two\n"
    with open(home / "data/logs/agent-runner.log", "w") as f:  # cut in place
        f.write("3\n")
    assert p.stdout.readline() == "3\n"
    p.send_signal(signal.SIGINT)
    assert p.wait(10) == 130
    assert "agent-runner: a new log file begins" in p.stderr.read()


def test_following_ends_with_its_reader_and_at_its_time(home, logs):
    (logs / "agent-runner.log").write_text("one\n")
    p = follow(home)
    assert p.stdout.readline() == "one\n"
    p.stdout.close()
    with open(logs / "agent-runner.log", "a") as f:
        f.write("two\n")
    assert p.wait(10) == 0
    p = follow(home, "--until", "2026-03-01")
    assert p.wait(10) == 0
