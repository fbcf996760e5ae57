from types import SimpleNamespace

import numpy as np
import pytest
import sacrebleu

from sweepstack.ensembles.scoring.bootstrap import gain
from sweepstack.ensembles.scoring.text_objective import TextObjective, half_widths, judged_by
from sweepstack.models.predictions.text_metrics import sentence_bleu, sentence_chrf

SOURCES = ("s",) * 4
REFERENCES = ("open the file and save it", "a chart of two rows", "print this page again", "the font is large")
TEXTS = ("open the file and save this", "a chart of three rows", "print this page", "the font is very large")


def lengths(sources: object, references: object, texts: tuple[str, ...]) -> np.ndarray:
    return np.array([len(text) for text in texts], dtype=np.float64)


def test_figures_are_those_of_sacrebleu() -> None:
    found = TextObjective("bleu", "en", lengths).metrics(SOURCES, REFERENCES, TEXTS)
    assert found == pytest.approx(
        {
            "chrf": sacrebleu.corpus_chrf(TEXTS, [REFERENCES]).score,
            "bleu": sacrebleu.corpus_bleu(TEXTS, [REFERENCES]).score,
            "reward": np.mean([len(text) for text in TEXTS]),
        }
    )
    assert TextObjective("bleu", "en").score(SOURCES, REFERENCES, TEXTS) == pytest.approx(found["bleu"])


def test_a_word_of_lagging_costs_what_the_study_says() -> None:
    objective = TextObjective("reward", "en", lengths, cost=0.5)
    found = objective.samples(SOURCES, REFERENCES, TEXTS, (1.0, 2.0, 3.0, 6.0))
    plain = objective.metrics(SOURCES, REFERENCES, TEXTS)
    assert found["lagging"].score == 3.0
    assert found["reward"].score == pytest.approx(plain["reward"] - 1.5)
    assert found["chrf"].score == plain["chrf"]
    assert "lagging" not in plain
    assert {"lagging", "reward"} < set(half_widths(found))


def test_a_resample_is_scored_as_if_it_were_the_part(writing: SimpleNamespace) -> None:
    """The bootstrap by counts against sacrebleu on the very rows that were drawn."""
    library, references = writing.library([0.3], rows=30)
    texts = library.candidates[0].best
    drawn = np.random.default_rng(0).integers(0, 30, 30)
    counts = np.bincount(drawn, minlength=30)
    for metric, of in (("bleu", sacrebleu.corpus_bleu), ("chrf", sacrebleu.corpus_chrf)):
        sample = TextObjective(metric, "en").samples(library.sources, references, texts)[metric]
        found = sample.at((counts @ sample.features / 30)[None])
        expected = of([texts[i] for i in drawn], [[references[i] for i in drawn]]).score
        np.testing.assert_allclose(found, [expected])


def test_a_better_writer_is_better_with_an_interval_that_says_so(writing: SimpleNamespace) -> None:
    library, references = writing.library([0.2, 0.4, 0.2], rows=150)
    objective = TextObjective("chrf", "en")
    good, bad, _ = (objective.samples(library.sources, references, each.best) for each in library.candidates)
    over = gain(good["chrf"], bad["chrf"])
    assert 0 < over.low < over.mean < over.high
    assert over.mean == pytest.approx(good["chrf"].score - bad["chrf"].score)
    assert (good["bleu"].resampled(0) > bad["bleu"].resampled(0)).mean() > 0.99
    widths = half_widths(good)
    assert set(widths) == {"chrf", "bleu"}
    assert all(0.5 < width < 8 for width in widths.values())


@pytest.mark.parametrize("metric", ["bleu", "chrf", "reward"])
def test_candidates_are_scored_by_the_metric_of_a_sentence(metric: str) -> None:
    candidates = [(TEXTS[0], REFERENCES[0]), (), TEXTS, ("",)]
    found = TextObjective(metric, "en", lengths).of_candidates(SOURCES, REFERENCES, candidates)
    scored = {
        "bleu": lambda texts, references: sentence_bleu(texts, references, "en"),
        "chrf": sentence_chrf,
        "reward": lambda texts, references: lengths(SOURCES, references, texts),
    }[metric]
    for own, texts, reference in zip(found, candidates, REFERENCES, strict=True):
        np.testing.assert_allclose(own, scored(texts, [reference] * len(texts)))
    assert TextObjective(metric, "en", lengths).of_sentences == ("chrf" if metric == "reward" else metric)


def test_a_reward_is_asked_for_once() -> None:
    asked = []

    def reward(sources: object, references: object, texts: tuple[str, ...]) -> np.ndarray:
        asked.extend(texts)
        return lengths(sources, references, texts)

    objective = TextObjective("reward", "en", reward).remembering()
    for _ in range(2):
        assert objective.score(SOURCES, REFERENCES, TEXTS) == np.mean([len(text) for text in TEXTS])
    assert asked == list(TEXTS)
    found = objective.of_candidates(SOURCES[:1], REFERENCES[:1], [(TEXTS[0], "new")])
    np.testing.assert_array_equal(found[0], [len(TEXTS[0]), 3])
    assert asked == [*TEXTS, "new"]
    plain = TextObjective("bleu", "en")
    assert plain.remembering() is plain


def test_what_texts_do_not_tell_is_refused_or_judged_by_chrf() -> None:
    with pytest.raises(ValueError, match="metric must be one of chrf, bleu, but got 'reward'"):
        TextObjective("reward", "en")
    assert [judged_by(metric) for metric in ("bleu", "reward", "log_loss", "length")] == [
        "bleu", "reward", "chrf", "chrf",
    ]  # fmt: skip


def test_what_is_right_of_every_text_is_no_certainty() -> None:
    """A reward of 0 or 1 has the interval of a share; texts that all equal their references, one above nought."""
    texts, sources = TEXTS * 15, SOURCES * 15

    def matches(*of: object) -> np.ndarray:
        return np.ones(60)

    plain, share = (TextObjective("reward", "en", matches, bounds=each) for each in (None, (0.0, 1.0)))
    assert plain.samples(sources, texts, texts)["reward"].half_width == 0
    found = share.samples(sources, texts, texts)
    assert found["reward"].half_width == pytest.approx(0.0453, abs=1e-4)  # two right and two wrong ones made up
    assert half_widths(found)["chrf"] == pytest.approx(4.53, abs=0.01)
    again = gain(found["chrf"], found["chrf"])
    assert (again.mean, again.low) == (0, -again.high)
    assert again.high > 4
    assert share.samples(sources, texts, texts, (1.0,) * 60)["reward"].bounds is None, "lagging has no bounds"
