"""Commands in the documentation's code blocks are commands: each is parsed, and so are the overrides of specs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from conceptlib.cli.main import cli
from conceptlib.specs import load_spec

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").glob("*.md") if path.name != "cli.md")]


def commands(page: Path) -> list[str]:
    """Lines that begin with `conceptlib`, in fenced or indented code; a line that ends in a backslash goes on."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if re.match(r"( {4}|)conceptlib [a-z]", line)]


def parse(line: str) -> tuple[str, dict[str, object]]:
    """The command's path and its parameters, as click reads them. Raises click.UsageError."""
    words = shlex.split(line, comments=True)[1:]
    command: click.Command = cli
    path = ""
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(click.Context(command), words)
        assert name and found
        path, command = f"{path} {name}".strip(), found
    return path, command.make_context(path, list(words)).params


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_parses(page: Path) -> None:
    for line in commands(page):
        try:
            parse(line)
        except click.ClickException as error:
            pytest.fail(f"{page.name}: {line}\n{error.format_message()}")


def test_the_specs_on_the_page_of_own_pictures_resolve() -> None:
    page = ROOT / "docs" / "own-pictures.md"
    built = [params for path, params in map(parse, commands(page)) if path == "build"]
    assert len(built) > 12
    for params in built:
        name = str(params["name"])
        spec = load_spec("dataset", "icd-photos" if name == "my-icd" else name, params["overrides"])  # type: ignore[arg-type]
        assert spec.concepts


def test_what_is_no_command_does_not_parse() -> None:
    for line in ("conceptlib bild icd-qr", "conceptlib build", "conceptlib export x --format coco"):
        with pytest.raises(click.UsageError):
            parse(line)


def test_pictures_of_pages_are_there_and_small() -> None:
    for page in PAGES[1:]:
        for name in re.findall(r"!\[[^\]]*\]\((img/[^)]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / name).is_file(), f"{page.name}: {name}"
    assert all(path.stat().st_size < 200_000 for path in (ROOT / "docs" / "img").glob("own-*.jpg"))


LINKED = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "docs" / "cli.md"]


def anchors(page: Path) -> set[str]:
    """What `#...` may follow a link to a page: its headings, as GitHub writes them."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", text):
        to = (page.parent / target).resolve() if target else page
        assert to.exists(), f"{page.name}: {target}"
        if anchor and to.suffix == ".md":
            assert anchor in anchors(to), f"{page.name}: {target}#{anchor}"


def test_the_index_names_every_page_once() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    linked = sorted(re.findall(r"\]\((\w[\w-]*\.md)\)", index))
    assert linked == sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name != "README.md")
