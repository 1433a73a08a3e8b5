"""What a detector saw in one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from conceptlib.errors import ConceptlibError
from conceptlib.geometry.boxes import as_boxes, as_quads


@dataclass(frozen=True, eq=False)
class Detections:
    """N objects in one image, as columns. Nothing found is ``Detections.empty()``, never None.

    boxes: float32 (N, 4), xyxy in absolute pixels.
    scores: float32 (N,), in [0, 1].
    labels: N concept names.
    quads: float32 (N, 4, 2) corner points in pixels, or None where the detector knows boxes only.
    payloads: N texts (what a code or a line says), or None.
    visible: float32 (N,), in [0, 1]: the share of the object inside the image, or None if unknown.

    What is in the image but nobody knows where, such as the answer of an image classifier, has the box 0, 0, 0, 0
    (`of_image` makes them, `located` tells them apart). It covers nothing: it overlaps no other box and takes part in
    no location token or region weight, and still counts as found.

    Lists and other number types are converted; the arrays are read-only.

    Raises:
        ConceptlibError: columns of different lengths or wrong shapes, values that are not finite or out of range.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: tuple[str, ...]
    quads: NDArray[np.float32] | None = None
    payloads: tuple[str, ...] | None = None
    visible: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        columns: dict[str, Any] = {
            "boxes": as_boxes(self.boxes),
            "scores": _shares(self.scores, "scores"),
            "labels": _texts(self.labels, "labels"),
            "quads": None if self.quads is None else as_quads(self.quads),
            "payloads": None if self.payloads is None else _texts(self.payloads, "payloads"),
            "visible": None if self.visible is None else _shares(self.visible, "visible"),
        }
        count = len(columns["boxes"])
        for name, column in columns.items():
            if column is not None and len(column) != count:
                raise ConceptlibError(f"{count} boxes but {len(column)} {name}", where=f"detections.{name}")
            if isinstance(column, np.ndarray):
                column = column.copy()
                column.flags.writeable = False
            object.__setattr__(self, name, column)

    @classmethod
    def empty(cls) -> Detections:
        """Nothing found."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), ())

    @classmethod
    def of_image(cls, labels: Sequence[str], scores: ArrayLike) -> Detections:
        """What is somewhere in the image: N labels with their scores, in [0, 1], and no places."""
        return cls(np.zeros((len(labels), 4), np.float32), np.asarray(scores, np.float32), tuple(labels))

    @property
    def located(self) -> NDArray[np.bool_]:
        """Which objects have a place: bool (N,), false where the box is 0, 0, 0, 0."""
        return np.asarray(self.boxes.any(axis=1), np.bool_)

    def __len__(self) -> int:
        return len(self.boxes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Detections):
            return NotImplemented
        return all(_same(getattr(self, column.name), getattr(other, column.name)) for column in fields(self))

    __hash__ = None  # type: ignore[assignment]  # arrays inside

    def filter(self, mask: ArrayLike) -> Detections:
        """The objects where ``mask`` (N booleans) is true, in the same order.

        Raises ``ConceptlibError`` for another length or type.
        """
        keep = np.asarray(mask)
        if keep.size == 0:
            keep = keep.astype(bool)
        if keep.dtype != np.bool_ or keep.shape != (len(self),):
            raise ConceptlibError(
                f"a mask for {len(self)} detections needs as many booleans, not {keep.dtype} {keep.shape}", where="mask"
            )
        return self._take(np.flatnonzero(keep))

    def sorted(self) -> Detections:
        """The objects, best score first; equal ones keep their order."""
        return self._take(np.argsort(-self.scores, kind="stable"))

    def _take(self, chosen: NDArray[np.intp]) -> Detections:
        return Detections(
            self.boxes[chosen],
            self.scores[chosen],
            tuple(self.labels[index] for index in chosen),
            None if self.quads is None else self.quads[chosen],
            None if self.payloads is None else tuple(self.payloads[index] for index in chosen),
            None if self.visible is None else self.visible[chosen],
        )

    def with_label(self, name: str) -> Detections:
        """The objects of one concept."""
        return self.filter(np.array([label == name for label in self.labels], dtype=bool))


def _shares(values: ArrayLike, what: str) -> NDArray[np.float32]:
    """``values`` as a float32 (N,) array in [0, 1]. NaN is refused: it would slip through every threshold."""
    array = np.asarray(values, dtype=np.float32)
    if array.ndim != 1:
        raise ConceptlibError(f"{what} must have shape (N,), not {array.shape}", where=f"detections.{what}")
    if not ((array >= 0) & (array <= 1)).all():
        raise ConceptlibError(f"{what} must be in [0, 1]: {array.tolist()}", where=f"detections.{what}")
    return array


def _texts(values: Sequence[str], what: str) -> tuple[str, ...]:
    if isinstance(values, str) or not all(isinstance(value, str) for value in values):
        raise ConceptlibError(f"{what} must be a sequence of texts", where=f"detections.{what}")
    return tuple(str(value) for value in values)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return bool(type(a) is type(b) and a == b)
