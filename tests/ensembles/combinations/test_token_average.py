"""Averaging of next tokens, on tables whose probabilities are known."""

import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from sweepstack.ensembles.combinations.token_average import AveragedTokens, average_of, averaged
from sweepstack.models.data.bpe import END
from sweepstack.models.errors import BundleError
from sweepstack.models.networks.decoding import beam, greedy


@dataclass
class Table:
    """The next token by the last: logs (V, V). Its state is how many steps there were, by row."""

    logs: Tensor
    device = torch.device("cpu")
    max_source: int = 5
    max_target: int = 6

    def begin(self, sources: Tensor) -> Tensor:
        return torch.zeros(len(sources))

    def step(self, state: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        assert len(state) == len(tokens)
        return self.logs[tokens], state + 1

    def select(self, state: Tensor, rows: Tensor) -> Tensor:
        return state[rows]


def table(seed: int) -> Table:
    torch.manual_seed(seed)
    logits = 2 * torch.randn(7, 7)
    logits[:, :3] = -1e4
    return Table(logits.log_softmax(-1), max_source=5 + seed, max_target=8 - seed)


def test_the_mean_of_probabilities_by_hand() -> None:
    one, other = torch.tensor([[0.9, 0.1, 0.0]]).log(), torch.tensor([[0.2, 0.5, 0.3]]).log()
    found = averaged([one, other], (0.5, 0.5), "probabilities")
    torch.testing.assert_close(found.exp(), torch.tensor([[0.55, 0.3, 0.15]]))
    weighted = averaged([one, other], (0.25, 0.75), "probabilities")
    torch.testing.assert_close(weighted.exp(), torch.tensor([[0.375, 0.4, 0.225]]))


def test_the_mean_of_logarithms_by_hand_and_a_zero_forbids() -> None:
    one, other = torch.tensor([[0.9, 0.1, 0.0]]).log(), torch.tensor([[0.4, 0.4, 0.2]]).log()
    found = averaged([one, other], (0.5, 0.5), "log_probabilities").exp()
    a, b = math.sqrt(0.9 * 0.4), math.sqrt(0.1 * 0.4)
    torch.testing.assert_close(found, torch.tensor([[a / (a + b), b / (a + b), 0.0]]))
    nothing = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).log()
    torch.testing.assert_close(  # each forbids what the other wants: still a number
        averaged([nothing[:1], nothing[1:]], (0.5, 0.5), "log_probabilities").exp(), torch.tensor([[0.5, 0.5]])
    )


@pytest.mark.parametrize("mean", ["probabilities", "log_probabilities"])
def test_one_member_is_that_member(mean: str) -> None:
    own, sources = table(0), torch.ones(3, 2, dtype=torch.long)
    alone = AveragedTokens((own, own), (0.5, 0.5), mean)
    for search in (greedy, lambda *a: beam(*a, 3, 1.0, 3)):
        expected, found = search(own, sources, 6), search(alone, sources, 6)
        torch.testing.assert_close(found.tokens, expected.tokens)
        torch.testing.assert_close(found.log_probs, expected.log_probs, atol=1e-5, rtol=0)


def test_a_text_has_the_product_of_its_mean_probabilities() -> None:
    members = table(0), table(1)
    together = AveragedTokens(members, (0.5, 0.5))
    found = greedy(together, torch.ones(2, 2, dtype=torch.long), 6)
    last, total = 2, 0.0
    for token in [t for t in found.tokens[0, 0].tolist() if t]:
        mean = (members[0].logs[last].exp() + members[1].logs[last].exp()) / 2
        assert int(mean.argmax()) == token
        total += float(mean[token].log())
        last = token
    assert last == END or len(found.tokens[0, 0]) == 6
    assert float(found.log_probs[0, 0]) == pytest.approx(total, abs=1e-5)


def test_it_reads_and_writes_no_more_than_each_member_can() -> None:
    together = AveragedTokens((table(0), table(1)), (0.5, 0.5))
    assert (together.max_source, together.max_target, together.device.type) == (5, 7, "cpu")


def test_other_means_and_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="mean must be one of probabilities, log_probabilities, but got 'median'"):
        AveragedTokens((table(0),), (1.0,), "median")
    with pytest.raises(ValueError, match="1 members need as many weights, but got 2"):
        AveragedTokens((table(0),), (0.5, 0.5))


def test_members_with_different_tokenizers_have_no_mean() -> None:
    members: Any = [SimpleNamespace(tokenizers=SimpleNamespace(digest=digest)) for digest in ("aa", "aa", "bb")]
    with pytest.raises(BundleError, match=r"trial-0 and trial-7 have different tokenizers \(aa and bb\)"):
        average_of(members, ["trial-0", "trial-1", "trial-7"], "probabilities")
