"""Parts that share no source, vocabularies that have seen no held-out row, and one line for what cannot be."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweepstack.models.data.bpe import END, Tokenizers
from sweepstack.models.data.labelled import PARTS
from sweepstack.models.data.pairs import PairDataset, PairPart, encode_pairs, load_pairs
from sweepstack.models.errors import DataError
from sweepstack.models.settings.data import Data
from sweepstack.models.settings.writing import Vocabulary, Writing

Pairs = Sequence[tuple[str, str]]
SMALL = Writing(vocabulary=Vocabulary(source=120, target=120))
ROWS = [(f"source number {i}", f"{i} 号目标") for i in range(100)]


def written(path: Path, rows: Pairs, **more: Sequence[str]) -> str:
    lines = [
        json.dumps({"source": source, "target": target, **{name: column[i] for name, column in more.items()}})
        for i, (source, target) in enumerate(rows)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def data(train: str, **values: Any) -> Data:
    return Data.model_validate({"train": train, "input": "source", "target": "target", **values})


def loaded(tmp_path: Path, rows: Pairs, test: Pairs | None = None, **values: Any) -> PairDataset:
    if test is not None:
        values["test"] = written(tmp_path / "test.jsonl", test)
    return load_pairs(data(written(tmp_path / "train.jsonl", rows), **values), "translation", SMALL)


def parts(warm: Pairs, test: Pairs = (("a b", "a b"),)) -> PairDataset:
    """The same rows in warm, policy, valid and blend."""
    both = {name: tuple(zip(*(test if name == "test" else warm), strict=True)) for name in PARTS}
    made = {name: PairPart(*columns) for name, columns in both.items()}
    return PairDataset(made, {name: name for name in (*PARTS, "content")}, ("read",))


def test_parts_have_their_shares_and_every_row_once(tmp_path: Path) -> None:
    dataset = loaded(tmp_path, ROWS)
    assert list(dataset.parts) == list(PARTS)
    assert dataset.sizes == {"warm": 43, "policy": 26, "valid": 8, "blend": 8, "test": 15}
    pairs = [pair for part in dataset.parts.values() for pair in zip(part.inputs, part.references, strict=True)]
    assert sorted(pairs) == sorted(ROWS)
    assert (dataset.folds, dataset.classes, dataset.costs) == ((), (), None)
    assert (dataset.part_for("valid"), dataset.part_for("blend")) == ("valid", "blend")


def test_the_same_settings_give_the_same_parts(tmp_path: Path) -> None:
    first, again, other = (loaded(tmp_path, ROWS, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.hashes.keys() == {*PARTS, "content"}
    assert first.hashes["content"] != other.hashes["content"]


def test_a_given_test_part_is_taken_as_it_is_and_its_sources_leave_train(tmp_path: Path) -> None:
    test = [("Source  NUMBER 7", "七"), ("new", "新")]
    dataset = loaded(tmp_path, ROWS, test, splits={"test": 0.2})
    assert dataset.parts["test"] == PairPart(("Source  NUMBER 7", "new"), ("七", "新"))
    assert sum(dataset.sizes.values()) == 99 + 2
    assert dataset.notes[0].startswith("data.splits.test (0.2) is not used")
    assert dataset.notes[1] == "1 row of train.jsonl is read the same as a row of test and was left out of train"


def test_rows_of_one_source_or_one_group_stay_together(tmp_path: Path) -> None:
    rows = [(f"Source {i // 3}" if i % 2 else f"source  {i // 3}", f"target {i}") for i in range(90)]
    for part in loaded(tmp_path, rows).parts.values():
        numbers = [int(text.split()[1]) for text in part.inputs]
        assert all(numbers.count(number) == 3 for number in numbers)
    train = written(tmp_path / "groups.jsonl", ROWS, group=[str(i // 5) for i in range(100)])
    for part in load_pairs(data(train, group="group"), "translation", SMALL).parts.values():
        groups = [int(text.split()[-1]) // 5 for text in part.inputs]
        assert all(groups.count(group) == 5 for group in groups)


def test_references_are_cleaned(tmp_path: Path) -> None:
    dataset = loaded(tmp_path, ROWS, [("x", " e\u0301tude\u00a0\u200b ")])
    assert dataset.parts["test"].references == ("étude",)


@pytest.mark.parametrize(
    ("rows", "values", "line"),
    [
        ([*ROWS[:3], ("a", ""), *ROWS[3:]], {}, r"1 of 101 rows cannot be used: 1 with no text in 'target' \(line 4\)"),
        ([*ROWS, ("a", "\u200d")], {}, r"1 with no text in 'target' \(line 101\)"),
        ([*ROWS, ("\u200d", "a")], {}, r"1 with no text in 'source' \(line 101\)"),
        (
            [("same", f"target {i}") for i in range(50)],
            {},
            "gets 0 rows in 0 units, .* read the same, are a unit and stay together, and the largest has 50 of 50",
        ),
        (ROWS[:4], {}, r"data\.splits leaves . of 4 rows for .*, and each part needs at least 2"),
        (ROWS[:1], {}, r"data\.splits leaves . of 1 rows"),
        (ROWS, {"splits": {"folds": 3}}, r"data\.splits has folds, which task translation does not know yet"),
        (ROWS, {"input": "text"}, "has no column 'text'; there are source, target"),
        (ROWS, {"train": "builtin:languages"}, "has labels as targets, which task translation has no use for; take"),
        (ROWS, {"train": "builtin:emoji-zh", "group": "g"}, r"data\.group is 'g', but builtin:emoji-zh has no such"),
        (ROWS, {"test": "builtin:emoji-zh"}, r"data\.test must be a file, but got builtin:emoji-zh"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, rows: Pairs, values: dict[str, Any], line: str) -> None:
    with pytest.raises(DataError, match=line) as caught:
        load_pairs(data(**{"train": written(tmp_path / "train.jsonl", rows), **values}), "translation", SMALL)
    assert "\n" not in str(caught.value)


def test_parts_far_from_their_planned_size_are_refused(tmp_path: Path) -> None:
    rows = [(f"source {i}", f"target {i}") for i in range(300)]
    train = written(tmp_path / "train.jsonl", rows, group=[str(i // 140 if i < 280 else i) for i in range(300)])
    with pytest.raises(DataError, match=r"data\.splits plans .* the largest has 140 of 300"):
        load_pairs(data(train, group="group"), "translation", SMALL)


def test_every_row_in_test_too_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="every row is read the same as one of"):
        loaded(tmp_path, ROWS[:5], ROWS[:5])


def test_pairs_as_tokens_end_and_come_back(tmp_path: Path) -> None:
    dataset = loaded(tmp_path, ROWS)
    encoded = encode_pairs(dataset, SMALL)
    tokenizers = Tokenizers.from_json(encoded.tokenizers)
    assert encoded.language == "zh"
    for name, part in encoded.parts.items():
        assert part.inputs == dataset.parts[name].inputs
        assert [tokenizers.source.decode(row) for row in part.sources.tolist()] == list(part.inputs)
        if name == "test":
            assert (part.targets, part.references) == (None, None)
        else:
            assert part.targets is not None
            assert part.references == dataset.parts[name].references
            assert [tokenizers.target.decode(row) for row in part.targets.tolist()] == list(part.references)
            assert [row[row > 0][-1] for row in part.targets] == [END] * len(part)
    mask = np.arange(43) % 2 == 0
    rows = encoded.parts["warm"].rows(mask)
    assert rows.inputs == encoded.parts["warm"].inputs[::2]
    assert len(rows) == len(rows.sources) == 22
    assert len(encoded.parts["test"].rows(np.array([2, 0]))) == 2


def test_vocabularies_see_warm_and_policy_alone() -> None:
    dataset = parts([("aaa bbb", "ccc ddd")] * 3, [("aaa bbb z", "ccc ddd y")])
    encoded = encode_pairs(dataset, SMALL)
    tokenizers = Tokenizers.from_json(encoded.tokenizers)
    assert not {"z", "y"} & (tokenizers.source.characters | tokenizers.target.characters)
    said = "14% of the characters in the"
    assert encoded.notes == (
        "read",
        f"{said} references of test ('y', for one) are not in the vocabulary and cannot be written",
        f"{said} sources of test ('z', for one) are not in the vocabulary and cannot be read",
    )
    assert Tokenizers.from_json(encode_pairs(dataset, Writing(vocabulary=100)).tokenizers).shared


def test_another_script_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"80% of the characters in the references of test \('对', for one\) are unknown"
    ):
        encode_pairs(parts([("a b", "c d")] * 3, [("a b", "c对对对对")]), SMALL)


def test_a_vocabulary_that_is_too_small_is_called_so() -> None:
    """Of eight entries four are special ones, and four at most are characters: all of the rows have the same script."""
    rows = [("abcdefghijkl", "mnopqrstuvwx")] * 3
    with pytest.raises(
        DataError,
        match=r"^writing\.vocabulary is too small for the references: \d+ entries hold \d characters, and \d\d% of "
        r"those in valid \('.', for one\) are not among them; raise it$",
    ):
        encode_pairs(parts(rows, rows), SMALL.model_copy(update={"vocabulary": Vocabulary(source=8, target=8)}))


def test_long_pairs_are_left_out_of_training_and_cut_elsewhere() -> None:
    """Eight entries are the special ones and four characters, the space before a text being one: 'abc' is four tokens
    to read, 'xy' is four to write, END included."""
    rows = [("abc", "xy"), ("abca", "x"), ("a", "xyz"), ("ab", "x")]
    writing = Writing(vocabulary=Vocabulary(source=8, target=8), max_source=4, max_target=4)
    dataset = parts(rows, [("abcabc", "xyz")])
    encoded = encode_pairs(dataset, writing)
    left_out = "are left out: more than writing.max_source 4 or max_target 4 tokens (the longest have 5 and 5)"
    assert encoded.notes == (
        "read",
        f"2 pairs of warm {left_out}",
        f"2 pairs of policy {left_out}",
        "1 source of valid is cut to writing.max_source 4 tokens (the longest has 5)",
        "1 source of blend is cut to writing.max_source 4 tokens (the longest has 5)",
        "1 source of test is cut to writing.max_source 4 tokens (the longest has 7)",
    )
    assert encoded.parts["warm"].inputs == encoded.parts["policy"].inputs == ("abc", "ab")
    assert encoded.parts["warm"].references == ("xy", "x")
    tokenizers, valid = Tokenizers.from_json(encoded.tokenizers), encoded.parts["valid"]
    assert (valid.inputs, valid.references) == (dataset.parts["valid"].inputs, dataset.parts["valid"].references)
    assert [tokenizers.source.decode(row) for row in valid.sources.tolist()] == ["abc", "abc", "a", "ab"]
    assert valid.targets is not None
    assert [tokenizers.target.decode(row) for row in valid.targets.tolist()] == ["xy", "x", "xy", "x"]
    assert valid.targets[2, -1] == END
    longer = encode_pairs(dataset, writing.model_copy(update={"max_source": 7, "max_target": 5}))
    assert longer.notes == ("read",)
    assert longer.hashes["valid"] == encoded.hashes["valid"] == "valid"
    assert longer.hashes["warm"] != encoded.hashes["warm"] != dataset.hashes["warm"]


def test_training_rows_that_are_all_too_long_are_one_line() -> None:
    writing = SMALL.model_copy(update={"max_source": 2, "max_target": 2})
    rows = [("abc def ghi", "jkl mno pqr"), ("stu vwx", "yzab cdef")]
    with pytest.raises(
        DataError, match=r"no pair of warm fits in writing\.max_source 2 and max_target 2 tokens .*; raise"
    ):
        encode_pairs(parts(rows, rows), writing)


def test_small_and_odd_data_are_encoded() -> None:
    """One row a part, and sources that are all the same."""
    for rows in ([("a", "b")], [("same", "b")] * 3):
        encoded = encode_pairs(parts(rows, rows), SMALL)
        assert len(encoded.parts["warm"]) == len(rows)
        assert encoded.language == "other"


@pytest.mark.parametrize(
    ("name", "task", "language"), [("emoji-zh", "translation", "zh"), ("dialogues", "generation", "other")]
)
def test_builtin_pairs_are_split_and_encoded(name: str, task: str, language: str) -> None:
    if name == "dialogues":
        pytest.importorskip("chatterbot_corpus")
    dataset = load_pairs(data(f"builtin:{name}"), task, Writing())
    inputs = [{text.casefold() for text in part.inputs} for part in dataset.parts.values()]
    assert sum(map(len, inputs)) == len(set().union(*inputs))
    assert encode_pairs(dataset, Writing()).language == language
