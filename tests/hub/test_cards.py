"""What the cards say, and what they must not say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard

from conceptlib.errors import ConceptlibError, UsageError
from conceptlib.hub import records
from conceptlib.hub.privacy import without_local_paths
from conceptlib.hub.publish import PublishResult, publish
from conceptlib.store import Artifact, Store
from tests.hub.conftest import weights

Make = Callable[..., Artifact]


def plan(artifact: Artifact, store: Store, **options: Any) -> PublishResult:
    return publish(artifact, "org/name", store=store, dry_run=True, **options)


def header(card: str) -> dict[str, Any]:
    found = yaml.safe_load(card.split("---\n")[1])
    assert isinstance(found, dict)
    return found


def content(result: PublishResult, path: str) -> Any:
    return json.loads(next(file for file in result.files if file.path == path).read())


def test_dataset_header_is_complete(dataset: Artifact, store: Store) -> None:
    result = plan(dataset, store)
    data = header(result.card)
    assert data["license"] == "apache-2.0"
    assert data["pretty_name"] == "icd-mini"
    assert data["size_categories"] == ["n<1K"]
    assert data["task_categories"] == ["text-to-image", "object-detection"]
    assert data["source_datasets"] == ["original"]
    assert data["annotations_creators"] == ["machine-generated"]
    assert {"conceptlib", "concept-erasure", "qr-code"} <= set(data["tags"])
    assert [config["config_name"] for config in data["configs"]] == ["default", "truth"]
    assert data["configs"][0]["default"] is True
    info = data["dataset_info"][0]
    assert {split["name"]: split["num_examples"] for split in info["splits"]} == {"train": 4, "test": 2}
    assert info["download_size"] == sum(file.size for file in result.files if file.path.startswith("data/"))
    assert [feature["name"] for feature in info["features"]][:3] == ["image", "text", "objects"]
    assert {"name": "image", "dtype": "image"} in info["features"]
    objects = {part["name"]: part["list"] for part in info["features"][2]["struct"]}
    assert objects["category"] == {"class_label": {"names": {"0": "qr-code"}}}


def test_dataset_card_counts_the_concept(dataset: Artifact, store: Store) -> None:
    card = plan(dataset, store).card
    assert "| train | 4 | 2 |" in card
    assert "| test | 2 | 1 |" in card
    assert dataset.id in card


def test_dataset_without_truth(make_dataset: Make, store: Store) -> None:
    result = plan(make_dataset(truth=False), store)
    data = header(result.card)
    assert data["annotations_creators"] == ["no-annotation"]
    assert data["task_categories"] == ["text-to-image"]
    assert not [file.path for file in result.files if file.path.startswith("annotations/")]


def test_dataset_from_the_hub_names_its_source(make_dataset: Make, store: Store) -> None:
    dataset = make_dataset(source="org/photos@abc123")
    result = plan(dataset, store)
    assert header(result.card)["source_datasets"] == ["extended|org/photos"]
    assert header(result.card)["license"] == "unknown"
    assert "--license" in result.notes[0]
    assert header(plan(dataset, store, license="cc-by-4.0").card)["license"] == "cc-by-4.0"


def test_local_paths_stay_here(make_dataset: Make, store: Store) -> None:
    result = plan(make_dataset(source="/home/somebody/holiday"), store)
    assert content(result, "manifest.json")["lock"]["spec"]["params"]["source"] == "local:holiday"
    assert header(result.card)["source_datasets"] == ["original"]
    for file in result.files:
        assert b"/home/somebody" not in file.read(), file.path
    assert "rejects.jsonl" not in [file.path for file in result.files]


@pytest.mark.parametrize(
    ("value", "published"),
    [
        ("/data/me/x.png", "local:x.png"),
        ("~/x/", "local:x"),
        ("./a/b", "local:b"),
        ("C:\\Users\\me\\x", "local:x"),
        ("file:///tmp/x", "local:x"),
        ("org/name", "org/name"),
        ("https://example.org/x", "https://example.org/x"),
        ("a red circle / a blue square", "a red circle / a blue square"),
        ({"a": ["/b/c", 1, None]}, {"a": ["local:c", 1, None]}),
    ],
)
def test_without_local_paths(value: object, published: object) -> None:
    assert without_local_paths(value) == published


def test_checkpoint_header_is_complete(
    make_checkpoint: Make, make_evaluation: Make, dataset: Artifact, store: Store
) -> None:
    checkpoint = make_checkpoint(weights, base="org/base@" + "a" * 40, parent=dataset)
    make_evaluation(checkpoint)
    records.add(store, dataset, "org/icd-mini", "dataset", "b" * 40, "v1")
    result = plan(checkpoint, store, license="mit")
    data = header(result.card)
    assert data["base_model"] == "org/base"
    assert data["base_model_relation"] == "finetune"
    assert data["library_name"] == "diffusers"
    assert data["pipeline_tag"] == "text-to-image"
    assert data["license"] == "mit"
    assert data["datasets"] == ["org/icd-mini"]
    assert {"conceptlib", "concept-erasure", "geom-erasing", "qr-code"} <= set(data["tags"])
    assert not result.notes

    measured = {one.metric_type: one for one in ModelCard(result.card).data.eval_results}
    assert measured["icr"].metric_value == 0.031  # the checkpoint's, not the base's 0.4
    assert measured["icr"].metric_args == {"low": 0.0155, "high": 0.062, "n": 512}
    assert len(measured) == 2


def test_checkpoint_card_is_honest_and_useful(
    make_checkpoint: Make, make_evaluation: Make, dataset: Artifact, store: Store
) -> None:
    checkpoint = make_checkpoint(weights, parent=dataset)
    make_evaluation(checkpoint)
    result = plan(checkpoint, store)
    card = result.card
    assert "code was never released" in card  # from the method's own module
    assert "reimplementation" in card
    assert "not a guarantee" in card
    assert "'QR code <l{0,0}>'" in card
    assert "evaluation/icd/grid.png" in card
    assert "| icr | 0.4 [0.2, 0.8] | 0.031 [0.0155, 0.062] |" in card
    assert checkpoint.id in card and dataset.id in card
    paths = {file.path for file in result.files}
    assert {"evaluation/icd/grid.png", "evaluation/icd/scores.json", "checkpoint.json", "model_index.json"} <= paths
    assert "log.jsonl" not in paths
    assert "base_model" not in header(card)  # the embedded model is not on the Hub: an id would lead nowhere


def test_only_the_newest_evaluation_counts(checkpoint: Artifact, make_evaluation: Make, store: Store) -> None:
    make_evaluation(checkpoint, 0.2)
    make_evaluation(checkpoint, 0.1)
    values = [
        one.metric_value
        for one in ModelCard(plan(checkpoint, store).card).data.eval_results
        if one.metric_type == "icr"
    ]
    assert values == [0.1]


def test_adapters_are_related_as_adapters(make_checkpoint: Make, store: Store) -> None:
    def fill(folder: Any) -> None:
        (folder / "pytorch_lora_weights.safetensors").write_bytes(b"\0" * 16)

    card = plan(make_checkpoint(fill, base="org/base", adapter="lora"), store).card
    assert header(card)["base_model_relation"] == "adapter"
    assert 'load_lora_weights("org/name"' in card


def test_changed_tensors_are_read_without_conceptlib(make_checkpoint: Make, store: Store) -> None:
    def fill(folder: Any) -> None:
        (folder / "unet.changed.safetensors").write_bytes(b"\0" * 16)

    made = make_checkpoint(fill, base="org/base", adapter="tensors", tensors=["unet.a.weight", "unet.b.weight"])
    card = plan(made, store).card
    wanted = 'load_state_dict(load_file(hf_hub_download("org/name", "unet.changed.safetensors")), strict=False)'
    assert f"pipe.unet.{wanted}" in card and header(card)["base_model_relation"] == "adapter"
    made = make_checkpoint(lambda folder: (folder / "erasure.json").write_text("{}"), base="org/base", adapter="config")
    card = plan(made, store).card
    assert '"negative_prompt"' not in card and "`erasure.json` holds its settings" in card
    assert "negative_prompt='QR code" in card[card.index("give the negative prompt in every call") :]


def test_every_form_says_how_it_is_loaded(make_checkpoint: Make, store: Store) -> None:
    """The first code block is conceptlib's and runs; what only conceptlib knows is explained."""

    def card(adapter: str, **described: Any) -> str:
        made = make_checkpoint(weights, base="org/base", adapter=adapter, **described)
        text = plan(made, store).card
        code = text.split("```python\n")[1].split("```")[0]
        assert code.splitlines()[0] == "import conceptlib" and 'conceptlib.load("org/name")' in code
        compile(code, "card", "exec")
        return text

    assert "loads the weights and sets the negative prompt" in card("full")
    text = card("tensors", tensors=["unet.a.weight", "text_encoder.b"])
    assert "`text_encoder.changed.safetensors` and `unet.changed.safetensors`" in text
    assert "lays the changed tensors on the base" in text
    text = card("config", method="sld", negative_prompt="", tokens=[])
    assert "applies the method to the base:" in text and "With diffusers alone" not in text
    assert "Plain diffusers lacks the method" in text and "org/base](https://huggingface.co/org/base)" in text


def test_a_base_in_a_local_folder_is_not_named(make_checkpoint: Make, store: Store) -> None:
    result = plan(make_checkpoint(weights, base="/home/somebody/models/mine"), store)
    assert "base_model" not in header(result.card)
    assert content(result, "checkpoint.json")["base"]["ref"] == "local:mine"
    assert all(b"/home/somebody" not in file.read() for file in result.files)


def test_manifest_lists_what_was_published(checkpoint: Artifact, store: Store) -> None:
    result = plan(checkpoint, store)
    manifest = content(result, "manifest.json")
    published = {file.path: file.sha256 for file in result.files if file.path != "manifest.json"}
    assert manifest["publication"]["files"] == published
    assert {entry["path"]: entry["sha256"] for entry in manifest["files"]}.items() <= published.items()
    assert manifest["id"] == checkpoint.id


def test_cards_survive_the_clients_own_parser(dataset: Artifact, checkpoint: Artifact, store: Store) -> None:
    for kind, artifact in ((DatasetCard, dataset), (ModelCard, checkpoint)):
        card = plan(artifact, store).card
        assert yaml.safe_load(kind(card).data.to_yaml()) == header(card)


def test_unsafe_concepts_are_marked(make_checkpoint: Make, store: Store) -> None:
    from pathlib import Path

    Path("datasets/concepts").mkdir(parents=True)
    spec = {"kind": "concept", "name": "gore", "type": "unsafe", "phrases": ["gore"]}
    Path("datasets/concepts/gore.yaml").write_text(yaml.safe_dump(spec))
    card = plan(make_checkpoint(weights, concepts=["gore"]), store).card
    assert "not-for-all-audiences" in header(card)["tags"]


def test_a_trained_detector(store: Store, dataset: Artifact, checkpoint: Artifact) -> None:
    lock = {"spec": {"adapter": "yolo", "name": "yolo-mini"}}
    with store.draft("detector", "yolo-mini", lock=lock, parents={"dataset": dataset}) as draft:
        (draft.path / "model.safetensors").write_bytes(b"\0" * 64)
        detector = draft.commit(info={"labels": ["qr-code"]})
    own = {"detector": detector, "dataset": dataset}
    of_a_checkpoint = {"checkpoint": checkpoint, "detector": detector}
    for name, value, parents in (("yolo-mini/icd-mini", 0.8, own), ("geom-erasing/qr/icd", 0.03, of_a_checkpoint)):
        with store.draft("evaluation", name, lock={}, parents=parents) as draft:
            row = {"subject": "yolo-mini", "metric": "map50", "value": value, "low": 0.7, "high": 0.9, "n": 99}
            (draft.path / "scores.json").write_text(json.dumps([row]))
            draft.commit()
    card = plan(detector, store).card
    data = header(card)
    assert data["pipeline_tag"] == "object-detection"
    assert {"yolo", "qr-code"} <= set(data["tags"])
    results = ModelCard(card).data.eval_results
    assert [(one.dataset_name, one.metric_value) for one in results] == [("conceptlib suite icd-mini", 0.8)]


def test_what_cannot_be_published(store: Store, dataset: Artifact) -> None:
    truth = store.get("truth", kind="annotations")
    with pytest.raises(UsageError, match="annotations travel with their dataset"):
        plan(truth, store)
    with pytest.raises(UsageError, match="as a dataset, not as a model"):
        publish(dataset, "hf://models/org/name", store=store, dry_run=True)


def test_a_damaged_artifact_is_not_published(checkpoint: Artifact, store: Store) -> None:
    path = checkpoint.path / "unet" / "config.json"
    path.chmod(0o644)
    path.write_text("{}")
    with pytest.raises(ConceptlibError, match=r"damaged: unet/config\.json is not what it was.*conceptlib verify"):
        plan(checkpoint, store)


def test_a_detectors_name_does_not_mean_its_annotations(store: Store, dataset: Artifact) -> None:
    with store.draft("detector", "yolo-mini", lock={"spec": {"adapter": "yolo"}}) as draft:
        (draft.path / "w.safetensors").write_bytes(b"0")
        detector = draft.commit()
    with store.draft("annotations", "yolo-mini", lock={"a": 1}, parents={"dataset": dataset}) as draft:
        (draft.path / "x").write_bytes(b"0")
        draft.commit()
    result = publish("yolo-mini", "org/name", store=store, dry_run=True)
    assert result.tag == f"v-{detector.id}"
