"""What lies in the store's folders, by their names alone: one odd folder never stops the rest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from conceptlib.store import kinds
from conceptlib.store.layout import Layout


@dataclass
class Present:
    """``folders``: every artifact's folder, relative to the store's root (``artifacts/<kind>/<name>/<id>``; bytes that
    are no UTF-8 stand as ``os.fsdecode`` writes them). ``unreadable``: folders that cannot be looked into, and why.
    """

    folders: set[str] = field(default_factory=set)
    unreadable: dict[str, str] = field(default_factory=dict)

    def hides(self, folder: str) -> bool:
        """Whether an artifact's folder lies where nobody could look, so that its absence says nothing."""
        kind, _, rest = folder.removeprefix("artifacts/").partition("/")
        above = ("artifacts", f"artifacts/{kind}", f"artifacts/{kind}/{rest.partition('/')[0]}")
        return any(one in self.unreadable for one in above) or folder in self.unreadable


def scan(layout: Layout, kind: str | None = None, name_folder: str | None = None) -> Present:
    """All of the store, or the artifacts of one kind, or of one name's folder in it. Reads folders only."""
    present = Present()
    for one in [kind] if kind else kinds.names():
        above = f"artifacts/{one}"
        names = [name_folder] if name_folder else list(_subfolders(layout.root, above, present))
        for name in names:
            inside = f"{above}/{name}"
            present.folders.update(f"{inside}/{found}" for found in _subfolders(layout.root, inside, present))
    return present


def name_stamps(layout: Layout) -> Iterator[tuple[str, int, int]]:
    """(folder, mtime in ns, inode) of every name's folder: it changes when an artifact comes to it or goes."""
    for kind in kinds.names():
        folder = layout.artifacts / kind
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    try:
                        status = entry.stat()
                        yield f"{kind}/{entry.name}", status.st_mtime_ns, status.st_ino
                    except OSError:
                        yield f"{kind}/{entry.name}", 0, 0
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            yield f"{kind}: {error.errno}", 0, 0


def _subfolders(root: Path, folder: str, present: Present) -> Iterator[str]:
    """The names of the folders in ``folder``; what cannot be looked at is noted instead."""
    try:
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                try:
                    if entry.is_dir():
                        yield entry.name
                except OSError as error:  # a link that leads in a circle, or to where we may not look
                    present.unreadable[f"{folder}/{entry.name}"] = error.strerror or str(error)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        present.unreadable[folder] = error.strerror or str(error)
