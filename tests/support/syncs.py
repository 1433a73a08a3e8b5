"""Where a program would wait for a GPU, found on a CPU.

Tensors that follow from a model's weights count as the device's, and so does what is sent there without waiting. To
look at one of them from Python, or to send something there and wait, is what a GPU's queue runs dry of.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

LOOKS = ("_local_scalar_dense", "nonzero", "equal", "masked_select", "unique", "is_nonzero", "bincount")


class Watched(TorchDispatchMode):
    """`seen`: what a GPU would have been waited for, and from where."""

    def __init__(self, modules: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.seen: list[str] = []
        self._kept: dict[int, Any] = {}  # storages are kept: another's address must not be taken for theirs
        for module in modules:
            for tensor in (*module.parameters(), *module.buffers()):
                self.mark(tensor)

    def mark(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        self._kept[storage._cdata] = storage

    def marked(self, tensor: Any) -> bool:
        return isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata in self._kept

    def note(self, what: str) -> None:
        ours = [f for f in traceback.extract_stack() if "/conceptlib/" in f.filename]
        self.seen.append(f"{what} at {ours[-1].filename.rpartition('/')[2]}:{ours[-1].lineno}" if ours else what)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if any(self.marked(one) for one in tree_leaves((args, kwargs))):
            if any(func.overloadpacket.__name__.startswith(look) for look in LOOKS):
                self.note(func.overloadpacket.__name__)
            for one in tree_leaves(out):
                if isinstance(one, torch.Tensor):
                    self.mark(one)
        return out


@contextmanager
def watching(
    modules: Sequence[torch.nn.Module], monkeypatch: pytest.MonkeyPatch, watched: Watched | None = None
) -> Iterator[Watched]:
    """While it is open, what would wait is noted; `watched` of an earlier time knows what lies on the device since."""
    watched = watched or Watched(modules)
    watched.seen = []
    with monkeypatch.context() as patch:
        for name in ("cpu", "numpy", "tolist"):
            real = getattr(torch.Tensor, name)

            def look(self: torch.Tensor, *args: Any, _real: Any = real, _name: str = name, **kwargs: Any) -> Any:
                if watched.marked(self):
                    watched.note(_name)
                return _real(self, *args, **kwargs)

            patch.setattr(torch.Tensor, name, look)
        to, tensor = torch.Tensor.to, torch.tensor

        def move(self: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            out = to(self, *args, **kwargs)
            device = any(isinstance(one, torch.device) for one in (*args, *kwargs.values()))
            if watched.marked(self) or not (device or any(watched.marked(one) for one in args)):
                return out
            if not kwargs.get("non_blocking"):
                watched.note("a blocking copy to the device")
            out = out.clone()  # on a GPU it is another tensor
            watched.mark(out)
            return out

        def make(*args: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
            if device is not None:
                watched.note("torch.tensor on the device")
            return tensor(*args, device=device, **kwargs)

        patch.setattr(torch.Tensor, "to", move)
        patch.setattr(torch, "tensor", make)
        with watched:
            yield watched
