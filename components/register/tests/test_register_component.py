"""Register as a task: a version in MLflow under the alias that the decision earned, and once only."""

import shutil

from raro.storage import read_json


def test_the_promoted_becomes_champion_once(before):
    from mlflow import MlflowClient

    begun = before("register")
    begun.task("register")
    client = MlflowClient(tracking_uri=f"sqlite:///{begun.folder / 'mlflow.db'}")
    registered = read_json(begun.folder / "register" / "registration.json")
    assert registered["alias"] == "champion"
    assert int(registered["version"]) == client.get_model_version_by_alias("countdown-mini", "champion").version == 1
    shutil.rmtree(begun.folder / "register")  # as if its pod had died before it could say that it was done
    begun.task("register")
    assert len(client.search_model_versions("name='countdown-mini'")) == 1
    assert read_json(begun.handed["manifest"].path)["inputs"].keys() == {"ingest", "train", "evaluate", "decide"}
