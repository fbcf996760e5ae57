"""The majority vote: each member's likeliest label counts once, however sure the member is."""

from dataclasses import dataclass
from typing import ClassVar

from sweepstack.ensembles.builders.average import Average
from sweepstack.ensembles.combinations.pools import VOTE, Pool


@dataclass(frozen=True)
class Vote(Average):
    """Of the ``top`` members that differ; a tie goes to the label that they hold likelier on average."""

    name: ClassVar[str] = "vote"
    pool: ClassVar[Pool] = VOTE
