"""A before/after picture that explains itself: headings, the caption over each column, and a frame around what the
detector found.

    before = Panel("before", "QR code in 34 % of 512 pictures", images, detections)
    after = Panel("after erasing QR codes", "QR code in 3 % of 512 pictures", ...)
    grid([before, after], captions, title="Same caption, same seed", footer="Red frame: ...").save("grid.png")

Columns are captions, one band a panel; more captions than `columns` start a new block. Drawn with Pillow and the font
inside it, so the same input gives the same picture on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from PIL import Image, ImageDraw, ImageFont

from conceptlib.errors import ConceptlibError
from conceptlib.geometry import Detections

INK, PALE, PAPER, LINE, FRAME = (28, 28, 32), (105, 105, 112), (255, 255, 255), (218, 218, 222), (230, 0, 60)
MARGIN, GAP = 24, 12
FRAMES = (FRAME, (0, 104, 255), (255, 150, 0), (0, 160, 90), (150, 60, 220), (0, 175, 200))
"""Colours of frames where a legend tells labels apart; further labels begin again."""
THICK = 3


@dataclass(frozen=True)
class Panel:
    """One band of the grid: what one model drew.

    Args:
        heading: in large type, such as "before"; no line if it and the note are empty.
        note: one line under it, such as the concept rate; may be empty.
        images: RGB pictures of any size, one a caption.
        detections: what was found in each (boxes in pixels of that picture); empty sequence for no frames at all.
    """

    heading: str
    note: str
    images: Sequence[Image.Image]
    detections: Sequence[Detections] = field(default_factory=tuple)


def grid(
    panels: Sequence[Panel],
    captions: Sequence[str],
    *,
    title: str = "",
    footer: str = "",
    legend: Sequence[str] = (),
    columns: int = 6,
    cell: int = 176,
    quoted: bool = True,
) -> Image.Image:
    """Draw the grid.

    Args:
        panels: at least one; each has an image (and, if any, detections) for every caption.
        captions: one a column.
        title, footer: wrapped to the picture's width.
        legend: labels whose frames have colours of their own, told below the grid; without it every frame is red and
            has its label on a tag, which hides a little of the picture.
        columns: captions a block, 1 or more.
        cell: side of a picture in pixels; pictures keep their shape and are centred in it.
        quoted: captions are set in quotation marks.

    Returns:
        An RGB picture.

    Raises:
        ConceptlibError: there is nothing to draw, or the lengths differ.
    """
    if not panels or not captions:
        raise ConceptlibError("a grid needs at least one panel and one caption")
    for panel in panels:
        for name, items in (("images", panel.images), ("detections", panel.detections)):
            if len(items) != len(captions) and (name == "images" or items):
                raise ConceptlibError(f"panel {panel.heading!r} has {len(items)} {name} for {len(captions)} captions")
    columns = min(columns, len(captions))
    colours = {label: FRAMES[k % len(FRAMES)] for k, label in enumerate(legend)}
    width = 2 * MARGIN + columns * cell + (columns - 1) * GAP
    pen = _Pen(width)
    pen.text(title, 24, INK, after=8)
    for start in range(0, len(captions), columns):
        block = range(start, min(start + columns, len(captions)))
        lefts = [MARGIN + k * (cell + GAP) for k in range(len(block))]
        pen.rule()
        pen.columns([f"“{captions[i]}”" if quoted else captions[i] for i in block], lefts, cell, 14, INK)
        for panel in panels:
            pen.heading(panel.heading, panel.note)
            pen.pictures([_tile(panel, i, cell, colours) for i in block], lefts, cell)
    pen.rule()
    pen.legend(colours)
    pen.text(footer, 14, PALE, after=0)
    return pen.finish()


def _tile(panel: Panel, index: int, cell: int, colours: Mapping[str, tuple[int, int, int]]) -> Image.Image:
    """One picture scaled to fit `cell`, with a frame around each detection, and a name tag if `colours` lacks it.

    A frame lies outside its box, as far as there is room: a line of text is not much higher than the frame is thick.
    """
    picture = panel.images[index].convert("RGB")
    scale = cell / max(picture.size)
    tile = picture.resize(
        (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), Image.Resampling.BICUBIC
    )
    found = panel.detections[index] if panel.detections else Detections.empty()
    draw, font = ImageDraw.Draw(tile), typeface(11)
    for (x1, y1, x2, y2), label in zip(found.boxes * scale, found.labels, strict=True):
        ends = min(tile.width - 1, max(x1, x2 - 1) + THICK), min(tile.height - 1, max(y1, y2 - 1) + THICK)
        draw.rectangle((max(0, x1 - THICK), max(0, y1 - THICK), *ends), outline=colours.get(label, FRAME), width=THICK)
        if label in colours:
            continue
        wide = draw.textlength(label, font=font) + 8
        left = min(max(0.0, float(x1)), max(0.0, tile.width - wide))
        top = float(y1) - 15 - THICK if y1 >= 15 + THICK else min(float(y2) + THICK, tile.height - 15)
        draw.rectangle((left, top, left + wide, top + 15), fill=FRAME)
        draw.text((left + 4, top + 1), label, font=font, fill=PAPER)
    return tile


class _Pen:
    """A page that grows downwards."""

    def __init__(self, width: int) -> None:
        self.width, self.y = width, MARGIN
        self.page = Image.new("RGB", (width, 256), PAPER)

    def _grow(self, height: int) -> ImageDraw.ImageDraw:
        """Make room for `height` more pixels (and a margin) below the pen."""
        if self.y + height + MARGIN > self.page.height:
            taller = Image.new("RGB", (self.width, 2 * self.page.height + height), PAPER)
            taller.paste(self.page, (0, 0))
            self.page = taller
        return ImageDraw.Draw(self.page)

    def text(self, text: str, size: int, ink: tuple[int, int, int], after: int) -> None:
        self.columns([text] if text else [], [MARGIN], self.width - 2 * MARGIN, size, ink)
        self.y += after if text else 0

    def columns(
        self, texts: Sequence[str], lefts: Sequence[int], width: int, size: int, ink: tuple[int, int, int]
    ) -> None:
        """Wrapped texts side by side."""
        font, step = typeface(size), round(size * 1.3)
        wrapped = [_wrap(text, font, width) for text in texts]
        height = max((len(lines) * step for lines in wrapped), default=0)
        draw = self._grow(height)
        for left, lines in zip(lefts, wrapped, strict=False):
            for k, line in enumerate(lines):
                draw.text((left, self.y + k * step), line, font=font, fill=ink)
        self.y += height

    def heading(self, heading: str, note: str) -> None:
        self.y += 10
        if not heading and not note:
            return
        room, font = self.width - 2 * MARGIN, typeface(20)
        left = MARGIN + font.getlength(heading) + 14
        if left + typeface(14).getlength(note) <= self.width - MARGIN:
            draw = self._grow(30)
            draw.text((MARGIN, self.y), heading, font=font, fill=INK)
            draw.text((left, self.y + 5), note, font=typeface(14), fill=PALE)
            self.y += 30
            return
        self.columns([heading], [MARGIN], room, 20, INK)  # too long for one line: no word of either is cut
        self.columns([note], [MARGIN], room, 14, PALE)
        self.y += 4

    def pictures(self, tiles: Sequence[Image.Image], lefts: Sequence[int], cell: int) -> None:
        height = max(tile.height for tile in tiles)
        draw = self._grow(height)
        for left, tile in zip(lefts, tiles, strict=True):
            x, y = left + (cell - tile.width) // 2, self.y + (height - tile.height) // 2
            self.page.paste(tile, (x, y))
            draw.rectangle((x - 1, y - 1, x + tile.width, y + tile.height), outline=LINE)
        self.y += height

    def legend(self, colours: Mapping[str, tuple[int, int, int]]) -> None:
        """A coloured square and its label, side by side, in as many lines as they need."""
        font, left, side = typeface(14), MARGIN, 12
        for label, colour in colours.items():
            wide = side + 8 + round(font.getlength(label))
            if left > MARGIN and left + wide > self.width - MARGIN:
                left, self.y = MARGIN, self.y + 20
            draw = self._grow(20)
            draw.rectangle((left, self.y + 3, left + side, self.y + 3 + side), outline=colour, width=THICK)
            draw.text((left + side + 8, self.y), label, font=font, fill=INK)
            left += wide + 24
        self.y += 22 if colours else 0

    def rule(self) -> None:
        self.y += 12
        self._grow(14).line((MARGIN, self.y, self.width - MARGIN, self.y), fill=LINE)
        self.y += 12

    def finish(self) -> Image.Image:
        self._grow(0)
        return self.page.crop((0, 0, self.width, self.y + MARGIN))


def typeface(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font inside Pillow, in pixels."""
    return ImageFont.load_default(size)


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> list[str]:
    """Break at spaces so that each line is at most `width` wide; a single longer word goes on in the next line."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            joined = f"{line} {word}".strip()
            if line and font.getlength(joined) > width:
                lines.append(line)
                joined = word
            while font.getlength(joined) > width and len(joined) > 1:
                fits = next(n for n in range(len(joined) - 1, 0, -1) if n == 1 or font.getlength(joined[:n]) <= width)
                lines.append(joined[:fits])
                joined = joined[fits:]
            line = joined
        lines.append(line)
    return lines
