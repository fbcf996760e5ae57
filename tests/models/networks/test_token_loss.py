"""The loss of a token by hand, its gradient against torch's own, and the state that a token is chosen from."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sweepstack.models.data.bpe import BEGIN, END, PADDING, UNKNOWN
from sweepstack.models.networks.token_loss import states_before, token_losses
from sweepstack.models.tasks.writing.supervised import new_writer


def test_the_loss_by_hand() -> None:
    """.7 for END, .2 and .1 for two entries: −ln of what was right, and .1 of the mean of all three."""
    logits = torch.tensor([[-1e4, -1e4, -1e4, np.log(0.7), np.log(0.2), np.log(0.1)]] * 2, dtype=torch.float32)
    tokens = torch.tensor([END, 5])
    assert token_losses(logits, tokens).tolist() == pytest.approx([-np.log(0.7), -np.log(0.1)], rel=1e-5)
    mean = -(np.log(0.7) + np.log(0.2) + np.log(0.1)) / 3
    expected = [-0.9 * np.log(0.7) + 0.1 * mean, -0.9 * np.log(0.1) + 0.1 * mean]
    assert token_losses(logits, tokens, 0.1).tolist() == pytest.approx(expected, rel=1e-5)
    torchs = F.cross_entropy(logits[:, END:], tokens - END, label_smoothing=0.1, reduction="none")
    assert torch.allclose(token_losses(logits, tokens, 0.1), torchs)


def test_a_token_is_chosen_from_the_state_before_it(writing: SimpleNamespace) -> None:
    """Against a pass for each prefix, BEGIN first; what cannot be written is left out."""
    writer, part = new_writer(writing.settings, writing.data, 0).eval(), writing.data.parts["policy"]
    sources, targets = (torch.from_numpy(each[:2].astype(np.int64)) for each in (part.sources, part.targets))
    targets[0, 0] = UNKNOWN
    memory = writer.encode(sources)
    states, tokens = states_before(writer, memory, targets)
    expected, actual = [], []
    for row in range(2):
        for step, token in enumerate(targets[row].tolist()):
            if token not in (PADDING, UNKNOWN):
                before = torch.tensor([[BEGIN, *targets[row, :step].tolist()]])
                expected.append(writer.states(memory.select(torch.tensor([row])), before)[0, -1])
                actual.append(token)
    assert tokens.tolist() == actual
    assert torch.allclose(states, torch.stack(expected), atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_gradient_is_that_of_torch(smoothing: float) -> None:
    random = torch.Generator().manual_seed(0)
    mine, torchs = (torch.randn((5, 9), generator=random.manual_seed(0)).requires_grad_() for _ in range(2))
    tokens, weights = torch.tensor([3, 4, 8, 8, 5]), torch.arange(1.0, 6.0)
    (token_losses(mine, tokens, smoothing) * weights).sum().backward()
    log_probs = torchs.log_softmax(-1)
    right, mean = log_probs.gather(1, tokens[:, None]).squeeze(1), log_probs[:, END:].mean(1)
    (-((1 - smoothing) * right + smoothing * mean) * weights).sum().backward()
    assert mine.grad is not None
    assert torchs.grad is not None
    assert torch.allclose(mine.grad, torchs.grad, atol=1e-6)
