"""What the documents say exists: links, tests, commands, options and messages."""
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


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
