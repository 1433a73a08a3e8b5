"""Versions of code in locks: a raised `VERSION` makes again what the old code made, and without one no key changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from conceptlib.concepts.build import build
from conceptlib.concepts.builders import i2p
from conceptlib.concepts.tables import AnnotationTable, ImageTable, image_row, shard_name
from conceptlib.detectors import evaluate as detector_scores
from conceptlib.detectors.annotate import annotate
from conceptlib.detectors.evaluate import evaluate_detector
from conceptlib.detectors.train import train_detector
from conceptlib.erasers.adapters import config
from conceptlib.erasers.erase import erase, erasure_lock
from conceptlib.evaluators.suite import evaluate
from conceptlib.geometry import Detections
from conceptlib.models import generate as drawing
from conceptlib.models.generate import generate
from conceptlib.specs import load_spec
from conceptlib.specs.load import load_targets
from conceptlib.specs.registry import code_versions
from conceptlib.store import Artifact, Store
from conceptlib.store.hashing import artifact_key
from tests.support.models import save_pipeline
from tests.support.modules import install_module
from tests.support.prompts import rows, write_csv

# Modules with as few parameters as there can be; the constant at the top of each decides what it makes.
BUILDER = """
MADE = "one"


def prepare(spec):
    from conceptlib.concepts.builders import RowsJob

    class Source:
        def lock(self):
            return {}

    def fill(draft, progress):
        (draft.path / "rows.txt").write_text(MADE)
        return draft.commit()

    return RowsJob(Source(), fill)
"""
ADAPTER = '''
import numpy as np

from conceptlib.geometry import Detections
from conceptlib.specs.params import Params as BaseParams

MADE = "one"


class Params(BaseParams):
    trained: bool = False


def needs_training(params):
    return params.trained


def load(spec, *, weights=None, device=None):
    return Corner(spec)


def train(spec, data, folder, *, device=None, progress=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.txt").write_text(MADE)
    return {}


def set_threshold(folder, threshold):
    pass


class Corner:
    """Sees a code of two pixels in the corner of every picture."""

    labels, threshold, artifact = ("qr-code",), 0.5, ""

    def __init__(self, spec):
        self.name = spec.name

    def lock(self):
        return {"adapter": "corner"}

    def detect(self, images, *, min_score=None):
        box = np.array([[0, 0, 2, 2]], np.float32)
        return [Detections(box, np.ones(1), ("qr-code",)) for _ in images]
'''
METHOD = """
MADE = "one"


def needs(params):
    return frozenset()


def run(job):
    from conceptlib.erasers.base import Result

    return Result(adapter="config", config={"made": MADE})


def apply(pipe, config):
    pass
"""
METRIC = """
from conceptlib.evaluators.base import Metric, Score
from conceptlib.stats import Estimate

METRIC = Metric("corner", "score")
MADE = 0.5


def compute(inputs, params):
    return [Score("corner", Estimate.point(MADE, 1))]
"""
ROOMS = {
    "conceptlib.concepts.builders": BUILDER,
    "conceptlib.detectors.adapters": ADAPTER,
    "conceptlib.erasers.methods": METHOD,
    "conceptlib.evaluators.metrics": METRIC,
}
# A picture of 4x4 px by bytes: what an encoder writes changes between its versions.
PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000004000000040802000000269309290000000e4944415478da636840020cc4710070521801"
    "9eaebe6f0000000049454e44ae426082"
)


def write(path: str, **fields: Any) -> None:
    """A spec in the working folder."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in fields.items()), encoding="utf-8")


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pipeline(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(autouse=True)
def corner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules, each called `corner`, and their specs."""
    for package, source in ROOMS.items():
        install_module(monkeypatch, tmp_path / "modules", package, "corner", source)
    write("datasets/corner.yaml", kind="dataset", name="corner", builder="corner")
    write("detectors/corner.yaml", kind="detector", name="corner", adapter="corner")
    write("detectors/learned.yaml", kind="detector", name="learned", adapter="corner", params={"trained": True})
    write("recipes/corner/a.yaml", kind="recipe", name="corner/a", method="corner", targets=["star"])
    Path("prompts.txt").write_text("a star\n")
    asked = {"prompts": {"source": "file", "path": "prompts.txt"}, "sampler": {"num_steps": 1}}
    write("recipes/suites/corner.yaml", kind="suite", name="corner", metrics={"corner": {}}, **asked)


@pytest.fixture(autouse=True)
def pictures(store: Store) -> Artifact:
    """A dataset of always the same id, with its truth."""
    with store.draft("dataset", "codes", lock={"by": "hand"}) as draft:
        for split, count in (("train", 30), ("test", 2)):
            made = [image_row(f"{split}-{k}", PICTURE, caption="a code", seed=k) for k in range(count)]
            ImageTable.write(draft.path / "data" / shard_name(split, 0, 1), made)
        data = draft.commit(content="codes")
    truth = Detections([[0, 0, 2, 2]], [1.0], ("qr-code",))
    with store.draft("annotations", "truth", lock={"source": "truth"}, parents={"dataset": data}) as draft:
        for shard in ImageTable(data).shards():
            known = [AnnotationTable.row(row, truth) for row in ImageTable(data).shard_rows(shard)]
            AnnotationTable.write(draft.path / "data" / shard.name, known)
        draft.commit(content="truth")
    return data


Make = Callable[[Store, Path], Artifact]


def prompts(store: Store, base: Path) -> Artifact:
    return build("i2p", overrides=[f"source={write_csv(Path('i2p.csv'), rows())}"], store=store)


def dataset(store: Store, base: Path) -> Artifact:
    return build("corner", store=store)


def annotations(store: Store, base: Path) -> Artifact:
    return annotate("codes", "corner", store=store)


def detector(store: Store, base: Path) -> Artifact:
    return train_detector("learned", "codes", store=store)


def checkpoint(store: Store, base: Path) -> Artifact:
    return erase("corner/a", base=base, store=store, device="cpu")


def evaluation(store: Store, base: Path) -> Artifact:
    return evaluate(base, "corner", store=store, device="cpu")


def scores(store: Store, base: Path) -> Artifact:
    return evaluate_detector("corner", "codes", store=store)


# What these commands gave before there were versions.
KEYS: list[tuple[Make, str]] = [
    (prompts, "749519b2a07de4fdb56a641b17137809553907dd59b4615323e2a6d2258c55f3"),
    (annotations, "1d468395ff0060ea0b6ac45f309d587d68c5c5c1b42d09d833c1e2650872b9cf"),
    (detector, "5aed02eec5f428cb7cbc569e59131a3337fae277149afb77a911ef2cab29d0dc"),
    (scores, "a877216518bd9d12e92b5204237a24c3c03dc67efa973f9a995d59e08673edb9"),
]
IDS = {
    prompts: "5a9c9ebf127cfe92",
    annotations: "085fa95751d6f05d",
    detector: "9e620bd9a3618c64",
}


@pytest.mark.parametrize(("make", "key"), KEYS, ids=lambda one: getattr(one, "__name__", ""))
def test_the_first_version_changes_no_key_and_no_id(
    store: Store, base: Path, monkeypatch: pytest.MonkeyPatch, make: Make, key: str
) -> None:
    made = make(store, base)
    assert made.key == key and made.id == IDS.get(make, made.id)
    for package in ROOMS:
        raise_version(monkeypatch, f"{package}.corner", 1)
    monkeypatch.setattr(i2p, "VERSION", 1, raising=False)
    assert make(store, base).created == made.created


def test_the_first_version_changes_no_key_of_an_erasure() -> None:
    spec = load_spec("recipe", "corner/a")
    lock = erasure_lock(spec, load_targets(spec), {"ref": "base", "revision": None, "sha256": "0" * 64}, "float32")
    key = artifact_key("checkpoint", spec.name, lock, {})
    assert key == "b464162ee8ed91947399fc7ce87ec30196909363bc1c081a9ee19381f0b7c3ed"


def raise_version(monkeypatch: pytest.MonkeyPatch, module: str, version: int = 2, **constants: Any) -> None:
    """Another version of a module, which makes something else where `constants` say so."""
    for name, value in {"VERSION": version, **constants}.items():
        monkeypatch.setattr(import_module(module), name, value, raising=False)


@pytest.mark.parametrize(
    ("make", "room", "constants", "place"),
    [
        (dataset, "concepts.builders", {"MADE": "other"}, ""),
        (annotations, "detectors.adapters", {}, "detector."),
        (detector, "detectors.adapters", {"MADE": "other"}, ""),
        (checkpoint, "erasers.methods", {"MADE": "other"}, ""),
        (evaluation, "evaluators.metrics", {"MADE": 0.6}, "versions.metrics.corner."),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_another_version_makes_another_artifact(
    store: Store,
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Make,
    room: str,
    constants: dict[str, Any],
    place: str,
) -> None:
    old = make(store, base)
    assert code_versions(old.lock) == {}
    with monkeypatch.context() as patch:
        raise_version(patch, f"conceptlib.{room}.corner", **constants)
        new = make(store, base)
        assert new.id != old.id and new.key != old.key and code_versions(new.lock) == {f"{place}code_version": 2}
        assert make(store, base).created == new.created
    assert make(store, base).created == old.created and store.verify() == []


def test_the_same_content_keeps_its_id_and_is_found_by_either_version(
    store: Store, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nothing that was made from it has to be made again."""
    old = prompts(store, base)
    with monkeypatch.context() as patch:
        raise_version(patch, i2p.__name__)
        assert prompts(store, base).path == old.path
        lock = old.lock | {"code_version": 2}
        assert store.done("dataset", "i2p", lock=lock) == store.done("dataset", "i2p", lock=old.lock) == old
        patch.setattr(i2p, "_fill", None)
        assert prompts(store, base).path == old.path


def test_what_measures_detectors_has_a_version_too(store: Store, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = scores(store, base)
    raise_version(monkeypatch, "conceptlib.detectors.adapters.corner")
    found_otherwise = scores(store, base)
    monkeypatch.setattr(detector_scores, "VERSION", 3)
    measured_otherwise = scores(store, base)
    found = [store.done("evaluation", old.name, lock=lock, parents=old.parents) for lock in (
        old.lock,
        old.lock | {"detector": {"adapter": "corner", "code_version": 2}},
        old.lock | {"detector": {"adapter": "corner", "code_version": 2}, "code_version": 3},
    )]  # fmt: skip
    assert found == [old, found_otherwise, measured_otherwise]


def test_pictures_depend_on_the_code_that_runs_when_they_are_drawn(
    store: Store, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method that is applied at inference, the checkpoint's form, the sampler. The checkpoint itself is the same."""
    drawn: list[str] = []
    sample = drawing.sample

    def count(pipe: Any, captions: Any, *rest: Any, **options: Any) -> Any:
        drawn.extend(captions)
        return sample(pipe, captions, *rest, **options)

    def draw(source: Any) -> Artifact:
        return generate(source, [{"caption": "a star", "seed": 1}], num_steps=1, store=store, device="cpu")

    def drawn_anew(source: Any) -> bool:
        drawn.clear()
        draw(source)
        return bool(drawn)

    monkeypatch.setattr(drawing, "sample", count)
    erased = checkpoint(store, base)
    first = draw(erased)
    assert first.lock["source"] == {"checkpoint": erased.id} and code_versions(first.lock) == {}
    assert drawn_anew(base) and not drawn_anew(base) and not drawn_anew(erased)
    raise_version(monkeypatch, "conceptlib.erasers.methods.corner")
    assert checkpoint(store, base) == erased
    assert drawn_anew(erased) and not drawn_anew(erased) and not drawn_anew(base)
    raise_version(monkeypatch, config.__name__)
    assert drawn_anew(erased) and not drawn_anew(erased) and not drawn_anew(base)
    monkeypatch.setattr(drawing, "VERSION", 2)
    assert drawn_anew(erased) and drawn_anew(base) and not drawn_anew(base)
    versions = {"adapter": {"code_version": 2}, "method": {"code_version": 2}}
    lock = first.lock | {"source": {"checkpoint": erased.id, **versions}, "code_version": 2}
    assert store.done("images", first.name, lock=lock, parents=first.parents) == first  # the same pictures after all
