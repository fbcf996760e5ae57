"""The study file: the design's example, defaults, paths, overrides and errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweepstack.models.errors import StudyError
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.search.run.resume_checks import check_extends
from sweepstack.search.study.ensembles_section import OPTIONS
from sweepstack.search.study.space import Space
from sweepstack.search.study.study import ENVIRONMENT_SPACE, WRITING_SPACE, Study
from sweepstack.search.study.yaml import load_yaml

EXAMPLE = """\
version: 1
name: reuters-r8
task: classification            # classification | translation | generation | gym:ENV
data:
  train: r8-train.jsonl         # .jsonl .csv .tsv .parquet, a folder saved by Hugging Face datasets, or builtin:NAME
  test: r8-test.jsonl           # optional; without it splits.test is carved from train first
  input: text                   # column names
  target: label
  group: null                   # rows of one group never straddle two parts
  splits: {policy: 0.3, valid: 0.1, blend: 0.1}   # shares of train; the rest, at least 0.1, is warm; or {folds: 5}
  seed: 0
reading: {unit: words, segment: 5, max_segments: 16, cost: 0.01}    # or off; classification and simultaneous translation
model: {d_model: 64, layers: 1, heads: 4, dropout: 0.2, word_dropout: 0.3, activation: gelu, init: xavier, read_head: confidence}   # or state
train:
  warm_start: {epochs: 8, lr: 3e-3, lr_schedule: cosine, batch_size: 64, seed: 0}   # the supervised start, cached by its settings
  algorithm: ppo                # supervised | exact | reinforce | rloo | a2c | ppo | trpo
  freeze: encoder               # or none: fine-tune everything
  epochs: 8                     # of policy optimisation; a trial reports after each
  optimizer: adamw
  lr: 3e-3
  lr_schedule: cosine
  batch_size: 256               # episodes rolled out for an update
  gamma: 1.0
  gae_lambda: 0.95
  ppo: {epochs: 4, minibatch: 128, clip: 0.2, entropy: 0.0, value_coef: 0.5}   # a minibatch above batch_size means batch_size
  seed: 0
device: auto
space:                          # any key of model: or train:, or reading.cost, by its path
  train.lr: {log: [3e-4, 3e-2]}
  train.lr_schedule: [constant, linear, exponential, inverse_time, step, cosine]
  train.batch_size: [64, 128, 256, 512]
  train.gamma: {near_one: [0.9, 0.9999]}
  train.gae_lambda: {near_one: [0.5, 0.999]}
  train.warm_start.seed: [0, 1, 2, 3]              # members from different starts make the better ensemble
search:
  sampler: tpe                  # grid | random | qmc | tpe | gp | cmaes | nsga2 | bayes
  stopper: {asha: {min_epochs: 1, reduction: 2}}   # none | asha | hyperband | median | pbt
  trials: 16
  metric: reward                # any metric that the task reports; its direction is known
  concurrency: auto
  resources: {cpu: 1, gpu: 0}
  seeds: 1                      # repetitions of each configuration; > 1 races them
  seed: 0
  storage: null                 # an Optuna RDB URL instead of the run folder's ledger.log
ensembles:
  library: [trials, linear, supervised]
  builders: [selection, {stacking: {top: 8}}, {bagging: {top: 1, members: 5}}, {boosting: {top: 1, members: 4}}]
  budget: {}                    # members, size_mb, latency_ms
tracking: {uri: "sqlite:///mlflow.db"}
"""  # noqa: E501
BOOSTING = {"boosting": {"top": 1, "members": 4}}
MINIMAL = "task: classification\ndata: {train: texts.jsonl}\n"


def write(folder: Path, text: str = MINIMAL, name: str = "s.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(StudyError) as caught:
        Study.load(write(folder, text), overrides)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_the_designs_example_parses_as_it_stands(tmp_path: Path) -> None:
    study = Study.load(write(tmp_path, EXAMPLE))
    assert study.name == "reuters-r8"
    assert study.train.lr == 3e-3
    assert study.data.test == str(tmp_path / "r8-test.jsonl")
    assert study.tracking.uri == f"sqlite:///{tmp_path}/mlflow.db"
    bagging = {"bagging": {"top": 1, "members": 5}}
    assert study.builder_specs() == ["selection", {"stacking": {"top": 8}}, bagging, BOOSTING]


def test_the_defaults_are_the_values_of_the_designs_example(tmp_path: Path) -> None:
    shown = Study.load(write(tmp_path, EXAMPLE)).model_dump()
    default = Study.load(write(tmp_path)).model_dump()
    for key in ("reading", "model", "train", "device", "space", "search"):
        assert default[key] == shown[key], key
    assert default["ensembles"]["library"] == shown["ensembles"]["library"]
    assert [*default["ensembles"]["builders"], BOOSTING] == ["average", *shown["ensembles"]["builders"]]
    assert default["data"]["splits"] == shown["data"]["splits"]
    assert (default["name"], default["tracking"]) == ("s", {"uri": None})
    assert Study.load(write(tmp_path)).trial_settings() == TrialSettings()


@pytest.mark.parametrize(
    "text",
    [
        MINIMAL,
        EXAMPLE,
        MINIMAL + "reading: off\nname: 2024-01-02\nsearch: {stopper: none, concurrency: 2, resources: {gpu: 0.5}}",
        MINIMAL + "search: {stopper: asha, sampler: random, metric: log_loss}",
        MINIMAL + "ensembles: {builders: [{selection: {size: 9}}, stacking, {average: null}]}\nspace: {}",
        MINIMAL + "space: {train.lr_schedule: [constant, {step: {train.step_every: {int: [1, 4]}}}], train.lr: [1e-7]}",
    ],
)
def test_the_resolved_study_loads_again_equal_from_anywhere(tmp_path: Path, text: str) -> None:
    study = Study.load(write(tmp_path, text))
    elsewhere = tmp_path / "runs" / "x"
    elsewhere.mkdir(parents=True)
    again = Study.load(write(elsewhere, study.dump(), "study.yaml"))
    assert again == study
    assert again.dump() == study.dump()
    check_extends(study, again)


def test_the_name_is_the_stem_made_safe_and_a_written_one_is_not_bent(tmp_path: Path) -> None:
    assert Study.load(write(tmp_path, name="my study (2).yaml")).name == "my-study-2-"
    assert Study.load(write(tmp_path, name="языки.yaml")).name == "языки"
    for name in ("a/b", "..", "", "-x", "a b"):
        assert (
            f"name: must be letters, digits, '.', '_' and '-' (at most 100, and no '.' or '-' first), but got {name!r}"
            in (refused(tmp_path, MINIMAL + f"name: '{name}'"))
        )


def test_paths_are_relative_to_the_file_and_those_of_set_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studies, work = tmp_path / "studies", tmp_path / "work"
    studies.mkdir()
    work.mkdir()
    text = "task: classification\ndata: {train: ../d/a.csv, test: b.csv}\ntracking: {uri: 'sqlite:///t/m.db?mode=rw'}\n"
    path = write(studies, text)
    monkeypatch.chdir(work)
    study = Study.load(path)
    assert study.data.train == str(tmp_path / "d" / "a.csv")
    assert study.data.test == str(studies / "b.csv")
    assert study.tracking.uri == f"sqlite:///{studies}/t/m.db?mode=rw"
    overrides = ["data.train=x.csv", "data.test=builtin:languages", "tracking={uri: mlruns}"]
    study = Study.load(os.path.relpath(path), overrides)
    assert study.data.train == str(work / "x.csv")
    assert study.data.test == "builtin:languages"
    assert study.tracking.uri == str(work / "mlruns")
    for uri in (
        "http://localhost:5000",
        "sqlite:////abs/m.db",
        "databricks",
        "postgresql://u@h/db",
    ):
        assert Study.load(path, [f"tracking.uri={uri}"]).tracking.uri == uri


def test_a_classifier_that_reads_at_once_has_the_recipe_that_works(tmp_path: Path) -> None:
    """Supervised training from several starts under folds, beside linear members of words and of characters."""
    study = Study.load(write(tmp_path, MINIMAL + "reading: off\n"))
    assert (study.train.algorithm, study.train.freeze, study.folds) == ("supervised", "none", 5)
    assert (study.search.sampler, study.search.trials, study.search.stopper) == ("grid", 3, "none")
    assert study.space == {"train.warm_start.seed": list(range(16))}
    assert set(study.ensembles.library) == {"trials", "linear", "naive_bayes", "char_linear"}
    assert Study.load(write(tmp_path, study.dump())) == study


@pytest.mark.parametrize(
    ("changes", "algorithm", "sampler", "folds"),
    [
        ("train: {algorithm: supervised, lr: 1e-3}", "supervised", "grid", 5),
        ("search: {trials: 8}", "supervised", "grid", 5),
        ("space: {train.lr: {log: [1e-4, 1e-3]}}", "supervised", "tpe", 5),  # a range, which a grid cannot try
        ("search: {sampler: random}", "supervised", "random", 5),
        ("train: {algorithm: ppo}", "ppo", "tpe", 1),
        ("space: {train.algorithm: [ppo, supervised]}", "ppo", "tpe", 1),
    ],
)
def test_what_is_given_decides_which_of_it_is_left(
    tmp_path: Path, changes: str, algorithm: str, sampler: str, folds: int
) -> None:
    study = Study.load(write(tmp_path, f"{MINIMAL}reading: off\n{changes}\n"))
    assert (study.train.algorithm, study.search.sampler, study.folds) == (algorithm, sampler, folds)


def test_shares_that_are_given_are_no_folds(tmp_path: Path) -> None:
    study = Study.load(write(tmp_path, MINIMAL + "reading: off\n"), ["data.splits.valid=0.2"])
    assert (study.folds, study.train.algorithm) == (1, "supervised")


def test_without_a_store_the_one_beside_the_run_folders_is_taken(tmp_path: Path) -> None:
    study = Study.load(write(tmp_path))
    placed = study.in_folder(tmp_path / "runs" / "s")
    assert placed.tracking.uri == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert placed.in_folder(tmp_path / "other" / "s") == placed
    check_extends(study, placed)


def test_overrides_replace_single_values(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL + "train: {lr: 1e-2, epochs: 3}\n")
    study = Study.load(path, ["train.lr=1e-4", "search.trials=2", "search.stopper.asha.reduction=3", "reading=off"])
    assert (study.train.lr, study.train.epochs, study.search.trials, study.reading) == (1e-4, 3, 2, "off")
    assert study.search.stopper != "none"
    assert study.search.stopper.asha.reduction == 3
    assert Study.load(path, ["search.trials=2", "search.trials=5"]).search.trials == 5, "the last one holds"
    default = Study.load(path).space
    assert Study.load(path, ["space.train.lr=[0.1, 0.2]"]).space == {**default, "train.lr": [0.1, 0.2]}
    assert Study.load(path, ["space={train.lr: [0.1]}"]).space == {"train.lr": [0.1]}
    assert Study.load(path).space == default, "the default was not changed on the way"


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("search.trials=many", "--set search.trials: must be an integer, but got 'many'"),
        ("search.trails=3", "--set search.trails: search.trails (with the value 3) is not a key of a study; nearest: "),
        (
            "search.storage=sqlite:///x.db",
            "--set search.storage: search.storage sqlite:///x.db is not available in this version; use null",
        ),
        ("space.train.lr={log: [0, 1]}", "--set space.train.lr: log needs bounds above 0, but got [0, 1]"),
        ("task.kind=3", "--set task.kind: task is 'classification', which has no keys; set task as a whole"),
        ("model.heads=5", "--set model.heads: model: heads must divide d_model, but got heads=5, d_model=64"),
    ],
)
def test_a_wrong_override_is_named_not_the_file(tmp_path: Path, override: str, line: str) -> None:
    assert refused(tmp_path, MINIMAL, override).startswith(line)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (MINIMAL + "train: {learning_rate: 1e-3}",
         "train.learning_rate (with the value 0.001) is not a key of a study; nearest: train.lr; train has optimizer"),
        (MINIMAL + "search: {stopper: pbt}", "search.trials: must be 32 under pbt (4 members, 8 generations"),
        (MINIMAL + "search: {stopper: halving}", "search.stopper: must be one of none, asha, hyperband"),
        (MINIMAL + "search: {start: [{train.lr: 9}]}",
         "search.start[0].train.lr: is searched from 0.0003 to 0.03, but got 9"),
        (MINIMAL + "search: {sampler: grid, start: [{train.lr: 1}]}\nspace: {train.lr: [1, 2]}",
         "search.start: has no use under the grid sampler"),
        (MINIMAL + "search: {sampler: grid}", "space.train.lr: the grid sampler needs points: n beside log"),
        (MINIMAL + "space: {train.lr: {log: [0, 0.1]}}", "space.train.lr: log needs bounds above 0, but got [0, 0.1]"),
        (MINIMAL + "ensembles: {builders: [stacking, average, stacking]}",
         "ensembles.builders: must name each entry once, but got stacking twice; take one out"),
        (MINIMAL + "ensembles: {builders: [{stacking: {top: 3}}, {stacking: {top: 3}}]}",
         "ensembles.builders: must name each entry once, but got {'stacking': {'top': 3}} twice; take one out"),
        (MINIMAL + "ensembles: {builders: [{stacking: {learner: 3}}]}",
         "ensembles.builders[0]: stacking.learner must be text, but got 3"),
        (MINIMAL + "ensembles: {builders: [{bagging: {members: 2.5}}]}",
         "ensembles.builders[0]: bagging.members must be an integer above 0, but got 2.5"),
        (MINIMAL + "ensembles: {builders: [{bagging: 3}]}",
         "ensembles.builders[0]: bagging must be a mapping of options"),
        ("task: classification\ndata: {train: x, splits: {folds: 1}}",
         "data.splits.folds: must be at least 2, but got 1"),
        ("task: classification\ndata: {train: x, splits: {folds: 3, valid: 0.1}}",
         "data.splits: folds take the place of valid and blend, but got valid, too; leave them out, as in {folds: 5}"),
        ("task: classification\ndata: {train: x, splits: {folds: 3, shuffle: true}}",
         "data.splits.shuffle (with the value true) is not a key of a study; nearest: data.splits."),
        ("task: classification\ndata: {train: x, splits: 5}",
         "data.splits: must be shares or folds, as in {policy: 0.3, valid: 0.1, blend: 0.1} or {folds: 5}, but got 5"),
        ("task: classification\ndata: {train: x, splits: {folds: 3}}\nsearch: {seeds: 2}",
         "search.seeds: must be 1 under data.splits folds, whose 3 policies a trial is made of, but got 2; "),
        ("task: classification\ndata: {train: x, splits: {folds: 3}}\ntrain: {batch_size: adaptive}",
         "train.batch_size: adaptive looks at valid after each epoch, and under data.splits folds no training may do"),
        ("task: classification\ndata: {train: x, splits: {folds: 3}}\nspace: {train.batch_size: [64, adaptive]}",
         "space.train.batch_size: adaptive looks at valid after each epoch"),
        ("task: classification\ndata: {train: x, splits: {folds: 3}}\n"
         "space: {train.algorithm: [exact, {ppo: {train.batch_size: [adaptive, 64]}}]}",
         "space.train.batch_size: adaptive looks at valid after each epoch"),
        ("task: classification\ndata: {train: x, splits: {folds: 3}}\nsearch: {stopper: pbt}",
         "search.stopper: pbt works with shares only, but data.splits has folds; use asha, hyperband or median"),
        ("task: classification\ndata: {train: x, splits: {policy: 0.6, valid: 0.3, blend: 0.3}}",
         "data.splits: policy + valid + blend must leave at least 0.1 for warm, but they sum to 1.2"),
        ("data: {train: x}", "task is missing; a study needs task and data"),
        ("[1, 2]", "a study is a mapping of keys to values"),
        ("", "the study is empty; it needs task and data"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    assert refused(tmp_path, text).startswith(f"{tmp_path / 's.yaml'}: {line}")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"nowhere\.yaml: no such study file; check the path"):
        Study.load(tmp_path / "nowhere.yaml")
    with pytest.raises(StudyError, match="cannot be read"):
        Study.load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(StudyError, match="not UTF-8 text at byte 9; save it as UTF-8"):
        Study.load(tmp_path / "latin.yaml")


def test_a_builder_may_come_twice_with_other_options(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(MINIMAL + "ensembles: {builders: [stacking, {stacking: {learner: logistic}}]}", encoding="utf-8")
    assert Study.load(path).builder_specs() == ["stacking", {"stacking": {"learner": "logistic"}}]


def test_the_options_of_builders_are_those_of_the_builders() -> None:
    from sweepstack.ensembles.builders.registry import BUILDERS, options_of

    fields = {
        name: {option: field.type for option, field in options_of(builder).items()}
        for name, builder in BUILDERS.items()
    }
    assert fields == OPTIONS


def test_every_study_that_we_ship_loads() -> None:
    shipped = sorted((Path(__file__).parents[3] / "studies").rglob("*.yaml"))
    assert shipped
    for path in shipped:
        assert Study.load(path).name
        assert load_yaml(path.read_text(encoding="utf-8"), path.name)["version"] == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.text.stem=dutch", "reading.unit=tokens"], r"data\.text\.stem dutch works with reading\.unit words"),
        (["data.text.stop_words=english", "reading.unit=characters"], r"characters; leave data\.text\.stop_words"),
        (["data.text.stem=klingon"], r"data\.text\.stem: must be one of arabic, .*but got 'klingon'"),
    ],
)
def test_texts_cannot_be_treated_as_their_units_do_not_allow(
    tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        Study.load(write(tmp_path), overrides)
    assert "\n" not in str(caught.value)


def test_importing_it_is_light() -> None:
    heavy = ["torch", "ray", "mlflow", "sklearn", "matplotlib", "optuna", "numpy", "pandas"]
    code = f"import sys, sweepstack.search.study.study; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


ENVIRONMENT = "task: gym:CartPole-v1\n"


def test_a_study_of_an_environment_needs_nothing_but_its_task(tmp_path: Path) -> None:
    study = Study.load(write(tmp_path, ENVIRONMENT))
    assert (study.environment, study.data, study.metrics) == ("CartPole-v1", None, ("reward", "reward_std", "length"))
    assert (study.train.lr, study.train.gamma, study.model.layers, study.model.activation) == (3e-4, 0.99, 2, "tanh")
    assert study.trial_settings() == TrialSettings(task="gym:CartPole-v1", reading="off")
    assert study.space == ENVIRONMENT_SPACE
    space, notes = Space.of(study.space, study.trial_settings())
    assert {"train.gamma", "train.gae_lambda"} <= set(space.paths())
    assert notes == ()


@pytest.mark.parametrize(
    "text",
    [
        ENVIRONMENT,
        ENVIRONMENT + "train: {lr: 1e-2, env: {copies: 4, normalize: true}, algorithm: trpo}\nspace: {}",
        ENVIRONMENT + "space: {train.batch_size: auto, model.d_model: [32, 64]}",
    ],
)
def test_a_resolved_study_of_an_environment_can_be_run_and_holds_nothing_of_texts(tmp_path: Path, text: str) -> None:
    study = Study.load(write(tmp_path, text))
    resolved = study.dump()
    assert Study.load(write(tmp_path, resolved, "resolved.yaml")) == study
    for word in ("data:", "reading", "ensembles", "warm_start", "freeze", "heads", "dropout", "rloo", "cross_entropy"):
        assert word not in resolved
    check_extends(study, study)


def test_a_resolved_study_of_texts_holds_nothing_of_environments(tmp_path: Path) -> None:
    assert "env:" not in Study.load(write(tmp_path)).dump()


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("data.train=x.csv", "--set data.train: data: is for texts, and task gym:CartPole-v1 plays an environment; "),
        ("reading=off", "--set reading: is for texts"),
        ("ensembles.builders=[]", "--set ensembles.builders: ensembles: is for texts"),
        ("train.freeze=none", "--set train.freeze: is for texts"),
        ("train.warm_start.epochs=3", "--set train.warm_start.epochs: train.warm_start: is for texts"),
        ("space.train.warm_start.seed=[0, 1]", "--set space.train.warm_start.seed: is for texts"),
        ("train.algorithm=exact", "--set train.algorithm: exact needs the outcome of every action, which an "),
        ("space.train.algorithm=[ppo, rloo]", "--set space.train.algorithm: rloo needs several episodes from the same"),
        ("train.batch_size=100", "--set train.batch_size: must be a multiple of train.env.copies, 8, but got 100; "),
        ("space.train.batch_size=[64, 100]", "--set space.train.batch_size: must be a multiple of train.env.copies, 8"),
        (
            "search.metric=accuracy",
            "--set search.metric: must be reward in an environment, or [reward, seconds], but got 'accuracy'",
        ),
        ("train.env.copy=3", "--set train.env.copy: train.env.copy (with the value 3) is not a key of a study; "),
    ],
)
def test_what_an_environment_has_not_is_refused_in_one_line(tmp_path: Path, override: str, line: str) -> None:
    assert refused(tmp_path, ENVIRONMENT, override).startswith(line)


@pytest.mark.parametrize("override", ["train.env.copies=4", "space.train.env.copies=[4, 8]"])
def test_what_texts_have_not_is_refused_in_one_line(tmp_path: Path, override: str) -> None:
    assert refused(tmp_path, MINIMAL, override).endswith("is for environments, task gym:ENV; take it out")


def test_an_axis_is_added_to_the_space_of_environments(tmp_path: Path) -> None:
    study = Study.load(write(tmp_path, ENVIRONMENT), ["space.train.seed=[0, 1]"])
    assert study.space == {**ENVIRONMENT_SPACE, "train.seed": [0, 1]}


def test_copies_and_rollouts_are_searched_together(tmp_path: Path) -> None:
    space = ENVIRONMENT + "space: {train.env.copies: [4, %d], train.batch_size: [96, 192]}"
    Study.load(write(tmp_path, space % 6))
    assert "must be a multiple of train.env.copies, 10, but got 96" in refused(tmp_path, space % 10)


WRITING = "task: translation\ndata: {train: pairs.jsonl}\n"


def test_a_study_that_writes_needs_nothing_but_its_task_and_data(tmp_path: Path) -> None:
    study = Study.load(write(tmp_path, WRITING))
    assert (study.writes, study.environment, study.reading) == (True, None, "off")
    assert study.metrics == ("reward", "bleu", "chrf", "log_loss", "length")
    assert (study.search.metric, study.train.lr, study.model.d_model, study.model.feed_forward) == (
        "chrf",
        1e-4,
        160,
        512,
    )
    assert study.data is not None
    assert (study.data.input, study.data.target) == ("source", "target")
    assert study.writing is not None
    assert study.ensembles.library == ["trials", "memory", "supervised"]
    assert study.trial_settings() == TrialSettings(task="translation", reading="off", writing=study.writing)
    assert study.trial_settings().writes
    assert study.space == WRITING_SPACE
    space, notes = Space.of(study.space, study.trial_settings())
    assert {"train.gamma", "train.gae_lambda"} <= set(space.paths())
    assert notes == ()
    dialogue = Study.load(write(tmp_path, "task: generation\ndata: {train: x.jsonl}\n"))
    assert dialogue.data is not None
    assert (dialogue.data.input, dialogue.data.target) == ("prompt", "response")


def test_a_writers_algorithm_without_a_critic_has_no_lambda(tmp_path: Path) -> None:
    study = Study.load(write(tmp_path, WRITING + "train: {algorithm: rloo}"))
    space, notes = Space.of(study.space, study.trial_settings())
    assert "train.gamma" in space.paths(), "a discount shortens what is written"
    assert notes == ("left out of the space: train.gae_lambda (rloo does not use them)",)


@pytest.mark.parametrize(
    "text",
    [
        WRITING,
        WRITING + "writing: {reward: {chrf: 0.7, length: {low: 2, high: 9, weight: 0.3}}, vocabulary: 900}\nspace: {}",
        WRITING + "search: {metric: [bleu, seconds], stopper: none}\nensembles: {builders: [minimum_bayes_risk]}",
        "task: generation\ndata: {train: x, input: ask}\nmodel: {d_model: 32}\nspace: {model.layers: [1, 2]}",
    ],
)
def test_a_resolved_study_that_writes_loads_again_equal_and_holds_nothing_of_labels(tmp_path: Path, text: str) -> None:
    study = Study.load(write(tmp_path, text))
    resolved = study.dump()
    again = Study.load(write(tmp_path, resolved, "resolved.yaml"))
    assert (again, again.dump()) == (study, resolved)
    for word in ("env:", "costs", "text:", "word_dropout", "read_head", "class_weights"):
        assert word not in resolved
    check_extends(study, again)


def test_a_resolved_study_of_labels_holds_nothing_of_writing(tmp_path: Path) -> None:
    assert "writing" not in Study.load(write(tmp_path)).dump()


def test_an_axis_is_added_to_the_space_of_writers(tmp_path: Path) -> None:
    study = Study.load(write(tmp_path, WRITING), ["space.train.seed=[0, 1]"])
    assert study.space == {**WRITING_SPACE, "train.seed": [0, 1]}


@pytest.mark.parametrize("stem", ["🚀", "---", "..", "!?"])
def test_a_file_whose_name_makes_none_wants_one(tmp_path: Path, stem: str) -> None:
    path = tmp_path / f"{stem}.yaml"
    path.write_text("task: classification\ndata: {train: x.jsonl}\n", encoding="utf-8")
    with pytest.raises(StudyError) as caught:
        Study.load(path)
    said = (
        f"{path}: name is missing, and {path.stem!r} has no letter or digit to make one of; add a line, name: my-study"
    )
    assert str(caught.value) == said
    path.write_text("name: my-study\ntask: classification\ndata: {train: x.jsonl}\n", encoding="utf-8")
    assert Study.load(path).name == "my-study"
