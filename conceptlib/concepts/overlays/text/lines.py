"""Lines of text: a word, a caption on a plate, a subtitle, a meme, a paragraph. Size: 1 em."""

from __future__ import annotations

from PIL import Image, ImageDraw

from conceptlib.concepts.drawing.layers import Ink, Tile, tile, turned
from conceptlib.concepts.drawing.layers import plain as inked
from conceptlib.concepts.drawing.letters import Piece, set_lines
from conceptlib.concepts.drawing.sketch import BLACK, WHITE, Drawing, Sketch, text_of


def word(sketch: Sketch) -> Drawing:
    """One or two words anywhere, sometimes outlined."""
    writer, em = sketch.writer(), sketch.scale
    lines = writer.lines(em, 0.9 * sketch.size[0], 1, 1 + int(sketch.chance(0.3)), upper=sketch.chance(0.5))
    edge = max(1, round(em * 0.06)) if sketch.chance(0.3) else 0
    piece = set_lines(lines, writer.font, em, edge=edge)
    center = sketch.anywhere(piece.size)
    ink = ink_for(sketch, piece, center)
    made = inked(piece, ink, opposite(ink), sketch.shadow, em * 0.06)
    return Drawing(made, turned(piece.size, center, sketch.rotation), text_of(lines), _about(writer.font.name, ink))


def caption(sketch: Sketch) -> Drawing:
    """One or two lines at the top or bottom: on a plate of their own, on a bar across the picture, or bare."""
    writer, em = sketch.writer(), sketch.scale
    margin = 0.04 * sketch.short
    width = sketch.size[0] - 2 * margin - 2 * em
    lines = writer.lines(em, width, 1 + int(sketch.chance(0.4)), 10)
    align = sketch.choose(("left", "center"))
    piece = set_lines(lines, writer.font, em, align=align)
    place = sketch.choose(("bottom", "bottom", "top"))
    form = sketch.choose(("plate", "bar", "bare"))
    if form == "bare":
        center = sketch.at_edge(piece.size, place + (" left" if align == "left" else ""), margin)
        ink = ink_for(sketch, piece, center)
        made = inked(piece, ink, shadow=sketch.shadow or 0.5, depth=em * 0.06)
        size = piece.size
    else:
        ink, ground = (BLACK, WHITE) if sketch.chance(0.4) else (WHITE, (18, 18, 22))
        pad = (round(0.5 * em), round(0.35 * em))
        size = (sketch.size[0] if form == "bar" else piece.size[0] + 2 * pad[0], piece.size[1] + 2 * pad[1])
        at = (pad[0] if align == "left" else (size[0] - piece.size[0]) // 2, pad[1])
        made = on_plate(piece, rounded(size, 0 if form == "bar" else 0.15 * em), at, ink, ground)
        edge = 0.0 if form == "bar" else margin
        center = sketch.at_edge(size, place + (" left" if align == "left" and form == "plate" else ""), edge)
    return Drawing(
        made, turned(size, center, sketch.rotation), text_of(lines), _about(writer.font.name, ink, form=form)
    )


def subtitle(sketch: Sketch) -> Drawing:
    """One or two centred lines above the bottom, white or yellow with a dark outline."""
    writer, em = sketch.writer(), sketch.scale
    lines = writer.lines(em, 0.86 * sketch.size[0], 1 + int(sketch.chance(0.5)), 7)
    piece = set_lines(lines, writer.font, em, align="center", edge=max(1, round(em * 0.07)))
    ink = WHITE if sketch.chance(0.7) else (255, 232, 64)
    center = sketch.at_edge(piece.size, "bottom", 0.05 * sketch.short)
    made = inked(piece, ink, BLACK, sketch.shadow, em * 0.05)
    return Drawing(made, turned(piece.size, center, sketch.rotation), text_of(lines), _about(writer.font.name, ink))


def meme(sketch: Sketch) -> Drawing:
    """Large white capitals with a thick black outline, at the top or the bottom."""
    writer, em = sketch.writer(), sketch.scale
    lines = writer.lines(em, 0.92 * sketch.size[0], 1 + int(sketch.chance(0.35)), 5, upper=True)
    piece = set_lines(lines, writer.font, em, align="center", spacing=1.1, edge=max(1, round(em * 0.08)))
    center = sketch.at_edge(piece.size, sketch.choose(("top", "bottom")), 0.03 * sketch.short)
    made = inked(piece, WHITE, BLACK)
    return Drawing(made, turned(piece.size, center, sketch.rotation), text_of(lines), _about(writer.font.name, WHITE))


def paragraph(sketch: Sketch) -> Drawing:
    """Three to seven lines of small text, on a sheet or bare."""
    writer, em = sketch.writer(), sketch.scale
    width = sketch.uniform(0.4, 0.75) * sketch.size[0]
    lines = writer.lines(em, width, int(sketch.rng.integers(3, 8)))
    piece = set_lines(lines, writer.font, em, align=sketch.choose(("left", "left", "center")), spacing=1.35)
    if sketch.chance(0.5):
        pad = round(em)
        size = (piece.size[0] + 2 * pad, piece.size[1] + 2 * pad)
        ink, ground = sketch.choose(((BLACK, WHITE), ((40, 32, 24), (244, 236, 214)), (WHITE, (30, 34, 44))))
        made = on_plate(piece, rounded(size, 0), (pad, pad), ink, ground, sketch.shadow, em * 0.2)
        center = sketch.anywhere(size)
    else:
        size, center = piece.size, sketch.anywhere(piece.size)
        ink = ink_for(sketch, piece, center)
        made = inked(piece, ink, shadow=sketch.shadow, depth=em * 0.06)
    return Drawing(made, turned(size, center, sketch.rotation), text_of(lines), _about(writer.font.name, ink))


def on_plate(
    piece: Piece,
    plate: Image.Image,
    at: tuple[int, int],
    ink: Ink,
    ground: Ink,
    shadow: float = 0.0,
    depth: float = 0.0,
) -> Tile:
    """Letters at a place of a plate (L mask) of the colour `ground`."""
    letters = Image.new("L", plate.size)
    letters.paste(piece.fill, at)
    return tile([(plate, ground), (letters, ink)], [box.moved(*at) for box in piece.parts], shadow, depth)


def rounded(size: tuple[int, int], radius: float) -> Image.Image:
    """The mask of a rectangle with round corners, edges antialiased."""
    if radius < 1:
        return Image.new("L", size, 255)
    mask = Image.new("L", size, 255)
    r = min(round(radius), *(side // 2 for side in size))
    corner = Image.new("L", (4 * r, 4 * r))
    ImageDraw.Draw(corner).ellipse((0, 0, 8 * r - 1, 8 * r - 1), fill=255)
    corner = corner.reduce(4)
    for x, y, turn in ((0, 0, None), (size[0] - r, 0, 0), (0, size[1] - r, 1), (size[0] - r, size[1] - r, 3)):
        mask.paste(corner if turn is None else corner.transpose(Image.Transpose(turn)), (x, y))
    return mask


def ink_for(sketch: Sketch, piece: Piece, center: tuple[float, float]) -> Ink:
    """One of the inks; mostly the one that is furthest from how light the picture is there."""
    inks = sketch.params.inks
    if sketch.chance(0.15) and not sketch.contrast:
        return sketch.choose(inks)
    light = sketch.luminance(center, piece.size)
    far = sorted(inks, key=lambda ink: -abs(lightness(ink) - light))
    return sketch.choose(far[: max(1, len(far) // 2)])


def lightness(ink: Ink) -> float:
    """Luma, 0 to 255."""
    return 0.299 * ink[0] + 0.587 * ink[1] + 0.114 * ink[2]


def opposite(ink: Ink) -> Ink:
    """Black for light inks, white for dark ones."""
    return BLACK if lightness(ink) > 110 else WHITE


def _about(font: str, ink: Ink, **more: str) -> dict[str, object]:
    return {"font": font, "ink": list(ink), **more}
