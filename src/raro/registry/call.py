"""What goes into a registered model and what comes out, in MLflow's own form of a signature (mlflow.models.ModelSignature)."""

from __future__ import annotations

import json

from ..config import Config
from ..storage import canonical

TEXT = {"type": "string", "required": True}
INPUTS = [
    {
        "type": "array",
        "name": "messages",
        "required": True,
        "items": {"type": "object", "properties": {"role": TEXT, "content": TEXT}},
    }
]
OUTPUTS = [{"name": "text", **TEXT}]


def spoken(config: Config) -> dict[str, str]:
    """Tags of a version: signature of inputs and outputs, and the licences that it carries."""
    return {
        "raro.signature": canonical({"inputs": json.dumps(INPUTS), "outputs": json.dumps(OUTPUTS)}),
        "raro.licence.base": config.base.licence,
        "raro.licence.data": config.demonstrations.licence,
    }
