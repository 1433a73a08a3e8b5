"""What was published is loaded by `datasets` and `diffusers` as the cards say, through Xet and through Git LFS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conceptlib.store import Artifact, Store
from tests.hub.conftest import TOKEN, picture
from tests.support.loophub import LoopHub
from tests.support.models import build_pipeline

Make = Callable[..., Artifact]
REPOSITORY = Path(__file__).parents[2]


def lora_checkpoint(pipe: Any, value: float, folder: Path) -> None:
    """What the adapter `lora` of a checkpoint consists of."""
    import torch
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict
    from safetensors.torch import save_file

    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights="gaussian"))
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipe.unet))
    pipe.save_lora_weights(folder, unet_lora_layers=layers)
    save_file({"<l{0,0}>": torch.full((32,), value)}, folder / "learned_embeds.safetensors")


def environment(hub: LoopHub, tmp_path: Path) -> dict[str, str]:
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    ours = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(tmp_path / "hf")}
    return keep | ours | {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "0"}


def test_loaded_as_the_cards_say(make_dataset: Make, make_checkpoint: Make, store: Store, tmp_path: Path) -> None:
    """Other bytes for each way: what a Hub has it does not take again. One process for both: it starts for seconds."""
    first, totals, refs = {"xet": 0, "lfs": 10}, {}, []
    bases = []
    for seed, (way, number) in enumerate(first.items()):
        dataset, pipe = make_dataset(first=number), build_pipeline(seed=seed)
        totals[way] = float(sum(weight.detach().abs().sum() for weight in pipe.unet.parameters()))
        full = make_checkpoint(lambda folder, pipe=pipe: pipe.save_pretrained(folder, safe_serialization=True), at=way)
        bases.append(str(full.path))
        fill = partial(lora_checkpoint, pipe, float(seed))
        lora = make_checkpoint(fill, base=f"org/base-{way}", adapter="lora", at=way)
        refs += [dataset.ref, full.ref, lora.ref]
    with LoopHub(tmp_path / "loophub", users={TOKEN: "me"}) as hub:
        command = [sys.executable, "-m", "tests.support.hub_roundtrip", *bases, *refs]
        env = environment(hub, tmp_path)
        done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        for way in first:
            models = [hub.model(f"org/{name}-{way}") for name in ("full", "lora")]
            stored = [file for model in models for file in model.files.values() if file.sha256]
            assert stored and all(bool(file.xet_hash) == (way == "xet") for file in stored)
    assert TOKEN not in done.stdout + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    for way, number in first.items():
        check(report[way], number, totals[way], float(way == "lfs"))


def check(found: dict[str, Any], first: int, total: float, token: float) -> None:
    """What was read of the pictures from number `first` on, a model of weights of this sum, and a new token."""
    assert found["status"] == ["published"] * 3
    rows = [0, 2, 1, 3]  # four pictures dealt to two shards in turn
    assert found["captions"] == [f"picture {row}" for row in rows]
    assert found["pixels"] == [list(picture(first + row).getpixel((3, 5))) for row in rows]
    assert found["ids"][0] == found["ids"][1]
    assert found["objects"] == [[], [], [0], [0]]
    assert found["labels"] == [[], [], ["qr-code"], ["qr-code"]]
    assert found["boxes"][2] == [[1.0, 2.0, 9.0, 10.0]]
    assert found["image"] == [32, 32]
    assert found["unet"] == pytest.approx(total, rel=1e-5)
    assert found["adapters"] == ["default_0"]
    assert found["token"] == [token] * 32
