"""`generate`: pictures of a checkpoint or a base as an artifact, so that evaluations share them and a stopped run goes
on.

Rows are written a shard of `SHARD_ROWS` at a time; a shard that is there is not drawn again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image

from conceptlib.concepts.labels import Columns, kinds_of
from conceptlib.concepts.tables import ImageTable, image_row, shard_name
from conceptlib.cores import available
from conceptlib.errors import ConceptlibError
from conceptlib.models.bases import artifact_name
from conceptlib.models.beside import Beside
from conceptlib.models.encoding import PromptCache
from conceptlib.models.reference import ModelRef
from conceptlib.models.sampling import NUM_STEPS, sample, usual_guidance
from conceptlib.progress import Progress
from conceptlib.specs.registry import version_lock
from conceptlib.store import Artifact, Store
from conceptlib.store.hashing import digest, sha256_file
from conceptlib.worlds import labels_in, locked_labels

VERSION = 1
"""Of what is drawn here: raised whenever the same model, rows and settings come to give other pictures."""
SHARD_ROWS = 256
AHEAD = 2
"""Batches that may wait to be encoded and written while the model draws on."""
MOST_ENCODERS = 8
"""Threads that compress pictures, at most: a picture of 512 px takes one of them 0.1 s."""


def generate(
    source: str | Path | Artifact | ModelRef,
    rows: Sequence[Mapping[str, Any]],
    *,
    negative: str = "checkpoint",
    num_steps: int = NUM_STEPS,
    guidance_scale: float | None = None,
    resolution: int | None = None,
    batch_size: int | None = None,
    split: str = "train",
    name: str | None = None,
    labels: Sequence[str] | None = None,
    store: Store | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Draw one picture a row and store them with their captions, seeds and labels.

    Args:
        source: a checkpoint (artifact, name, id, folder, Hub id) or a base (`tiny`, a folder, a Hub id).
        rows: `caption` and `seed`, and perhaps label columns.
        negative: `checkpoint` for the checkpoint's own negative prompt (none for a base), `none`, or the text of one.
        num_steps, guidance_scale, batch_size: see `sample`.
        resolution: side in pixels; by default the model's.
        split: name of the split that the pictures are stored as.
        name: of the artifact; by default the source's.
        labels: the rows' columns that are copied as labels; by default those of a world of whose words they have some.
        device, dtype: by default the best there is.
        progress: called with ("generate", rows done, rows in all).

    Returns:
        An `images` artifact with a row a picture; the same request again returns the one that is there.

    Raises:
        ConceptlibError: no rows, a row without caption or seed, an unknown source.
    """
    # Opening a checkpoint belongs to the erasers, which build on this package: hence not at the top.
    from conceptlib.erasers.checkpoint import Checkpoint, code_lock, find, load, model_of
    from conceptlib.models.devices import choose, dtype_lock

    if not rows or any(row.get("caption") is None or row.get("seed") is None for row in rows):
        raise ConceptlibError("there is nothing to draw: every row needs a caption and a seed", where="rows")
    store = store or Store()
    folder = find(source, store)
    source = source if folder else ModelRef.of(source if isinstance(source, ModelRef) else str(source))
    placement = choose(device, dtype)
    columns = _columns(rows, labels)
    known: list[dict[str, Any]] = [
        {"caption": row["caption"], "seed": row["seed"], **locked_labels(row, columns)} for row in rows
    ]
    negative_prompt = "" if negative == "none" else negative
    if negative == "checkpoint":
        negative_prompt = Checkpoint.read(folder).negative_prompt if folder else ""
    if guidance_scale is None:  # resolved before the lock: another default is another request
        guidance_scale = usual_guidance(ModelRef.of(model_of(folder) if folder else cast(ModelRef, source)).defaults)
    lock = {
        "source": _source_lock(source, folder, store) | (code_lock(folder) if folder else {}),
        "rows": digest(known),
        "count": len(known),
        "negative_prompt": negative_prompt,
        "num_steps": num_steps,
        "guidance_scale": guidance_scale,
        "resolution": resolution,
        "split": split,
        **dtype_lock(placement.dtype_name),
        **version_lock(VERSION),
    }
    parent = _artifact(source, folder, store)
    with store.draft(
        "images", name or _name(source, parent), lock=lock, parents={"checkpoint": parent} if parent else {}
    ) as draft:
        if draft.done is not None:
            return draft.done
        shards = [known[start : start + SHARD_ROWS] for start in range(0, len(known), SHARD_ROWS)]
        paths = [draft.path / "data" / shard_name(split, index, len(shards)) for index in range(len(shards))]
        missing = [index for index, path in enumerate(paths) if not path.is_file()]
        pipe = load(source, device=device, dtype=dtype, store=store) if missing else None
        cache = PromptCache(pipe) if pipe else None
        with ThreadPoolExecutor(min(MOST_ENCODERS, available())) as encoders, Beside(AHEAD) as beside:
            for index in missing:
                start = index * SHARD_ROWS
                written: list[dict[str, Any]] = []
                sample(
                    pipe,
                    [row["caption"] for row in shards[index]],
                    [row["seed"] for row in shards[index]],
                    negative_prompts=[negative_prompt or None] * len(shards[index]),
                    num_steps=num_steps,
                    guidance_scale=guidance_scale,
                    batch_size=batch_size,
                    height=resolution,
                    width=resolution,
                    cache=cache,
                    progress=_shifted(progress, start, len(known)),
                    each=partial(_encode_beside, beside, encoders, shards[index], start, columns, written),
                )
                beside.do(partial(ImageTable.write, paths[index], written, labels=columns))
        info = {"images": len(known), "negative_prompt": negative_prompt, "device": str(placement.device)}
        return draft.commit(info=info)


def _columns(rows: Sequence[Mapping[str, Any]], labels: Sequence[str] | None) -> Columns:
    """The label columns of the pictures: of those that are asked for all, if any row has a value of one."""
    names = labels_in(rows) if labels is None else tuple(labels)
    if all(row.get(name) is None for row in rows for name in names):
        return {}
    return kinds_of({name: row.get(name) for name in names} for row in rows)


def _encode_beside(
    beside: Beside,
    encoders: ThreadPoolExecutor,
    shard: Sequence[Mapping[str, Any]],
    start: int,
    columns: Columns,
    written: list[dict[str, Any]],
    rows: slice,
    pixels: Callable[[], torch.Tensor],
) -> None:
    """Append the table's rows of a batch to `written`, beside what the model does meanwhile."""

    def table_row(index: int, picture: Any) -> dict[str, Any]:
        row = shard[index]
        image = Image.fromarray(picture)
        known = image_row(f"{start + index:06d}", image, caption=row["caption"], seed=int(row["seed"]))
        return known | {column: row[column] for column in columns}

    beside.do(lambda: written.extend(encoders.map(table_row, range(rows.start, rows.stop), pixels().numpy())))


def _shifted(progress: Progress | None, start: int, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda _, done, __: progress("generate", start + done, total)


def _artifact(source: Any, folder: Path | None, store: Store) -> Artifact | None:
    """The checkpoint's artifact, if it is one (a published or copied folder need not be)."""
    if isinstance(source, Artifact):
        return source
    if folder is not None and (folder / "manifest.json").is_file():
        return store.get(str(folder))
    return None


def _source_lock(source: Any, folder: Path | None, store: Store) -> dict[str, Any]:
    parent = _artifact(source, folder, store)
    if parent is not None:
        return {"checkpoint": parent.id}
    if folder is not None:
        files = (file for file in sorted(folder.rglob("*")) if file.suffix in {".safetensors", ".json"})
        return {"folder": digest({file.relative_to(folder).as_posix(): sha256_file(file) for file in files})}
    return {"base": ModelRef.of(source).lock}


def _name(source: Any, parent: Artifact | None) -> str:
    """A name that the store takes: the checkpoint's, or the base's with what it does not take replaced."""
    if parent is not None:
        return parent.name
    return artifact_name(str(source))
