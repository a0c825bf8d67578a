"""`raro bench --registry`: hashing and verification beside sha256's own speed, transfer beside boto3's own, and their memory.

Each contender works in a process of its own, which tells its time and its peak memory. Each round times every contender once,
one after another, every other time the other one first; figures are medians of the rounds' ratios. The model is four shards:
of zeros with holes in them, so that 10 GB need no disk; where a store is measured (AWS_ENDPOINT_URL and --bucket), of random
bytes, which none compresses. Then the disk must hold it twice, and the store twice. Hashing counts CPU seconds, transfer the
clock's.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .errors import BadInput

SHARDS = 4
BLOCK = 2**24
WORKER = """
import hashlib, json, resource, sys, time
from pathlib import Path
from raro import s3, s3_client, storage
what, folder, there, bucket = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
listing, uri = storage.read_json(folder / "manifest.json"), f"s3://{bucket}/raro-bench/{what.split()[0]}"
if bucket:
    with s3_client.speaking(uri) as client:  # made before the clock runs
        client.head_bucket(Bucket=bucket)
began, clock = time.process_time(), time.perf_counter()
if what == "sha256":
    view = memoryview(bytearray(2**20))
    for path in sorted(folder.glob("*.safetensors")):
        digest = hashlib.sha256()
        with open(path, "rb", buffering=0) as file:
            while n := file.readinto(view):
                digest.update(view[:n])
elif what == "manifest":
    storage.manifest(folder)
elif what == "verify":
    storage.verify(folder, listing)
elif what == "boto3 upload":
    for path in sorted(folder.iterdir()):
        client.upload_file(str(path), bucket, f"raro-bench/boto3/{path.name}")
elif what == "boto3 download":
    for path in sorted(folder.iterdir()):
        client.download_file(bucket, f"raro-bench/boto3/{path.name}", str(there / path.name))
elif what == "raro upload":
    s3.upload(folder, uri)
elif what == "raro download":
    s3.download(uri, there)
cpu, wall = time.process_time() - began, time.perf_counter() - clock
print(json.dumps({"cpu": cpu, "wall": wall, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def main(gigabytes: float, rounds: int, bucket: str) -> dict[str, Any]:
    """Prints a table and returns what the last line holds. gigabytes: size of the model. Raises BadInput, ServiceFailed."""
    from rich.console import Console
    from rich.table import Table

    if not 0.01 <= gigabytes <= 1000:
        raise BadInput(f"--gigabytes {gigabytes:g} is out of bounds", "write .01 to 1000")
    with tempfile.TemporaryDirectory(prefix="raro-bench-") as place:
        folder = _model(Path(place) / "model", int(gigabytes * 1e9), real=bool(bucket))
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        result: dict[str, Any] = {"gigabytes": gigabytes, "rounds": rounds, **_hashing(folder, size, rounds)}
        if bucket:
            result["transfer"] = _transfer(folder, size, Path(place) / "down", bucket, rounds)
    table = Table("what", "figure")
    for name, value in _rows(result):
        table.add_row(name, value)
    Console().print(table)
    print(json.dumps(result))
    return result


def _model(folder: Path, size: int, real: bool) -> Path:
    """Shards with their manifest. real: random bytes, not holes."""
    from .storage import MANIFEST, manifest, write_json, writing

    block, each = os.urandom(BLOCK), size // SHARDS
    with writing(folder):
        folder.mkdir()
        for at in range(SHARDS):
            with open(folder / f"model-{at}.safetensors", "wb") as file:
                for left in range(each if real else 0, 0, -BLOCK):
                    file.write(block[: min(left, BLOCK)])
                file.truncate(each)
    write_json(folder / MANIFEST, manifest(folder))
    return folder


def _hashing(folder: Path, size: int, rounds: int) -> dict[str, Any]:
    told: dict[str, list[dict[str, Any]]] = {"sha256": [], "manifest": [], "verify": []}
    for _ in range(rounds):
        for what, found in told.items():
            found.append(_timed(what, folder))
    seconds = statistics.median(one["cpu"] for one in told["sha256"])
    figures: dict[str, Any] = {"sha256_mb_per_cpu_s": round(size / 1e6 / seconds)}
    for what in ("manifest", "verify"):
        figures[f"{what}_of_sha256"] = _ratio(told["sha256"], told[what], "cpu")
        figures[f"{what}_peak_mib"] = _peak(told[what])
    return figures


def _transfer(folder: Path, size: int, down: Path, bucket: str, rounds: int) -> dict[str, Any]:
    """The same files up and down; ours notes their sha256 on the way up, and reads and compares them on the way down."""
    from . import s3

    told: dict[str, list[dict[str, Any]]] = {f"{who} {how}": [] for how in ("upload", "download") for who in ("boto3", "raro")}
    for at in range(rounds):
        for what in told if at % 2 == 0 else [f"{who} {how}" for how in ("upload", "download") for who in ("raro", "boto3")]:
            down.mkdir()
            os.sync()  # what the one before wrote is on the disk, and slows nobody down
            told[what].append(_timed(what, folder, down, bucket))
            shutil.rmtree(down)
        s3.delete(f"s3://{bucket}/raro-bench")
    figures: dict[str, Any] = {}
    for how in ("upload", "download"):
        bare, ours = told[f"boto3 {how}"], told[f"raro {how}"]
        figures[f"boto3_{how}_mb_per_s"] = round(size / 1e6 / statistics.median(one["wall"] for one in bare))
        figures[f"{how}_of_boto3"] = _ratio(bare, ours, "wall")
        figures[f"{how}_peak_mib"], figures[f"boto3_{how}_peak_mib"] = _peak(ours), _peak(bare)
    return figures


def _timed(what: str, folder: Path, down: Path = Path(), bucket: str = "") -> dict[str, Any]:
    command = [sys.executable, "-c", WORKER, what, str(folder), str(down), bucket]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1]
        raise BadInput(f"'{what}' cannot be timed: {said}", "check AWS_ENDPOINT_URL and --bucket")
    return json.loads(done.stdout)


def _ratio(bare: list[dict[str, Any]], ours: list[dict[str, Any]], unit: str) -> float:
    return round(statistics.median(a[unit] / b[unit] for a, b in zip(bare, ours, strict=True)), 3)


def _peak(told: list[dict[str, Any]]) -> int:
    return round(max(one["mib"] for one in told))


def _rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [("sha256 itself", f"{result['sha256_mb_per_cpu_s']:,} MB per CPU second")]
    for what in ("manifest", "verify"):
        rows.append((what, f"{result[f'{what}_of_sha256']:.0%} of that, {result[f'{what}_peak_mib']} MiB at most"))
    for how in ("upload", "download") if "transfer" in result else ():
        told = result["transfer"]
        rows.append((f"{how}, boto3", f"{told[f'boto3_{how}_mb_per_s']} MB/s, {told[f'boto3_{how}_peak_mib']} MiB at most"))
        rows.append((f"{how}, raro", f"{told[f'{how}_of_boto3']:.0%} of that, {told[f'{how}_peak_mib']} MiB at most"))
    return rows
