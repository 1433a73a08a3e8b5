"""The script for a GPU, in small on the CPU: it must not be tried for the first time where minutes cost money."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.real_size import REAL, SMALL, make_base

PARTS = ["esd", "generate", "waits"]
"""The rest is the same erasure in another dtype, with other data, compiled (tests/erasers/test_student.py) or by two
processes (test_ranks.py): too long for a test.
"""


def test_the_script_runs_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert gpu.main([str(tmp_path / "work"), "--small", "--device", "cpu", *PARTS]) == 0
    told = json.loads((tmp_path / "work" / "gpu.json").read_text())
    parts = told["parts"]
    assert list(parts) == PARTS and not gpu.RESULTS.exists()
    assert parts["esd"]["ours"]["a_second"] > 0 and parts["esd"]["reference"]["a_second"] > 0
    assert parts["generate"]["pictures"] == 4 and parts["generate"]["made"] == "images"
    assert "CUDA alone" in parts["waits"]["skipped"]
    page = gpu.table(told)
    assert (gpu.ROOT / gpu.PAGE).read_text().count(gpu.BELOW) == 1 and gpu.table({}) == gpu.NOTHING
    assert "| esd | times |" in page and "≥ 10" in page and "≥ 0.95" in page and 'losses":' not in page


def test_a_part_that_is_none_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.main(["work", "speed"])
    assert "no such part: speed" in capsys.readouterr().err


def test_the_real_base_has_stable_diffusions_sizes(tmp_path: Path) -> None:
    """Of the real one the shapes alone, without memory for its weights."""
    import torch
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTokenizer

    with torch.device("meta"):
        unet = UNet2DConditionModel(**REAL["unet"])
    assert sum(parameter.numel() for parameter in unet.parameters()) == 859_520_964
    folder = make_base(tmp_path / "small", SMALL)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    ids = tokenizer("a red heart").input_ids
    assert len(tokenizer) == 49408 and (ids[0], ids[-1]) == (49406, 49407) and len(ids) == 5
    assert make_base(folder) == folder, "made once"
