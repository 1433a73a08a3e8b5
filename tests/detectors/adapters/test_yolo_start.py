"""Beginning a training with the weights of another network: the same numbers, then learning from there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from conceptlib.detectors.adapters import _yolo_model, _yolo_onnx, _yolo_start, _yolo_train, yolo
from conceptlib.errors import ConceptlibError
from tests.detectors.adapters.test_yolo import spec, training_set


@pytest.fixture(scope="module")
def images() -> Any:
    return torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose normalisations are not those of a new one."""
    folder = tmp_path_factory.mktemp("trained")
    yolo.train(spec(steps=3, batch_size=4, distractors=[]), training_set(12), folder, device="cpu")
    return folder


def network(classes: int = 1, seed: int = 1) -> Any:
    torch.manual_seed(seed)
    return _yolo_model.build(_yolo_model.architecture("compact", classes)).train()


def seen(model: Any, images: Any) -> Any:
    with torch.no_grad():
        return model.eval()(images)[0]


def test_a_folder_gives_the_same_network(trained: Path, images: Any) -> None:
    model = network()
    tensors = _yolo_start.read(trained)
    assert _yolo_start.begin(model, tensors, images, where=trained) == len(tensors)
    assert torch.equal(seen(model, images), seen(_yolo_model.load(trained)[0], images))


def test_an_export_is_unfolded(trained: Path, images: Any, tmp_path: Path) -> None:
    """The file has no normalisations; the network has, gives the same boxes, and is trained with those of batches."""
    source, description = _yolo_model.load(trained)
    _yolo_onnx.write(source, description, tmp_path / "a.onnx")
    tensors = _yolo_start.read(tmp_path / "a.onnx")
    assert not any("bn" in name for name in tensors)
    model = network()
    _yolo_start.begin(model, tensors, images, where="a.onnx")
    expected = seen(source, images)
    assert torch.allclose(seen(model, images), expected, atol=2e-3 * float(expected.abs().max()))
    while_training, as_found = network(), network()
    for one in (while_training, as_found):
        _yolo_start.begin(one, tensors, images, where="a.onnx")
    with torch.no_grad():
        first = while_training.train().model[0](images)
        assert torch.allclose(first, as_found.eval().model[0](images), atol=1e-4)
    assert first.std() > 0.01


def test_other_classes_keep_random_last_layers(trained: Path, images: Any) -> None:
    model, before = network(3), network(3).state_dict()
    _yolo_start.begin(model, _yolo_start.read(trained), images, where=trained)
    after, source = model.state_dict(), load_file(trained / _yolo_model.WEIGHTS)
    own = {key for key in after if after[key].shape != source[key].shape}
    assert own and all(".cv3." in key for key in own)
    assert all(torch.equal(after[key], before[key] if key in own else source[key]) for key in after)


def test_another_architecture_is_refused(trained: Path, images: Any) -> None:
    torch.manual_seed(0)
    other = _yolo_model.build(_yolo_model.architecture("yolov8n", 1)).train()
    with pytest.raises(ConceptlibError, match="another architecture"):
        _yolo_start.begin(other, _yolo_start.read(trained), images, where=trained)


def test_nudenets_network_is_taken_over_exactly() -> None:
    import onnxruntime

    path = _yolo_start.find("nudenet")
    pictures = torch.rand(2, 3, 320, 320, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = _yolo_model.build(_yolo_model.architecture("yolov8n", 18)).train()
    _yolo_start.begin(model, _yolo_start.read(path), pictures, where=path)
    session = onnxruntime.InferenceSession(str(path))
    name = session.get_inputs()[0].name
    theirs = np.concatenate([session.run(None, {name: pictures[i : i + 1].numpy()})[0] for i in range(2)])
    assert np.abs(seen(model, pictures).numpy() - theirs).max() < 0.02  # of pixels up to 320


def test_training_goes_on_from_there(trained: Path, tmp_path: Path) -> None:
    """With a rate of nearly nothing the weights stay those it began with; the checkpoint outranks the start."""
    given = spec(start=str(trained), steps=2, batch_size=4, learning_rate=1e-9, weight_decay=0.0, distractors=[])
    about = yolo.train(given, training_set(12), tmp_path / "still", device="cpu")
    assert about["start"] == trained.name  # not where it lies
    mine, theirs = (load_file(folder / _yolo_model.WEIGHTS) for folder in (tmp_path / "still", trained))
    weights = [key for key in mine if key.endswith("conv.weight")]
    assert all(torch.allclose(mine[key], theirs[key], atol=1e-6) for key in weights)
    random = yolo.train(spec(steps=1, batch_size=4, distractors=[]), training_set(12), tmp_path / "new", device="cpu")
    assert random["start"] == "random"


def test_resuming_changes_nothing(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_yolo_train, "CHECKPOINT_EVERY", 2)
    given = spec(start=str(trained), steps=4, batch_size=4, distractors=[])
    yolo.train(given, training_set(12), tmp_path / "whole", device="cpu")

    def stop(stage: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        yolo.train(given, training_set(12), tmp_path / "stopped", device="cpu", progress=stop)
    yolo.train(given, training_set(12), tmp_path / "stopped", device="cpu")
    whole, stopped = (load_file(tmp_path / name / _yolo_model.WEIGHTS) for name in ("whole", "stopped"))
    assert all(torch.equal(whole[key], stopped[key]) for key in whole)


def test_what_it_began_with_is_part_of_the_key(trained: Path, tmp_path: Path) -> None:
    _yolo_model.save(tmp_path, *_yolo_model.load(trained))
    one = yolo.training_lock(spec(start=str(trained)).params)
    assert one == yolo.training_lock(spec(start=str(tmp_path)).params) and len(one["start"]) == 64
    tensors = load_file(tmp_path / _yolo_model.WEIGHTS)
    save_file(tensors | {"model.0.bn.bias": tensors["model.0.bn.bias"] + 1}, tmp_path / _yolo_model.WEIGHTS)
    assert yolo.training_lock(spec(start=str(tmp_path)).params) != one
    assert yolo.training_lock(spec().params) == {}


def test_bad_starts(tmp_path: Path) -> None:
    with pytest.raises(ConceptlibError, match="no such weights"):
        _yolo_start.find(str(tmp_path / "none.onnx"))
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    with pytest.raises(ConceptlibError, match="cannot be read"):
        _yolo_start.read(tmp_path / "bad.onnx")
    (tmp_path / _yolo_model.DESCRIPTION).write_text(json.dumps({}))
    with pytest.raises(ConceptlibError, match="description"):
        _yolo_start.read(tmp_path)
    with pytest.raises(ValueError, match=r"pickle.*trust"):
        spec(start="yolov8n.pt")
