"""The documents name what there is: settings, commands, exit codes; and what they link to exists."""

import re
from pathlib import Path

import pytest
import typer

from service.settings import Settings
from warpadam import cli

NOT_OF_THE_SERVER = {"URL", "API_KEY", "REQUIRE_ALL", "TEST_DATABASE_URL"}
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)(?:#[^)]*)?\)")


def test_configuration_names_every_setting_and_no_other(root: Path) -> None:
    named = set(re.findall(r"^\| `WARPADAM_([A-Z_]+)`", (root / "docs/configuration.md").read_text(), re.MULTILINE))
    assert named == {name.upper() for name in Settings.model_fields} | NOT_OF_THE_SERVER


@pytest.mark.parametrize("name", ["poll_s", "lease_s", "heartbeat_s", "grace_s", "publish_every_s", "max_axis", "port"])
def test_configuration_tells_the_defaults(root: Path, name: str) -> None:
    default = Settings.model_fields[name].default
    line = re.search(rf"^\| `WARPADAM_{name.upper()}` \| `(\S+)`", (root / "docs/configuration.md").read_text(), re.M)
    assert line is not None
    assert float(line[1]) == default


def commands(group: typer.Typer, prefix: str = "") -> list[str]:
    named = [prefix + (each.name or getattr(each.callback, "__name__", "")) for each in group.registered_commands]
    for each in group.registered_groups:
        assert each.typer_instance is not None
        named += commands(each.typer_instance, f"{prefix}{each.name} ")
    return named


def test_the_command_is_documented(root: Path) -> None:
    text = (root / "docs/cli.md").read_text()
    found = commands(cli.app)
    assert {"submit", "datasets add", "db check"} <= set(found)
    assert [name for name in found if not re.search(rf"`(warpadam )?{name}\b", text)] == []
    for code in {0, cli.INTERRUPTED, *(code for _, code in cli.EXIT_CODES)}:
        assert f"| {code} |" in text


def test_links_lead_somewhere(root: Path) -> None:
    documents = [root / "README.md", root / "benchmarks/README.md", *sorted((root / "docs").glob("*.md"))]
    links = [(document, target) for document in documents for target in LINK.findall(document.read_text())]
    assert links
    assert [(str(document), target) for document, target in links if not (document.parent / target).exists()] == []


def test_every_test_that_the_page_of_attacks_names_exists(root: Path) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (root / "docs/security.md").read_text())
    assert len(named) > 40
    for path, name in named:
        assert (root / path).exists(), path
        assert f"def {name}" in (root / path).read_text(), (path, name)
