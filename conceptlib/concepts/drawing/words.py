"""What overlays say: words of several scripts, made-up words, names, dates and prices.

The built-in agencies and names are invented.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Script:
    """words: real ones. ranges: code points that made-up words are drawn from. shaped: letters join or reorder.
    long: words are of several letters, not of two or three syllables or signs.
    """

    words: tuple[str, ...]
    ranges: tuple[tuple[int, int], ...]
    shaped: bool = False
    long: bool = True


_LATIN = """
the of and a to in is you that it he was for on are as with his they at be this have from or one had by word but
not what all were we when your can said there use an each which she do how their if will up other about out many
then them these so some her would make like him into time has look two more write go see number no way could
people my than first water been call who oil its now find long down day did get come made may part summer light
street night open market coffee sale today only fresh daily welcome home garden river house winter music train
station bread flowers north free happy
"""


def _script(words: str, *ranges: tuple[int, int], shaped: bool = False, long: bool = True) -> Script:
    return Script(tuple(words.split()), ranges, shaped, long)


SCRIPTS: dict[str, Script] = {
    "latin": _script(_LATIN, (0x61, 0x7A)),
    "cyrillic": _script(
        "мир дом свет вода хлеб рынок город утро лето друг книга река зима окно сад море кофе поезд",
        (0x430, 0x44F),
    ),
    "greek": _script(
        "φως νερο σπιτι δρομος αγορα πολη ημερα ψωμι βιβλιο θαλασσα φιλος ουρανος νησι καφες",
        (0x3B1, 0x3C1),
        (0x3C3, 0x3C9),
    ),
    "han": _script(
        "出口 入口 欢迎 商店 面包 早上 城市 春天 山水 大海 音乐 今天 书店 平安",
        (0x4E00, 0x4FFF),
        long=False,
    ),
    "kana": _script(
        "ありがとう さくら おはよう みせ えき まち やま うみ コーヒー パン ホテル タクシー",
        (0x3042, 0x3093),
        (0x30A2, 0x30F3),
        long=False,
    ),
    "hangul": _script(
        "안녕 시장 커피 바다 하늘 도시 기차 사랑 여름 겨울 음악 친구 오늘 가게",
        (0xAC00, 0xAE00),
        long=False,
    ),
    "arabic": _script(
        "سلام كتاب بيت مدينة سوق خبز ماء نور شمس بحر قهوة صباح",
        (0x628, 0x63A),
        (0x641, 0x64A),
        shaped=True,
    ),
    "hebrew": _script(
        "שלום בית ספר מים אור עיר שוק לחם קפה ים שמש בוקר",
        (0x5D0, 0x5EA),
        shaped=True,
    ),
    "devanagari": _script(
        "नमस्ते घर पानी शहर बाजार किताब सूरज चाय सुबह गाडी",
        (0x915, 0x928),
        (0x92A, 0x930),
        shaped=True,
    ),
    "thai": _script(
        "สวัสดี บ้าน ตลาด น้ำ เมือง กาแฟ ทะเล อาหาร เช้า",
        (0xE01, 0xE2E),
        shaped=True,
    ),
}

AGENCIES = (
    *("PIXLARK", "FOTOVANE", "STOCKMERE", "LUMENARC", "IMAGOLD", "SNAPHARBOR", "VISTAGRAIN", "FRAMEWELL"),
    *("oculine", "photonest", "shutterbay", "picvale", "Image Harbour", "Stock Orchard", "Blue Lantern", "North Lens"),
)
PROOFS = ("SAMPLE", "PROOF", "PREVIEW", "DRAFT", "COPY", "DEMO", "DO NOT COPY", "NOT FOR SALE", "CONFIDENTIAL")
FIRST = (
    "Anna",
    "Milo",
    "Clara",
    "Jonas",
    "Ines",
    "Tom",
    "Vera",
    "Leo",
    "Mara",
    "Felix",
    "Nora",
    "Emil",
    "Lena",
    "Oskar",
)
LAST = ("Holm", "Varga", "Lindt", "Moreau", "Castell", "Brandt", "Okafor", "Silva", "Novak", "Reyes", "Marlow", "Quist")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


def needs_shaping(text: str) -> bool:
    """Whether the letters must be joined, stacked or reordered: Hebrew to Thai, with everything Indic between."""
    return not text.isascii() and any(
        0x590 <= ord(letter) <= 0x109F or 0x1780 <= ord(letter) <= 0x17FF for letter in text
    )


def right_to_left(text: str) -> bool:
    """Whether the words of a line run from right to left."""
    return not text.isascii() and any(0x590 <= ord(letter) <= 0x8FF for letter in text)


def made_up(rng: np.random.Generator, script: str, has: Container[int] | None = None) -> str:
    """A word that does not exist: two to eight letters of the script, in Latin consonants and vowels by turns.

    has: the code points that may be used; None for all of the script.
    """
    length = int(rng.integers(3, 9))
    if script == "latin":
        sounds = ("bcdfghjklmnprstvwz", "aeiou")
        start = int(rng.integers(2))
        return "".join(sounds[(start + k) % 2][int(rng.integers(len(sounds[(start + k) % 2])))] for k in range(length))
    codes = [code for low, high in SCRIPTS[script].ranges for code in range(low, high + 1)]
    if has is not None:
        codes = [code for code in codes if code in has]
    if not SCRIPTS[script].long:
        length = max(2, length // 2)
    return "".join(chr(codes[int(rng.integers(len(codes)))]) for _ in range(length))


def choice(rng: np.random.Generator, options: Sequence[str]) -> str:
    """One of the options, uniformly."""
    return options[int(rng.integers(len(options)))]


def name(rng: np.random.Generator) -> str:
    """A photographer's name, as under a picture."""
    first, last = choice(rng, FIRST), choice(rng, LAST)
    form = int(rng.integers(4))
    if form == 0:
        return f"{first} {last}"
    if form == 1:
        return f"{first[0]}. {last}"
    return f"{first} {last} Photography" if form == 2 else f"© {first} {last}"


def date(rng: np.random.Generator) -> str:
    """A date as cameras burn it in."""
    year, month, day = int(rng.integers(1996, 2026)), int(rng.integers(1, 13)), int(rng.integers(1, 29))
    hour, minute = int(rng.integers(24)), int(rng.integers(60))
    forms = (
        f"{year}/{month:02}/{day:02}",
        f"'{year % 100:02} {month:2} {day:2}",
        f"{day:02}.{month:02}.{year}",
        f"{MONTHS[month - 1]} {day} {year}",
        f"{month:02}/{day:02}/{year} {hour:02}:{minute:02}",
        f"{year}-{month:02}-{day:02} {hour:02}:{minute:02}",
    )
    return " ".join(choice(rng, forms).split())


def price(rng: np.random.Generator, signs: Sequence[str]) -> str:
    """A price with one of the currency signs, before the number or after it."""
    number = f"{int(rng.integers(1, 100))}.{choice(rng, ('99', '50', '95', '00', '49', '90'))}"
    sign = choice(rng, signs)
    return f"{sign}{number}" if sign in "$£" else f"{number} {sign}"
