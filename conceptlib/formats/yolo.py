"""YOLO: `images/<split>/`, `labels/<split>/`, `data.yaml`; for ultralytics.

A label file has a line `class cx cy width height` a box, shares of the picture with six decimals (0.05 px at 65 536),
and is empty for a clean picture. Boxes are cut to the picture; those that lie outside are left out and counted.
ultralytics asks for `train` and `val`: `val` is the split validation, else test, else what there is.

Reading takes the layouts of ultralytics (`labels/`), of darknet (a label file beside each picture) and of CVAT's YOLO
1.1 (`obj.names`, `obj_train_data/`), and lines with a score behind the box (predictions). What else may follow the
class is polygons or poses, see `_yolo_lines`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from conceptlib.concepts.images import SUFFIXES
from conceptlib.errors import ConceptlibError
from conceptlib.formats._entries import Entry, Report, Where, keys_of, text_fault
from conceptlib.formats._files import called, listed, read_text
from conceptlib.formats._job import Job, Sample, inside, write_new
from conceptlib.formats._yolo_lines import Line, boxes, line_of, poses
from conceptlib.geometry import xyxy_to_cxcywh_normalised

ANNOTATIONS = "needed"
_CLASSES = ("classes.txt", "obj.names", "_darknet.labels")
_NO_LABELS = {"classes.txt"}


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


@dataclass(frozen=True)
class Data:
    """What a data file says. names: class number to name. keypoints: (number, values each: 2 or 3) of a pose; (0, 0)
    where it says that there are none, None where it says nothing."""

    names: Mapping[int, str]
    keypoints: tuple[int, int] | None = None


def read(source: Path, report: Report) -> Iterator[Entry]:
    """The label files of a folder, or of that of a data file.

    They are those below `labels/`, else below CVAT's `obj_*_data/`, else those beside a picture of their name, else
    those of the folder itself. The classes' names are those of the only .yaml file with `names`, or of `classes.txt`,
    `obj.names` or Roboflow's `_darknet.labels`. Paths in such files are not followed. Raises ConceptlibError where
    there are no names or no label files.
    """
    root = source if source.is_dir() else source.parent
    data = _data(source, root)
    files = _label_files(root, report)
    if not files and not report.rejects:
        raise ConceptlibError("no label files (labels/**/*.txt)", where=root, hint="give the dataset's folder")
    entries = []
    for path, keys in files:
        where = Where(called(path, root))
        try:
            entries.append((keys, where, _parsed(read_text(path), where, data, report)))
        except ValueError as error:
            report.file(where.file, str(error))
    shape = data.keypoints
    likely = poses([line for _, _, lines in entries for line in lines]) if shape is None else ""
    for keys, where, lines in entries:
        yield Entry(keys, where, tuple(boxes(lines, data.names, shape, likely, report)), shares=True)


def _parsed(text: str, where: Where, data: Data, report: Report) -> list[Line]:
    lines = []
    for place, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                lines.append(line_of(line.split(), where.at(f":{place}"), data.names))
            except ValueError as error:
                report.object(where.at(f":{place}"), str(error))
    return lines


def _label_files(root: Path, report: Report) -> list[tuple[Path, tuple[str, ...]]]:
    """Every label file, and the names that its picture may have."""
    found = [path for path in listed(root, ".txt", report) if path.name not in _NO_LABELS]
    parts = {path: path.relative_to(root).with_suffix("").parts for path in found}
    below = [path for path in found if "labels" in parts[path][:-1]]
    if below:
        return [(path, _keys(parts[path][parts[path].index("labels") + 1 :])) for path in below]
    if cvat := [path for path in found if _is_cvat(parts[path][0])]:
        return [(path, _keys(parts[path][1:])) for path in cvat if len(parts[path]) > 1]
    if beside := [path for path in found if _is_beside(path)]:
        return [(path, _keys(parts[path])) for path in beside]
    return [(path, _keys(parts[path])) for path in found if path.parent == root and not _is_list(path)]


def _is_cvat(folder: str) -> bool:
    return folder.startswith("obj_") and folder.endswith("_data")


def _is_beside(path: Path) -> bool:
    """Whether a picture of the file's name lies beside it, or Roboflow's list of classes."""
    return (path.parent / "_darknet.labels").is_file() or any(path.with_suffix(one).is_file() for one in SUFFIXES)


def _is_list(path: Path) -> bool:
    """Whether a file lists pictures (`train.txt`) instead of holding boxes."""
    with path.open("rb") as file:
        words = file.read(4096).decode("utf-8", "replace").split("\n")[0].strip()
    return Path(words).suffix.lower() in SUFFIXES


def _keys(parts: Sequence[str]) -> tuple[str, ...]:
    name = "/".join(parts)
    return (name, parts[-1], *(key for key in keys_of(name) if key not in (name, parts[-1])))


def _data(source: Path, root: Path) -> Data:
    """The classes' names and the shape of poses. Raises ConceptlibError."""
    files = [source] if source.is_file() else [*sorted(root.glob("*.yaml")), *sorted(root.glob("*.yml"))]
    found = [_data_in(path) for path in files]
    keypoints = [one.keypoints for one in found if one.keypoints is not None]
    named = [one for one in found if one.names]
    if len(named) > 1 or len(set(keypoints)) > 1:
        raise ConceptlibError("several files name the classes", where=root, hint="give the data file: .../data.yaml")
    names = named[0].names if named else _listed_names(source, root)
    return Data(names, keypoints[0] if keypoints else None)


def _listed_names(source: Path, root: Path) -> dict[int, str]:
    """The names of a file with a line for each. Roboflow has one in every split's folder; they must agree."""
    files = [path for name in _CLASSES for path in [root / name, *sorted(root.glob(f"*/{name}"))] if path.is_file()]
    if not files:
        hint = "a data.yaml with `names`, a classes.txt or an obj.names is needed"
        raise ConceptlibError("no names for the classes", where=source, hint=hint)
    try:
        lists = [read_text(path).rstrip().splitlines() for path in files]
    except ValueError as error:
        raise ConceptlibError(str(error), where=root, hint="the classes' names are text") from error
    if any(names != lists[0] for names in lists[1:]):
        hint = f"they differ: {', '.join(called(path, root) for path in files)}"
        raise ConceptlibError("several files name the classes", where=root, hint=hint)
    return dict(enumerate(lists[0]))


def _data_in(path: Path) -> Data:
    """What a data file says; only texts, lists and mappings are made of it."""
    try:
        data = yaml.load(read_text(path), Loader=yaml.BaseLoader)  # noqa: S506 - strings, lists and mappings only
        if not isinstance(data, dict):
            return Data({})
        names, shape = data.get("names"), data.get("kpt_shape")
        pairs = list(names.items() if isinstance(names, dict) else enumerate(names or ()))
        if wrong := [name for _, name in pairs if not isinstance(name, str) or text_fault(name)]:
            raise ValueError(f"a class is called by a text, not by a {type(wrong[0]).__name__}")
        return Data({int(key): name for key, name in pairs}, None if shape is None else _shape(shape))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else error
        raise ConceptlibError(f"not a data file of YOLO: {what}", where=path) from error


def _shape(value: Any) -> tuple[int, int]:
    """`kpt_shape`: how many keypoints a pose has, and whether each is x y or x y visible; [0, 0] for none."""
    if isinstance(value, list) and len(value) == 2 and all(isinstance(one, str) and one.isdigit() for one in value):
        count, width = int(value[0]), int(value[1])
        if width in (2, 3) and 0 < count < 10_000:
            return count, width
        if (count, width) == (0, 0):
            return 0, 0
    raise ValueError("kpt_shape must be [number of keypoints, 2 or 3], or [0, 0] where there are none")
