"""`raro bench --registry`: hashing and verification beside sha256's own speed, memory, and transfer beside boto3's own.

Each round times every contender once, in CPU seconds and by the clock; figures are medians of the rounds' ratios. The model is
one file of zeros with holes in it (its bytes are hashed all the same), so that 10 GB need no disk. Transfer is measured where
AWS_ENDPOINT_URL names a store and --bucket a bucket in it.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import BadInput

WORKER = """
import hashlib, json, resource, sys, time
from pathlib import Path
from raro import storage
what, folder = sys.argv[1], Path(sys.argv[2])
listing = json.loads(sys.argv[3]) if sys.argv[3] else None
began, clock = time.process_time(), time.perf_counter()
if what == "sha256":
    view = memoryview(bytearray(2**20))
    digest = hashlib.sha256()
    with open(folder / "model.safetensors", "rb", buffering=0) as file:
        while n := file.readinto(view):
            digest.update(view[:n])
    found = digest.hexdigest()
elif what == "manifest":
    found = storage.manifest(folder)
else:
    found = storage.verify(folder, listing)
cpu, wall = time.process_time() - began, time.perf_counter() - clock
print(json.dumps({"cpu": cpu, "wall": wall, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "found": found}))
"""


def main(gigabytes: float, rounds: int, bucket: str) -> dict[str, Any]:
    """Prints a table and returns what the last line holds. gigabytes: size of the model. Raises BadInput."""
    from rich.console import Console
    from rich.table import Table

    if not 0.01 <= gigabytes <= 1000:
        raise BadInput(f"--gigabytes {gigabytes:g} is out of bounds", "write .01 to 1000")
    size = int(gigabytes * 1e9)
    with tempfile.TemporaryDirectory(prefix="raro-bench-") as place:
        folder = Path(place) / "model"
        folder.mkdir()
        with open(folder / "model.safetensors", "wb") as file:
            file.truncate(size)
        result: dict[str, Any] = {"gigabytes": gigabytes, **_hashing(folder, size, rounds)}
        if bucket:
            result["transfer"] = _transfer(Path(place), bucket, rounds)
    table = Table("what", "figure")
    for name, value in _rows(result):
        table.add_row(name, value)
    Console().print(table)
    print(json.dumps(result))
    return result


def _hashing(folder: Path, size: int, rounds: int) -> dict[str, Any]:
    listing = _asked("manifest", folder, "")["found"]
    told: dict[str, list[dict[str, Any]]] = {"sha256": [], "manifest": [], "verify": []}
    for _ in range(rounds):
        for what, found in told.items():
            found.append(_asked(what, folder, json.dumps(listing) if what == "verify" else ""))
    figures: dict[str, Any] = {
        "sha256_mb_per_cpu_s": round(size / 1e6 / statistics.median(one["cpu"] for one in told["sha256"]))
    }
    for what in ("manifest", "verify"):
        ratios = [bare["cpu"] / ours["cpu"] for bare, ours in zip(told["sha256"], told[what], strict=True)]
        figures[f"{what}_of_sha256"] = round(statistics.median(ratios), 3)
        figures[f"{what}_peak_mib"] = round(max(one["mib"] for one in told[what]))
    return figures


def _asked(what: str, folder: Path, listing: str) -> dict[str, Any]:
    command = [sys.executable, "-c", WORKER, what, str(folder), listing]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _transfer(place: Path, bucket: str, rounds: int) -> dict[str, Any]:
    """Ratios of boto3's own time to ours, the same files up and down; ours hashes them before and after."""
    import boto3

    from . import s3

    folder = place / "sent"
    folder.mkdir()
    for at in range(4):
        (folder / f"model-{at}.safetensors").write_bytes(bytes([at]) * 64_000_000)
    client = boto3.Session().client("s3")

    def bare_up() -> None:
        for path in sorted(folder.iterdir()):
            client.upload_file(str(path), bucket, f"bench/bare/{path.name}")

    def bare_down() -> None:
        (place / "bare").mkdir(exist_ok=True)
        for path in sorted(folder.iterdir()):
            client.download_file(bucket, f"bench/bare/{path.name}", str(place / "bare" / path.name))

    def ours_down(at: int) -> Callable[[], None]:
        return lambda: s3.download(f"s3://{bucket}/bench/ours-{at}", place / f"cache-{at}") and None

    up, down = [], []
    for at in range(rounds):
        pair = _timed(bare_up), _timed(lambda at=at: s3.upload(folder, f"s3://{bucket}/bench/ours-{at}"))
        up.append(pair[0] / pair[1])
        pair = _timed(bare_down), _timed(ours_down(at))
        down.append(pair[0] / pair[1])
        s3.delete(f"s3://{bucket}/bench/ours-{at}")
    s3.delete(f"s3://{bucket}/bench/bare")
    return {"upload_of_boto3": round(statistics.median(up), 3), "download_of_boto3": round(statistics.median(down), 3)}


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [("sha256 itself", f"{result['sha256_mb_per_cpu_s']:,} MB per CPU second")]
    for what in ("manifest", "verify"):
        rows.append((what, f"{result[f'{what}_of_sha256']:.0%} of that, {result[f'{what}_peak_mib']} MiB at most"))
    for name, value in result.get("transfer", {}).items():
        rows.append((name.replace("_", " "), f"{value:.0%}"))
    return rows
