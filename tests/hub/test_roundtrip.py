"""What was published is loaded by `datasets` and `diffusers` as the cards say, through Xet and through Git LFS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conceptlib.store import Artifact, Store
from tests.hub.conftest import TOKEN, picture
from tests.support.loophub import LoopHub
from tests.support.models import build_pipeline

Make = Callable[..., Artifact]
REPOSITORY = Path(__file__).parents[2]


def lora_checkpoint(pipe: Any, folder: Path) -> None:
    """What the adapter `lora` of a checkpoint consists of."""
    import torch
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict
    from safetensors.torch import save_file

    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights="gaussian"))
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipe.unet))
    pipe.save_lora_weights(folder, unet_lora_layers=layers)
    save_file({"<l{0,0}>": torch.full((32,), 0.25)}, folder / "learned_embeds.safetensors")


def environment(hub: LoopHub, tmp_path: Path, xet: bool) -> dict[str, str]:
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    ours = {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": str(int(not xet)),
    }
    return keep | ours | {"HF_HUB_DISABLE_TELEMETRY": "1"}


@pytest.mark.parametrize("xet", [True, False], ids=["xet", "lfs"])
def test_loaded_as_the_cards_say(
    dataset: Artifact, make_checkpoint: Make, store: Store, tmp_path: Path, xet: bool
) -> None:
    pipe = build_pipeline()
    total = float(sum(weight.detach().abs().sum() for weight in pipe.unet.parameters()))
    full = make_checkpoint(lambda folder: pipe.save_pretrained(folder, safe_serialization=True))
    with LoopHub(tmp_path / "loophub", users={TOKEN: "me"}, xet=xet) as hub:
        env = environment(hub, tmp_path, xet)
        _upload_base(full.path, env)
        lora = make_checkpoint(lambda folder: lora_checkpoint(pipe, folder), base="org/base", adapter="lora")
        command = [sys.executable, "-m", "tests.support.hub_roundtrip", dataset.ref, full.ref, lora.ref]
        done = subprocess.run(command, cwd=REPOSITORY, env=env, capture_output=True, text=True)
        stored = [file for name in ("full", "lora") for file in hub.model(f"org/{name}").files.values() if file.sha256]
        assert stored and all(bool(file.xet_hash) == xet for file in stored)
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])

    assert found["status"] == ["published"] * 3
    rows = [0, 2, 1, 3]  # four pictures dealt to two shards in turn
    assert found["captions"] == [f"picture {row}" for row in rows]
    assert found["pixels"] == [list(picture(row).getpixel((3, 5))) for row in rows]
    assert found["ids"][0] == found["ids"][1]
    assert found["objects"] == [[], [], [0], [0]]
    assert found["labels"] == [[], [], ["qr-code"], ["qr-code"]]
    assert found["boxes"][2] == [[1.0, 2.0, 9.0, 10.0]]
    assert found["image"] == [32, 32]
    assert found["unet"] == pytest.approx(total, rel=1e-5)
    assert found["adapters"] == ["default_0"]
    assert found["token"] == [0.25] * 32


def _upload_base(folder: Path, env: dict[str, str]) -> None:
    """The model that the LoRA's card names as its base has to be on the Hub too."""
    code = (
        "import huggingface_hub, sys\n"
        "api = huggingface_hub.HfApi()\n"
        "api.create_repo('org/base')\n"
        "api.upload_folder(repo_id='org/base', folder_path=sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], env=env, check=True, capture_output=True)
