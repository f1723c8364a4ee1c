"""What the documents say exists: links, tests, commands, options and messages."""
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def ids(page):
    return page.name


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert link.startswith("https://") or (page.parent / link).exists(), link


@pytest.mark.parametrize("page", ["original-defects.md", "faults.md"])
def test_tests_named_in_the_tables_of_defects_and_faults_exist(page):
    table = ROOT / "docs" / page
    rows = [line for line in table.read_text().splitlines()
            if line.startswith("|") and not line.startswith(("|--", "| there", "| # ", "| fault"))]
    assert len(rows) > 30
    for row in rows:
        named = re.findall(r"\[`(test_\w+)`\]\(([^)]+)\)", row)
        assert named, row
        for name, file in named:
            assert f"def {name}(" in (table.parent / file).read_text(), name


def commands_in(text):
    for block in re.findall(r"^```\n(.*?)^```", text, re.M | re.S):
        for line in block.splitlines():
            yield from re.findall(r"(?:^|&& )(stigmer [^#&|><]*)", line)
    for span in re.findall(r"`(stigmer [a-z][^`]*)`", text):
        yield span


@pytest.mark.parametrize("page", [p for p in PAGES if p.name not in ("SPEC.md", "MAP.md")], ids=ids)
def test_commands_in_the_documents_exist(page, cli):
    for line in commands_in(page.read_text()):
        words = [w for w in line.split()[1:] if re.fullmatch(r"[a-z-]+", w)]
        options = re.findall(r"(?<=\s)--?[a-z][a-z-]*", line)
        help_text = ""
        for n in (2, 1):
            r = cli(*words[:n], "--help")
            if r.returncode == 0 and f"Usage: stigmer {' '.join(words[:n])}" in r.stdout:
                help_text = r.stdout
                break
        assert help_text or words == [], line
        for option in options:
            assert re.search(rf"(^|[\s,]){re.escape(option)}\b", help_text, re.M), (line, option)


PATH = r"(?:(?:docs|examples|image|scripts|tests|tools)/[\w./-]*\w)"
MADE = {"image/rootfs.tar", "image/.env"}  # by the commands around them


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_scripts_and_files_that_commands_name_are_there(page):
    for block in re.findall(r"^```\n(.*?)^```", page.read_text(), re.M | re.S):
        for path in re.findall(rf"(?<![\w/.-])(?:\./)?({PATH})", block):
            assert path in MADE or (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_options_of_scripts_are_taken(page):
    for script, rest in re.findall(r"(?<![\w.])((?:scripts|tools)/[\w-]+\.sh)([^\n#`;]*)", page.read_text()):
        for option in re.findall(r"(?<=\s)(--[a-z-]+)", rest):
            assert option in (ROOT / script).read_text(), (script, option)


def test_targets_and_settings_that_development_names_exist():
    text = (ROOT / "docs/development.md").read_text()
    for name in re.findall(r"meson test -C build/san ([\w-]+)", text) + re.findall(r"tests/unit/([\w-]+)_test\b", text):
        assert f"['{name}'," in (ROOT / "tests/unit/meson.build").read_text(), name
    for name in re.findall(r"tests/fuzz/(\w+)_fuzz\b", text):
        assert (ROOT / f"tests/fuzz/{name}_fuzz.c").exists(), name
    for stages in re.findall(r'STIGMER_CHECK_ONLY="?([a-z ]+?)"? scripts', text):
        for stage in stages.split():
            assert re.search(rf"^ *(?:one|py_tests) {stage} ", (ROOT / "scripts/check.sh").read_text(), re.M), stage


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_secrets_that_are_named_are_read_by_somebody(page, cli):
    for name in re.findall(r"secret set (llm\.\w+)", page.read_text()):
        assert cli("secret", "set", name, stdin="x").returncode == 0, name


def test_every_message_of_troubleshooting_is_one_that_is_printed():
    source = "\n".join(f.read_text() for f in (ROOT / "src").rglob("*.c"))
    # curl's own words, and states that are a name and not a message
    foreign = {"Couldn't connect to server", "A run that does not move", "The disk is full"}
    page = (ROOT / "docs/troubleshooting.md").read_text()
    for heading in re.findall(r"^### (.+)$", page, re.M):
        assert heading in foreign or heading in source, heading
