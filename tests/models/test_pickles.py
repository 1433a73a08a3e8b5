"""Files of torch.save that are larger than they look, and honest ones, in both forms."""

from __future__ import annotations

import io
import os
import pickle
import sys
import types
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conceptlib.erasers.foreign.reading import read_tensors
from conceptlib.errors import ConceptlibError
from conceptlib.models import pickles

Save = Callable[[Any, Path], None]


def new(value: Any, path: Path) -> None:
    torch.save(value, path)


def old(value: Any, path: Path) -> None:
    torch.save(value, path, _use_new_zipfile_serialization=False)


def packed(names: dict[str, bytes]) -> Callable[[Path], None]:
    """A zip with these entries, deflated."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in names.items():
                archive.writestr(name, data)

    return write


def hollow(path: Path) -> None:
    """Weights, and beside them 64 MB of zeros in a few kB."""
    torch.save({"a": torch.zeros(2)}, path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/9", bytes(64 << 20))


def doubling(depth: int, key: bool) -> bytes:
    """A pickle of a few bytes a level: a tuple of twice the level below, as a dict's key (hashed) or its value."""
    body = b"K\x01" + b"".join(b"q" + bytes([k]) + b"h" + bytes([k]) + b"\x86" for k in range(depth))
    return b"\x80\x02}" + (body + b"K\x01s." if key else b"X\x01\x00\x00\x00a" + body + b"s.")


def in_zip(data: bytes) -> Callable[[Path], None]:
    """A pickle in the place of a good file's."""

    def write(path: Path) -> None:
        buffer = io.BytesIO()
        torch.save({"a": torch.zeros(2)}, buffer)
        with zipfile.ZipFile(buffer) as good, zipfile.ZipFile(path, "w") as out:
            for entry in good.infolist():
                out.writestr(entry.filename, data if entry.filename.endswith(".pkl") else good.read(entry))

    return write


def in_old(data: bytes) -> Callable[[Path], None]:
    """The same in a file of the old form."""

    def write(path: Path) -> None:
        head = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
        path.write_bytes(b"".join(head) + data + pickle.dumps([], 2))

    return write


def cyclic(save: Save) -> Callable[[Path], None]:
    value: dict[str, Any] = {"a": torch.zeros(2)}
    value["again"] = value
    return lambda path: save(value, path)


def deep(save: Save, levels: int = 200) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        value: dict[str, Any] = {"a": torch.zeros(2)}
        for _ in range(levels):
            value = {"b": value}
        save(value, path)

    return write


def shared(save: Save) -> Callable[[Path], None]:
    """A mapping of 2^30 names in 30 small ones, each filled after it is shared."""
    bottom: dict[str, Any] = {"a": torch.zeros(2)}
    for _ in range(30):
        bottom = {"l": bottom, "r": bottom}
    return lambda path: save(bottom, path)


def repeated(save: Save) -> Callable[[Path], None]:
    return lambda path: save({"a": torch.zeros(1).expand(1 << 20, 1 << 20)}, path)


HARMFUL = {
    "zip bomb": packed({"archive/data.pkl": b"\x80\x02}.", "archive/data/0": bytes(64 << 20)}),
    "packed pickle": packed({"archive/data.pkl": b"\x80\x02" + b"]0" * (8 << 20) + b"}."}),
    "bomb beside weights": hollow,
    "hashed for ever, zip": in_zip(doubling(60, True)),
    "hashed for ever, old": in_old(doubling(60, True)),
    "walked for ever, zip": in_zip(doubling(60, False)),
    "a text that is copied": in_zip(
        b"\x80\x02}X\xa0\x86\x01\x00" + b"a" * 100_000 + b"q\x00" + b"h\x00\x85\x94" * 1_000 + b"."
    ),
    "cyclic, zip": cyclic(new),
    "cyclic, old": cyclic(old),
    "deep, zip": deep(new),
    "deep, old": deep(old),
    "shared, zip": shared(new),
    "shared, old": shared(old),
    "repeated, zip": repeated(new),
    "repeated, old": repeated(old),
    "cut": lambda path: path.write_bytes(b"\x80\x02}q\x00X\xff\xff\x00\x00abc"),
    "stack that is empty": in_zip(b"\x80\x02\x86."),
    "no such memo": in_zip(b"\x80\x02h\x07."),
    "not a pickle": in_zip(b"\xff\xfe\x00"),
    "a mark that is missing": in_zip(b"\x80\x02}u."),
}


@pytest.mark.parametrize("name", HARMFUL)
@pytest.mark.timeout(60)
def test_larger_than_it_looks(name: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    HARMFUL[name](path)
    with pytest.raises(ConceptlibError) as refused:
        read_tensors(path)
    assert str(path) in refused.value.where and refused.value.hint


def test_a_pickle_of_too_many_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "MAX_OPCODES", 1000)
    for name, write in (("a.pt", in_zip), ("b.pt", in_old)):
        write(b"\x80\x02" + b"]0" * 600 + b"}.")(tmp_path / name)
        with pytest.raises(ConceptlibError, match="millions of objects"):
            read_tensors(tmp_path / name)


@pytest.mark.parametrize("save", [new, old])
def test_honest_files_pass(save: Save, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    tied = torch.randn(30, 30)
    state = OrderedDict((f"layer.{k}.weight", torch.randn(4, 4)) for k in range(300))
    more = {"tied": [tied], "a": tied, "b": tied[:3], "step": 7, "optimizer": {"lr": [1e-4] * 9}}
    save({"state_dict": state} | more, path)
    pickles.check(path)
    tensors, other = read_tensors(path)
    assert len(tensors) == 302 and torch.equal(tensors["layer.7.weight"], state["layer.7.weight"])
    assert set(other) == {"tied", "step", "optimizer.lr"}


def test_what_is_no_plain_tensor_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    odd = {"shape": torch.zeros(3, device="meta"), "sparse": torch.eye(3).to_sparse()}
    torch.save({"a": torch.zeros(2), **odd}, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch checks sparse tensors, and says so
        tensors, other = read_tensors(path)
    assert set(tensors) == {"a"} and set(other) == set(odd)


def test_a_trainers_notes_beside_the_weights_are_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first Stable Diffusion files name a class of PyTorch Lightning, as the key of its state."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    called: list[str] = []
    notes = type("ModelCheckpoint", (), {"__module__": name, "__setstate__": lambda self, state: called.append("run")})
    notes.__qualname__ = "ModelCheckpoint"
    module = types.ModuleType(name)
    module.ModelCheckpoint = notes  # type: ignore[attr-defined]
    for place in ("pytorch_lightning", "pytorch_lightning.callbacks"):
        monkeypatch.setitem(sys.modules, place, types.ModuleType(place))
    monkeypatch.setitem(sys.modules, name, module)
    one = notes()
    one.best = 1
    new({"state_dict": {"a": torch.ones(2)}, "callbacks": {notes: {"best": 1}, "more": one}}, tmp_path / "model.ckpt")
    tensors, _ = read_tensors(tmp_path / "model.ckpt")
    assert set(tensors) == {"a"} and not called
    new({"state_dict": {"a": torch.ones(2)}, "callbacks": os.system}, tmp_path / "other.ckpt")
    with pytest.raises(ConceptlibError, match="nothing of it was run"):
        read_tensors(tmp_path / "other.ckpt")
