"""Weights that are pickles, looked at before they are opened: what would take more memory or time than the file's size
accounts for is refused.

`torch.load(weights_only=True)` runs nothing of a stranger's pickle, but it unpacks what is packed, and a few bytes of a
pickle can stand for a structure of any size. So a file is read as a list of opcodes first, on a stack that holds only
how large each thing would be, written out.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from conceptlib.errors import ConceptlibError

UNPACKED = 4
"""Times the file's size that its entries may unpack to: torch packs nothing, and weights hardly shrink."""
SLACK = 1 << 20
MAX_ENTRIES = 200_000
MAX_OPCODES = 1_000_000
"""About 40 a tensor are usual; a million are read in two seconds."""
MAX_WEIGHT = 64_000_000
"""Objects and characters that a pickle's structure may come to, written out."""
_TRAINERS = ("pytorch_lightning.", "lightning.")
_GROWING = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD")
_TAKES = {opcode.name: [item.name for item in opcode.stack_before] for opcode in pickletools.opcodes}
_PICKLES = 5
"""An old file begins with so many: a number, a version, the machine, the weights, their storages' keys."""


def is_pickle(path: Path) -> bool:
    """Whether a file is a pickle, by its first bytes: a zip, or 0x80; a safetensors file is the length of its header
    in eight bytes, then JSON.
    """
    with path.open("rb") as file:
        head = file.read(9)
    return head[:2] == b"PK" or (head[:1] == b"\x80" and head[8:] != b"{")


def read_weights(path: Path) -> Any:
    """What is in a file of safetensors or of `torch.save`: tensors and plain containers, on the CPU.

    Raises:
        ConceptlibError: it is damaged, holds more than tensors (nothing of which is run), or would take far more memory
            or time than its size accounts for.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    pickled = is_pickle(path)
    if pickled:
        check(path)
    try:
        # weights_only: the unpickler builds tensors and plain containers, and calls nothing else.
        # The file is opened here, since torch goes by the ending of a name.
        with torch.serialization.safe_globals(_trainers(path) if pickled else []), path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True) if pickled else load_file(path)
    except (SafetensorError, OSError) as error:
        raise ConceptlibError(f"this file cannot be read: {error}", where=str(path)) from error
    except Exception as error:  # the unpickler's refusals are of many kinds
        raise ConceptlibError(
            "this file holds more than tensors, or is damaged; nothing of it was run",
            where=str(path),
            hint="where you trust it, load it yourself and save its state dict as safetensors",
        ) from error


def _trainers(path: Path) -> list[Any]:
    """Stand-ins for the trainer's classes that the first Stable Diffusion `.ckpt` files name beside their weights:
    empty classes of our own under those names, so that the weights can be read and nothing of a trainer is.
    """
    from torch.serialization import get_unsafe_globals_in_checkpoint

    try:
        names = get_unsafe_globals_in_checkpoint(path)
    except Exception:  # no zip, or damage: what reads it says so
        return []
    known = [name for name in names if name.startswith(_TRAINERS)]
    return [(type(name.rpartition(".")[2], (), {}), name) for name in known]


def check(path: Path) -> None:
    """Look at a file of `torch.save`, of the zip form or the old one, without opening it.

    Raises:
        ConceptlibError: it is damaged, or would take far more memory or time than its size accounts for.
    """
    try:
        if zipfile.is_zipfile(path):
            _check_zip(path)
        else:
            with path.open("rb") as file:
                _check_pickles(file, path, _PICKLES)
    except ConceptlibError:
        raise
    except Exception as error:  # zipfile and pickletools raise nearly everything on damaged bytes
        raise ConceptlibError(
            f"this file cannot be read: {str(error) or type(error).__name__}".splitlines()[0],
            where=str(path),
            hint="it is damaged or no file of torch.save; fetch it again",
        ) from error


def check_tensors(tensors: Iterable[Any], size: int, where: Path) -> None:
    """Refuse tensors that claim more bytes than a file of `size` bytes can hold: views that repeat what is there.

    Raises:
        ConceptlibError: they do.
    """
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if claimed > UNPACKED * size + SLACK:
        raise _too_much(f"its tensors claim {_size(claimed)}, the file has {_size(size)}", where)


def _check_zip(path: Path) -> None:
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > UNPACKED * size + SLACK:
            raise _too_much(f"it unpacks to {_size(unpacked)} from {_size(size)}", path)
        if len(entries) > MAX_ENTRIES:
            raise _too_much(f"it has {len(entries)} entries", path)
        for entry in entries:
            if entry.filename.endswith(".pkl"):
                with archive.open(entry) as file:
                    _check_pickles(file, path, 1)


def _check_pickles(file: IO[bytes], path: Path, count: int) -> None:
    """The first `count` pickles of a file, one after the other, or as many as there are."""
    opcodes = 0
    for number in range(count):
        if number and not file.read(1):
            return
        if number:
            file.seek(-1, 1)
        sizes = _Sizes()
        for opcode, argument, _ in pickletools.genops(file):
            opcodes += 1
            if opcodes > MAX_OPCODES or sizes.made > MAX_WEIGHT:
                raise _too_much("its pickle stands for a structure of millions of objects", path)
            sizes.step(opcode, argument)


class _Sizes:
    """The pickle machine, with the size of each thing in the thing's place: objects and characters, written out.

    `made`: of all that was put together so far.
    """

    def __init__(self) -> None:
        self.made = 0
        self._stack: list[int | None] = []  # None: a mark
        self._memo: dict[int, int] = {}

    def step(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        name = opcode.name
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if name == "MEMOIZE" else argument] = self._stack[-1] or 0
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        elif name == "MARK":
            self._stack.append(None)
        elif name == "DUP":
            self._stack.append(self._stack[-1])
        else:
            taken = self._pop(_TAKES[name])
            more = 1 + (len(argument) if isinstance(argument, (str, bytes, bytearray)) else 0)
            if opcode.stack_after:
                self._stack.append(sum(taken) + more)
                # What grows a list or a dict is counted once, not with all that was in it before.
                self.made += sum(taken[1:] if name in _GROWING else taken) + more

    def _pop(self, before: list[str]) -> list[int]:
        """Take what an opcode takes; the sizes, those below a mark first."""
        above: list[int] = []
        if "stackslice" in before:
            while (top := self._stack.pop()) is not None:
                above.append(top)
            before = before[: before.index("mark")]
        below = [self._stack.pop() or 0 for _ in before]
        return below[::-1] + above


def _too_much(what: str, path: Path) -> ConceptlibError:
    return ConceptlibError(
        f"this file would take more than its size accounts for: {what}; nothing of it was opened",
        where=str(path),
        hint="such files are made to do harm; take weights from their authors, as safetensors where there are any",
    )


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
