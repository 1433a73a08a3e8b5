"""The modules of a QR code (ISO/IEC 18004), versions 1 to 10, whose mode, version, error level and mask are given.

segno makes the same symbols; what it does module by module is done here for a whole symbol at once, which takes a tenth
of the time. Where the fixed patterns lie and how the codewords are parted into blocks is asked of segno, once a
version.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

ALPHANUMERIC = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_MODES = {"numeric": "0001", "alphanumeric": "0010", "byte": "0100", "kanji": "1000"}
# Bits of the character count: of versions 1 to 9, and from 10 on (table 3).
_COUNT_BITS = {"numeric": (10, 12), "alphanumeric": (9, 11), "byte": (8, 16), "kanji": (8, 10)}
_LEVELS = {"L": 1, "M": 0, "Q": 3, "H": 2}


def modules(payload: str, mode: str, version: int, level: str, mask: int) -> np.ndarray:
    """The symbol: bool (side, side), True for dark, without quiet zone.

    Args:
        payload: only characters of `mode`; fits the version and level.
        mode: numeric, alphanumeric, byte or kanji.
        version: 1 to 10. level: error correction, L, M, Q or H. mask: 0 to 7.

    Raises:
        ValueError: the payload is too long.
    """
    fixed, free = _layout(version)
    bits = np.unpackbits(_codewords(_data(payload, mode, version, level), version, level))
    out = fixed.copy()
    out[free[: len(bits), 0], free[: len(bits), 1]] = bits  # the few modules beyond stay light
    out[free[:, 0], free[:, 1]] ^= _mask(version, mask)
    _set_format(out, level, mask)
    return out


def _data(payload: str, mode: str, version: int, level: str) -> np.ndarray:
    """Data codewords (section 7.4): mode, count, characters, terminator, padding."""
    if mode == "numeric":
        groups = [payload[k : k + 3] for k in range(0, len(payload), 3)]
        text = "".join(f"{int(group):0{(0, 4, 7, 10)[len(group)]}b}" for group in groups)
    elif mode == "alphanumeric":
        values = [ALPHANUMERIC.index(character) for character in payload]
        text = "".join(f"{a * 45 + b:011b}" for a, b in zip(values[::2], values[1::2], strict=False))
        text += f"{values[-1]:06b}" if len(values) % 2 else ""
    elif mode == "byte":
        text = "".join(f"{byte:08b}" for byte in payload.encode("latin-1"))
    else:
        pairs = payload.encode("shift_jis")
        values = [(a << 8 | b) - (0x8140 if a < 0xE0 else 0xC140) for a, b in zip(pairs[::2], pairs[1::2], strict=True)]
        text = "".join(f"{(value >> 8) * 0xC0 + (value & 0xFF):013b}" for value in values)
    text = f"{_MODES[mode]}{len(payload):0{_COUNT_BITS[mode][version >= 10]}b}{text}"
    room = sum(count * data for count, _, data in _blocks(version, level))
    if len(text) > 8 * room:
        raise ValueError(f"{len(text)} bits do not fit {room} codewords")
    text += "0" * min(4, 8 * room - len(text))
    # As segno 1.6: a whole zero codeword where the last one is full, which readers do not mind.
    text = (text + "0" * (8 - len(text) % 8))[: 8 * room]
    codewords = np.frombuffer(int(text, 2).to_bytes(len(text) // 8, "big"), np.uint8)
    return np.concatenate([codewords, np.resize(np.array([0xEC, 0x11], np.uint8), room - len(codewords))])


def _codewords(data: np.ndarray, version: int, level: str) -> np.ndarray:
    """Data and error correction codewords of all blocks, interleaved (section 7.6)."""
    order, starts = _order(version, level)
    corrections = []
    for start, count, checks in starts:
        products = _times(data[start : start + count, None], _remainders(count, checks))
        corrections.append(np.bitwise_xor.reduce(products, 0))
    return np.concatenate([data[order], np.stack(corrections, 1).reshape(-1)])


def _blocks(version: int, level: str) -> list[tuple[int, int, int]]:
    """Kinds of blocks: how many, their codewords, and how many of these are data (table 9)."""
    from segno import consts

    table: Any = consts.ECC
    return [tuple(kind) for kind in table[version][_LEVELS[level]]]


@lru_cache(maxsize=40)
def _order(version: int, level: str) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """The order of the data codewords in the symbol; and of every block its first one, how many, and its checks."""
    starts: list[tuple[int, int, int]] = []
    place: list[tuple[int, int]] = []
    for count, total, data in _blocks(version, level):
        for _ in range(count):
            place += [(k, len(starts)) for k in range(data)]
            starts.append((len(place) - data, data, total - data))
    return np.array(sorted(range(len(place)), key=place.__getitem__)), starts


def _field() -> tuple[np.ndarray, np.ndarray]:
    """Powers of 2 in GF(256) modulo x^8 + x^4 + x^3 + x^2 + 1, twice over, then zeros, where sums with the logarithm
    given to 0 lie; and logarithms.
    """
    powers, logs, value = np.zeros(1025, np.uint8), np.full(256, 512), 1
    for k in range(255):
        powers[k] = powers[k + 255] = value
        logs[value] = k
        value = value << 1 ^ (0x11D if value & 0x80 else 0)
    return powers, logs


_EXP, _LOG = _field()


def _times(a: np.ndarray | int, b: np.ndarray) -> np.ndarray:
    """Products in the field, element by element."""
    return _EXP[_LOG[a] + _LOG[b]]


@lru_cache(maxsize=64)
def _remainders(count: int, checks: int) -> np.ndarray:
    """The checks (count, checks) that a 1 at each data codeword's place brings: Reed-Solomon is linear."""
    generator = np.array([1], np.uint8)
    for k in range(checks):
        generator = np.append(generator, np.uint8(0)) ^ np.append(np.uint8(0), _times(int(_EXP[k]), generator))
    rows = np.zeros((count, checks), np.uint8)
    rest = generator[1:]
    for k in reversed(range(count)):
        rows[k] = rest
        rest = np.append(rest[1:], np.uint8(0)) ^ _times(int(rest[0]), generator[1:])
    return rows


@lru_cache(maxsize=10)
def _layout(version: int) -> tuple[np.ndarray, np.ndarray]:
    """The fixed patterns, bool (side, side), and the other modules (n, 2), row and column, in the order of the bits
    (section 7.7.3): upwards and downwards in columns of two, from the right.
    """
    import segno
    from segno import consts

    symbol = segno.make_qr("1", version=version, error="L", mode="numeric", boost_error=False, mask=0)
    kinds = np.array([list(row) for row in symbol.matrix_iter(border=0, verbose=True)])
    open_ = np.isin(kinds, (consts.TYPE_DATA_DARK, consts.TYPE_DATA_LIGHT))
    open_[8, -9] = True  # segno 1.6 takes it for a part of the format information
    fixed = np.array([list(row) for row in symbol.matrix], bool) & ~open_
    side = len(fixed)
    free = []
    for number, right in enumerate([*range(side - 1, 6, -2), *range(5, 0, -2)]):  # column 6 is a fixed pattern
        for row in range(side) if number % 2 else reversed(range(side)):
            free += [(row, column) for column in (right, right - 1) if open_[row, column]]
    return fixed, np.array(free)


@lru_cache(maxsize=80)
def _mask(version: int, mask: int) -> np.ndarray:
    """Which of the free modules a mask turns over (table 10)."""
    i, j = _layout(version)[1].T
    product = i * j
    values = (
        *((i + j) % 2, i % 2, j % 3, (i + j) % 3, (i // 2 + j // 3) % 2, product % 2 + product % 3),
        *((product % 2 + product % 3) % 2, ((i + j) % 2 + product % 3) % 2),
    )
    return values[mask] == 0


def _set_format(out: np.ndarray, level: str, mask: int) -> None:
    """Write level and mask, with their BCH code, at both places (section 7.9)."""
    data = _LEVELS[level] << 3 | mask
    rest = data
    for _ in range(10):
        rest = rest << 1 ^ (rest >> 9) * 0x537
    bits = (data << 10 | rest) ^ 0x5412
    one = np.array([bits >> k & 1 for k in range(15)], bool)
    out[[0, 1, 2, 3, 4, 5, 7, 8], 8] = one[:8]
    out[8, [7, 5, 4, 3, 2, 1, 0]] = one[8:]
    out[8, -1:-9:-1] = one[:8]
    out[-7:, 8] = one[8:]
