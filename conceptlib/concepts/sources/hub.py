"""A dataset on the Hub, streamed by the `datasets` library. Only files of its own repository are opened for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import Any

from conceptlib import hubfiles
from conceptlib.concepts.labels import named_classes
from conceptlib.concepts.rejects import Reject, first_line
from conceptlib.concepts.safe import leads_out
from conceptlib.concepts.sources.base import IMAGE_COLUMNS, Item, Reading, captioned, labelled
from conceptlib.concepts.sources.pictures import Picture, fetch, pictures_of
from conceptlib.concepts.sources.splits import SPLITS, in_proportion, is_layout, known_split, split_called, tell_unread
from conceptlib.concepts.sources.text import CAPTION_COLUMNS, caption_text
from conceptlib.errors import ConceptlibError
from conceptlib.huberrors import HubError, translated


@dataclass
class HubSource:
    """A dataset of the Hub with an image column.

    The row's key is its number, as in `TableSource`, and so are the splits.

    Args:
        ref: `org/name`, with `@revision` if need be.
        reading: see there.
        split: the only one to read; None: all where the dataset has train and others, else train.
        subset: of the dataset.

    Raises:
        ConceptlibError: it cannot be reached or opened; it has no such column; its files lie elsewhere.
    """

    ref: str
    reading: Reading = field(default_factory=Reading)
    split: str | None = None
    subset: str | None = None
    total: int | None = field(default=None, init=False)
    ignored: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.ref, _, revision = self.ref.partition("@")
        self.revision = self._commit(revision or None)
        self._told = False

    def lock(self) -> dict[str, Any]:
        """The commit, and what of it is read."""
        common = {"kind": "dataset", "split": self.split or "train", "subset": self.subset}
        return common | {"id": self.ref, "revision": self.revision} | self.reading.lock()

    def items(self) -> Iterator[Item]:
        """The rows; of a limited number of a source with splits some of each, see `splits.in_proportion`."""
        loaded, kept = self._loaded()
        streams = {split: self._items(split, stream, kept, len(loaded) > 1) for split, stream in loaded.items()}
        if kept and self.reading.rows is not None:
            return islice(in_proportion(streams, self.reading.test_share), self.reading.rows)
        return islice((item for stream in streams.values() for item in stream), self.reading.rows)

    def _items(self, split: str, stream: Any, kept: bool, several: bool) -> Iterator[Item]:
        columns = list(stream.column_names or [])
        wanted = self.reading
        image = self._column("image", wanted.image_column, IMAGE_COLUMNS, columns)
        caption = self._column("caption", wanted.caption_column, (*CAPTION_COLUMNS, "txt"), columns)
        if image is None:
            hint = f"say which holds the pictures: image_column=..., one of {', '.join(columns) or 'none'}"
            raise ConceptlibError("no column holds the pictures", where=self.ref, hint=hint)
        if missing := [name for name in wanted.labels if name not in columns]:
            hint = f"labels= names some of: {', '.join(c for c in columns if c not in (image, caption)) or 'none'}"
            raise ConceptlibError(f"there is no column {missing[0]!r} to keep as a label", where=self.ref, hint=hint)
        features = stream.features or {}
        classes = {name: features[name].names for name in wanted.labels if hasattr(features.get(name), "names")}
        chosen = dict.fromkeys([c for c in (image, caption) if c] + list(wanted.labels))
        stream = stream.decode(False).select_columns(list(chosen))
        stem = split if several else "row"
        for number, row in enumerate(self._rows(stream)):
            for k, picture in enumerate(pictures_of(row[image], wanted.pictures, self._resolve)):
                key = f"{stem}-{number:08d}" + (f".{k}" if k else "")
                item = Item(key, split if kept else wanted.split(key), picture)
                text = row[caption] if caption else None
                item = captioned(item, partial(caption_text, text, wanted.encoding), wanted.missing_captions)
                values = {name: row[name] for name in wanted.labels}
                yield labelled(item, partial(named_classes, values, classes), wanted.labels)

    def _rows(self, stream: Any) -> Iterator[Any]:
        """The rows of a stream, its errors told as ours."""
        rows = iter(stream)
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except Exception as error:  # the library raises its own, Arrow's and the network's, of many kinds
                if (told := translated(error, self.ref, revision=self.revision)) is not None:
                    raise told.about("the dataset cannot be read", "the build goes on where it stopped") from None
                raise ConceptlibError(
                    f"the dataset cannot be read: {first_line(error)}",
                    where=self.ref,
                    hint="try again; the build goes on where it stopped",
                ) from error
            yield row

    def _loaded(self) -> tuple[dict[str, Any], bool]:
        """The stream of every split to read, and whether the splits are kept."""
        from datasets import load_dataset_builder

        try:
            builder = load_dataset_builder(self.ref, self.subset, revision=self.revision)
            self._check_files(builder)
            # Of a dataset whose card does not name its splits the files do.
            names = [str(name) for name in builder.info.splits or getattr(builder.config, "data_files", None) or []]
            chosen, kept = self._splits(names)
            self._tell_unread(builder, [name for name in names if name not in chain.from_iterable(chosen.values())])
            return {
                as_: _joined([builder.as_streaming_dataset(split=n) for n in own]) for as_, own in chosen.items()
            }, kept
        except ConceptlibError:
            raise
        except Exception as error:  # the library raises its own and the network's, of many kinds
            if (told := translated(error, self.ref, revision=self.revision)) is not None:
                raise told.about("the dataset cannot be opened") from None
            raise ConceptlibError(
                f"the dataset cannot be opened: {first_line(error)}",
                where=self.ref,
                hint="check its name, source_split, source_subset, and `hf auth login` for a gated one",
            ) from error

    def _tell_unread(self, builder: Any, names: list[str]) -> None:
        if self.split is None and not self._told:
            self._told = True
            known = builder.info.splits or {}
            tell_unread(self.ref, {name: getattr(known.get(name), "num_examples", None) for name in names})

    def _splits(self, names: list[str]) -> tuple[dict[str, list[str]], bool]:
        """The dataset's own splits to read, by what they are called here: `dev` and `validation` are one."""
        policy = self.reading.splits
        if self.split is not None:
            kept = policy == "keep"
            return {known_split(self.split) if kept else self.split: [self.split]}, kept
        called: dict[str, list[str]] = {}
        for name in names:
            called.setdefault(split_called(name) or name, []).append(name)
        known = {split: called[split] for split in SPLITS if split in called}
        if known and (policy == "keep" or (policy is None and is_layout(known))):
            return known, True
        return {"train": called.get("train", ["train"])}, False

    def _check_files(self, builder: Any) -> None:
        """The card's `data_files:` may name anything."""
        for files in (getattr(builder.config, "data_files", None) or {}).values():
            for name in map(str, files):
                if not self._is_own(name):
                    raise ConceptlibError(
                        f"its data_files lead out of the repository: {name[:200]}",
                        where=self.ref,
                        hint="only files of the dataset's own repository are read",
                    )

    def _is_own(self, address: str) -> bool:
        """Whether an address is a file of the repository, perhaps inside an archive of it."""
        own = rf"((zip|tar|gzip|bz2|xz)://[^:]*::)*hf://datasets/{re.escape(self.ref)}@{re.escape(self.revision)}/.+"
        return re.fullmatch(own, address) is not None and ".." not in address.split("/")

    def _resolve(self, name: str) -> Picture:
        if self._is_own(name):
            return fetch(name, (name.partition("://")[0],))
        if "://" in name:
            return fetch(name, self.reading.schemes)
        if leads_out(name):
            raise Reject("refused", f"{name[:200]}: the path leads out of the dataset")
        return fetch(f"hf://datasets/{self.ref}@{self.revision}/{name}", ("hf",))

    def _commit(self, revision: str | None) -> str:
        """The commit that a branch or tag means now: names move, and the lock must not."""
        try:
            found = hubfiles.listing(self.ref, revision, repo_type="dataset")
        except HubError as error:
            hint = "if it is a folder here, check the path"
            raise error.about(f"there is no such folder here, and no dataset {self.ref} was read", hint) from None
        hubfiles.tell(f"datasets/{self.ref}", found.commit, cache=found.cached)
        return found.commit

    def _column(self, what: str, name: str | None, usual: tuple[str, ...], columns: list[str]) -> str | None:
        if name is None:
            return next((c for c in usual if c in columns), None)
        if name not in columns:
            hint = f"{what}_column is one of: {', '.join(columns) or 'none'}"
            raise ConceptlibError(f"there is no column {name!r}", where=self.ref, hint=hint)
        return name


def _joined(streams: list[Any]) -> Any:
    """One stream of those of one split, one after the other."""
    if len(streams) == 1:
        return streams[0]
    from datasets import concatenate_datasets

    return concatenate_datasets(streams)
