"""The whole job in one go, on the embedded model: build, train a detector, annotate, erase, evaluate, catalog, publish.

    result = demo("conceptlib-demo")
    result.picture, result.table

Each stage calls the library function behind a command that a user can type, and says which. Every stage is an
artifact, so a demo that was stopped goes on where it stopped, and one that ran already has nothing left to do.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from conceptlib.errors import ConceptlibError
from conceptlib.progress import Progress
from conceptlib.store import Artifact, Store

PICTURE = "before-after.png"
PUBLISHED = "published"
SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"


@dataclass(frozen=True)
class Settings:
    """What the demo runs: names of specs, and overrides of each.

    The defaults are for two slow cores. Half of the suite's denoising steps draw `tiny`'s pictures well enough, in half
    of the time.
    """

    dataset: str = "icd-qr"
    detector: str = "yolo-icd"
    recipe: str = "geom-erasing/qr"
    suite: str = "icd"
    base: str = "tiny"
    build: tuple[str, ...] = ()
    train: tuple[str, ...] = ()
    erase: tuple[str, ...] = ()
    evaluate: tuple[str, ...] = ("n=256", "num_steps=10")


@dataclass(frozen=True)
class Stage:
    """One stage as it went.

    Args:
        title: what it does, for people.
        command: what a user would type for it.
        result: the artifact's reference, or a path.
        seconds: wall time now, next to nothing if it was there already.
        reused: whether it was there already.
    """

    title: str
    command: str
    result: str
    seconds: float
    reused: bool


@dataclass
class Demo:
    """What came out of a demo.

    stages: in order. table: rows of `{"measure", "before", "after"}`, for people. scores: rows of `scores.json`.
        picture, published: where they are. seconds, peak_memory: of the whole run in this process; bytes, None where
        the system does not say.
    """

    stages: list[Stage] = field(default_factory=list)
    table: list[dict[str, str]] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)
    n: int = 0
    picture: Path = Path()
    published: Path = Path()
    seconds: float = 0.0
    peak_memory: int | None = None

    @property
    def reused(self) -> bool:
        """Whether everything was there already."""
        return all(stage.reused for stage in self.stages)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "stages": [vars(stage) for stage in self.stages],
            "scores": self.scores,
            "picture": str(self.picture),
            "published": str(self.published),
            "seconds": round(self.seconds, 1),
            "peak_memory_bytes": self.peak_memory,
            "next": NEXT,
        }


NEXT = (
    "conceptlib build icd-qr-photos source=MY_PICTURES",
    "conceptlib detectors train yolo-icd --data icd-qr-photos architecture=yolo11n steps=2000",
    "conceptlib annotate icd-qr-photos --detector yolo-icd",
    f"conceptlib erase geom-erasing/qr-sd --data icd-qr-photos --annotations yolo-icd --base {SD15}",
    "conceptlib evaluate geom-erasing/qr-sd --detector yolo-icd features=facebook/dinov2-small",
    "conceptlib publish geom-erasing/qr-sd --to ORG/NAME --dry-run",
)
"""The same on Stable Diffusion 1.5: MY_PICTURES is a folder of pictures with captions, or a dataset's Hub id."""


def demo(
    out: str | Path = "conceptlib-demo",
    *,
    store: Store | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
    on_stage: Callable[[str, str], None] | None = None,
    on_done: Callable[[Stage], None] | None = None,
) -> Demo:
    """Run every stage, or find it done.

    Args:
        out: folder for the before/after picture and the published files.
        store: where artifacts go; the user's by default.
        settings: what to run, see `Settings`.
        progress: called with (stage, done, total) within a stage.
        on_stage: called with (title, command) before a stage.
        on_done: called with the stage after it.

    Raises:
        ConceptlibError: the extra `yolo` is not installed, a spec is wrong or `out` cannot be written to, all of which
            is looked at first; or a stage failed, and the same call goes on from there.
    """
    from conceptlib.erasers.memory import process_peak

    settings, folder = settings or Settings(), Path(out).expanduser().absolute()
    check_requirements()
    check_specs(settings)
    check_out(folder, settings.recipe)
    run = _Run(store or Store(), settings, folder, progress, on_stage, on_done)
    started = time.monotonic()
    run.everything()
    run.demo.seconds = time.monotonic() - started
    run.demo.peak_memory = process_peak()
    return run.demo


def check_requirements() -> None:
    """Raise ConceptlibError if what the demo needs beyond the core is not installed."""
    if importlib.util.find_spec("ultralytics") is None:
        raise ConceptlibError(
            "the demo trains a YOLO detector, and ultralytics is not installed",
            hint="pip install 'conceptlib[yolo]' (ultralytics is under the AGPL-3.0)",
        )


def check_specs(settings: Settings) -> None:
    """Raise SpecError or NotFound if a spec that a later stage needs is wrong or not there."""
    from conceptlib.specs import load_spec

    for kind, name, overrides in (
        ("dataset", settings.dataset, settings.build),
        ("detector", settings.detector, settings.train),
        ("recipe", settings.recipe, settings.erase),
        ("suite", settings.suite, settings.evaluate),
    ):
        load_spec(kind, name, overrides=overrides)


def check_out(out: Path, recipe: str) -> None:
    """Raise ConceptlibError if the folder cannot take the picture and the published checkpoint at the end."""
    from conceptlib.hub.local import check_folder

    there = next(path for path in (out, *out.parents) if path.exists() or path.is_symlink())
    if not there.is_dir():
        raise ConceptlibError("this is no folder", where=there, hint="say --out DIR with a folder, or one to be made")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConceptlibError("this folder cannot be written to", where=there, hint="say --out DIR with another one")
    if (out / PICTURE).is_dir():
        raise ConceptlibError("the picture's place is a folder", where=out / PICTURE, hint="say --out DIR")
    published = out / PUBLISHED
    if published.exists():
        check_folder(published, "checkpoint", recipe)


class _Run:
    """The stages, sharing what they were given."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        out: Path,
        progress: Progress | None,
        on_stage: Callable[[str, str], None] | None,
        on_done: Callable[[Stage], None] | None,
    ) -> None:
        self.store, self.settings, self.out, self.progress = store, settings, out, progress
        self.on_stage, self.on_done = on_stage, on_done
        self.demo = Demo()

    def everything(self) -> None:
        from conceptlib.concepts.build import build
        from conceptlib.detectors.annotate import annotate
        from conceptlib.detectors.train import train_detector
        from conceptlib.erasers.erase import erase
        from conceptlib.evaluators.suite import evaluate

        s, store, progress = self.settings, self.store, self.progress
        data = self.stage(
            "Build pictures that carry QR codes which no caption mentions",
            ["build", s.dataset, *s.build],
            partial(build, s.dataset, overrides=s.build, store=store, progress=progress),
        )
        detector = self.stage(
            "Train a detector on them",
            ["detectors", "train", s.detector, "--data", s.dataset, *s.train],
            partial(train_detector, s.detector, data, store=store, overrides=s.train, progress=progress),
        )
        annotations = self.stage(
            "Find the QR codes in every picture",
            ["annotate", s.dataset, "--detector", s.detector],
            partial(annotate, data, detector, store=store, progress=progress),
        )
        checkpoint = self.stage(
            f"Erase QR codes from {s.base}",
            ["erase", s.recipe, "--data", s.dataset, "--annotations", s.detector, "--base", s.base, *s.erase],
            partial(
                erase,
                s.recipe,
                data=data,
                annotations=annotations,
                base=s.base,
                overrides=s.erase,
                store=store,
                progress=progress,
            ),
        )
        evaluation = self.stage(
            "Draw held-out captions before and after, and measure",
            ["evaluate", s.recipe, "--suite", s.suite, "--detector", s.detector, *s.evaluate],
            partial(
                evaluate,
                checkpoint,
                s.suite,
                store=store,
                overrides=s.evaluate,
                detector=detector,
                progress=progress,
            ),
        )
        self.report(evaluation)
        self.catalog()
        self.publish(checkpoint)

    def stage(self, title: str, words: Sequence[str], make: Callable[[], Artifact]) -> Artifact:
        """Run a stage whose result is an artifact."""
        artifact: Artifact = self.timed(title, words, make, lambda made: (made.ref, None))
        return artifact

    def timed(
        self,
        title: str,
        words: Sequence[str],
        make: Callable[[], Any],
        describe: Callable[[Any], tuple[str, bool | None]],
    ) -> Any:
        """Run a stage; `describe` names its result and says whether it was there (None: ask the artifact's time)."""
        command = " ".join(["conceptlib", *words])
        if self.on_stage:
            self.on_stage(title, command)
        began, clock = datetime.now(UTC).isoformat(timespec="microseconds"), time.monotonic()
        made = make()
        result, reused = describe(made)
        reused = made.created < began if reused is None else reused
        done = Stage(title, command, result, round(time.monotonic() - clock, 1), reused)
        self.demo.stages.append(done)
        if self.on_done:
            self.on_done(done)
        return made

    def report(self, evaluation: Artifact) -> None:
        """Copy the picture to where people find it, and make the table."""
        from conceptlib.evaluators.suite import GRID, scores

        self.out.mkdir(parents=True, exist_ok=True)
        self.demo.picture = self.out / PICTURE
        temporary = self.demo.picture.with_suffix(".tmp")
        shutil.copyfile(evaluation.path / GRID, temporary)
        temporary.replace(self.demo.picture)
        self.demo.scores = scores(evaluation)
        self.demo.n = int(evaluation.info["n"])
        self.demo.table = before_after(self.demo.scores)

    def catalog(self) -> None:
        """Bring the index up to date."""
        from conceptlib.catalog import refresh

        self.timed(
            "Index all of it in the catalog",
            ["catalog", "ls"],
            partial(refresh, self.store, self.progress),
            lambda report: (f"{report.artifacts} artifacts", not (report.added or report.removed)),
        )

    def publish(self, checkpoint: Artifact) -> None:
        """Publish the checkpoint to a folder, with its card."""
        from conceptlib.hub.publish import publish

        self.demo.published = self.out / PUBLISHED
        self.timed(
            "Publish the checkpoint with its card to a folder (nothing leaves this machine)",
            ["publish", self.settings.recipe, "--to", str(self.demo.published)],
            partial(publish, checkpoint, self.demo.published, store=self.store, progress=self.progress),
            lambda result: (result.url, result.status == "unchanged"),
        )


def before_after(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The demo's table from the rows of `scores.json`: one line a measure, shares with their 95 % intervals."""
    from conceptlib.evaluators.figures import figure
    from conceptlib.scores import find

    columns = dict.fromkeys(
        str(row["metric"]).removeprefix("accuracy_") for row in rows if str(row["metric"]).startswith("accuracy_")
    )
    measures = (
        ("pictures with a QR code", "concept_rate"),
        ("pictures that show what the caption says", "caption_accuracy"),
        *((f"  the right {column}", f"accuracy_{column}") for column in columns),
        ("distance to clean pictures (KID)", "kid"),
    )
    return [
        {
            "measure": title,
            "before": figure(find(rows, "base", metric)),
            "after": figure(find(rows, "checkpoint", metric)),
        }
        for title, metric in measures
        if find(rows, "base", metric) is not None
    ]
