"""Register as a task: a version in MLflow under the alias that the decision earned, and once only."""

from raro.storage import read_json


def test_the_promoted_becomes_champion_once(before):
    from mlflow import MlflowClient

    begun = before("register")
    client = MlflowClient(tracking_uri=f"sqlite:///{begun.folder / 'mlflow.db'}")
    begun.task("register")
    registered = read_json(begun.folder / "register" / "registration.json")
    assert registered["alias"] == "champion"
    assert client.get_model_version_by_alias("countdown-mini", "champion").version == int(registered["version"])
    many = len(client.search_model_versions("name='countdown-mini'"))
    begun.task("register")
    assert len(client.search_model_versions("name='countdown-mini'")) == many
    assert read_json(begun.handed["manifest"].path)["inputs"].keys() == {"ingest", "train", "evaluate", "decide"}
