from __future__ import annotations

from pathlib import Path

import pytest

from conceptlib.store import Artifact, Store
from tests.support import mixed


@pytest.fixture
def store(home: Path) -> Store:
    return Store(home)


@pytest.fixture
def pictures(store: Store) -> Artifact:
    return mixed.make_pictures(store)


@pytest.fixture
def truth(store: Store, pictures: Artifact) -> Artifact:
    return mixed.make_annotations(store, pictures, mixed.boxes())
