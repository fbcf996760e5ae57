"""What is saved can be read again, by itself, and says the same; what is damaged is refused in one line."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sweepstack.models.baselines.linear import LinearBaseline, LinearMember
from sweepstack.models.errors import BundleError, DamagedError, TrainingError
from sweepstack.models.networks.device import pick_device
from sweepstack.models.networks.policy import ReadingPolicy
from sweepstack.models.networks.precision import Calibration, Precision
from sweepstack.models.predictions.costs import Costs
from sweepstack.models.predictions.probabilities import Predictions, answer_above
from sweepstack.models.tasks.classification import checkpoint as checkpoints
from sweepstack.models.tasks.classification.checkpoint import (
    PolicyMember,
    calibrate_precision,
    finished,
    load_member,
    load_policy,
    new_policy,
    predict,
    prepared,
    save_policy,
)

Topics = SimpleNamespace


@pytest.fixture
def policy(topics: Topics) -> ReadingPolicy:
    """Of random weights, the heads' too."""
    made = new_policy(topics.settings, topics.data, 3).eval()
    torch.manual_seed(0)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


@pytest.fixture
def folder(topics: Topics, policy: ReadingPolicy, tmp_path: Path) -> Path:
    save_policy(tmp_path / "checkpoint", policy, topics.data.classes, topics.data.reader, None)
    return tmp_path / "checkpoint"


def same(a: Predictions, b: Predictions, tolerance: float = 0.0) -> None:
    np.testing.assert_allclose(a.probabilities, b.probabilities, atol=tolerance, rtol=0)
    np.testing.assert_allclose(a.answer, b.answer, atol=tolerance, rtol=0)
    assert np.array_equal(a.n_segments, b.n_segments)


def test_a_threshold_is_of_what_errors_cost_also_when_it_is_read_again(
    topics: Topics, policy: ReadingPolicy, tmp_path: Path
) -> None:
    matrix = np.float32([[0, 1, 0.1], [0.2, 0, 3], [2, 1, 0]])
    save_policy(tmp_path, policy, topics.data.classes, topics.data.reader, 0.9, matrix=matrix)
    got = load_member(tmp_path).read(topics.dataset.parts["test"].inputs)
    alone = predict(policy, topics.data.parts["test"])
    expected = answer_above(alone.probabilities, alone.n_segments, 0.9, Costs(matrix=matrix))
    same(got, expected, 1e-6)
    assert not np.allclose(expected.answer, answer_above(alone.probabilities, alone.n_segments, 0.9).answer)


@pytest.mark.parametrize("threshold", [None, 0.6])
def test_a_member_reads_raw_texts_as_its_policy_read_the_tokens(
    topics: Topics, policy: ReadingPolicy, tmp_path: Path, threshold: float | None
) -> None:
    save_policy(tmp_path, policy, topics.data.classes, topics.data.reader, threshold)
    member = load_member(tmp_path)
    assert member.classes == topics.data.classes
    expected = predict(policy, topics.data.parts["test"], threshold)
    same(member.read(topics.dataset.parts["test"].inputs), expected, 1e-5)
    if threshold is not None:
        alone = predict(policy, topics.data.parts["test"])
        same(expected, answer_above(alone.probabilities, alone.n_segments, threshold))


def test_a_conditioned_member_reads_at_the_cost_that_it_is_asked_for(topics: Topics, tmp_path: Path) -> None:
    settings = topics.settings.with_values({"reading.cost": {"condition": [0.0, 0.1]}})
    policy = new_policy(settings, topics.data, 3).eval()
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    save_policy(tmp_path, policy, topics.data.classes, topics.data.reader, None)
    member = load_member(tmp_path)
    assert member.conditioned
    texts, part = topics.dataset.parts["test"].inputs, topics.data.parts["test"]
    for cost in (None, 0.0, 0.1):
        same(member.read(texts, cost), predict(policy, part, cost=cost), 1e-5)
    assert not np.allclose(member.read(texts, 0.0).answer, member.read(texts, 0.1).answer)
    same(member.read(texts), member.read(texts, 0.05), 1e-6)


def test_a_member_without_a_learned_stop_may_have_a_threshold_for_every_cost(
    topics: Topics, policy: ReadingPolicy, tmp_path: Path
) -> None:
    reader, table = topics.data.reader, [(0.0, 0.9), (0.02, 0.7), (0.1, 0.5)]
    save_policy(tmp_path, policy, topics.data.classes, reader, 0.6, table)
    member, part = load_member(tmp_path), topics.data.parts["test"]
    assert member.conditioned
    for cost, threshold in ((None, 0.6), (0.0, 0.9), (0.01, 0.8), (0.06, 0.6), (0.1, 0.5), (7.0, 0.5)):
        same(member.read(topics.dataset.parts["test"].inputs, cost), predict(policy, part, threshold), 1e-5)


def test_one_that_was_made_for_one_cost_cannot_be_asked_for_another(folder: Path) -> None:
    member = load_member(folder)
    assert not member.conditioned
    same(member.read(["wheat of the"], 0.5), member.read(["wheat of the"]))


def test_settings_say_how_a_policy_computes_and_checkpoints_do_not(topics: Topics, tmp_path: Path) -> None:
    chosen = topics.settings.with_values({"precision": "bfloat16", "compile": True})
    policy = new_policy(chosen, topics.data, 0)
    assert (policy.precision, policy.compiled) == ("bfloat16", True)
    save_policy(tmp_path, policy, topics.data.classes, topics.data.reader, None)
    loaded, _ = load_policy(tmp_path, torch.device("cpu"))
    assert (loaded.precision, loaded.compiled) == ("float32", False)
    assert prepared(loaded, chosen).precision == "bfloat16"
    assert prepared(loaded, topics.settings).precision == "float32"  # auto, resolved by nobody


def test_the_precision_of_a_study(topics: Topics, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the settings say counts; auto is measured, on supervised steps that leave no trace."""
    state = torch.get_rng_state()
    for there in (True, False):
        monkeypatch.setattr(checkpoints, "supports_bfloat16", lambda device, there=there: there)
        chosen = topics.settings.with_values({"precision": "float32"})
        assert calibrate_precision(chosen, topics.data)["precision"] == "float32"
    with pytest.raises(TrainingError, match="precision is bfloat16, but cpu cannot multiply in it; take float32"):
        calibrate_precision(topics.settings.with_values({"precision": "bfloat16"}), topics.data)
    seen: list[str] = []

    def measure(step: Callable[[Precision], object], device: torch.device) -> Calibration:
        for precision in ("bfloat16", "float32"):
            step(precision)  # type: ignore[arg-type]
            seen.append(f"{precision} on {device}")
        return Calibration(precision="bfloat16", float32_ms=2.0, bfloat16_ms=1.0)

    monkeypatch.setattr(checkpoints, "calibrate", measure)
    assert calibrate_precision(topics.settings, topics.data)["precision"] == "bfloat16"
    assert seen == ["bfloat16 on cpu", "float32 on cpu"]
    assert torch.equal(torch.get_rng_state(), state)


def test_it_needs_nothing_but_its_folder(topics: Topics, folder: Path, tmp_path: Path) -> None:
    before = load_member(folder).read(["wheat of the", ""])
    moved = shutil.move(folder, tmp_path / "elsewhere")
    same(load_member(Path(moved)).read(["wheat of the", ""]), before)
    assert before.n_segments.tolist() == [2, 1]
    assert before.probabilities.sum(axis=2) == pytest.approx(1.0, abs=1e-6)


def test_the_files_are_safetensors_and_json(folder: Path, policy: ReadingPolicy, topics: Topics) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "SHA256SUMS",
        "config.json",
        "tokenizer.json",
        "weights.safetensors",
    ]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert (config["format"], config["kind"], config["threshold"]) == (4, "policy", None)
    assert config["reading"] == topics.settings.reading.model_dump()
    loaded, _ = load_policy(folder, torch.device("cpu"))
    for name, tensor in policy.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_nothing_is_unpickled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights that are a pickle are refused without being run."""
    (folder / "SHA256SUMS").unlink()
    (folder / "weights.safetensors").write_bytes(pickle.dumps({"x": 1}))

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a pickle was loaded")

    for module, name in ((pickle, "load"), (pickle, "loads"), (torch, "load")):
        monkeypatch.setattr(module, name, never)
    with pytest.raises(BundleError):
        load_member(folder)


def edit(name: str, change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        change(content)
        (folder / name).write_text(json.dumps(content), encoding="utf-8")

    return spoil


SPOILT: dict[str, Callable[[Path], object]] = {
    "no folder": shutil.rmtree,
    "no config": lambda folder: (folder / "config.json").unlink(),
    "no weights": lambda folder: (folder / "weights.safetensors").unlink(),
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "config cut": lambda folder: (folder / "config.json").write_text('{"kind": "po', encoding="utf-8"),
    "config a list": lambda folder: (folder / "config.json").write_text("[]", encoding="utf-8"),
    "config not text": lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe"),
    "weights cut": lambda folder: (folder / "weights.safetensors").write_bytes(
        (folder / "weights.safetensors").read_bytes()[:-100]
    ),
    "weights empty": lambda folder: (folder / "weights.safetensors").write_bytes(b""),
    "tokenizer cut": lambda folder: (folder / "tokenizer.json").write_text('{"format": 1,', encoding="utf-8"),
    "tokenizer empty": lambda folder: (folder / "tokenizer.json").write_text("{}", encoding="utf-8"),
    "another format": edit("config.json", lambda config: config.update(format=7)),
    "another kind": edit("config.json", lambda config: config.update(kind="forest")),
    "no kind": edit("config.json", lambda config: config.pop("kind")),
    "no classes": edit("config.json", lambda config: config.pop("classes")),
    "a class too few": edit("config.json", lambda config: config.update(classes=["farm", "ship"])),
    "another width": edit("config.json", lambda config: config["model"].update(d_model=32)),  # type: ignore[attr-defined]
    "an unknown setting": edit("config.json", lambda config: config["model"].update(width=32)),  # type: ignore[attr-defined]
    "thresholds no pairs": edit("config.json", lambda config: config.update(thresholds=[[0.0, 0.9, 1.0]])),
    "thresholds out of order": edit("config.json", lambda config: config.update(thresholds=[[0.1, 0.9], [0.0, 0.5]])),
    "threshold a word": edit("config.json", lambda config: config.update(threshold="high")),
    "tokenizer of another format": edit("tokenizer.json", lambda content: content.update(format=7)),
    "tokenizer without tokenizer": edit("tokenizer.json", lambda content: content.update(tokenizer={"a": 1})),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_spoilt_folder_is_refused_in_one_line(folder: Path, spoil: Callable[[Path], object]) -> None:
    (folder / "SHA256SUMS").unlink()  # as older versions wrote it: what is wrong is found out by reading
    spoil(folder)
    with pytest.raises(BundleError) as caught:
        load_member(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    assert "again" in message


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json", "tokenizer.json"])
def test_one_changed_bit_is_damage_wherever_it_is(folder: Path, name: str) -> None:
    """Weights with a changed bit load, and predict something else."""
    content = (folder / name).read_bytes()
    for place in np.linspace(0, len(content) - 1, 12).astype(int):
        (folder / name).write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        with pytest.raises(DamagedError, match=f"{name} is damaged: its SHA-256 is not the one in SHA256SUMS"):
            load_member(folder)
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedError, match=f"{name} is damaged"):
        load_member(folder)
    (folder / name).write_bytes(content)
    load_member(folder)


def test_a_linear_baseline_is_a_member_too(topics: Topics, tmp_path: Path) -> None:
    baseline = LinearBaseline.fit(topics.dataset, topics.settings.reading)
    baseline.save(tmp_path)
    member = load_member(tmp_path)
    assert isinstance(member, LinearMember)
    texts = topics.dataset.parts["test"].inputs
    same(member.read(texts), baseline.read(texts))


def test_no_texts_are_no_rows(folder: Path) -> None:
    read = PolicyMember(folder).read([])
    assert len(read) == 0
    assert read.probabilities.shape == (0, 1, 3)
    assert read.answer.shape == (0, 1)


def test_how_many_are_read_at_a_time_changes_nothing(
    topics: Topics, policy: ReadingPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = predict(policy, topics.data.parts["valid"])
    monkeypatch.setattr(checkpoints, "CHUNK", 7)
    same(predict(policy, topics.data.parts["valid"]), at_once, 1e-5)


def test_long_texts_are_read_fewer_at_a_time() -> None:
    """Rows times squared tokens stay below what 512 rows of 128 have, and every row is read once, by length."""
    lengths = np.array([5] * 1000 + [256] * 300)
    order = np.argsort(lengths, kind="stable")
    pieces = list(checkpoints._chunks(order, lengths, 1))
    assert np.array_equal(np.concatenate(pieces), order)
    assert max(len(rows) * int(lengths[rows].max()) ** 2 for rows in pieces) <= 512 * 128**2
    assert len(pieces[0]) == 512
    assert list(map(len, checkpoints._chunks(np.arange(600), np.full(600, 4), 5))) == [512, 88]


def test_the_last_segment_repeats_and_is_answered_at() -> None:
    """Beyond a text's end there is what was said at its end, whatever the arrays held there."""
    probabilities = np.float32([[[0.6, 0.4], [0.9, 0.1]], [[0.2, 0.8], [9, 9]]])
    answer = np.float32([[0.3, 0.4], [0.5, 9]])
    got = finished(probabilities, answer, np.array([2, 1]), None)
    assert np.array_equal(got.probabilities, np.float32([[[0.6, 0.4], [0.9, 0.1]], [[0.2, 0.8], [0.2, 0.8]]]))
    assert np.array_equal(got.answer, np.float32([[0.3, 1], [1, 1]]))
    assert got.answer.dtype == got.probabilities.dtype == np.float32


def test_initial_weights_are_those_of_the_seed(topics: Topics) -> None:
    state = torch.get_rng_state()
    first, again, other = (new_policy(topics.settings, topics.data, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["label_head.weight"], other["label_head.weight"])


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert pick_device("auto").type == expected
        assert pick_device("cpu").type == "cpu"


def test_a_device_that_is_not_there_is_told_with_what_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingError, match=r"device is cuda, but torch finds no CUDA device .* take auto or cpu"):
        pick_device("cuda")
