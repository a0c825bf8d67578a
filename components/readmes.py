"""Writes each component's README.md from its docstring and its metadata.yaml: `python -m raro.components.readmes`.

Read as source, so that neither kfp nor a step is imported. A test says when a README is stale.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import yaml

HERE = Path(__file__).parent
ARTIFACTS = {"dsl.Input[dsl.Artifact]": "input artifact", "dsl.Output[dsl.Artifact]": "output artifact"}
ARTIFACTS |= {f"dsl.Output[dsl.{kind}]": f"output {kind}" for kind in ("HTML", "Metrics", "ClassificationMetrics")}


def names() -> list[str]:
    """The components, by folder."""
    return sorted(path.parent.name for path in HERE.glob("*/metadata.yaml"))


def readme(name: str) -> str:
    """What README.md of a component says."""
    metadata = yaml.safe_load((HERE / name / "metadata.yaml").read_text(encoding="utf-8"))
    tree = ast.parse((HERE / name / "component.py").read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
    text, meanings, returned = _read(ast.get_docstring(function))
    rows = [f"| `{a.arg}` | {_kind(a)} | {meanings[a.arg]} |" for a in function.args.args]
    if returned:
        rows.append(f"| `Output` | output `{ast.unparse(function.returns)}` | {returned} |")
    needs = [f"Kubeflow {item['name']} {item['version']}" for item in metadata["dependencies"]["kubeflow"]]
    needs += [
        item["name"] + (" (optional)" if item["optional"] else "") for item in metadata["dependencies"]["external_services"]
    ]
    return "\n".join(
        [
            "<!-- Written by `python -m raro.components.readmes` from component.py and metadata.yaml. -->",
            f"# {metadata['title']}",
            "",
            text,
            "",
            f"Calls `raro.steps.{name}`; alone: `raro step {name}`.",
            "",
            "| name | kind | meaning |",
            "| --- | --- | --- |",
            *rows,
            "",
            f"Stability: {metadata['stability']}. Needs: {', '.join(needs)}. Tags: {', '.join(metadata['tags'])}.",
            "",
        ]
    )


def _kind(argument: ast.arg) -> str:
    annotation = ast.unparse(argument.annotation)
    return ARTIFACTS.get(annotation, f"parameter `{annotation.removeprefix('dsl.')}`")


def _read(docstring: str) -> tuple[str, dict[str, str], str]:
    """(text, {argument: meaning}, what is returned) of a docstring with Args and Returns."""
    text, _, rest = docstring.partition("\n\nArgs:\n")
    arguments, _, returned = rest.partition("\n\nReturns:\n")
    return text, dict(re.findall(r"^ +(\w+): (.+)$", arguments, re.MULTILINE)), " ".join(returned.split())


def main() -> None:
    """Writes all of them."""
    for name in names():
        (HERE / name / "README.md").write_text(readme(name), encoding="utf-8")


if __name__ == "__main__":
    main()
