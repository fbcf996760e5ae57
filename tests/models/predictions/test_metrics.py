import pytest

from sweepstack.models.predictions.metrics import direction
from sweepstack.models.predictions.probabilities import DIRECTION
from sweepstack.models.settings.tasks import METRICS
from sweepstack.models.settings.writing import WRITING_METRICS

LESS = {"segments", "log_loss", "calibration_error", "lagging", "seconds"}


@pytest.mark.parametrize("name", sorted({*DIRECTION, *METRICS, *WRITING_METRICS, *LESS}))
def test_a_name_has_one_direction_under_every_task(name: str) -> None:
    assert direction(name) == (-1 if name in LESS else 1)
    assert DIRECTION.get(name, direction(name)) == direction(name)
