"""The one door to onnxruntime: quiet sessions that keep to the threads they were given, and its errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from conceptlib.cores import available, wanted_threads
from conceptlib.errors import ConceptlibError


def session(path: Path, device: str | None = None, *, extra: str = "onnx") -> Any:
    """An `InferenceSession` for a file: on CUDA where it is asked for or there is one, else on the CPU.

    Args:
        device: cpu, cuda, cuda:1, mps (which onnxruntime runs on the CPU); None: the best that it has.
        extra: which extra of conceptlib brings onnxruntime, for the error message.

    Raises:
        ConceptlibError: onnxruntime is missing, there is no such file, it is no network, or the device is missing.
    """
    onnxruntime = library(extra)
    if not path.is_file():
        raise ConceptlibError("there is no such file of weights", where=path, hint="give the path of an .onnx file")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: they come as exceptions too
    options.intra_op_num_threads = wanted_threads() or available()  # it looks at neither
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=_providers(onnxruntime, device))
    except Exception as error:  # its own exceptions share no public base
        raise ConceptlibError(
            f"onnxruntime cannot load the network: {str(error).splitlines()[0]}",
            where=path,
            hint="the file is damaged, or made for a newer onnxruntime",
        ) from error


def library(extra: str) -> Any:
    """The module onnxruntime. Raises ConceptlibError that names the extra where it is missing."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ConceptlibError(
            "this detector needs onnxruntime, which is not installed", hint=f"pip install 'conceptlib[{extra}]'"
        ) from error
    return onnxruntime


def _providers(onnxruntime: Any, device: str | None) -> list[Any]:
    kind, _, index = (device or "").partition(":")
    has = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if kind == "cuda" and not has:
        raise ConceptlibError(
            "this onnxruntime has no CUDA", where="device", hint="pip install onnxruntime-gpu, or use --device cpu"
        )
    if has and kind in ("", "cuda"):
        return [("CUDAExecutionProvider", {"device_id": int(index or 0)}), "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]
