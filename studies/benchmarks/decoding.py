"""How fast writers decode, against a T5 of the same shape, and what an ensemble and minimum Bayes risk cost.

Greedy decoding of 64 tokens from sources of 24, by writers of the default shape of translation (two layers of each
kind, d=160) with random weights and without END, so that every text runs to its full length: with the cache of keys
and values, without it (a pass over the whole text a token), and by `generate` of a T5 encoder–decoder of the same shape
from `transformers`, with its cache. An ensemble of four averages the probabilities of each token; it and a member alone
search with a beam of 4, as evaluation does. All take turns within a round, and the median over rounds counts. Then the
utilities of 40 candidates a sentence, each against each, by chrF and by BLEU. One thread; about two minutes; needs
`pip install 'sweepstack[bench]'`.

Bounds, which decide the exit status: with the cache at least 5× the tokens/s of without and 2× those of T5, at eight
texts side by side; an ensemble of four at least .9 of a quarter of one member's, at 64, as evaluation decodes; minimum
Bayes risk over 1,000 sentences in at most 10 s. The more texts, the more both wait for the same matrix products, so T5
comes nearer; the fewer, the more of the time goes into fetching weights, of which an ensemble has four times as many.

    python studies/benchmarks/decoding.py [rounds]
"""

import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

from sweepstack.ensembles.combinations.token_average import AveragedTokens
from sweepstack.ensembles.members.similarity import pairwise
from sweepstack.models.data.bpe import END
from sweepstack.models.data.builtin import builtin
from sweepstack.models.networks.decoding import NextToken, WriterTokens, beam, greedy
from sweepstack.models.networks.writer import NEVER, Memory, Shape, Writer
from sweepstack.models.settings.trial import Model

MODEL = Model(d_model=160, layers=2, heads=4, feed_forward=512)
SHAPE = Shape(source_vocab=4000, target_vocab=3000, shared=False, max_source=64, max_target=64)
WRITTEN, READ = 64, 24  # tokens
BATCHES = (1, 8, 64)  # texts side by side
FEW, MANY = BATCHES[1:]
MEMBERS = 4
CACHED, T5_RATIO, ENSEMBLE, SECONDS = 5.0, 2.0, 0.9, 10.0
SENTENCES, CANDIDATES = 1000, 40


class Endless(WriterTokens):
    """A writer that never ends a text."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(writer)
        writer.never[END] = NEVER


class Uncached(Endless):
    """Its state is the encoded sources and all that was written."""

    def begin(self, sources: Tensor) -> Any:
        return self.writer.encode(sources), torch.zeros((len(sources), 0), dtype=torch.long)

    def step(self, state: Any, tokens: Tensor) -> tuple[Tensor, Any]:
        memory, before = state
        taken = torch.cat([before, tokens[:, None]], dim=1)
        last = self.writer.states(memory, taken)[:, -1]
        return self.writer.logits(last).log_softmax(-1), (memory, taken)

    def select(self, state: tuple[Memory, Tensor], rows: Tensor) -> Any:
        return state[0].select(rows), state[1][rows]


def writer(seed: int) -> Writer:
    torch.manual_seed(seed)
    return Writer(SHAPE, MODEL).eval()


def t5() -> T5ForConditionalGeneration:
    config = T5Config(
        vocab_size=SHAPE.target_vocab,
        d_model=MODEL.d_model,
        d_kv=MODEL.d_model // MODEL.heads,
        d_ff=MODEL.feed_forward,
        num_layers=MODEL.layers,
        num_decoder_layers=MODEL.layers,
        num_heads=MODEL.heads,
        feed_forward_proj="relu",
        pad_token_id=0,
        decoder_start_token_id=0,
    )
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = None
    return model


def contenders() -> dict[str, Callable[[Tensor], object]]:
    members = [Endless(writer(seed)) for seed in range(MEMBERS)]
    uncached, together = Uncached(members[0].writer), AveragedTokens(tuple(members), (1 / MEMBERS,) * MEMBERS)
    model = t5()

    def greedily(next_token: NextToken) -> Callable[[Tensor], object]:
        return lambda sources: greedy(next_token, sources, WRITTEN)

    def generate(sources: Tensor) -> None:
        # T5's vocabulary is that of the target; its own mask is made of what is not padding
        out = model.generate(sources, max_new_tokens=WRITTEN, do_sample=False, num_beams=1, use_cache=True)
        assert out.shape == (len(sources), WRITTEN + 1)

    return {
        "with cache": greedily(members[0]),
        "without cache": greedily(uncached),
        "T5 generate": generate,
        "beam of 4": lambda sources: beam(members[0], sources, WRITTEN, 4, 1.0, 4),
        f"ensemble of {MEMBERS}, beam": lambda sources: beam(together, sources, WRITTEN, 4, 1.0, 4),
    }


def measure(rounds: int) -> dict[int, dict[str, float]]:
    """Median seconds of each contender at each number of texts."""
    runners = contenders()
    medians = {}
    for batch in BATCHES:
        sources = torch.randint(END + 1, SHAPE.target_vocab, (batch, READ), generator=torch.Generator().manual_seed(0))
        seconds: dict[str, list[float]] = {name: [] for name in runners}
        for _ in range(rounds + 1):  # the first warms up
            for name, run in runners.items():
                if name == "without cache" and batch > FEW and len(seconds[name]) > 1:
                    continue  # as slow as all the others together
                began = time.perf_counter()
                run(sources)
                seconds[name].append(time.perf_counter() - began)
        medians[batch] = {name: statistics.median(each[1:]) for name, each in seconds.items()}
    return medians


def candidates() -> list[list[str]]:
    """Of each sentence: words out of builtin:languages, of which each candidate has a third changed."""
    words = [word for text in builtin("languages")[0].inputs for word in text.split()]
    rng = random.Random(0)
    rows = []
    for _ in range(SENTENCES):
        sentence = rng.choices(words, k=10)
        rows.append(
            [
                " ".join(rng.choice(words) if rng.random() < 1 / 3 else word for word in sentence)
                for _ in range(CANDIDATES)
            ]
        )
    return rows


def main(rounds: int) -> int:
    torch.set_num_threads(1)
    medians = measure(rounds)
    print(
        f"tokens/s, {WRITTEN} tokens a text\n{'texts side by side':20}" + "".join(f"{batch:>12}" for batch in BATCHES)
    )
    few, many = medians[FEW], medians[MANY]
    for name in few:
        rates = [batch * WRITTEN / medians[batch][name] for batch in BATCHES]
        print(f"{name:20}" + "".join(f"{rate:12,.0f}" for rate in rates))
    bounds = {
        f"with cache over without, {FEW} texts": (few["without cache"] / few["with cache"], CACHED),
        f"with cache over T5, {FEW} texts": (few["T5 generate"] / few["with cache"], T5_RATIO),
        f"ensemble over a quarter of a member, {MANY}": (
            MEMBERS * many["beam of 4"] / many[f"ensemble of {MEMBERS}, beam"],
            ENSEMBLE,
        ),
    }
    rows = candidates()
    print(f"\nminimum Bayes risk, {CANDIDATES} candidates of {SENTENCES:,} sentences")
    for metric in ("chrf", "bleu"):
        began = time.perf_counter()
        pairwise(rows, metric, "en")
        seconds = time.perf_counter() - began
        print(f"{metric:20}{seconds:10.1f} s")
        bounds[f"{SECONDS:g} s over those of {metric}"] = (SECONDS / seconds, 1.0)
    print()
    for name, (value, bound) in bounds.items():
        print(f"{name:44}{value:8.2f}   at least {bound:g}{'' if value >= bound else '   MISSED'}")
    return int(any(value < bound for value, bound in bounds.values()))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
