"""What is in a dataset, as a page: `conceptlib datasets show NAME`.

A module here that is called like a builder shows that builder's datasets, by `page(artifact, options) -> Page`. Adding
a file is enough; the datasets of other builders get the page of pictures, `images`.
"""

from __future__ import annotations

from pathlib import Path

from conceptlib.concepts.show._page import Options as Options
from conceptlib.concepts.show._page import Page as Page
from conceptlib.concepts.show._page import Section as Section
from conceptlib.specs.registry import PAGES
from conceptlib.store import Artifact, Store


def show(ref: str | Path | Artifact, options: Options | None = None, *, store: Store | None = None) -> Page:
    """The page of a dataset.

    Args:
        ref: what `Store.get` finds, of kind `dataset`.
        options: default: examples as the page thinks right, prompts redacted.

    Raises:
        NotFound: no such dataset. ConceptlibError: it cannot be read.
    """
    store = store or Store()
    artifact = store.get(ref, "dataset")
    spec = artifact.lock.get("spec")
    builder = str(spec.get("builder", "")) if isinstance(spec, dict) else ""
    if builder not in PAGES:
        from conceptlib.concepts.show import images  # numpy, which a page of prompts needs not

        return images.page(artifact, options or Options(), store)
    page: Page = PAGES.get(builder).page(artifact, options or Options())
    return page
