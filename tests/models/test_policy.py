"""One forward pass says what reading step by step says, and what it says is a distribution over actions."""

from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepstack.models.builtin import languages
from sweepstack.models.policy import ACTIVATIONS, CONFIDENT, PolicyOutput, ReadingPolicy, Shape
from sweepstack.models.settings import Model, Reading
from sweepstack.models.text import TextReader

READINGS = {
    "words": Reading(unit="words", segment=2, max_segments=5),
    "characters": Reading(unit="characters", segment=3, max_segments=6),
}
PHRASES = [
    "Wheat prices rose sharply in Chicago, said the U.S. Agriculture Department's report on acreage.",
    "  dollar\tloan…  yen!!",
    "a",
    "",
    "我爱北京 and e\u0301tudes",
]


def make(reading: Reading, reader: TextReader, seed: int = 0, **model: object) -> ReadingPolicy:
    """Two layers deep, and every weight at random: heads that begin at zero would hide what they look at."""
    torch.manual_seed(seed)
    chosen = Model.model_validate({"d_model": 16, "heads": 2, "layers": 2, **model})
    policy = ReadingPolicy(Shape(reader.vocab_size, 5), reading, chosen).eval()
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return policy


@pytest.fixture(scope="module")
def phrases() -> list[str]:
    """Real ones: 60 names of emoji in 14 languages, and some that are awkward."""
    return [*languages()[0].inputs[::175], *PHRASES]


@pytest.fixture(scope="module", params=READINGS)
def case(request: pytest.FixtureRequest, phrases: list[str]) -> tuple[TextReader, Reading]:
    reading = READINGS[request.param]
    return TextReader.fit(phrases * 2, reading), reading  # twice: a unit seen once is unknown


def read(policy: ReadingPolicy, reader: TextReader, texts: list[str]) -> PolicyOutput:
    with torch.no_grad():
        output: PolicyOutput = policy(torch.from_numpy(reader.encode(texts).tokens))
    return output


def assert_close(got: PolicyOutput, expected: PolicyOutput) -> None:
    for name, a, b in zip(PolicyOutput._fields, got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("read_head", ["confidence", "state"])
def test_one_pass_equals_reading_raw_text_step_by_step(
    case: tuple[TextReader, Reading], phrases: list[str], read_head: str
) -> None:
    reader, reading = case
    policy = make(reading, reader, read_head=read_head)
    whole = read(policy, reader, phrases)
    compared = 0
    for row, text in enumerate(phrases):
        for n in range(1, len(reader.segments(text)) + 1):
            shown = reader.prefix(text, n)
            assert text.strip()[:1] == shown.strip()[:1]
            step = read(policy, reader, [shown])  # a text of its own: nothing else is there that could leak
            assert step.values.shape == (1, n)
            assert_close(PolicyOutput(*(x[0, -1] for x in step)), PolicyOutput(*(x[row, n - 1] for x in whole)))
            compared += 1
    assert compared > 2 * len(phrases)


def test_what_is_said_does_depend_on_the_text_so_far(case: tuple[TextReader, Reading], phrases: list[str]) -> None:
    """Or the test above would hold for a policy that looks at nothing."""
    reader, reading = case
    policy = make(reading, reader)
    text = PHRASES[0]
    for a, b in zip(read(policy, reader, [text]), read(policy, reader, ["x" + text[1:]]), strict=True):
        difference = (a - b).abs().flatten(2) if a.dim() == 3 else (a - b).abs()
        assert difference[0, 0].max() > 1e-4
        assert difference[0, -1].max() > 1e-4  # segments later, it still matters


def test_padding_has_no_influence(case: tuple[TextReader, Reading], phrases: list[str]) -> None:
    """Behind a text (other rows are longer, or none is) and inside its last segment."""
    reader, reading = case
    policy = make(reading, reader)
    tokens = torch.from_numpy(reader.encode(phrases).tokens)
    n_segments = reader.encode(phrases).n_segments
    with torch.no_grad():
        together = policy(tokens)
        for row in range(0, len(phrases), 7):
            n = int(n_segments[row])
            alone = policy(tokens[row : row + 1, :n])
            assert_close(alone, PolicyOutput(*(x[row : row + 1, :n] for x in together)))
        # Nor would it were it looked at: the same texts with another embedding of padding.
        policy.tokens.weight[0] = 50.0
        moved = policy(tokens)
        for row, n in enumerate(n_segments):
            assert_close(*(PolicyOutput(*(x[row, :n] for x in output)) for output in (moved, together)))


@settings(max_examples=30, deadline=None)
@given(text=st.text(st.sampled_from("ab é我.,\n'"), max_size=30), n=st.integers(1, 6), seed=st.integers(0, 3))
def test_any_text_read_in_part(text: str, n: int, seed: int) -> None:
    for reading in READINGS.values():
        reader = TextReader.fit(["ab é我 .,", "ab é我 .,"], reading)
        policy = make(reading, reader, seed)
        steps = min(n, len(reader.segments(text)))
        whole, part = read(policy, reader, [text]), read(policy, reader, [reader.prefix(text, n)])
        assert_close(part, PolicyOutput(*(x[:, :steps] for x in whole)))


def test_actions_are_a_distribution(case: tuple[TextReader, Reading], phrases: list[str]) -> None:
    """P(READ) = σ(read), P(label k) = (1 − σ) softmax_k: their logarithms' exponentials sum to one."""
    reader, reading = case
    output = read(make(reading, reader), reader, phrases)
    answer = F.logsigmoid(-output.read_logits)[..., None] + output.label_logits.log_softmax(-1)
    actions = torch.cat([F.logsigmoid(output.read_logits)[..., None], answer], dim=-1)
    torch.testing.assert_close(actions.exp().sum(-1), torch.ones(actions.shape[:2]))


def test_a_policy_begins_as_a_soft_threshold_of_value_zero(case: tuple[TextReader, Reading]) -> None:
    """Before training READ − (CONFIDENT − log-odds of the top label) is 0, whatever the Transformer says."""
    reader, reading = case
    torch.manual_seed(0)
    policy = ReadingPolicy(Shape(reader.vocab_size, 5), reading, Model(d_model=16, heads=2)).eval()
    output = read(policy, reader, PHRASES)
    assert output.values.abs().max() == 0
    top = output.label_logits.softmax(-1).amax(-1)
    torch.testing.assert_close(output.read_logits, CONFIDENT - torch.log(top / (1 - top)), atol=1e-4, rtol=1e-4)


def test_confidence_alone_decides_and_not_the_state(case: tuple[TextReader, Reading]) -> None:
    """Two states that the label head cannot tell apart get one READ logit with read_head confidence, two with state."""
    reader, reading = case
    read_logits = {}
    for read_head in ("confidence", "state"):
        policy = make(reading, reader, read_head=read_head)
        with torch.no_grad():
            policy.label_head.weight[:, 0] = 0
            states = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(1))
            moved = states.clone()
            moved[..., 0] += 1
            read_logits[read_head] = policy.heads(states).read_logits - policy.heads(moved).read_logits
    assert read_logits["confidence"].abs().max() == 0
    assert read_logits["state"].abs().min() > 1e-4


def test_extreme_labels_stay_finite(case: tuple[TextReader, Reading]) -> None:
    reader, reading = case
    policy = make(reading, reader)
    with torch.no_grad():
        policy.label_head.weight *= 1e4
    assert all(torch.isfinite(x).all() for x in read(policy, reader, PHRASES))


def test_word_dropout_hides_units_while_training_only(case: tuple[TextReader, Reading]) -> None:
    reader, reading = case
    policy = make(reading, reader, dropout=0.0, word_dropout=0.5)
    tokens = torch.from_numpy(reader.encode(PHRASES).tokens)
    with torch.no_grad():
        assert torch.equal(policy(tokens).values, policy(tokens).values)
        policy.train()
        assert not torch.equal(policy(tokens).values, policy(tokens).values)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_and_initialisation_learns_from_every_weight(activation: str) -> None:
    reading = READINGS["words"]
    reader = TextReader.fit(PHRASES * 2, reading)
    for init in get_args(Model.model_fields["init"].annotation):
        torch.manual_seed(0)
        model = Model.model_validate({"d_model": 16, "heads": 2, "activation": activation, "init": init})
        policy = ReadingPolicy(Shape(reader.vocab_size, 5), reading, model).eval()
        output = policy(torch.from_numpy(reader.encode(PHRASES).tokens))
        (output.label_logits.log_softmax(-1)[..., 0].sum() + output.values.sum() + output.read_logits.sum()).backward()
        without = {name for name, p in policy.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()}
        assert not without
        assert policy.label_head.weight.grad is not None
        assert policy.label_head.weight.grad.abs().max() > 0
        assert policy.tokens.weight.grad is not None
        assert policy.tokens.weight.grad[0].abs().max() == 0  # padding is not learned


def test_the_activations_of_the_settings_are_there() -> None:
    assert set(ACTIVATIONS) == set(get_args(Model.model_fields["activation"].annotation))


def test_one_class_needs_no_second_label() -> None:
    reading = READINGS["words"]
    reader = TextReader.fit(PHRASES * 2, reading)
    policy = ReadingPolicy(Shape(reader.vocab_size, 1), reading, Model(d_model=16, heads=2)).eval()
    assert np.isfinite(read(policy, reader, PHRASES).read_logits.numpy()).all()
