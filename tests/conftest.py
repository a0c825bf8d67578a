"""What tests of every part share."""

import pytest


@pytest.fixture
def untracked(monkeypatch):
    """Nothing is sent to MLflow. Where an earlier test of the process imported it, each step would fill a store of its own, and
    take longer for that than for its work."""
    monkeypatch.setenv("RARO_TRACKING", "off")
