"""Episodes of writing: where rewards stand, what probabilities are of, and that nothing is learned from padding."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_writing import SMALL
from torch import Tensor

from sweepstack.models.data.bpe import END, PADDING, Tokenizers
from sweepstack.models.errors import TrainingError
from sweepstack.models.networks.decoding import WriterTokens, sample
from sweepstack.models.networks.token_loss import states_before, token_losses
from sweepstack.models.networks.writer import Writer
from sweepstack.models.optim.steps import Steps
from sweepstack.models.rl.advantages import diagnosed, estimated, returns
from sweepstack.models.rl.algorithms import make_algorithm, train_epoch
from sweepstack.models.rl.policy_gradient import Learned, surrogate_of
from sweepstack.models.settings.trial import Train
from sweepstack.models.settings.writing import Sample
from sweepstack.models.tasks.writing.episodes import Play, WritingPlayer, WritingRollout
from sweepstack.models.tasks.writing.supervised import new_writer

ALGORITHMS = ("reinforce", "rloo", "a2c", "ppo", "trpo")
Worth = Callable[[Sequence[str], Sequence[str] | None, Sequence[str]], NDArray[np.float64]]


def of_length(sources: Sequence[str], references: Sequence[str] | None, texts: Sequence[str]) -> NDArray[np.float64]:
    return np.array([float(len(text)) for text in texts])


def share_of_one(sources: Sequence[str], references: Sequence[str] | None, texts: Sequence[str]) -> NDArray[np.float64]:
    return np.array([text.count("甲") / len(text) if text else 0.0 for text in texts])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def player_of(writing: SimpleNamespace, reward: Worth = of_length, seed: int = 0, **more: Any) -> WritingPlayer:
    """With a writer that has learned nothing; ``writer`` is one of your own."""
    writer = more.pop("writer", None) or new_writer(SMALL, writing.data, seed).eval()
    vocabulary = Tokenizers.from_json(writing.data.tokenizers).target
    play = Play(**{"reward": reward, "vocabulary": vocabulary, "most": 6, "how": Sample(), **more})
    return WritingPlayer(writer, writing.data.parts["policy"], play)


def rolled_out(player: WritingPlayer, texts: int = 40, samples: int = 2, seed: int = 0) -> WritingRollout:
    return player.roll_out(torch.arange(texts), samples, generator(seed))


def decoded(player: WritingPlayer, rollout: WritingRollout) -> list[str]:
    return [player._play.vocabulary.decode(tokens) for tokens in rollout.tokens.tolist()]


def everything(rollout: WritingRollout) -> Tensor:
    return torch.arange(len(rollout.row))


def test_the_score_stands_at_the_last_token_and_nowhere_else(writing: SimpleNamespace) -> None:
    """At END where a text ends, at the last token where it is cut; never behind, on padding."""
    player = player_of(writing)
    rollout = rolled_out(player)
    lengths = (rollout.tokens != PADDING).sum(1)
    last = rollout.tokens[torch.arange(80), lengths - 1]
    ended, cut = last == END, last != END
    assert ended.any()
    assert cut.any()
    assert bool((lengths[cut] == 6).all())
    assert torch.equal(rollout.taken.sum(1), lengths)
    worth = torch.where(ended, lengths - 1, lengths).float()  # a sign a token
    expected = torch.zeros(rollout.rewards.shape)
    expected[torch.arange(80), lengths - 1] = worth
    assert torch.equal(rollout.rewards, expected)
    assert torch.equal(player.earned, worth.double())
    assert rollout.bootstrap is None
    assert rollout.ends is None
    assert torch.equal(rollout.group, torch.arange(40).repeat_interleave(2))
    assert bool(rollout.counted.all())


def test_a_text_that_was_cut_is_discounted_as_one_that_ended(writing: SimpleNamespace) -> None:
    """By γ^(n−1) at its first token, where n counts END. An off-by-one would turn 1 into .9025 at γ = λ = .95."""
    rollout = rolled_out(player_of(writing, constant=True))
    train = Train(gamma=0.95, gae_lambda=0.95)
    to_go = returns(rollout, train, "none", whiten=False).advantages
    lengths = rollout.taken.sum(1)
    assert torch.allclose(to_go, 0.95 ** (lengths[rollout.row] - 1 - rollout.step), atol=1e-6)
    nothing = dataclasses.replace(rollout, values=torch.zeros_like(rollout.values))
    advantages = estimated(nothing, train, whiten=False).advantages
    assert torch.allclose(advantages, 0.9025 ** (lengths[rollout.row] - 1 - rollout.step), atol=1e-6)


def test_nothing_that_padding_holds_changes_anything(writing: SimpleNamespace) -> None:
    rollout = rolled_out(player_of(writing))
    spoilt = dataclasses.replace(
        rollout,
        values=torch.where(rollout.taken, rollout.values, 1e6),
        rewards=torch.where(rollout.taken, rollout.rewards, 1e6),
    )
    train = Train(gamma=0.99, gae_lambda=0.9)
    for each in (
        lambda r: estimated(r, train, whiten=True),
        lambda r: returns(r, train, "mean", whiten=True),
        lambda r: SimpleNamespace(advantages=torch.stack(list(diagnosed(r, 0.99).values())), targets=torch.zeros(1)),
    ):
        assert torch.equal(each(rollout).advantages, each(spoilt).advantages)
        assert torch.equal(each(rollout).targets, each(spoilt).targets)


@pytest.mark.parametrize(
    "how",
    [
        Sample(),
        Sample(temperature=0.5),
        Sample(temperature=1.5, top_k=3),
        Sample(top_p=0.6),
        Sample(top_k=4, top_p=0.8),
    ],
)
def test_what_is_drawn_from_is_what_scores(writing: SimpleNamespace, how: Sample) -> None:
    """Log-probabilities of the draws, made token by token, are those of the pass over whole texts, also when it learns;
    a cut leaves only so many tokens to choose from."""
    player = player_of(writing, how=how)
    rollout = rolled_out(player)
    sources = torch.from_numpy(writing.data.parts["policy"].sources.astype(np.int64))
    drawn, log_probs = sample(WriterTokens(player._writer), sources, 6, how, generator(), 2)
    assert torch.equal(drawn.tokens.flatten(0, 1)[:, : rollout.tokens.shape[1]], rollout.tokens)
    assert torch.allclose(log_probs.flatten(0, 1)[rollout.row, rollout.step], rollout.log_probs, atol=1e-5)
    assert bool(rollout.counted.all())
    evaluation = player.evaluate(rollout, everything(rollout))
    assert torch.allclose(evaluation.distribution.log_prob(rollout.actions), rollout.log_probs, atol=1e-5)
    if how.top_k:
        assert float(evaluation.distribution.entropy().detach().max()) <= math.log(how.top_k) + 1e-5


@pytest.mark.parametrize("samples", [1, 4])
def test_the_ratio_is_one_before_anything_moves(writing: SimpleNamespace, samples: int) -> None:
    """In every minibatch and piece, whatever is beside a text there; the writer has dropout, which is off."""
    player = player_of(writing, token_budget=60)
    assert player._writer.model.dropout > 0
    rollout = rolled_out(player, samples=samples)
    learned = SimpleNamespace(rollout=rollout, advantages=torch.ones(len(rollout.row)))
    seen = []
    for index in player.minibatches(rollout, 7, generator(1)):
        for piece in player.pieces(rollout, index):
            evaluation = player.evaluate(rollout, piece)
            _, ratio, _ = surrogate_of(evaluation, learned, piece, 0.2)  # type: ignore[arg-type]
            assert torch.allclose(ratio, torch.ones(()), atol=1e-5)
            assert torch.allclose(evaluation.values, rollout.at(rollout.values)[piece], atol=1e-5)
            seen.append(piece)
    assert torch.equal(torch.cat(seen).sort().values, everything(rollout))


def test_a_minibatch_is_of_texts_with_all_that_was_written_for_them(writing: SimpleNamespace) -> None:
    player = player_of(writing)
    rollout = rolled_out(player, samples=3)
    sizes = []
    for index in player.minibatches(rollout, 16, generator()):
        groups = rollout.group[rollout.row[index]].unique()
        sizes.append(len(groups))
        assert len(index) == int(rollout.taken[torch.isin(rollout.group, groups)].sum())
        assert player.decisions(rollout, index) == len(index)
    assert sorted(sizes) == [8, 16, 16]
    assert player.sizes(16) == [16, 16, 8]
    batches = list(player.batches(16, generator()))
    assert [len(batch) for batch in batches] == [16, 16, 8]
    assert torch.equal(torch.cat(batches).sort().values, torch.arange(40))


def test_pieces_hold_whole_texts_and_their_gradients_add_up(writing: SimpleNamespace) -> None:
    whole, cut = player_of(writing), player_of(writing, token_budget=40)
    rollout = rolled_out(whole, samples=2)
    index = everything(rollout)
    pieces = cut.pieces(rollout, index)
    assert len(pieces) > 3
    rows = [rollout.row[piece].unique() for piece in pieces]
    assert len(torch.cat(rows)) == 80
    for player, parts in ((whole, [index]), (cut, pieces)):
        for piece in parts:
            evaluation = player.evaluate(rollout, piece)
            (evaluation.distribution.log_prob(rollout.actions[piece]).sum() + evaluation.values.sum()).backward()
    for (name, one), other in zip(whole._writer.named_parameters(), cut._writer.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, atol=1e-4), name  # type: ignore[arg-type]


@pytest.mark.parametrize("reward", [of_length, share_of_one])
def test_increments_add_up_to_the_reward_at_the_end(writing: SimpleNamespace, reward: Worth) -> None:
    """Of length: 1 for every sign and 0 for END. Both players draw the same texts."""
    at_end, growing = rolled_out(player_of(writing, reward)), rolled_out(player_of(writing, reward, increments=True))
    assert torch.equal(at_end.tokens, growing.tokens)
    assert torch.allclose(growing.rewards.sum(1), at_end.rewards.sum(1), atol=1e-6)
    assert bool((growing.rewards[~growing.taken] == 0).all())
    if reward is of_length:
        assert torch.equal(growing.rewards, (growing.tokens > END).float())
    else:
        first = growing.tokens[:, 0] == growing.tokens.new_tensor(player_of(writing)._play.vocabulary.encode("甲"))
        assert torch.equal(growing.rewards[:, 0], first.float())


@pytest.mark.parametrize("increments", [False, True])
def test_a_constant_reward_is_one_a_text_whatever_it_is_worth(writing: SimpleNamespace, increments: bool) -> None:
    player = player_of(writing, constant=True, increments=increments)
    rollout = rolled_out(player)
    lengths = rollout.taken.sum(1)
    assert torch.equal(rollout.rewards.sum(1), torch.ones(80))
    assert bool((rollout.rewards[torch.arange(80), lengths - 1] == 1).all())
    assert player.earned.std() > 0, "what it would have been worth is still known"


def test_the_reward_sees_the_sources_and_references_of_its_texts(writing: SimpleNamespace) -> None:
    seen: list[tuple[str, str]] = []

    def reward(sources: Sequence[str], references: Sequence[str] | None, texts: Sequence[str]) -> NDArray[np.float64]:
        assert references is not None
        seen.extend(zip(sources, references, strict=True))
        return np.zeros(len(texts))

    part = writing.data.parts["policy"]
    player_of(writing, reward).roll_out(torch.tensor([5, 2]), 2, generator())
    assert seen == [(part.inputs[row], part.references[row]) for row in (5, 5, 2, 2)]


def test_cross_entropy_is_the_mean_over_the_tokens_of_a_reference(writing: SimpleNamespace) -> None:
    player = player_of(writing, supervised=True, label_smoothing=0.1)
    rollout = rolled_out(player, texts=10)
    index = torch.arange(len(rollout.row)).flip(0)[:-3]
    part, writer = writing.data.parts["policy"], player._writer
    losses = []
    for row in range(10):
        pair = part.sources[row : row + 1], part.targets[row : row + 1]
        source, target = (torch.from_numpy(each.astype(np.int64)) for each in pair)
        states, tokens = states_before(writer, writer.encode(source), target)
        losses.append(token_losses(writer.logits(states), tokens, 0.1).mean())
    expected = torch.stack(losses)[rollout.group[rollout.row[index]]]
    found = player.evaluate(rollout, index).cross_entropy
    assert found is not None
    assert torch.allclose(found, expected, atol=1e-5)
    assert player_of(writing).evaluate(rollout, index).cross_entropy is None


def test_what_a_value_teaches_is_its_own_head(writing: SimpleNamespace) -> None:
    player = player_of(writing)
    rollout = rolled_out(player)
    torch.nn.init.normal_(player._writer.value_head[-1].weight)
    player.evaluate(rollout, everything(rollout)).values.sum().backward()
    learned = {id(p) for p in player.value_parameters()}
    for name, parameter in player._writer.named_parameters():
        assert (parameter.grad is not None) == (id(parameter) in learned), name


@pytest.mark.parametrize("frozen", [False, True])
def test_a_frozen_encoder_learns_nothing(writing: SimpleNamespace, frozen: bool) -> None:
    player = player_of(writing, frozen_encoder=frozen)
    rollout = rolled_out(player)
    player.evaluate(rollout, everything(rollout)).distribution.log_prob(rollout.actions).sum().backward()
    grads = [p.grad is not None for p in player._writer.encoder_parameters()]
    assert any(grads) == all(grads) == (not frozen)


def test_a_reward_that_is_not_a_number_is_said(writing: SimpleNamespace) -> None:
    player = player_of(writing, lambda sources, references, texts: np.full(len(texts), math.nan))
    with pytest.raises(TrainingError, match=r"the reward of '.*' is not a number \(nan\); mend") as caught:
        rolled_out(player)
    assert "\n" not in str(caught.value)


def test_a_policy_that_is_not_a_number_is_said(writing: SimpleNamespace) -> None:
    player = player_of(writing)
    with torch.no_grad():
        player._writer.value_head[-1].bias.fill_(math.nan)
    with pytest.raises(TrainingError, match="not a number any more; lower"):
        rolled_out(player)


def test_means_are_over_tokens_and_not_over_padding(writing: SimpleNamespace) -> None:
    """What an update logs as entropy is the mean over what was written, by hand."""
    player = player_of(writing)
    writer = player._writer
    algorithm = make_algorithm(Train(algorithm="a2c"))
    steps = Steps(torch.optim.SGD(writer.parameters(), lr=1e-9), list(writer.parameters()), iter([1e-9] * 9), None)
    logs = algorithm.learn(player, torch.arange(40), steps, generator(), measure=False)
    rollout = rolled_out(player, samples=1)
    distribution = player.evaluate(rollout, everything(rollout)).distribution
    assert float(logs["entropy"]) == pytest.approx(float(distribution.entropy().detach().mean()), rel=1e-5)


def train_some(player: WritingPlayer, writer: Writer, algorithm: str, epochs: int, lr: float) -> list[float]:
    train = Train.model_validate(
        {
            "algorithm": algorithm,
            "ppo": {"epochs": 2, "minibatch": 10},
            "a2c": {"whiten": True},
            "trpo": {"max_kl": 0.05},
        }
    )
    parameters = list(writer.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=lr)
    worth = []
    for epoch in range(epochs):
        steps = Steps(optimizer, parameters, iter([lr] * 99), 1.0)
        train_epoch(make_algorithm(train), player, 40, steps, generator(epoch))
        worth.append(float(player.earned.mean()))
    return worth


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_learns_what_pays(writing: SimpleNamespace, algorithm: str) -> None:
    """One sign of four pays: a writer that knows nothing comes to write it."""
    player = player_of(writing, share_of_one)
    before = float(share_of_one([], None, decoded(player, rolled_out(player))).mean())
    worth = train_some(player, player._writer, algorithm, epochs=10, lr=1e-2)
    assert before < 0.4
    assert worth[-1] > before + 0.3, worth


@pytest.mark.parametrize("how", [Sample(top_k=3), Sample(top_p=0.5, temperature=0.3)])
def test_a_token_that_leaves_the_cut_makes_no_divergence(writing: SimpleNamespace, how: Sample) -> None:
    """Its log-probability is near −10,000: one of a hundred would make the divergence 100. Of the others it is that of
    the distributions that tokens are drawn from."""
    player = player_of(writing, how=how)
    rollout = rolled_out(player)
    with torch.no_grad():
        for parameter in player._writer.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator(1))
        evaluation = player.evaluate(rollout, everything(rollout))
    n = len(rollout.row)
    learned = Learned(rollout, torch.ones(n), torch.zeros(n), torch.zeros(n))
    surrogate, ratio, log_ratio = surrogate_of(evaluation, learned, everything(rollout), None)
    log_probs = evaluation.distribution.log_prob(rollout.actions)
    gone = log_probs < -1e3
    assert 0 < int(gone.sum()) < n
    assert torch.equal(evaluation.possible, ~gone)
    assert not surrogate[gone].any()
    assert torch.equal(log_ratio[gone], torch.zeros(int(gone.sum())))
    assert torch.equal(log_ratio[~gone], (log_probs - rollout.log_probs)[~gone])
    assert float((ratio - 1 - log_ratio).mean()) < 10 < 10_000 * int(gone.sum()) / n


@pytest.mark.parametrize("algorithm", ["rloo", "a2c", "ppo"])
def test_cuts_leave_every_logged_divergence_small(writing: SimpleNamespace, algorithm: str) -> None:
    player = player_of(writing, share_of_one, how=Sample(top_k=3))
    train = Train.model_validate(
        {"algorithm": algorithm, "ppo": {"minibatch": 8, "target_kl": 0.05}, "rloo": {"samples": 2}}
    )
    parameters = [p for p in player._writer.parameters() if p.requires_grad]
    steps = Steps(torch.optim.Adam(parameters, lr=3e-3), parameters, itertools.repeat(3e-3), 1.0)
    logs = train_epoch(make_algorithm(train), player, 32, steps, generator())
    assert logs["kl"] < 0.5


@pytest.mark.parametrize("samples", [1, 3])
def test_a_rollout_keeps_to_the_budget(writing: SimpleNamespace, samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of tokens that go through the encoder, and of what is written beside them, in one forward pass."""
    player = player_of(writing, token_budget=30)
    passed: list[int] = []
    encode, states = player._writer.encode, player._writer.states

    def encoding(sources: Tensor) -> Any:
        passed.append(sources.numel())
        return encode(sources)

    def judging(memory: Any, inputs: Tensor) -> Tensor:
        passed.append(inputs.numel())
        return states(memory, inputs)

    monkeypatch.setattr(player._writer, "encode", encoding)
    monkeypatch.setattr(player._writer, "states", judging)
    rollout = rolled_out(player, samples=samples)
    assert 15 < max(passed) <= 30
    assert torch.equal(rollout.group, torch.arange(40).repeat_interleave(samples))
    evaluation = player.evaluate(rollout, everything(rollout))
    assert torch.allclose(evaluation.distribution.log_prob(rollout.actions), rollout.log_probs, atol=1e-5)
    assert torch.allclose(evaluation.values, rollout.at(rollout.values), atol=1e-5)
