"""Run by tests/hub/test_roundtrip.py in a process of its own: HF_ENDPOINT is read at import.

    python -m tests.support.hub_roundtrip BASE BASE DATASET CHECKPOINT LORA DATASET CHECKPOINT LORA

Publishes three artifacts through Xet, and three others through Git LFS, to the Hub that HF_ENDPOINT names, loads them
from there the way their cards say, and prints what it found as JSON. The bases are folders: the models that the LoRAs'
cards name have to be on the Hub too.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from huggingface_hub import HfApi, constants

from conceptlib.hub.publish import PublishResult, publish


def run_card(result: PublishResult, heading: str) -> dict[str, Any]:
    """Run the first code block after `heading` in the card; returns its variables."""
    code = re.search(r"```python\n(.*?)```", result.card[result.card.index(heading) :], re.S)
    assert code is not None
    variables: dict[str, Any] = {}
    exec(code[1], variables)
    return variables


def main(bases: list[str], refs: list[str]) -> None:
    found = {}
    for k, way in enumerate(("xet", "lfs")):
        constants.HF_HUB_DISABLE_XET = way == "lfs"
        HfApi().create_repo(f"org/base-{way}")
        HfApi().upload_folder(repo_id=f"org/base-{way}", folder_path=bases[k])
        found[way] = round_trip(way, *refs[3 * k : 3 * k + 3])
    sys.stdout.write(json.dumps(found) + "\n")


def round_trip(way: str, dataset: str, checkpoint: str, lora: str) -> dict[str, Any]:
    names = {dataset: f"org/data-{way}", checkpoint: f"org/full-{way}", lora: f"org/lora-{way}"}
    published = [publish(ref, name) for ref, name in names.items()]
    data = run_card(published[0], "## Use it")
    full = run_card(published[1], "With diffusers alone")
    adapted = run_card(published[2], "With diffusers alone")
    pictures, boxes = data["pictures"], data["boxes"]
    tokenizer, table = adapted["pipe"].tokenizer, adapted["pipe"].text_encoder.get_input_embeddings().weight
    return {
        "status": [one.status for one in published],
        "captions": pictures["text"][:],
        "objects": [row["category"] for row in pictures["objects"][:]],
        "pixels": [list(picture.getpixel((3, 5))) for picture in pictures["image"]],
        "ids": [pictures["image_id"][:], boxes["image_id"][:]],
        "labels": boxes["labels"][:],
        "boxes": boxes["boxes"][:],
        "image": list(full["image"].size),
        "unet": float(sum(weight.abs().sum() for weight in full["pipe"].unet.parameters())),
        "adapters": adapted["pipe"].get_active_adapters(),
        "token": table[tokenizer.convert_tokens_to_ids("<l{0,0}>")].tolist(),
    }


if __name__ == "__main__":
    main(sys.argv[1:3], sys.argv[3:])
