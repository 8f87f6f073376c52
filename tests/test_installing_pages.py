"""What docs/install.md and docs/technician.md tell people to type is what the programs take."""

import re

import pytest

from edge.arguments import make_parser
from edge.diagnosis.table import table
from tests.pages import DOCS, commands, sections

CHECKOUT = DOCS.parent
PAGES = ("install.md", "technician.md")
TYPED = [
    pytest.param(words, id=f"{page}: {' '.join(words)}"[:90])
    for page in PAGES
    for words in commands((DOCS / page).read_text("utf-8"))
]


@pytest.mark.parametrize("words", TYPED)
def test_a_command_is_one(words):
    program, rest = words[0], words[1:]
    if program.endswith("deskwatch"):
        make_parser().parse_args(rest)  # ends the test where it takes them not
    elif program.startswith("scripts/"):
        script = (CHECKOUT / program).read_text("utf-8")
        assert [word for word in rest if word.startswith("--") and word not in script] == []
    elif program == "systemctl":
        known = {file.name for file in (CHECKOUT / "systemd").iterdir()}
        units = [name if "." in name else f"{name}.service" for name in rest[1:]]
        assert units
        assert [name for name in units if name not in known] == []
    elif program == "apt-get":
        wanted = set(re.findall(r"[\w-]+", (CHECKOUT / "scripts/deb/control").read_text("utf-8")))
        assert [name for name in rest[1:] if not name.startswith("--") and name not in wanted] == []
    elif program == "cp":
        assert (CHECKOUT / rest[0]).is_file()
    else:
        assert program in {"openssl", "dpkg", "find"}  # tests/package runs these lines


def test_both_pages_have_commands():
    assert len(TYPED) > 20


def test_the_ten_commonest_findings_are_told_in_the_words_of_the_checks():
    text = sections("technician.md")["The ten commonest"]
    told = re.findall(r"^`([\w.-]+)`: `([\w-]+)`\n\n((?:> .*\n)+)", text, flags=re.MULTILINE)
    hints = {(check.name, code): hint for check in table() for code, hint in check.hints.items()}
    found = {(name, code): " ".join(line[2:] for line in said.splitlines()) for name, code, said in told}
    assert len(found) == 10
    assert found == {which: hints.get(which) for which in found}


def test_the_technicians_page_fits_a_phone():
    for line in (DOCS / "technician.md").read_text("utf-8").splitlines():
        assert len(line) <= (48 if not line.startswith("    ") else 56), line
        assert not line.startswith("|"), line
