import pytest
import torch
from jaxtyping import TypeCheckError

from cinemae.core.anomaly_stats import anomaly_stats


def test_wrong_shapes_are_refused_while_testing():
    with pytest.raises(TypeCheckError):
        anomaly_stats(torch.zeros(3))
