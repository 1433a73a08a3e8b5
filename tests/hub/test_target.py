"""Which targets mean the Hub, which a folder, and which are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from conceptlib.errors import UsageError
from conceptlib.hub.licences import check_licence
from conceptlib.hub.target import FolderTarget, HubTarget, check_tag, parse_target


@pytest.mark.parametrize(
    ("said", "repo_id", "repo_type"),
    [
        ("org/name", "org/name", ""),
        ("hf://org/name", "org/name", ""),
        ("hf://datasets/org/name", "org/name", "dataset"),
        ("hf://models/org/name", "org/name", "model"),
        ("Org-1/My_model.v2", "Org-1/My_model.v2", ""),
    ],
)
def test_repositories(said: str, repo_id: str, repo_type: str) -> None:
    assert parse_target(said) == HubTarget(repo_id, repo_type)


@pytest.mark.parametrize("said", ["./org/name", "org/../x/.", "out"])
def test_paths_need_a_sign(said: str) -> None:
    if said.startswith("./"):
        assert parse_target(said) == FolderTarget(Path.cwd() / "org" / "name")
    else:
        with pytest.raises(UsageError, match=r"ORG/NAME .* for the Hub, \./DIR or /DIR for a folder"):
            parse_target(said)


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert parse_target("~/out") == FolderTarget(tmp_path / "me" / "out")
    assert parse_target(str(tmp_path / "a" / ".." / "b")) == FolderTarget(tmp_path / "b")
    assert parse_target(Path("org/name")) == FolderTarget(Path.cwd() / "org" / "name")
    for refused in ("/", "~"):
        with pytest.raises(UsageError, match="cannot become a publication"):
            parse_target(refused)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "name",
        "a/b/c",
        "org/",
        "/".join(["o" * 50, "n" * 50]),
        "org/a--b",
        "org/a..b",
        "org/x.git",
        "-org/a",
        "s3://a/b",
    ],
)
def test_names_that_the_hub_refuses(said: str) -> None:
    with pytest.raises(UsageError):
        parse_target(said)


def test_a_folder_of_the_repositorys_name_makes_it_unclear() -> None:
    Path("org/name").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"write \./org/name for the folder or hf://org/name for the Hub"):
        parse_target("org/name")
    assert parse_target("hf://org/name") == HubTarget("org/name")


@pytest.mark.parametrize(
    "tag", ["", "bad tag", "-x", ".x", "x.", "a..b", "a~b", "a^b", "a:b", "a?", "a*", "[a]", "a\\b", "x.lock", "a@{b"]
)
def test_a_tag_that_no_repository_can_have_is_refused(tag: str) -> None:
    with pytest.raises(UsageError, match="not a name of a tag"):
        check_tag(tag)


def test_tags_as_people_write_them() -> None:
    for tag in (None, "v1", "v1.0", "2026-11-30", "best_of", "v-0a1b", "releases/1"):
        check_tag(tag)


def test_a_licence_is_one_that_the_hub_knows() -> None:
    for licence in (None, "mit", "apache-2.0", "cc-by-4.0", "openrail++", "other"):
        check_licence(licence)
    with pytest.raises(UsageError, match="no licence 'Apache 2'") as caught:
        check_licence("Apache 2")
    assert "apache-2.0" in caught.value.hint
    with pytest.raises(UsageError):
        check_licence("no such licence")
