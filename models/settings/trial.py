"""What a trial is made of: the ``reading``, ``writing``, ``model``, ``train`` and ``device`` parts of a study file.

Each value has its reason beside it.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from sweepstack.models.settings.base import (
    Count,
    Fraction,
    NonNegative,
    NonNegativeCount,
    Positive,
    Seed,
    SettingError,
    Settings,
    UnitInterval,
    mapping_or_number,
    shown,
    word_or_number,
)
from sweepstack.models.settings.descent import Descent as Descent
from sweepstack.models.settings.descent import LRSchedule as LRSchedule
from sweepstack.models.settings.descent import Optimizer as Optimizer
from sweepstack.models.settings.descent import WarmStart as WarmStart
from sweepstack.models.settings.tasks import PREFIX, WRITING_TASKS, is_environment, is_writing, with_defaults
from sweepstack.models.settings.writing import Writing

Course = Literal["constant", "linear"]  # of a coefficient over training: linear falls to 0, a rollout at a time
Algorithm = Literal["supervised", "exact", "reinforce", "rloo", "a2c", "ppo", "trpo"]


def _task(task: str) -> str:
    if task == "classification" or is_writing(task) or (is_environment(task) and task != PREFIX):
        return task
    allowed = ", ".join(("classification", *WRITING_TASKS))
    raise ValueError(f"must be {allowed} or gym:ENV (gym:CartPole-v1, say), but got {shown(task)}")


Task = Annotated[str, AfterValidator(_task)]

PRECISION_FILE = ".precision.json"
"""In the folder of starts: what a calibration has measured, for a whole study."""


def _batch_size(value: Any) -> Any:
    if value not in ("adaptive", "noise_scale") and not isinstance(value, int | float):
        raise ValueError(f"must be an integer, adaptive or noise_scale, but got {shown(value)}")
    return value


class Condition(Settings):
    """One policy for every cost of reading in an interval: an episode draws one, and the policy is told it."""

    condition: tuple[NonNegative, NonNegative]

    @field_validator("condition", mode="before")
    @classmethod
    def _is_an_interval(cls, bounds: Any) -> Any:
        two = isinstance(bounds, list | tuple) and len(bounds) == 2 and all(isinstance(b, int | float) for b in bounds)
        if two and bounds[0] < bounds[1]:
            return tuple(map(float, bounds))
        raise ValueError(f"must be two costs, the lower one first, [0, 0.05] say, but got {shown(bounds)}")

    @property
    def middle(self) -> float:
        return sum(self.condition) / 2


class Reading(Settings):
    """A text is read ``segment`` units at a time, at most ``max_segments`` times; each READ costs ``cost``."""

    unit: Literal["words", "characters", "tokens"] = "words"
    segment: Count = 5
    max_segments: Count = 16
    cost: Annotated[
        Annotated[NonNegative, Tag("<number>")] | Annotated[Condition, Tag("<mapping>")],
        Discriminator(mapping_or_number),
    ] = 0.01

    @property
    def interval(self) -> tuple[float, float] | None:
        """The costs that a policy is told, if it is."""
        return self.cost.condition if isinstance(self.cost, Condition) else None

    @property
    def score_cost(self) -> float:
        """Of a READ, for scoring: the middle of an interval."""
        return self.cost.middle if isinstance(self.cost, Condition) else self.cost


class Model(Settings):
    d_model: Annotated[int, Field(ge=4)] = 64  # 128 costs two to three times as much for little at these sizes
    layers: Count = 1
    heads: Count = 4
    feed_forward: Count | None = None  # units between a layer's two maps; null: twice d_model
    dropout: Fraction = 0.2
    word_dropout: Fraction = 0.3  # whole units hidden while training: the strongest regulariser on short texts
    activation: Literal["relu", "sigmoid", "tanh", "gelu", "silu"] = "gelu"
    init: Literal["normal", "xavier", "he", "orthogonal"] = "xavier"
    read_head: Literal["confidence", "state"] = "confidence"  # the encoder's state overfits a few thousand texts

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.d_model % self.heads:
            raise ValueError(f"heads must divide d_model, but got heads={self.heads}, d_model={self.d_model}")
        return self


class Reinforce(Settings):
    baseline: Literal["none", "mean", "value"] = "mean"  # taken off the return: the batch's mean, or a learned value
    whiten: bool = False  # advantages to mean 0 and deviation 1 over the decisions that count
    entropy: NonNegative = 0.0
    entropy_schedule: Course = "constant"
    value_coef: NonNegative = 0.5


class RLOO(Settings):
    # Episodes of one text; each is compared with the mean of the others. They count in batch_size: 32 are 8 texts of 4.
    samples: Annotated[int, Field(ge=2)] = 4
    whiten: bool = False
    entropy: NonNegative = 0.0
    entropy_schedule: Course = "constant"


class A2C(Settings):
    whiten: bool = True
    entropy: NonNegative = 0.0
    entropy_schedule: Course = "constant"
    value_coef: NonNegative = 0.5


class PPO(Settings):
    epochs: Count = 4  # passes over the episodes of one rollout
    minibatch: Count = 128  # above batch_size it means batch_size
    clip: Positive = 0.2
    clip_schedule: Course = "constant"
    value_clip: Positive | None = None  # how far a value may move from what it was in the rollout
    # Advantages to mean 0 and deviation 1 over a rollout (batch, which true means), over each minibatch, or not at all
    whiten: Literal[True, False, "batch", "minibatch", "none"] = True
    entropy: NonNegative = 0.0
    entropy_schedule: Course = "constant"
    value_coef: NonNegative = 0.5
    kl: NonNegative = 0.0  # weight of the divergence from the reference policy, the start as it was
    kl_target: Positive | None = None  # keeps the divergence near this: the weight becomes a wall there, and adapts
    target_kl: Positive | None = None  # ends the passes when the policy is this far from the one that was rolled out
    # Rollouts from which only the value learns, before the policy moves. A writer's value, which begins at 0, explains
    # no more after them than without, and on a small translator 2, 5 and 10 of 40 cost .013, .033 and .071 of reward.
    value_warmup: NonNegativeCount = 0
    cross_entropy: UnitInterval = 0.0  # share of supervised loss on the same texts mixed in; 0.3 in tasks that write


class TRPO(Settings):
    max_kl: Positive = 0.01  # how far one update may go
    cg_steps: Count = 10  # of conjugate gradient
    damping: Positive = 0.1  # added to the Fisher matrix's diagonal
    backtracks: Count = 10  # how often a step may be shrunk, by a fifth, until it improves within max_kl
    whiten: bool = True
    value_epochs: Count = 4  # passes of the value over a rollout, by the optimizer
    minibatch: Count = 128


class Env(Settings):
    """How an environment is played, under `task: gym:ENV`, whose other settings have defaults of their own.

    There ``batch_size`` and ``ppo.minibatch`` count decisions; a rollout is as many over all copies.
    """

    copies: Count = 8  # stepped side by side
    steps: Count = 12_500  # decisions in an epoch of training, over all copies, rounded down to a multiple of them
    eval_episodes: Count = 20  # of which `reward` is the mean return
    normalize: bool = False  # observations to mean 0 and deviation 1, as seen so far
    normalize_reward: bool = False  # in training, by the deviation of the discounted return so far: reward_scale.py


class Train(Descent):
    warm_start: WarmStart = WarmStart()
    algorithm: Algorithm = "ppo"
    reward: Literal["task", "constant"] = "task"  # constant: the control that shows what the reward itself brings
    freeze: Literal["encoder", "none"] = "encoder"  # what policy optimisation leaves as the start trained it
    epochs: Count = 8  # one epoch is one pass over the policy part
    batch_size: Annotated[
        Annotated[Count, Tag("<number>")] | Annotated[Literal["adaptive", "noise_scale"], Tag("<word>")],
        Discriminator(word_or_number),
        BeforeValidator(_batch_size),
    ] = 256  # episodes rolled out for one update, whatever the algorithm: those of rloo are samples of fewer texts
    batch_range: tuple[Count, Count] = (64, 1024)  # episodes, too, within which adaptive and noise_scale choose
    gamma: UnitInterval = 1.0
    gae_lambda: UnitInterval = 0.95
    value_lambda: UnitInterval = 1.0  # of the targets that the value learns
    lambda_alpha: Positive | None = None  # α: λ becomes 1 − 1/(α·length) of each episode, instead of gae_lambda
    value_loss: Literal["mse", "huber"] = "mse"
    value_lr: Positive | None = None  # of the weights of the value alone, by the same schedule; null: lr
    dropout: bool = False  # also while playing and learning from it: probability ratios are then noisy
    reinforce: Reinforce = Reinforce()
    rloo: RLOO = RLOO()
    a2c: A2C = A2C()
    ppo: PPO = PPO()
    trpo: TRPO = TRPO()
    env: Env = Env()
    seed: Seed = 0

    @field_validator("batch_range", mode="before")
    @classmethod
    def _is_a_range(cls, bounds: Any) -> Any:
        return tuple(bounds) if isinstance(bounds, list) else bounds

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.optimizer == "lbfgs" and self.algorithm != "supervised":
            raise ValueError(
                f"optimizer lbfgs works with algorithm supervised only, but got {self.algorithm}; take adamw"
            )
        if self.batch_range[0] > self.batch_range[1]:
            raise ValueError(f"batch_range needs the lower bound first, but got {list(self.batch_range)}")
        if self.algorithm == "rloo":
            self._holds_whole_groups(self.rloo.samples)
        if self.algorithm == "ppo" and self.ppo.kl_target is not None and self.ppo.kl == 0:
            raise SettingError(
                "train.ppo.kl",
                f"must be above 0 where kl_target adapts it, but got kl=0, kl_target={self.ppo.kl_target:g}; take 0.1, "
                "or leave kl_target out",
            )
        return self

    def _holds_whole_groups(self, samples: int) -> None:
        """A batch of episodes has all ``samples`` of each text."""
        number = isinstance(self.batch_size, int)
        key, sizes = ("batch_size", (self.batch_size,)) if number else ("batch_range", self.batch_range)
        for size in sizes:
            if isinstance(size, int) and size % samples:
                raise SettingError(
                    f"train.{key}",
                    f"counts episodes and must be a multiple of train.rloo.samples, {samples}, but got {size}; "
                    f"take {max(round(size / samples), 1) * samples}",
                )


NOT_PLAYED = {  # algorithms, and what they need that an environment does not give
    "supervised": "the right answers",
    "exact": "the outcome of every action",
    "rloo": "several episodes from the same beginning",
}


class TrialSettings(Settings):
    """Everything that one trial depends on besides the data."""

    task: Task = "classification"
    reading: Reading | Literal["off"] = Reading()
    writing: Writing | None = None  # of translation and generation alone
    model: Model = Model()
    train: Train = Train()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: whichever a short calibration finds faster
    compile: bool = False  # torch.compile of the Transformer: pays on a GPU and for long runs

    @model_validator(mode="before")
    @classmethod
    def _of_its_task(cls, tree: Any) -> Any:
        return with_defaults(tree) if isinstance(tree, dict) else tree

    @model_validator(mode="after")
    def _can_be_played(self) -> Self:
        if self.environment is None:
            return self
        train, copies = self.train, self.train.env.copies
        if train.algorithm in NOT_PLAYED:
            raise SettingError(
                "train.algorithm",
                f"{train.algorithm} needs {NOT_PLAYED[train.algorithm]}, which an environment does not give; "
                "use reinforce, a2c, ppo or trpo",
            )
        if isinstance(train.batch_size, int) and train.batch_size % copies:
            raise SettingError(
                "train.batch_size",
                f"must be a multiple of train.env.copies, {copies}, but got {train.batch_size}; "
                f"take {max(train.batch_size // copies, 1) * copies}",
            )
        return self

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        if not self.writes:
            if self.writing is not None:
                raise SettingError("writing", f"is for {' and '.join(WRITING_TASKS)}, but task is {self.task}")
            return self
        if self.writing is None:
            raise SettingError("writing", "must be a mapping of keys to values, but got null; leave it out")
        if self.train.algorithm == "exact":
            raise SettingError(
                "train.algorithm",
                "exact needs the outcome of every action, and a text has too many; "
                "use supervised, reinforce, rloo, a2c, ppo or trpo",
            )
        sample, train = self.writing.sample, self.train
        compares = train.algorithm == "trpo" or (train.algorithm == "ppo" and train.ppo.kl)
        if compares and (sample.top_k or sample.top_p < 1):
            raise SettingError(
                "writing.sample",
                f"must leave every token possible (top_k 0, top_p 1) where policies are compared by their divergence, "
                f"as {train.algorithm} does here, but got top_k={sample.top_k}, top_p={sample.top_p:g}",
            )
        if self.reading == "off":
            return self
        if self.task != "translation":
            raise SettingError(
                "reading", f"must be off under task {self.task}, but got segments; only translation reads"
            )
        if self.reading.unit != "words":
            raise SettingError("reading.unit", f"must be words under task translation, but got {self.reading.unit}")
        if self.reading.interval is not None:
            raise SettingError("reading.cost", "must be one number under task translation, but got an interval")
        self._can_be_read(self.writing)
        return self

    def _can_be_read(self, writing: Writing) -> None:
        """What translation does not do while it reads."""
        given: dict[str, tuple[Any, Any]] = {
            "writing.decode.beam": (writing.decode.beam, 1),
            "writing.increments": (writing.increments, False),
            "train.freeze": (self.train.freeze, "encoder"),
            "train.dropout": (self.train.dropout, False),
            "train.ppo.cross_entropy": (self.train.ppo.cross_entropy, 0.0),
        }
        for key, (value, only) in given.items():
            if value != only:
                raise SettingError(
                    key,
                    f"must be {str(only).lower()} where a translation is written while its source is read, but got "
                    f"{str(value).lower()}; take it out",
                )

    @model_validator(mode="after")
    def _is_used(self) -> Self:
        """What would change nothing is refused and not ignored."""
        train = self.train
        if self.environment is not None or self.writes or train.freeze == "none" or train.algorithm == "supervised":
            return self
        if train.dropout:
            raise SettingError(
                "train.dropout",
                "is true, but a frozen Transformer drops nothing; set train.freeze: none, or dropout: false",
            )
        answers_only = self.reading == "off" or self.reading.max_segments == 1
        if train.algorithm == "ppo" and train.ppo.cross_entropy and not answers_only:
            raise SettingError(
                "train.ppo.cross_entropy",
                f"must be 0 where labels do not learn, but got {train.ppo.cross_entropy:g}; set train.freeze: none",
            )
        return self

    @property
    def environment(self) -> str | None:
        """The id of the environment that is played; None where texts are read."""
        return self.task.removeprefix(PREFIX) if is_environment(self.task) else None

    @property
    def writes(self) -> bool:
        """Whether the policy answers with a text of its own."""
        return is_writing(self.task)

    @property
    def read_cost(self) -> float:
        """Of each READ, for scoring; nothing where the text is read at once, the middle of an interval of costs."""
        if self.reading == "off":
            return 0.0
        return self.reading.score_cost

    def with_values(self, values: dict[str, Any]) -> "TrialSettings":
        """A copy with the settings at dotted paths replaced, e.g. ``{"train.lr": 1e-3}``.

        Raises pydantic's ValidationError where a value does not fit.
        """
        tree = self.model_dump()
        for path, value in values.items():
            *parents, leaf = path.split(".")
            node = tree
            for name in parents:
                node = node[name]
            node[leaf] = value
        return TrialSettings.model_validate(tree)
