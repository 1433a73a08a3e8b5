"""Fonts: Pillow's own, the system's, or those of a folder; and which characters each of them has.

    fonts = find_fonts("default").fonts                   # Pillow's own: Latin, the same on every machine
    fonts = find_fonts("system").fonts                    # Pillow's own and the system's
    fonts[0].has("SALE"), fonts[0].at(32.0)

A font is used only for text all of whose characters it has. What cannot be used (bitmaps, symbols, placeholders,
damaged files) is left out with a reason.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

from conceptlib.concepts.drawing.words import SCRIPTS, needs_shaping
from conceptlib.errors import ConceptlibError
from conceptlib.store.hashing import sha256_bytes, sha256_file

SUFFIXES = (".ttf", ".otf", ".ttc")
_HANDWRITING = ("script", "hand", "brush", "cursive", "callig", "chancery", "italic", "oblique")


@dataclass(frozen=True)
class Font:
    """One face of a font file.

    Args:
        name: family and style.
        path: the file; empty for Pillow's own font.
        index: which face of the file.
        sha256: of the file.
    """

    name: str
    path: str
    index: int
    sha256: str

    def at(self, size: float, text: str = "") -> ImageFont.FreeTypeFont:
        """The face at `size` pixels per em (rounded to quarters), with the layout engine that `text` needs."""
        return _load(self, round(size * 4) / 4, needs_shaping(text))

    def has(self, text: str) -> bool:
        """Whether every character has a glyph, and the letters can be joined as their script wants."""
        if needs_shaping(text) and not shaping():
            return False
        return all(ord(character) in self.glyphs for character in text if not character.isspace())

    @property
    def glyphs(self) -> frozenset[int]:
        """The code points that it has a glyph of."""
        return _glyphs(self)

    @property
    def handwriting(self) -> bool:
        """Whether the name says that it looks like handwriting, or at least leans."""
        return any(word in self.name.lower() for word in _HANDWRITING)

    @property
    def scripts(self) -> tuple[str, ...]:
        """The scripts of `words.SCRIPTS` that it has the words of."""
        return _scripts(self)


@dataclass(frozen=True)
class Found:
    """The fonts in a fixed order, by name and hash, and those left out with the reason."""

    fonts: tuple[Font, ...]
    skipped: dict[str, str] = field(default_factory=dict)

    def lock(self) -> dict[str, object]:
        """What decides how letters look: names and hashes of the files, and the libraries that draw them."""
        return {
            "files": [{"name": font.name, "index": font.index, "sha256": font.sha256} for font in self.fonts],
            "skipped": dict(sorted(self.skipped.items())),
            "freetype": features.version("freetype2"),
            "raqm": features.version("raqm") if shaping() else None,
        }


def find_fonts(where: str = "default") -> Found:
    """The usable fonts.

    Args:
        where: `default` (Pillow's own), `system` (that and the system's) or a folder, searched with its subfolders.

    Raises:
        ConceptlibError: no such folder, or no usable font in it.
    """
    if where == "default":
        return Found((own(),))
    if where == "system":
        found = _read(_files(system_folders()))
        return Found(_ordered([own(), *found.fonts]), found.skipped)
    folder = Path(where).expanduser()
    if not folder.is_dir():
        raise ConceptlibError(
            "there is no such folder of fonts", where=where, hint="fonts is `default`, `system` or a folder"
        )
    found = _read(_files([folder]))
    if not found.fonts:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in sorted(found.skipped.items())[:3])
        raise ConceptlibError(
            f"the folder has no usable font{': ' + reasons if reasons else ''}",
            where=where,
            hint=f"put {', '.join(SUFFIXES)} files there, or take fonts=default",
        )
    return found


def shaping() -> bool:
    """Whether Pillow can join and reorder letters (libraqm), which Arabic, Hebrew and the Indic scripts need."""
    return bool(features.check("raqm") and features.check("fribidi"))


def system_folders() -> list[Path]:
    """Where this system keeps its fonts; those that exist."""
    home = Path.home()
    if sys.platform == "darwin":
        folders = [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    elif sys.platform == "win32":
        folders = [
            Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts",
            home / "AppData/Local/Microsoft/Windows/Fonts",
        ]
    else:
        data = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
        own_data = os.environ.get("XDG_DATA_HOME") or home / ".local/share"
        folders = [*(Path(part) / "fonts" for part in data.split(":")), Path(own_data) / "fonts", home / ".fonts"]
    return [folder for folder in folders if folder.is_dir()]


@lru_cache(maxsize=1)
def own() -> Font:
    """Pillow's own font."""
    font = _load_own(32)
    return Font(" ".join(part for part in font.getname() if part), "", 0, sha256_bytes(_own_bytes()))


def _own_bytes() -> bytes:
    held = _load_own(32).path
    if not isinstance(held, io.BytesIO):
        raise TypeError("Pillow holds its own font in another way than this was written for")
    return held.getvalue()


def _files(folders: Sequence[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _read(files: Iterator[Path]) -> Found:
    fonts, skipped = [], {}
    for path in files:
        try:
            sha256 = sha256_file(path)
            for index in range(_faces(path)):
                face = ImageFont.truetype(str(path), 32, index=index, layout_engine=ImageFont.Layout.BASIC)
                name = " ".join(part for part in face.getname() if part) or path.stem
                font = Font(name, str(path), index, sha256)
                if reason := _unusable(font):
                    skipped[name] = reason
                else:
                    fonts.append(font)
        except Exception as error:  # FreeType and fontTools raise whatever a damaged file leads them to
            skipped[path.name] = f"cannot be read ({type(error).__name__})"
    return Found(_ordered(fonts), skipped)


def _ordered(fonts: Sequence[Font]) -> tuple[Font, ...]:
    unique = {(font.sha256, font.index): font for font in fonts}
    return tuple(sorted(unique.values(), key=lambda font: (font.name, font.sha256, font.index)))


def _faces(path: Path) -> int:
    if path.suffix.lower() != ".ttc":
        return 1
    from fontTools.ttLib import TTCollection

    with TTCollection(str(path), lazy=True) as collection:
        return len(collection.fonts)


def _unusable(font: Font) -> str:
    """Why a face cannot be used, or nothing."""
    if not font.scripts:
        return "has the letters of no script"
    sample = SCRIPTS[font.scripts[0]].words[0]
    drawn = set()
    for letter in sorted(set(sample)):
        mask = Image.new("L", (64, 64))
        ImageDraw.Draw(mask).text((8, 48), letter, fill=255, font=font.at(32, letter), anchor="ls")
        drawn.add(mask.tobytes() if mask.getbbox() else b"")
    # A font of placeholders draws one box for every letter.
    return "draws blanks or placeholders" if b"" in drawn or len(drawn) < min(2, len(set(sample))) else ""


def _load_own(size: float) -> ImageFont.FreeTypeFont:
    loaded = ImageFont.load_default(size)
    if not isinstance(loaded, ImageFont.FreeTypeFont):
        raise ConceptlibError(
            "this Pillow was built without FreeType", where="pillow", hint="install Pillow's own wheel"
        )
    return loaded


@lru_cache(maxsize=512)
def _load(font: Font, size: float, shaped: bool) -> ImageFont.FreeTypeFont:
    if not font.path:
        return _load_own(size)
    engine = ImageFont.Layout.RAQM if shaped else ImageFont.Layout.BASIC
    return ImageFont.truetype(font.path, size, index=font.index, layout_engine=engine)


@lru_cache(maxsize=4096)
def _glyphs(font: Font) -> frozenset[int]:
    from fontTools.ttLib import TTFont

    data = io.BytesIO(_own_bytes()) if not font.path else font.path
    with TTFont(data, fontNumber=font.index, lazy=True) as opened:
        table = opened.getBestCmap() or {}
        return frozenset(code for code, glyph in table.items() if glyph != ".notdef")


@lru_cache(maxsize=4096)
def _scripts(font: Font) -> tuple[str, ...]:
    return tuple(name for name, script in SCRIPTS.items() if font.has("".join(script.words)))


def pick(rng: np.random.Generator, fonts: Sequence[Font], text: str = "", handwriting: bool = False) -> Font | None:
    """One of the fonts that have every character of `text`, uniformly; of the handwriting-like ones where wanted and
    there are any. None if no font has them.
    """
    usable = [font for font in fonts if font.has(text)]
    if handwriting:
        usable = [font for font in usable if font.handwriting] or usable
    return usable[int(rng.integers(len(usable)))] if usable else None
