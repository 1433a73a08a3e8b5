from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conceptlib.errors import ConceptlibError
from conceptlib.models import batches
from conceptlib.models.batches import free_memory, in_batches

CPU = torch.device("cpu")


@given(count=st.integers(0, 40), most=st.integers(1, 12), holds=st.integers(1, 12), error=st.sampled_from([0, 1, 2]))
def test_every_row_is_worked_on_once_and_in_order(count: int, most: int, holds: int, error: int) -> None:
    """However many rows the memory `holds`, and in whatever words it says that there are more."""
    kinds = (
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried"),
        torch.OutOfMemoryError("x"),
    )
    sizes: list[int] = []

    def work(rows: slice) -> list[int]:
        if rows.stop - rows.start > holds:
            raise kinds[error]
        sizes.append(rows.stop - rows.start)
        return list(range(rows.start, rows.stop))

    parts = in_batches(count, work, most=most, row_bytes=1, device=CPU, what="rows")
    assert [row for part in parts for row in part] == list(range(count))
    assert all(size <= min(most, holds) for size in sizes)


def test_no_more_is_tried_than_a_share_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "free_memory", lambda device: 1000)
    sizes = [
        list(in_batches(7, lambda rows: rows.stop - rows.start, most=9, row_bytes=need, device=CPU, what="rows"))
        for need in (1, 100, 125, 10**9)
    ]
    assert sizes == [[7], [2, 2, 2, 1], [2, 2, 2, 1], [1] * 7]


def test_a_row_that_never_fits_is_told_and_other_errors_pass() -> None:
    def full(rows: slice) -> None:
        raise MemoryError

    def broken(rows: slice) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(ConceptlibError, match="one of the images does not fit"):
        list(in_batches(4, full, most=4, row_bytes=1, device=CPU, what="images"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        list(in_batches(4, broken, most=4, row_bytes=1, device=CPU, what="images"))


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "5000\n", "memory.current": "2000\n"}, 3000),
        ({"memory/memory.limit_in_bytes": "900", "memory/memory.usage_in_bytes": "1000"}, 0),
        ({"memory.max": "max\n", "memory.current": "2000\n"}, None),
        ({}, None),
    ],
)
def test_a_containers_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], left: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(batches, "_CGROUP", tmp_path)
    found = free_memory(CPU)
    assert found == left if left is not None else found > 10**6
