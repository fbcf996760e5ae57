from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from sweepstack.ensembles.builders.averaged_text import AveragedText, tokenizer_hash
from sweepstack.ensembles.scoring.text_objective import TextObjective
from sweepstack.models.errors import TrainingError
from sweepstack.models.files import write_atomic, write_json


def test_its_members_decode_as_the_best_of_them_does(writing: SimpleNamespace, tmp_path: Path) -> None:
    library, references = writing.library([0.3, 0.3, 0.5], ["trial", "control", "baseline"], rows=10)
    members = tuple(replace(member, folder=tmp_path / member.name) for member in library.members)
    library = replace(library, members=members)
    objective = TextObjective("chrf", "en")
    assert AveragedText().choose(library, (1, 0)) == ()  # no tokeniser, no writer
    for beam, member in enumerate(members[:2], start=1):
        write_atomic(member.checkpoint / "tokenizer.json", "{}")
        write_json(member.checkpoint / "config.json", {"decode": {"beam": beam}})
    assert tokenizer_hash(members[0]) == tokenizer_hash(members[1])
    assert tokenizer_hash(members[2]) is None
    combination = AveragedText().fit(library, AveragedText().choose(library, (1, 0)), references, objective)
    assert (combination.kind, combination.members) == ("token_average", (1, 0))
    assert combination.options == {"mean": "probabilities", "decode": {"beam": 2}}
    (members[1].checkpoint / "config.json").write_text("{}")
    with pytest.raises(TrainingError, match="does not say how to decode"):
        AveragedText().fit(library, (1, 0), references, objective)
