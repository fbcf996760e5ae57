"""A trial that translates while it reads: it learns when to read on, goes on exactly, and keeps what it reports."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Categorical

from sweepstack.models.data.bpe import Tokenizers
from sweepstack.models.predictions.text_metrics import corpus_scores
from sweepstack.models.predictions.texts import Candidates
from sweepstack.models.rl.rewards import make_reward
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.settings.writing import LAGGING, WRITING_METRICS
from sweepstack.models.tasks.trainers import new_trainer
from sweepstack.models.tasks.writing.checkpoint import SimultaneousMember, load_writer, load_writing_member
from sweepstack.models.tasks.writing.simultaneous import SHARP, SimultaneousWriter, read_and_written, waits
from sweepstack.models.tasks.writing.simultaneous_episodes import SimultaneousPlayer
from sweepstack.models.tasks.writing.simultaneous_stage import LEADS, SimultaneousControlStage, SimultaneousPolicyStage
from sweepstack.models.tasks.writing.supervised import ensure_writing_start, writing_start_hash
from sweepstack.models.training.trainer import Trainer

READING = {"unit": "words", "segment": 1, "max_segments": 6, "cost": 0.02}


@pytest.fixture(scope="module")
def settings(writing: SimpleNamespace) -> TrialSettings:
    tree = writing.settings.model_dump()
    tree["writing"]["decode"] = {"beam": 1, "candidates": 1}
    tree["train"] |= {"freeze": "encoder", "lr": 3e-2, "epochs": 2}
    tree["train"]["ppo"]["cross_entropy"] = 0.0
    return TrialSettings.model_validate({**tree, "reading": READING})


def trial(writing: SimpleNamespace, settings: TrialSettings, folder: Path, **values: Any) -> Trainer:
    named = {path.replace("__", "."): value for path, value in values.items()}
    return new_trainer(settings.with_values(named), writing.data, writing.starts, folder, "reward")


def finish(trainer: Trainer) -> list[dict[str, float]]:
    while len(trainer.reports) < trainer.settings.train.epochs:
        trainer.step()
    return [{name: value for name, value in report.items() if name != "seconds"} for report in trainer.reports]


@pytest.mark.parametrize("algorithm", ["ppo", "rloo", "reinforce", "a2c", "trpo", "supervised"])
def test_a_trial_goes_on_exactly_and_keeps_what_it_reports(
    writing: SimpleNamespace, settings: TrialSettings, tmp_path: Path, algorithm: str
) -> None:
    whole = trial(writing, settings, tmp_path / "whole", train__algorithm=algorithm)
    whole.step()
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    reports = finish(whole)
    torch.rand(3)
    assert finish(trial(writing, settings, tmp_path / "again", train__algorithm=algorithm)) == reports
    assert {*WRITING_METRICS, LAGGING} <= reports[0].keys()
    best = max(reports, key=lambda report: report["reward"])
    member, part = load_writing_member(tmp_path / "whole" / "checkpoint", "cpu"), writing.data.parts["valid"]
    assert isinstance(member, SimultaneousMember)
    candidates = member.write(part.inputs, 3)
    kept, _ = Candidates.load(tmp_path / "whole" / "predictions" / "valid.safetensors")
    assert candidates == kept
    assert candidates.lagging is not None
    assert sum(candidates.lagging) / len(candidates) == pytest.approx(best[LAGGING])
    assert corpus_scores(candidates.best, part.references, "zh")["chrf"] == pytest.approx(best["chrf"])
    worth = make_reward("chrf", "zh", None)(part.inputs, part.references, candidates.best).mean()
    assert worth - 0.02 * best[LAGGING] == pytest.approx(best["reward"])
    assert member.writer.wait == (best["wait"] if algorithm == "supervised" else None)  # type: ignore[union-attr]


def test_only_when_to_read_is_learned(writing: SimpleNamespace, settings: TrialSettings, tmp_path: Path) -> None:
    finish(trial(writing, settings, tmp_path))
    start = load_writer(ensure_writing_start(settings, writing.data, writing.starts), torch.device("cpu"))[0]
    after = load_writer(tmp_path / "checkpoint", torch.device("cpu"))[0]
    changed = {
        name.split(".")[0]
        for (name, a), b in zip(start.named_parameters(), after.parameters(), strict=True)
        if not torch.equal(a, b)
    }
    assert changed == {"rule", "read_head", "value_head"}


def test_the_rate_of_a_head_does_not_undo_the_controls_translator(
    writing: SimpleNamespace, settings: TrialSettings, tmp_path: Path
) -> None:
    stage = trial(writing, settings, tmp_path, train__algorithm="supervised").another()
    before = stage.score()
    stage.train(0, [])
    assert stage.optimizer.param_groups[0]["lr"] <= 3e-2 / 300
    after = stage.score()
    assert after["log_loss"] < before["log_loss"] + 0.1
    assert after["chrf"] > before["chrf"] - 10


def test_it_learns_that_waiting_for_one_word_is_enough(
    writing: SimpleNamespace, settings: TrialSettings, tmp_path: Path
) -> None:
    """Words are signs one for one. It begins where it mostly waits for two."""
    stage = trial(writing, settings, tmp_path, train__epochs=4).another()
    assert isinstance(stage, SimultaneousPolicyStage)
    stage.reader.lead(1.5)
    reports = [stage.score()]
    for epoch in range(4):
        logs = stage.train(epoch, reports[1:])
        reports.append({**stage.score(), **logs})
    assert reports[-1][LAGGING] < reports[0][LAGGING] - 0.3
    assert reports[-1]["reward"] > reports[0]["reward"]


@pytest.mark.parametrize("algorithm", ["ppo", "supervised"])
def test_trials_of_different_costs_are_compared_by_one(
    writing: SimpleNamespace, settings: TrialSettings, tmp_path: Path, algorithm: str
) -> None:
    own = settings.with_values({"reading.cost": 0.5, "train.algorithm": algorithm})
    report = new_trainer(own, writing.data, writing.starts, tmp_path, "reward", 0.02).step()
    written, _ = Candidates.load(tmp_path / "predictions" / "valid.safetensors")
    part = writing.data.parts["valid"]
    worth = make_reward("chrf", "zh", None)(part.inputs, part.references, written.best).mean()
    assert report["reward"] == pytest.approx(worth - 0.02 * report[LAGGING])


def test_starts_are_shared_whatever_reading_costs(writing: SimpleNamespace, settings: TrialSettings) -> None:
    own = writing_start_hash(settings, writing.data)
    assert own == writing_start_hash(settings.with_values({"reading.cost": 1.0}), writing.data)
    assert own != writing_start_hash(settings.with_values({"reading.segment": 2}), writing.data)
    off = settings.with_values({"reading": "off"})
    assert own != writing_start_hash(off, writing.data)
    folder = ensure_writing_start(settings, writing.data, writing.starts)
    writer, config = load_writer(folder, torch.device("cpu"))
    assert isinstance(writer, SimultaneousWriter)
    assert (config["kind"], writer.reading.max_segments, writer.wait) == ("simultaneous", 6, None)


def test_learning_starts_from_the_lead_that_earns_most(
    writing: SimpleNamespace, settings: TrialSettings, tmp_path: Path
) -> None:
    """On what will be played, of all up to the first that earns less than the one before."""
    tokenizers, part = Tokenizers.from_json(writing.data.tokenizers), writing.data.parts["policy"]
    chosen = {}
    for cost in (0.0, 0.5):
        stage = trial(writing, settings, tmp_path, reading__cost=cost).another()
        assert isinstance(stage, SimultaneousPolicyStage)
        reader, before = stage.reader, -1e9
        chosen[cost] = LEADS.index(float(reader.rule.bias.detach()) / SHARP)
        for k in LEADS[: chosen[cost] + 2]:
            reader.lead(k)
            found = read_and_written(reader, tokenizers, part.inputs, reader.chooses())
            assert found.lagging is not None
            worth = make_reward("chrf", "zh", None)(part.inputs, part.references, found.best)
            earned = float(worth.mean()) - cost * sum(found.lagging) / len(found)
            assert (earned >= before) == (k != LEADS[chosen[cost] + 1])
            before = earned
    assert [LEADS[place] for place in chosen.values()] == [1.0, 1.0], "its words are signs one for one"


@pytest.mark.parametrize(
    ("best", "lead"), [(0.1, 0.0), (0.3, 0.25), (0.5, 0.5), (8.0, 8.0), (25.0, 20.0), (90.0, 80.0)]
)
def test_leads_go_on_where_the_best_is_the_least_or_the_last(
    writing: SimpleNamespace,
    settings: TrialSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    best: float,
    lead: float,
) -> None:
    """What a lead earns is its distance from ``best`` here; everything is read first from max_segments on, 48."""
    monkeypatch.setattr(SimultaneousPolicyStage, "_earned", lambda self, k: np.array([-abs(k - best)]))
    stage = trial(writing, settings, tmp_path, reading__max_segments=48).another()
    assert isinstance(stage, SimultaneousPolicyStage)
    assert float(stage.reader.rule.bias.detach()) / SHARP == pytest.approx(lead)


@pytest.mark.parametrize(("best", "tried"), [(2, [1, 2, 3, 5]), (6, [1, 2, 3, 5, 6])])
def test_waits_go_on_to_where_everything_is_read(
    writing: SimpleNamespace,
    settings: TrialSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    best: int,
    tried: list[int],
) -> None:
    stage = trial(writing, settings, tmp_path, train__algorithm="supervised").another()
    assert isinstance(stage, SimultaneousControlStage)
    waits: list[int] = []

    def scored() -> Any:
        assert stage.reader.wait is not None
        waits.append(stage.reader.wait)
        return None, {"reward": -abs(stage.reader.wait - best)}

    monkeypatch.setattr(stage, "_scored", scored)
    assert stage.score()["wait"] == stage.reader.wait == best
    assert waits == tried, "of at most six segments"


def test_an_episode_is_what_was_decided_and_is_worth_more_or_less_than_usual(
    writing: SimpleNamespace, settings: TrialSettings
) -> None:
    writer = load_writer(ensure_writing_start(settings, writing.data, writing.starts), torch.device("cpu"))[0]
    assert isinstance(writer, SimultaneousWriter)
    tokenizers, part = Tokenizers.from_json(writing.data.tokenizers), writing.data.parts["policy"]
    usual = torch.linspace(0, 1, len(part))
    player = SimultaneousPlayer(writer, part, make_reward("chrf", "zh", None), tokenizers.target, 0.1, usual)
    rollout = player.roll_out(torch.arange(10), 2, torch.Generator().manual_seed(0))
    assert rollout.group.tolist() == [i for i in range(10) for _ in range(2)]
    torch.testing.assert_close(rollout.rewards.sum(1), player.earned - usual[rollout.group])
    assert (rollout.rewards[~rollout.taken] == 0).all()
    assert (rollout.rewards != 0).sum(1).max() > 1, "lagging is paid for where it arises"
    assert len(rollout.actions) == int(rollout.taken.sum())
    assert not rollout.actions[~rollout.counted].any()
    now = player.evaluate(rollout, torch.arange(len(rollout.actions)))
    assert isinstance(now.distribution, Categorical)
    torch.testing.assert_close(now.distribution.log_prob(rollout.actions), rollout.log_probs)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(now.values, rollout.at(rollout.values))
    assert torch.allclose(rollout.log_probs[~rollout.counted], torch.zeros(1))
    reads = torch.zeros(20).index_add(0, rollout.row, rollout.actions.float())
    words = torch.tensor([len(part.inputs[i].split()) for i in rollout.group.tolist()])
    assert (reads <= words - 1).all()
    assert reads.max() > 0
    reward = make_reward("chrf", "zh", None)
    constant = SimultaneousPlayer(writer, part, reward, tokenizers.target, 0.1, usual, constant=True)
    again = constant.roll_out(torch.arange(10), 2, torch.Generator().manual_seed(0))
    assert again.rewards.sum(1).tolist() == [1.0] * 20
    torch.testing.assert_close(constant.earned, player.earned)
    assert waits(2)(torch.zeros(1), torch.tensor([2, 3]), 1).tolist() == [True, False]
