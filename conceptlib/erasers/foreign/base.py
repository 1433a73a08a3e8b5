"""What a format family finds in a file.

A module of `conceptlib.erasers.foreign.formats` has

* `matches(names) -> bool`: whether a file's tensors bear names of its kind; no two modules say yes;
* `locate(tensors, pipe, settings) -> Found`: which tensor of the base each of them is, by name. Shapes are checked
  afterwards. `settings` are those of the adapters in the file, by component, where the file says them;
* `VERSION`, raised whenever the same file comes to mean something else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

Tensors = dict[str, torch.Tensor]
Settings = dict[str, dict[str, Any]]
"""peft's configuration of a LoRA, by component (`unet`, `text_encoder`): `r`, `lora_alpha`, `alpha_pattern`, ..."""


@dataclass
class Found:
    """Where the tensors of a file belong.

    tensors: new values by `component.parameter`. factors: low-rank changes `(up, down)` by `component.layer`,
    scaled, so that the change is up · down. ignored: names that say nothing about the model (schedules, moving
    averages, position indices). unknown: names that the base has no place for.
    """

    tensors: Tensors = field(default_factory=dict)
    factors: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
