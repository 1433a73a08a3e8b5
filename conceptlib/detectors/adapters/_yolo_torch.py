"""YOLO networks run by torch, with ultralytics' suppression."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np


class TorchNetwork:
    """A `DetectionModel` on a device (as for `conceptlib.models.devices.choose`), called like `OnnxNetwork`."""

    def __init__(self, model: Any, classes: int, device: str | None = None) -> None:
        from conceptlib.models.devices import choose

        self._device = choose(device, "float32").device
        self._model = model.to(self._device).eval()
        self._classes = classes

    def __call__(self, squares: np.ndarray, lowest: float, nms_iou: float, most: int) -> list[np.ndarray]:
        """See `OnnxNetwork.__call__`."""
        import torch
        from ultralytics.utils.nms import non_max_suppression

        from conceptlib.models.threads import paced

        tensor = torch.from_numpy(squares).to(self._device).permute(0, 3, 1, 2).contiguous().float().div_(255)
        with torch.inference_mode():
            raw = paced(self._model, tensor.shape, partial(self._model, tensor))
            # No time limit: by default a slow machine silently loses the boxes of a batch's last pictures.
            kept = non_max_suppression(raw[0], lowest, nms_iou, max_det=most, nc=self._classes, max_time_img=1e9)
        return [rows.float().cpu().numpy() for rows in kept]
