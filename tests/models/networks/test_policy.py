"""One forward pass says what reading step by step says, and what it says is a distribution over actions."""

from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr
from torch import Tensor

from sweepstack.models.data.builtin import languages
from sweepstack.models.data.segmenter import TextReader
from sweepstack.models.networks.policy import ACTIVATIONS, CONFIDENT, FEATURES, PolicyOutput, ReadingPolicy, Shape
from sweepstack.models.networks.precision import Precision
from sweepstack.models.settings.trial import Condition, Model, Reading

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
    for name, parameter in policy.named_parameters():
        torch.nn.init.normal_(parameter, std=0.1 if name.startswith("wide") else 0.4)
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
    assert compared > 1.5 * len(phrases)


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


def test_what_the_read_head_is_shown_of_the_labels_and_of_each_part(case: tuple[TextReader, Reading]) -> None:
    """Logarithms of the labels' probabilities .7, .2, .1; for the top label the odds of the Transformer alone (.5), and
    of the wide model alone (.7 / .5 over the sum of all such ratios)."""
    reader, reading = case
    policy = ReadingPolicy(Shape(reader.vocab_size, 3), reading, Model(d_model=16, heads=2)).eval()
    together, alone = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.25, 0.25])
    wide = together.log() - alone.log()
    states = torch.cat([torch.zeros(16), wide])[None, None]
    with torch.no_grad():
        policy.label_head.weight.zero_()
        policy.label_head.bias.copy_(alone.log())
        label_logits = policy.label_head(states)
        seen = policy.observe(states, label_logits)[0, 0]
    torch.testing.assert_close(label_logits.softmax(-1)[0, 0], together)
    by_wide = 1.4 / (1.4 + 0.8 + 0.4)
    odds = torch.tensor([0.5 / 0.5, by_wide / (1 - by_wide)]).log()
    torch.testing.assert_close(seen[FEATURES : policy.features], torch.cat([odds, together.log()]) / 4)
    assert len(seen) == policy.features + policy.state_size


def test_confidence_alone_decides_and_not_the_state(case: tuple[TextReader, Reading]) -> None:
    """Two states that the label head cannot tell apart get one READ logit with read_head confidence, two with state."""
    reader, reading = case
    read_logits = {}
    for read_head in ("confidence", "state"):
        policy = make(reading, reader, read_head=read_head)
        with torch.no_grad():
            policy.label_head.weight[:, 0] = 0
            states = torch.randn(1, 3, policy.state_size, generator=torch.Generator().manual_seed(1))
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


def conditioned(read_head: str = "confidence") -> ReadingPolicy:
    reading = Reading(unit="words", segment=2, max_segments=5, cost=Condition(condition=(0.0, 0.05)))
    return make(reading, TextReader.fit(PHRASES * 2, reading), read_head=read_head)


@pytest.mark.parametrize("read_head", ["confidence", "state"])
def test_a_conditioned_policy_reads_by_the_cost_it_is_told(read_head: str) -> None:
    policy = conditioned(read_head)
    tokens = torch.randint(1, 5, (3, 4, 2), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        cheap, dear, untold = policy(tokens, 0.0), policy(tokens, 0.05), policy(tokens)
        assert torch.equal(cheap.label_logits, dear.label_logits)
        assert (cheap.read_logits - dear.read_logits).abs().min() > 1e-4
        assert (cheap.values - dear.values).abs().min() > 1e-4
        assert_close(untold, policy(tokens, 0.025))  # the middle
        assert_close(policy(tokens, 9.0), dear)  # beyond the interval, its end
        # One for each row, in either shape, and at single decisions.
        mixed = policy(tokens, torch.tensor([0.0, 0.05, 0.025]))
        for row, alone in enumerate((cheap, dear, untold)):
            assert_close(PolicyOutput(*(x[row] for x in mixed)), PolicyOutput(*(x[row] for x in alone)))
        assert_close(policy(tokens, torch.tensor([[0.0], [0.05], [0.025]])), mixed)
        states = policy.states(tokens)
        observed = policy.observe(states, policy.label_head(states))
        read, values = policy.judge(observed[:, 2], torch.tensor([0.0, 0.05, 0.025]))
        torch.testing.assert_close(read, mixed.read_logits[:, 2])
        torch.testing.assert_close(values, mixed.values[:, 2])


def test_a_policy_without_a_condition_does_not_heed_costs(case: tuple[TextReader, Reading]) -> None:
    reader, reading = case
    policy = make(reading, reader)
    assert not policy.conditioned
    tokens = torch.from_numpy(reader.encode(PHRASES).tokens)
    with torch.no_grad():
        for a, b in zip(policy(tokens), policy(tokens, torch.full((len(PHRASES),), 0.3)), strict=True):
            assert torch.equal(a, b)


def test_a_condition_adds_one_input_to_two_heads_and_nothing_else() -> None:
    policy = conditioned()
    reading = Reading(unit="words", segment=2, max_segments=5)
    plain = make(reading, TextReader.fit(PHRASES * 2, reading))
    told = {name: tuple(p.shape) for name, p in policy.named_parameters()}
    untold = {name: tuple(p.shape) for name, p in plain.named_parameters()}
    assert {name for name in told if told[name] != untold[name]} == {"read_head.0.weight", "value_head.0.weight"}
    assert policy.conditioned


DEFINITIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": lambda x: (np.exp(x) - np.exp(-x)) / (np.exp(x) + np.exp(-x)),
    "gelu": lambda x: x * ndtr(x),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_activations_are_what_they_are_called(name: str) -> None:
    x = np.linspace(-4, 4, 81)
    np.testing.assert_allclose(ACTIVATIONS[name](torch.from_numpy(x)).numpy(), DEFINITIONS[name](x), atol=1e-12)


def initialised(init: str) -> ReadingPolicy:
    torch.manual_seed(0)
    model = Model.model_validate({"d_model": 64, "heads": 2, "init": init})
    return ReadingPolicy(Shape(50, 5), READINGS["words"], model)


@pytest.mark.parametrize(
    ("init", "bound"),
    [
        ("xavier", lambda fan_in, fan_out: (6 / (fan_in + fan_out)) ** 0.5),
        ("he", lambda fan_in, _: (6 / fan_in) ** 0.5),
    ],
)
def test_xavier_and_he_are_uniform_within_their_bounds(init: str, bound: Callable[[int, int], float]) -> None:
    """Glorot & Bengio 2010, He et al. 2015: of variance 2 / (fan in + fan out) and 2 / fan in, that of a uniform being
    bound² / 3."""
    weights = initialised(init).encoder[0].feed_forward.up.weight.detach()
    limit = bound(weights.shape[1], weights.shape[0])
    assert 0.99 * limit < weights.abs().max() <= limit
    assert weights.std() == pytest.approx(limit / 3**0.5, rel=0.03)
    assert weights.mean().abs() < 0.02 * limit


def test_orthogonal_weights_keep_lengths() -> None:
    """Saxe et al. 2014: columns (or, of a wide matrix, rows) are orthonormal."""
    feed_forward = initialised("orthogonal").encoder[0].feed_forward
    for tall in (feed_forward.up.weight, feed_forward.down.weight.T):  # (128, 64)
        torch.testing.assert_close(tall.T @ tall, torch.eye(64), atol=1e-5, rtol=0)


def test_normal_weights_are_normal() -> None:
    weights = initialised("normal").encoder[0].feed_forward.up.weight.detach().flatten() / 0.02
    assert weights.std() == pytest.approx(1, abs=0.03)
    assert (weights.abs() < 1).float().mean() == pytest.approx(0.683, abs=0.02)  # and not uniform, which has .577


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_again_gives_the_same_bytes(case: tuple[TextReader, Reading], precision: Precision) -> None:
    """Dropout, word dropout and attention included, on one device."""
    reader, reading = case
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokens = torch.from_numpy(reader.encode(PHRASES).tokens).to(device)

    def trained() -> dict[str, Tensor]:
        torch.manual_seed(5)
        policy = ReadingPolicy(Shape(reader.vocab_size, 5), reading, Model(d_model=16, heads=2)).to(device)
        policy.precision = precision
        optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2, fused=True)
        for _ in range(5):
            output = policy(tokens)
            loss = output.label_logits.log_softmax(-1)[..., 0].mean() + (output.values**2).mean()
            optimizer.zero_grad()
            (loss + output.read_logits.mean()).backward()
            optimizer.step()
        return policy.state_dict()

    first, again = trained(), trained()
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # what a compiler says of its own parts
def test_a_compiled_policy_says_and_learns_the_same() -> None:
    """For any number of texts and of segments, and under gradients; a second policy shares what was compiled."""
    reading = READINGS["characters"]
    reader = TextReader.fit(PHRASES * 2, reading)
    for seed in (0, 1):
        policy = make(reading, reader, seed, layers=1, dropout=0.0, word_dropout=0.0)
        policy.train()
        for texts in (PHRASES, PHRASES[:3], PHRASES[1:2] * 7):
            tokens = torch.from_numpy(reader.encode(texts).tokens)
            found = []
            for policy.compiled in (False, True):
                policy.zero_grad()
                output = policy(tokens)
                output.label_logits.log_softmax(-1)[..., 0].mean().backward()
                gradients = [p.grad.clone() for p in policy.encoder.parameters() if p.grad is not None]
                found.append([*output, *gradients])
            for eager, compiled in zip(*found, strict=True):
                torch.testing.assert_close(compiled, eager, atol=1e-4, rtol=1e-4)


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


def test_of_a_single_segment_padding_beyond_the_longest_text_changes_nothing() -> None:
    reading = Reading(unit="words", segment=200, max_segments=1)
    reader = TextReader.fit(PHRASES * 2, reading)
    policy = make(reading, reader)
    tokens = torch.from_numpy(reader.encode(PHRASES).tokens)
    with torch.no_grad():
        padded = policy._transform(tokens).float()
        cut = policy.states(tokens)
    assert cut.numpy() == pytest.approx(padded.numpy(), abs=1e-5)
    widths: list[int] = []
    policy.tokens.register_forward_hook(lambda _, given, __: widths.append(given[0].shape[1]))
    policy.states(tokens)
    longest = max(len(reader.units(phrase)) for phrase in PHRASES)
    assert widths == [-(-longest // 16) * 16]
    assert longest < 100
