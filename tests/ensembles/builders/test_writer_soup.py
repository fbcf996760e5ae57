"""Soups of writers of one start, whose noise cancels out in the mean, and of one that has too much of it."""

from pathlib import Path
from types import SimpleNamespace

import torch

from sweepstack.ensembles.builders.soup import Ingredient, SoupResult
from sweepstack.ensembles.builders.writer_soup import WriterSoupJob, cook_writer
from sweepstack.ensembles.scoring.text_objective import TextObjective
from sweepstack.models.data.bpe import SPECIAL, Bpe, Tokenizers
from sweepstack.models.networks.writer import Writer
from sweepstack.models.predictions.texts import Candidates
from sweepstack.models.settings.trial import Model
from sweepstack.models.tasks.writing.checkpoint import WriterMember, load_writer, save_writer

OBJECTIVE = TextObjective("chrf", "zh")


def made(made_of: SimpleNamespace, kind: str, numbers: list[int], soups: Path) -> SoupResult[WriterSoupJob]:
    ingredients = [Ingredient(made_of.members[n].name, made_of.members[n].checkpoint) for n in numbers]
    job = WriterSoupJob.of(kind, ingredients, OBJECTIVE, made_of.data.hashes, soups, "cpu")
    return cook_writer(job, made_of.data)


def test_the_mean_of_two_whose_noise_cancels_out_is_their_start(small_writers: SimpleNamespace, tmp_path: Path) -> None:
    result = made(small_writers, "uniform", [0, 1], tmp_path)
    assert (result.ingredients, result.error) == ((("trial-0", "trial-1"),), None)
    soup, _ = load_writer(result.job.member.checkpoint, torch.device("cpu"))
    start, _ = load_writer(small_writers.start, torch.device("cpu"))
    for name, tensor in start.state_dict().items():
        torch.testing.assert_close(soup.state_dict()[name], tensor, atol=1e-6, rtol=0)
    assert (result.job.member.kind, result.job.member.name) == ("soup", f"soup-{result.job.folder.name}")


def test_a_greedy_soup_leaves_out_what_spoils_it(small_writers: SimpleNamespace, tmp_path: Path) -> None:
    result = made(small_writers, "greedy", [0, 1, 2], tmp_path)
    assert result.ingredients == (("trial-0", "trial-1"),)
    uniform = made(small_writers, "uniform", [0, 1, 2], tmp_path)
    assert uniform.ingredients == (("trial-0", "trial-1", "trial-2"),)
    assert uniform.job.folder != result.job.folder
    assert result.valid["chrf"] > uniform.valid["chrf"]


def test_it_is_a_member_that_has_written_every_part(small_writers: SimpleNamespace, tmp_path: Path) -> None:
    result = made(small_writers, "uniform", [0, 1], tmp_path)
    member = WriterMember(result.job.member.checkpoint, "cpu")
    for part in ("valid", "blend", "test"):
        written, rows_hash = Candidates.load(result.job.member.predictions(part))
        assert rows_hash == small_writers.data.hashes[part]
        assert written == member.write(small_writers.dataset.parts[part].inputs, 2)
    valid = small_writers.dataset.parts["valid"]
    said, _ = Candidates.load(result.job.member.predictions("valid"))
    assert result.valid == OBJECTIVE.metrics(valid.inputs, valid.references, said.best)


def test_what_was_made_is_not_made_again(small_writers: SimpleNamespace, tmp_path: Path) -> None:
    first = made(small_writers, "uniform", [0, 1], tmp_path)
    weights = first.job.member.checkpoint / "weights.safetensors"
    written = weights.stat().st_mtime_ns
    assert made(small_writers, "uniform", [0, 1], tmp_path) == first
    assert weights.stat().st_mtime_ns == written
    first.job.marker.unlink()  # as if it had been killed
    assert made(small_writers, "uniform", [0, 1], tmp_path).valid == first.valid


def refused(small_writers: SimpleNamespace, writer: Writer, tokenizers: str, folder: Path) -> str:
    """Why there is no soup of it with the first trial."""
    own = small_writers.members[0]
    save_writer(folder / "other", writer, tokenizers, small_writers.loaded[0].decode, "zh")
    ingredients = [Ingredient(own.name, own.checkpoint), Ingredient("trial-9", folder / "other")]
    job = WriterSoupJob.of("uniform", ingredients, OBJECTIVE, small_writers.data.hashes, folder, "cpu")
    result = cook_writer(job, small_writers.data)
    assert (result.ingredients, result.valid) == ((), {})
    assert cook_writer(job, small_writers.data) == result
    return str(result.error)


def test_writers_of_another_shape_have_no_mean(small_writers: SimpleNamespace, tmp_path: Path) -> None:
    member = small_writers.loaded[0]
    narrow = Writer(member.writer.shape, Model(d_model=8, layers=1, heads=2))
    error = refused(small_writers, narrow, small_writers.data.tokenizers, tmp_path)
    assert error.startswith("its trials differ in the shape of")


def test_writers_of_other_tokens_have_no_mean(small_writers: SimpleNamespace, tmp_path: Path) -> None:
    member = small_writers.loaded[0]
    signs = member.tokenizers.target
    entries = [*SPECIAL, *sorted(signs.characters, reverse=True)]
    swapped = Tokenizers(member.tokenizers.source, Bpe(entries, []))
    assert swapped.target.vocab_size == signs.vocab_size
    error = refused(small_writers, member.writer, swapped.to_json(), tmp_path)
    assert error == "its trials differ in their tokenizers, so they are not of one start"
