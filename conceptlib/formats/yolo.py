"""YOLO: `images/<split>/`, `labels/<split>/`, `data.yaml`; for ultralytics.

A label file has a line `class cx cy width height` a box, shares of the picture with six decimals (0.05 px at 65 536),
and is empty for a clean picture. Boxes are cut to the picture; those that lie outside are left out and counted.
ultralytics asks for `train` and `val`: `val` is the split validation, else test, else what there is.

Reading also takes lines with a score behind the box (predictions) and polygons: four corners are kept as such.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from conceptlib.errors import ConceptlibError
from conceptlib.formats._entries import Box, Entry, Report, around, number, read_text, sized
from conceptlib.formats._job import Job, Sample, inside, write_new
from conceptlib.geometry import xyxy_to_cxcywh_normalised

ANNOTATIONS = "needed"
_NO_LABELS = {"classes.txt", "obj.names"}


def write(job: Job, folder: Path) -> list[str]:
    """Write the pictures, a label file each, and the data file."""
    dropped = 0
    for split in job.splits:
        for sample in job.samples(split):
            job.save_picture(sample, folder / "images" / split)
            lines = _lines(job, sample)
            dropped += len(sample.found) - len(lines)
            write_new(folder / "labels" / split / f"{sample.name}.txt", "".join(lines).encode(), sample)
    train = "train" if "train" in job.splits else job.splits[0]
    val = next((name for name in ("validation", "test") if name in job.splits), job.splits[-1])
    data: dict[str, object] = {"train": f"images/{train}", "val": f"images/{val}"}
    if "test" in job.splits:
        data["test"] = "images/test"
    data["names"] = dict(enumerate(job.categories))
    (folder / "data.yaml").write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return [f"{dropped} box(es) outside their picture were left out"] if dropped else []


def _lines(job: Job, sample: Sample) -> list[str]:
    found = inside(sample.found, sample.size)
    lines = []
    for box, label in zip(xyxy_to_cxcywh_normalised(found.boxes, *sample.size), found.labels, strict=True):
        words = [f"{value:.6f}" for value in box]
        if "0.000000" not in words[2:]:  # narrower than a millionth
            lines.append(f"{job.category(label)} {' '.join(words)}\n")
    return lines


def read(source: Path, report: Report) -> Iterator[Entry]:
    """The label files of a folder (or of that of a data file), below `labels/` if there is such a folder.

    The classes' names are those of the only .yaml file with `names`, or of `classes.txt`. Paths in the data file are
    not followed. Raises ConceptlibError where there are no names or no label files.
    """
    root = source if source.is_dir() else source.parent
    names = _names(source, root)
    found = sorted(path for path in root.rglob("*.txt") if path.name not in _NO_LABELS)
    below = [path for path in found if "labels" in path.relative_to(root).parts[:-1]]
    files = below or [path for path in found if path.parent == root]
    if not files:
        raise ConceptlibError("no label files (labels/**/*.txt)", where=root, hint="give the dataset's folder")
    for path in files:
        relative = path.relative_to(root)
        parts = relative.with_suffix("").parts
        after = parts[parts.index("labels") + 1 :] if below else parts
        boxes = tuple(_boxes(path, str(relative), names, report))
        yield Entry(("/".join(after), after[-1]), str(relative), boxes, shares=True)


def _boxes(path: Path, shown: str, names: Mapping[int, str], report: Report) -> Iterator[Box]:
    try:
        lines = read_text(path).splitlines()
    except ValueError as error:
        report.problem(shown, str(error))
        return
    for place, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield _box(line.split(), f"{shown}:{place}", names)
            except ValueError as error:
                report.problem(f"{shown}:{place}", str(error))


def _box(words: Sequence[str], where: str, names: Mapping[int, str]) -> Box:
    """One line. Raises ValueError."""
    kind = number(words[0])
    if kind not in names:
        raise ValueError(f"class {words[0]} is out of range: there are {len(names)}")
    label = names[int(kind)]
    values = [number(word) for word in words[1:]]
    if len(values) in (4, 5):
        x, y, width, height = values[:4]
        box = sized(x - width / 2, y - height / 2, width, height)
        return Box(label, box, where, values[4] if len(values) == 5 else 1.0)
    if len(values) < 6:
        raise ValueError(f"{len(words)} values; a line is: class cx cy width height")
    return Box(label, around(values), where, quad=tuple(values) if len(values) == 8 else None)


def _names(source: Path, root: Path) -> dict[int, str]:
    """Class number to name."""
    files = [source] if source.is_file() else [*sorted(root.glob("*.yaml")), *sorted(root.glob("*.yml"))]
    found = [names for path in files if (names := _names_in(path))]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConceptlibError("several files name the classes", where=root, hint="give the data file: .../data.yaml")
    classes = root / "classes.txt"
    if not classes.is_file():
        raise ConceptlibError(
            "no names for the classes", where=source, hint="a data.yaml with `names`, or a classes.txt, is needed"
        )
    try:
        return dict(enumerate(read_text(classes).splitlines()))
    except ValueError as error:
        raise ConceptlibError(str(error), where=classes) from error


def _names_in(path: Path) -> dict[int, str]:
    """`names` of a data file, a list or a mapping; empty where it has none. Only texts are made of it: no tags."""
    try:
        data = yaml.load(read_text(path), Loader=yaml.BaseLoader)  # noqa: S506 - strings, lists and mappings only
        names = data.get("names") if isinstance(data, dict) else None
        pairs = names.items() if isinstance(names, dict) else enumerate(names or ())
        return {int(key): str(name) for key, name in pairs}
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ConceptlibError(f"not a data file of YOLO: {error}", where=path) from error
