"""One of the processes of an `accelerate launch`: `python -m tests.support.two_ranks CASES`, JSON, in the environment
of torchrun. Prints what it made itself and how it waited, as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import accelerate
import torch

from conceptlib.erasers import cache, examples
from conceptlib.erasers.erase import erase
from conceptlib.models.families import _clip_unet as family

told: dict[str, Any] = {"made": [], "encoded": 0, "patience": [], "groups": 0, "unused": []}


def watch() -> None:
    save, encode = cache.save_tensors, family.encode_images
    group, barrier = torch.distributed.new_group, torch.distributed.barrier
    prepare = accelerate.Accelerator.prepare_model

    def saved(path: Any, tensors: Any) -> None:
        told["made"].append(path.name)
        save(path, tensors)

    def encoded(vae: Any, pixels: Any) -> torch.Tensor:
        told["encoded"] += len(pixels)
        return encode(vae, pixels)

    def grouped(*args: Any, **kwargs: Any) -> Any:
        told["patience"].append(kwargs["timeout"].days)
        return group(*args, **kwargs)

    def waited(*args: Any, **kwargs: Any) -> Any:
        told["groups"] += kwargs.get("group") is None  # the default group's timeout may be NCCL's
        return barrier(*args, **kwargs)

    def prepared(self: Any, *args: Any, **kwargs: Any) -> Any:
        told["unused"].append(self.ddp_handler.find_unused_parameters)
        return prepare(self, *args, **kwargs)

    cache.save_tensors, family.encode_images = saved, encoded
    torch.distributed.new_group, torch.distributed.barrier = grouped, waited
    accelerate.Accelerator.prepare_model = prepared


if __name__ == "__main__":
    watch()
    examples.BATCH = 8
    for case in json.loads(sys.argv[1]):
        told.setdefault("ids", []).append(erase(**case, device="cpu").id)
    sys.stdout.write(json.dumps(told) + "\n")
