"""The one door to ultralytics: imported late, kept quiet and to our own folder; the user is told its licence once."""

from __future__ import annotations

import functools
import logging
import os

from conceptlib.detectors.adapters._licence import notice, tell_once
from conceptlib.errors import ConceptlibError
from conceptlib.paths import home

LICENCE_NOTICE = notice("yolo", "ultralytics", "AGPL-3.0 (or a commercial licence of Ultralytics)")


def prepare() -> None:
    """Import ultralytics as conceptlib wants it: no telemetry, installing or network, no files outside our home.

    The licence notice is logged (as a warning, on stderr by default) the first time for each home.

    Raises:
        ConceptlibError: the extra is not installed, or cannot be imported.
    """
    _import()
    _tell_licence()


def version() -> str:
    """ultralytics' version. Raises ConceptlibError as `prepare`."""
    _import()
    import ultralytics

    return str(ultralytics.__version__)


@functools.cache
def _import() -> None:
    """Once a process. What importing ultralytics does to the process (threads, Pillow, print options) is undone."""
    import numpy as np
    from PIL import Image, ImageFile

    folder = home() / "ultralytics"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(YOLO_CONFIG_DIR=str(folder), YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true", YOLO_VERBOSE="false")
    threads, options, truncated, opening = (
        os.environ.get("OMP_NUM_THREADS"),
        np.get_printoptions(),
        ImageFile.LOAD_TRUNCATED_IMAGES,
        Image.open,
    )
    try:
        import torch
        import torchvision  # noqa: F401 - its NMS is used if it was imported before: always, so that results do not depend on luck
        import ultralytics.nn.tasks  # noqa: F401 - the expensive part, and the part that fails where OpenCV cannot load
        from ultralytics import settings
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"ultralytics", "torchvision"}:
            raise _broken(error) from error
        raise ConceptlibError(
            "the yolo detectors need ultralytics, which is not installed",
            hint="pip install 'conceptlib[yolo]' (ultralytics is AGPL-3.0; that is why it is an extra)",
        ) from error
    except (ImportError, OSError) as error:
        raise _broken(error) from error
    finally:
        if threads is None:
            os.environ.pop("OMP_NUM_THREADS", None)  # ultralytics sets it to 1, for every child process too
        np.set_printoptions(**options)
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated
        setattr(Image, "open", opening)  # noqa: B010 - theirs answers a damaged picture with an import of pi_heif
    torch.set_printoptions(profile="default")
    logging.getLogger("ultralytics").setLevel(logging.ERROR)
    if str(settings.file).startswith(str(folder)):  # else somebody else imported it first, with settings of their own
        settings.update(
            {
                "sync": False,
                "runs_dir": str(folder / "runs"),
                "weights_dir": str(folder / "weights"),
                "datasets_dir": str(folder / "datasets"),
            }
        )


def _broken(error: Exception) -> ConceptlibError:
    return ConceptlibError(
        f"ultralytics is installed but cannot be imported: {error}",
        hint="pip install --upgrade 'conceptlib[yolo]'; on a machine without a display also libgl1 (OpenCV needs it)",
    )


def _tell_licence() -> None:
    tell_once("ultralytics", LICENCE_NOTICE)
