"""Boxes, bins, location tokens and region weights. NumPy only; boxes are float32 xyxy in absolute pixels."""

from conceptlib.geometry.bins import Cover, Grid
from conceptlib.geometry.boxes import (
    as_boxes,
    clip,
    cxcywh_normalised_to_xyxy,
    iou,
    quad_to_xyxy,
    xywh_to_xyxy,
    xyxy_to_cxcywh_normalised,
    xyxy_to_xywh,
)
from conceptlib.geometry.detections import Detections
from conceptlib.geometry.weights import region_mask, region_weights

__all__ = [
    "Cover",
    "Detections",
    "Grid",
    "as_boxes",
    "clip",
    "cxcywh_normalised_to_xyxy",
    "iou",
    "quad_to_xyxy",
    "region_mask",
    "region_weights",
    "xywh_to_xyxy",
    "xyxy_to_cxcywh_normalised",
    "xyxy_to_xywh",
]
