"""Peaks of resident memory, by allocating."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from conceptlib.erasers.memory import peak_memory, process_peak

CPU = torch.device("cpu")
MB = 1 << 20


def test_a_peak_is_seen_though_the_memory_is_given_back() -> None:
    with peak_memory(CPU) as small:
        pass
    with peak_memory(CPU) as large:
        held = np.ones(96 * MB, np.uint8)
        del held
    assert small.mb > 0 and large.mb >= small.mb + 64
    assert (process_peak() or 0) >= large.mb * MB


def test_what_was_before_does_not_count_but_is_not_forgotten() -> None:
    with peak_memory(CPU) as first:
        held = np.ones(128 * MB, np.uint8)
        del held
    with peak_memory(CPU) as second:
        pass
    settable = Path("/proc/self/clear_refs").exists()  # elsewhere the process's peak is all there is
    assert second.mb <= first.mb - (80 if settable else 0)
    assert (process_peak() or 0) >= first.mb * MB


def test_an_error_passes_through_and_the_peak_is_known() -> None:
    with pytest.raises(ValueError), peak_memory(CPU) as peak:
        raise ValueError
    assert peak.mb > 0
