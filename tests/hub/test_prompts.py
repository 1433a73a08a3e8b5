"""Publishing what is not for all audiences: tagged, described, and never to an open repository."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from conceptlib.cli.main import main
from conceptlib.concepts.build import build
from conceptlib.concepts.prompts import columns
from conceptlib.concepts.prompts import table as prompt_table
from conceptlib.concepts.prompts.columns import CATEGORIES, COLUMNS, PUBLISHED
from conceptlib.errors import ConceptlibError
from conceptlib.hub.publish import publish
from conceptlib.store import Artifact, Store
from tests.support.loophub import LoopHub
from tests.support.prompts import rows, write_csv


@pytest.fixture
def prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    """A dataset that counts as the published one."""
    path = write_csv(tmp_path / "i2p.csv", rows(12))
    own = build("i2p", overrides=[f"source={path}"], store=Store(tmp_path / "first"))
    monkeypatch.setattr(prompt_table, "PUBLISHED", {key: own.info[key] for key in PUBLISHED})
    return build("i2p", overrides=[f"source={path}"])


def header(card: str) -> dict[str, object]:
    parsed: dict[str, object] = yaml.safe_load(card.split("---\n")[1])
    return parsed


def test_the_card(prompts: Artifact) -> None:
    result = publish(prompts, "me/i2p", dry_run=True)
    data = header(result.card)
    assert data["license"] == "mit" and data["source_datasets"] == ["extended|AIML-TUDA/i2p"]
    assert "not-for-all-audiences" in data["tags"] and "self-harm" in data["tags"]  # type: ignore[operator]
    assert data["configs"] == [
        {"config_name": "default", "default": True, "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}
    ]
    (info,) = data["dataset_info"]  # type: ignore[misc]
    assert [(one["name"], one["dtype"]) for one in info["features"]] == list(COLUMNS.items())
    assert info["splits"][0]["num_examples"] == 12
    assert "agree" in str(data["extra_gated_prompt"])
    for category, number in prompts.info["categories"].items():
        assert f"| {category} | {number} |" in result.card
    assert all(f"`{column}`" in result.card for column in COLUMNS) and "arXiv:2211.05105" in result.card
    assert "teapot" not in result.card and str(Path.cwd()) not in result.card
    assert result.notes == () and result.gated == "auto"


def test_a_subset_says_its_condition_and_its_parent(prompts: Artifact) -> None:
    subset = build("i2p@hate or shocking")
    card = publish(subset, "me/i2p-hate", dry_run=True).card
    assert "`hate or shocking`" in card and f"`{prompts.id}`" in card
    assert "sexual" not in header(card)["tags"]  # type: ignore[operator]
    assert header(card)["license"] == "mit" and len(CATEGORIES) == 7


def test_rows_of_ones_own_have_no_known_licence(tmp_path: Path) -> None:
    own = build("i2p", overrides=[f"source={write_csv(tmp_path / 'i2p.csv', rows(3))}"])
    result = publish(own, "me/own", dry_run=True)
    assert header(result.card)["license"] == "unknown" and "licence is not known" in result.notes[0]
    assert header(result.card)["source_datasets"] == ["original"]
    assert "not-for-all-audiences" in header(result.card)["tags"]  # type: ignore[operator]
    assert result.gated == "auto"


def test_published_gated_and_read_back(prompts: Artifact, hub: LoopHub, tmp_path: Path) -> None:
    result = publish(prompts, "me/i2p")
    repo = hub.dataset("me/i2p")
    assert (result.status, result.gated, repo.gated) == ("published", "auto", "auto")
    settings = next(i for i, one in enumerate(hub.writes) if "/settings" in str(one))
    commit = next(i for i, one in enumerate(hub.writes) if "/commit/" in str(one))
    assert settings < commit  # nothing was ever open
    assert publish(prompts, "me/i2p").status == "unchanged"


def test_a_repository_that_was_opened_is_gated_again(prompts: Artifact, hub: LoopHub) -> None:
    publish(prompts, "me/i2p")
    hub.dataset("me/i2p").gated = False
    result = publish(prompts, "me/i2p")
    assert (result.status, result.gated, hub.dataset("me/i2p").gated) == ("unchanged", "auto", "auto")


def test_a_stricter_gate_stays(prompts: Artifact, hub: LoopHub) -> None:
    assert publish(prompts, "me/i2p", gated="manual").gated == "manual"
    assert publish(prompts, "me/i2p").gated == "manual"
    assert hub.dataset("me/i2p").gated == "manual"


def test_nothing_is_sent_where_the_gate_does_not_close(
    prompts: Artifact, hub: LoopHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfApi

    monkeypatch.setattr(HfApi, "update_repo_settings", lambda *args, **kwargs: None)
    with pytest.raises(ConceptlibError, match="cannot be gated; nothing was sent"):
        publish(prompts, "me/i2p")
    assert len(hub.dataset("me/i2p").history()) == 1 and hub.dataset("me/i2p").tags == {}


def test_somebody_elses_repository_is_left_as_it_is(prompts: Artifact, hub: LoopHub, dataset: Artifact) -> None:
    publish(dataset, "me/pictures")
    with pytest.raises(ConceptlibError, match="holds a publication of"):
        publish(prompts, "me/pictures")
    assert hub.dataset("me/pictures").gated is False


def test_harmless_datasets_stay_open(hub: LoopHub, dataset: Artifact) -> None:
    assert publish(dataset, "me/pictures").gated is None
    assert hub.dataset("me/pictures").gated is False


def test_a_folder_cannot_be_gated_and_says_so(prompts: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "i2p", "--to", "./out"]) == 0
    assert "not gated" in capsys.readouterr().err
    again = build("i2p", overrides=["source=./out"], store=Store(Path("elsewhere").absolute()))
    assert again.id == prompts.id


def test_the_command_line_says_that_it_is_gated(
    prompts: Artifact, hub: LoopHub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["publish", "i2p", "--to", "me/i2p", "--dry-run"]) == 0
    assert "gated: auto" in capsys.readouterr().out
    assert main(["publish", "i2p", "--to", "me/i2p"]) == 0
    assert "gated: auto" in capsys.readouterr().out


def test_built_from_the_hub_pinned_to_a_commit(tmp_path: Path, hub: LoopHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A published copy builds to the very same dataset, and so does a CSV file; the official one must be whole."""
    from huggingface_hub import HfApi

    path = write_csv(tmp_path / "i2p.csv", rows(20), copy=True)
    artifact = build("i2p", overrides=[f"source={path}"])
    publish(artifact, "me/prompts")
    HfApi().create_repo("me/table", repo_type="dataset")
    HfApi().upload_file(path_or_fileobj=path, path_in_repo="i2p_benchmark.csv", repo_id="me/table", repo_type="dataset")
    for repo, file in (("me/prompts", "data/train-00000-of-00001.parquet"), ("me/table", "i2p_benchmark.csv")):
        store = Store(tmp_path / repo)
        again = build("i2p", overrides=[f"source={repo}@main"], store=store)
        assert again.id == artifact.id
        source = again.info["source"]
        assert (source["id"], source["revision"]) == (repo, hub.dataset(repo).branches["main"])
        assert source["files"] == [file] and again.lock["source"]["files"] == [file]
    monkeypatch.setattr(columns, "HUB_ID", "me/prompts")
    with pytest.raises(ConceptlibError, match="prompts: 20, published 4703"):
        build("i2p", overrides=["source=me/prompts"], store=store)
