"""Two processes of an `accelerate launch` (gloo, on the CPU) against one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from conceptlib.erasers import examples
from conceptlib.erasers.erase import erase
from conceptlib.store import Store
from tests.support.erasure import store_annotations, store_dataset

METHODS = {
    "esd": ("targets: [a red ring]", ["trajectories=8", "num_steps=2", "gradient_accumulation=2"], "walk-00000-"),
    "ablating": ("targets: [a red ring]", ["images=32", "num_steps=1", "anchor=[ring]"], "anchor-"),
    "geom-erasing": ("concepts: [qr-code]", ["grid=[2,2]", "adapter=full"], ""),
}
UNUSED = [False, False, True]
"""Only a batch without the concept leaves something untrained: the new tokens."""


def cases(folder: Path, base: Path) -> list[dict[str, Any]]:
    store_annotations(Store(), store_dataset(Store()))
    found = []
    for method, (about, options, _) in METHODS.items():
        recipe = folder / f"{method}.yaml"
        recipe.write_text(f"kind: recipe\nname: {method}/test\nmethod: {method}\n{about}\n")
        given = {"data": "icd-test", "annotations": "truth"} if method == "geom-erasing" else {}
        overrides = ["steps=3", "batch_size=8", "checkpoint_every=2", *options]
        found.append({"recipe": str(recipe), "base": str(base), "overrides": overrides, **given})
    return found


def launch(home: Path, told: str) -> list[dict[str, Any]]:
    """Run `tests.support.two_ranks` as two processes; what each printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.two_ranks", told],
            env={**os.environ, **shared, "RANK": rank, "LOCAL_RANK": rank, "PYTHONPATH": paths}
            | {"CONCEPTLIB_HOME": str(home), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    try:
        outputs = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0]
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def test_two_processes_share_the_work_and_end_where_one_does(
    base: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = cases(tmp_path, base)
    ranks = launch(home, json.dumps(given))
    assert ranks[0]["ids"] == ranks[1]["ids"]
    for method, (_, _, prefix) in METHODS.items():
        made = [[name for name in rank["made"] if prefix and name.startswith(prefix)] for rank in ranks]
        assert (made[0] and made[1] and not set(made[0]) & set(made[1])) or not prefix, method
    assert sorted(rank["encoded"] for rank in ranks) == [8, 16], "24 pictures, each encoded by one"
    assert all(rank["patience"] == [30] and not rank["groups"] for rank in ranks), "nobody waits in NCCL's group"
    assert all(rank["unused"] == UNUSED for rank in ranks)

    monkeypatch.setattr(examples, "BATCH", 8)
    monkeypatch.setenv("CONCEPTLIB_HOME", str(tmp_path / "alone"))
    pairs = cases(tmp_path, base)
    for case, there in zip(pairs, ranks[0]["ids"], strict=True):
        alone, shared = erase(**case, device="cpu"), Store(home).get(there)
        losses = [
            [json.loads(line)["loss"] for line in (one.path / "log.jsonl").read_text().splitlines()]
            for one in (alone, shared)
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
        ours, theirs = (weights(one.path) for one in (alone, shared))
        assert ours.keys() == theirs.keys()
        apart = torch.cat([(ours[name] - theirs[name]).abs().flatten() for name in ours])
        # Adam makes a step of full size of a gradient that is rounding alone: a few may differ.
        assert (apart > 1e-5).float().mean() < 0.01, case["recipe"]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    for name in ("unet.changed.safetensors", "unet/diffusion_pytorch_model.safetensors"):
        if (folder / name).is_file():
            return load_file(folder / name)
    raise AssertionError(list(folder.iterdir()))
