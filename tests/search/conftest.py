"""Studies, trials and rows to show: made by hand, in the real shapes, with numbers that a test can check by eye.

And whole run folders: real data, ledger, predictions, ensembles, bundle and tracking store; only what Ray would train
is trained here, as linear members, in a moment.
"""

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from example_rows import writing_rows

from sweepstack.ensembles.evaluation.table import Row
from sweepstack.ensembles.scoring.bootstrap import Gain
from sweepstack.models.predictions.costs import Costs
from sweepstack.search.ledger.records import TrialRecord
from sweepstack.search.study.space import Space
from sweepstack.search.study.study import Study

if TYPE_CHECKING:
    from sweepstack.search.execution.sweep import Sweep
    from sweepstack.search.run.session import Session

SETTINGS = {
    "train.lr": 8.1e-3,
    "train.lr_schedule": "cosine",
    "train.batch_size": 64,
    "train.gamma": 0.999,
    "train.gae_lambda": 0.8,
    "train.warm_start.seed": 2,
}


@pytest.fixture
def make_study() -> Callable[..., Study]:
    def make(**changes: Any) -> Study:
        tree: dict[str, Any] = {
            "name": "quickstart",
            "task": "classification",
            "data": {"train": "builtin:languages"},
            "reading": {"unit": "characters", "segment": 2, "max_segments": 12, "cost": 0.01},
            "train": {"epochs": 4},
        }
        return Study.model_validate({**tree, **changes})

    return make


@pytest.fixture
def study(make_study: Callable[..., Study]) -> Study:
    return make_study()


@pytest.fixture
def space(study: Study) -> Space:
    return Space.of(study.space, study.trial_settings())[0]


@pytest.fixture
def make_record() -> Callable[..., TrialRecord]:
    """A trial with a reward after each epoch; accuracy is a hundredth more for each segment read after the first."""

    def make(number: int, rewards: Sequence[float] = (), state: Any = "complete", **fields: Any) -> TrialRecord:
        reports = tuple(
            {
                "reward": r,
                "accuracy": r + 0.022,
                "segments": 3.2,
                "accuracy_full": 0.94,
                "log_loss": 0.25,
                "seconds": 1.5,
            }
            for r in rewards
        )
        value = max(rewards, default=None)
        best = None if value is None else list(rewards).index(value) + 1
        given: dict[str, Any] = {
            "sweep": "trials",
            "settings": SETTINGS,
            "value": value,
            "best_epoch": best,
            "reason": None,
            "attributes": {},
            "started": 1000.0,
            "ended": None if state == "running" else 1010.0,
            "rung": None,
        }
        return TrialRecord(number=number, state=state, reports=reports, **{**given, **fields})

    return make


@pytest.fixture
def raced_record(make_record: Callable[..., TrialRecord]) -> Callable[..., TrialRecord]:
    """A trial with the rewards of each of its finished repetitions after each epoch."""

    def make(
        number: int, repetitions: Sequence[Sequence[float]], state: Any = "complete", **fields: Any
    ) -> TrialRecord:
        record = make_record(number, [reward for rewards in repetitions for reward in rewards], state, **fields)
        begins = [sum(map(len, repetitions[:place])) for place in range(len(repetitions))]
        best = tuple(
            begin + list(rewards).index(max(rewards)) + 1 for begin, rewards in zip(begins, repetitions, strict=True)
        )
        scores = tuple(max(rewards) for rewards in repetitions)
        places = [float(place) for place, rewards in enumerate(repetitions, start=1) for _ in rewards]
        reports = tuple({**r, "repetition": place} for r, place in zip(record.reports, places, strict=True))
        value = sum(scores) / len(scores)
        return replace(record, reports=reports, value=value, best_epochs=best, scores=scores)

    return make


@pytest.fixture
def rows() -> tuple[Row, ...]:
    """The table of design.md, less stacking."""

    def metrics(reward: float, accuracy: float = 0.9, segments: float = 3.3) -> dict[str, float]:
        return {"reward": reward, "accuracy": accuracy, "segments": segments, "accuracy_full": 0.95, "log_loss": 0.2}

    half = {"reward": 0.014, "accuracy": 0.012, "segments": 0.1, "accuracy_full": 0.01, "log_loss": 0.02}
    mine = dict.fromkeys(("test_interval",), half)
    return (
        Row(
            "selection",
            "selection",
            "ensemble",
            ("trial-7", "trial-3", "linear"),
            (0.5, 0.25, 0.25),
            "its own",
            metrics(0.921),
            metrics(0.919),
            metrics(0.914, 0.937),
            gain_over_trial=Gain(0.023, 0.009, 0.037),
            gain_over_linear=Gain(0.014, -0.003, 0.025),
            size_mb=3.1,
            latency_ms=1.2,
            **mine,
        ),
        Row(
            "trial-7",
            "trial",
            "trial",
            ("trial-7",),
            (1.0,),
            "its own",
            metrics(0.895),
            metrics(0.893),
            metrics(0.891, 0.913, 3.2),
            gain_over_linear=Gain(-0.009, -0.025, 0.007),
            **mine,
        ),
        Row(
            "linear",
            "linear",
            "baseline",
            ("linear",),
            (1.0,),
            "its own",
            metrics(0.902),
            metrics(0.899),
            metrics(0.9, 0.934, 4.4),
            gain_over_trial=Gain(0.009, -0.007, 0.025),
            size_mb=0.9,
            latency_ms=0.1,
            **mine,
        ),
    )


PLAYED: dict[str, Any] = {
    "name": "balance",
    "task": "gym:CartPole-v1",
    "train": {"epochs": 2, "batch_size": 32, "env": {"copies": 2, "steps": 64, "eval_episodes": 4}},
    "space": {"train.lr": {"log": [1e-4, 3e-3]}, "train.gamma": [0.9, 0.99], "train.gae_lambda": [0.8, 0.95]},
    "search": {"trials": 4, "stopper": "none"},
}


@pytest.fixture
def environment_study() -> Study:
    return Study.model_validate(PLAYED)


@pytest.fixture
def played_record() -> Callable[..., TrialRecord]:
    """A trial with a mean return after each epoch."""

    def make(number: int, returns: Sequence[float] = (), state: Any = "complete", **fields: Any) -> TrialRecord:
        reports = tuple({"reward": r, "reward_std": 20.0, "length": r, "seconds": 1.5} for r in returns)
        value = max(returns, default=None)
        given: dict[str, Any] = {
            "sweep": "trials",
            "settings": {"train.lr": 1e-3, "train.gamma": 0.99, "train.gae_lambda": 0.8},
            "value": value,
            "best_epoch": None if value is None else list(returns).index(value) + 1,
            "reason": None,
            "attributes": {},
            "started": 1000.0,
            "ended": 1010.0,
            "rung": None,
        }
        return TrialRecord(number=number, state=state, reports=reports, **{**given, **fields})

    return make


@pytest.fixture
def writing_study() -> Study:
    return Study.model_validate(
        {"name": "translation", "task": "translation", "data": {"train": "pairs.jsonl"}, "train": {"epochs": 2}}
    )


WORDS = {
    "animal": ("cat", "dog", "cow", "hen", "fox", "owl", "bee", "ant"),
    "colour": ("red", "blue", "green", "pink", "grey", "black", "white", "brown"),
    "number": ("one", "two", "three", "four", "five", "six", "seven", "eight"),
}
SMALL: dict[str, Any] = {
    "version": 1,
    "name": "small",
    "task": "classification",
    "data": {"splits": {"test": 0.25, "policy": 0.3, "valid": 0.2, "blend": 0.2}},
    "reading": {"unit": "words", "segment": 1, "max_segments": 4, "cost": 0.02},
    "train": {"epochs": 2},
    "space": {"train.lr": {"log": [1e-3, 3e-2]}, "train.batch_size": [64, 128]},
    "search": {"sampler": "random", "stopper": "none", "trials": 4},
    "ensembles": {"builders": ["average", "selection", {"stacking": {"top": 3}}]},
}


@pytest.fixture(scope="session")
def phrases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """320 texts of one to six words, of which two thirds are of the class that is the label."""
    draw = random.Random(3)
    texts: dict[str, str] = {}
    while len(texts) < 320:
        label = draw.choice(list(WORDS))
        kinds = [label if draw.random() < 0.67 else draw.choice(list(WORDS)) for _ in range(draw.randint(1, 6))]
        texts[" ".join(draw.choice(WORDS[kind]) for kind in kinds)] = label
    path = tmp_path_factory.mktemp("data") / "phrases.jsonl"
    rows = (json.dumps({"text": text, "label": label}) for text, label in texts.items())
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def study_file(phrases: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes the small study, with top-level parts replaced; all of them share one tracking store."""
    store = tmp_path_factory.mktemp("tracking") / "mlflow.db"

    def write(folder: Path, **changes: Any) -> Path:
        data = {**SMALL["data"], "train": str(phrases)}
        path = folder / "small.yaml"
        path.write_text(json.dumps({**SMALL, "data": data, "tracking": {"uri": f"sqlite:///{store}"}, **changes}))
        return path

    return write


@pytest.fixture(scope="session")
def train_by_hand() -> "Callable[[Session], None]":
    """Does Ray's part of a search: every trial and control is a linear member that knows every fourth warm row."""
    from sweepstack.models.baselines.linear import LinearBaseline
    from sweepstack.models.predictions.probabilities import metrics
    from sweepstack.search.run.baselines import fit_linear

    def finish(session: "Session", sweep: "Sweep") -> None:
        parts = session.dataset.parts
        while (record := sweep.ask()) is not None:
            folder, number = session.folder.of(record), record.number
            rows = range(number % 4, len(parts["warm"].inputs), 4)
            warm = replace(
                parts["warm"], inputs=tuple(parts["warm"].inputs[i] for i in rows), labels=parts["warm"].labels[rows]
            )
            known = replace(session.dataset, parts={**parts, "warm": warm, "policy": warm})
            member = LinearBaseline.fit(known, session.study.reading)
            member.save(folder / "checkpoint")
            for part in ("valid", "blend", "test"):
                path = folder / "predictions" / f"{part}.safetensors"
                member.read(parts[part].inputs).save(path, session.dataset.hashes[part])
            valid = metrics(member.read(parts["valid"].inputs), parts["valid"].labels, Costs(session.cost))
            sweep.report(number, 1, {**valid, "reward": valid["reward"] - 0.1, "seconds": 0.5})
            sweep.report(number, 2, {**valid, "seconds": 0.5})
            sweep.complete(number)

    def train(session: "Session") -> None:
        for sweep in (session.trials, session.control):
            if sweep is not None:
                finish(session, sweep)
        if session.ledger.attribute("linear") is None:
            linear = fit_linear(session.dataset, session.study.reading, session.cost, session.folder.linear)
            session.ledger.set_attribute("linear", linear)

    return train


@pytest.fixture(scope="session")
def searched_run(
    tmp_path_factory: pytest.TempPathFactory,
    study_file: Callable[..., Path],
    train_by_hand: "Callable[[Session], None]",
) -> Path:
    """A run folder whose search is done and whose ensembles are not built; to be read, or copied."""
    from sweepstack.search.run.session import Session

    folder = tmp_path_factory.mktemp("searched")
    session = Session.open(Study.load(study_file(folder)), folder / "run")
    train_by_hand(session)
    session.ledger.close()
    return folder / "run"


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, searched_run: Path) -> Path:
    """The same, finished by ``pipeline.run``, which finds nothing left to train; to be read, or copied."""
    from sweepstack.search import pipeline

    folder = tmp_path_factory.mktemp("finished") / "run"
    shutil.copytree(searched_run, folder)
    pipeline.run(Study.load(folder / "study.yaml"), folder, json=True)
    return folder


@pytest.fixture
def run(searched_run: Path, tmp_path: Path) -> Path:
    """A copy of ``searched_run`` to work in, which is a sweep of its own in the tracking store."""
    from sweepstack.search.ledger.ledger import Ledger

    folder = Path(shutil.copytree(searched_run, tmp_path / "run"))
    with Ledger.open(folder / "ledger.log") as ledger:
        ledger.set_attribute("sweep_id", str(tmp_path))
    return folder


@pytest.fixture(scope="session")
def with_refits(searched_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a pipeline, whose exported linear model is trained on all rows but test; to be copied."""
    from sweepstack.search import pipeline
    from sweepstack.search.tracking.run_tracker import SessionTracker

    folder = Path(shutil.copytree(searched_run, tmp_path_factory.mktemp("refitted") / "run"))
    given = ["ensembles.library=[trials, linear, naive_bayes]", "ensembles.refit=true", "ensembles.builders=[average]"]
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch)
        patch.setattr(SessionTracker, "put", lambda self, state: None)
        patch.setattr(SessionTracker, "begin", lambda self: None)
        patch.setattr(SessionTracker, "check", lambda self: None)
        pipeline.run(Study.load(folder / "study.yaml", given), folder, json=True)
    return folder


@pytest.fixture
def control_that_wins() -> Callable[[Path], None]:
    """Trains the control of a copied run anew, on blend itself, so that it is the best there by far."""
    from sweepstack.models.baselines.linear import LinearBaseline
    from sweepstack.search.run.session import Session

    def train(run: Path) -> None:
        session = Session.open(Study.load(run / "study.yaml"), run)
        session.ledger.close()
        parts = session.dataset.parts
        known = dict.fromkeys(("warm", "policy", "valid"), parts["blend"])
        member = LinearBaseline.fit(replace(session.dataset, parts={**parts, **known}), session.study.reading)
        (record,) = session.control_records()
        member.save(session.folder.of(record) / "checkpoint")
        for part in ("valid", "blend", "test"):
            path = session.folder.of(record) / "predictions" / f"{part}.safetensors"
            member.read(parts[part].inputs).save(path, session.dataset.hashes[part])

    return train


TRANSLATED = {
    "open": "打开", "close": "关闭", "save": "保存", "print": "打印", "the": "该", "file": "文件", "window": "窗口",
    "page": "页面", "table": "表格", "new": "新", "old": "旧", "last": "最后",
}  # fmt: skip
WRITER: dict[str, Any] = {
    "version": 1,
    "name": "small",
    "task": "translation",
    "data": {"splits": {"test": 0.2, "policy": 0.2, "valid": 0.15, "blend": 0.15}},
    "writing": {"vocabulary": {"source": 60, "target": 60}, "max_source": 12, "max_target": 12,
                "decode": {"beam": 2, "candidates": 2}},
    "model": {"d_model": 32, "layers": 1, "heads": 2, "feed_forward": 64, "dropout": 0.0},
    "train": {"epochs": 2, "warm_start": {"epochs": 20, "lr": 1e-2, "token_budget": 120}},
    "precision": "float32",
    "space": {"train.lr": {"log": [1e-5, 1e-3]}, "train.batch_size": [16, 32]},
    "search": {"sampler": "random", "stopper": "none", "trials": 3},
}  # fmt: skip


@pytest.fixture(scope="session")
def translations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """260 commands, and what they are in Chinese, word by word."""
    draw = random.Random(5)
    verbs, things, kinds = (list(TRANSLATED)[begin:end] for begin, end in ((0, 4), (5, 9), (9, 12)))
    texts: dict[str, str] = {}
    while len(texts) < 260:
        words = [draw.choice(verbs), "the", *draw.sample(kinds, draw.randint(0, 2)), draw.choice(things)]
        words += ["the", draw.choice(things)] * draw.randint(0, 2)
        texts[" ".join(words)] = "".join(TRANSLATED[word] for word in words)
    path = tmp_path_factory.mktemp("pairs") / "commands.jsonl"
    rows = (json.dumps({"source": source, "target": target}) for source, target in texts.items())
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def writing_file(translations: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes the small study of translation, with top-level parts replaced; all of them share one tracking store."""
    store = tmp_path_factory.mktemp("tracking") / "mlflow.db"

    def write(folder: Path, **changes: Any) -> Path:
        data = {**WRITER["data"], "train": str(translations)}
        path = folder / "small.yaml"
        path.write_text(json.dumps({**WRITER, "data": data, "tracking": {"uri": f"sqlite:///{store}"}, **changes}))
        return path

    return write


@pytest.fixture(scope="session")
def write_by_hand() -> "Callable[[Session], None]":
    """Does Ray's part of a search: every trial and control is the start with a little noise on its weights."""

    def finish(session: "Session", sweep: "Sweep", noise: float) -> None:
        import torch

        from sweepstack.models.data.bpe import Tokenizers
        from sweepstack.models.predictions.texts import Candidates
        from sweepstack.models.tasks.writing.checkpoint import WriterMember, save_writer
        from sweepstack.models.tasks.writing.stage import candidate_metrics
        from sweepstack.models.tasks.writing.supervised import ensure_writing_start

        data, draw = session.written, torch.Generator().manual_seed(int(1000 * noise))
        start = ensure_writing_start(session.settings, data, session.folder.starts)
        valid, language = data.parts["valid"], data.language
        while (record := sweep.ask()) is not None:
            folder, number = session.folder.of(record), record.number
            member = WriterMember(start, "cpu")
            with torch.no_grad():
                for weights in member.writer.parameters():
                    weights += noise * weights.std(correction=0) * torch.randn(weights.shape, generator=draw)
            save_writer(folder / "checkpoint", member.writer, data.tokenizers, member.decode, language)
            said: dict[str, Candidates] = {}
            for part in ("valid", "blend", "test"):
                said[part] = member.write(data.parts[part].inputs, member.decode.candidates)
                said[part].save(folder / "predictions" / f"{part}.safetensors", data.hashes[part])
            reward, tokenizers = session.reward_of(language), Tokenizers.from_json(data.tokenizers)
            known = candidate_metrics(said["valid"], valid.inputs, valid.references, reward, language, tokenizers)
            for epoch in (1, 2):
                sweep.report(number, epoch, {**known, "log_loss": 2.0 / epoch, "seconds": 0.5})
            sweep.complete(number)

    def write(session: "Session") -> None:
        from sweepstack.search.run.baselines import fit_memory

        finish(session, session.trials, 0.15)
        if session.control is not None:
            finish(session, session.control, 0.2)
        if session.ledger.attribute("memory") is None:
            writing = session.study.writing
            memory = fit_memory(session.pairs, session.written, writing, session.reward_of, session.folder.memory)
            session.ledger.set_attribute("memory", memory)

    return write


@pytest.fixture(scope="session")
def written_run(
    tmp_path_factory: pytest.TempPathFactory,
    writing_file: Callable[..., Path],
    write_by_hand: "Callable[[Session], None]",
) -> Path:
    """A run folder of a study that writes, whose search is done and whose ensembles are not built; to be copied."""
    from sweepstack.search.run.session import Session

    folder = tmp_path_factory.mktemp("written")
    session = Session.open(Study.load(writing_file(folder)), folder / "run")
    write_by_hand(session)
    session.ledger.close()
    return folder / "run"


@pytest.fixture(scope="session")
def written_ensembles(tmp_path_factory: pytest.TempPathFactory, written_run: Path) -> Path:
    """The same with its ensembles, bundle and MLflow runs; to be read, or copied."""
    from sweepstack.search.ensembling import stage as ensembling
    from sweepstack.search.run.session import Session

    folder = Path(shutil.copytree(written_run, tmp_path_factory.mktemp("ensembles") / "run"))
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch)
        with Session.open(Study.load(folder / "study.yaml"), folder, json=True) as session:
            ensembling.build(session)
    return folder


@pytest.fixture
def writing_run(written_run: Path, tmp_path: Path) -> Path:
    """A copy of ``written_run`` to work in, which is a sweep of its own in the tracking store."""
    from sweepstack.search.ledger.ledger import Ledger

    folder = Path(shutil.copytree(written_run, tmp_path / "run"))
    with Ledger.open(folder / "ledger.log") as ledger:
        ledger.set_attribute("sweep_id", str(tmp_path))
    return folder


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes to Ray's workers is done in this process, at once."""
    without_ray(monkeypatch)


@pytest.fixture
def no_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is recorded: starting MLflow takes seconds."""
    from sweepstack.search.tracking.run_tracker import SessionTracker

    monkeypatch.setattr(SessionTracker, "put", lambda self, state: None)
    monkeypatch.setattr(SessionTracker, "begin", lambda self: None)
    monkeypatch.setattr(SessionTracker, "check", lambda self: None)


def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    from sweepstack.search.execution.cluster import Cluster

    class Done:
        def __init__(self, value: Any) -> None:
            self._value = value

        def result(self) -> Any:
            return self._value

    class Here:
        def submit(self, fn: Callable[..., Any], /, *args: Any) -> Done:
            return Done(fn(*args))

    monkeypatch.setattr(Cluster, "executor", lambda self, resources: Here())
    monkeypatch.setattr(Cluster, "submit", lambda self, fn, *args: Here().submit(fn, *args))
    monkeypatch.setattr(Cluster, "share", lambda self, value: value)


@pytest.fixture(name="writing_rows")
def _writing_rows() -> tuple[Row, ...]:
    return writing_rows()
