#!/usr/bin/env python3
"""The main job as a whole: time, memory, an unchanged rerun, and recall on the data that Merlin's generator wrote.

    cargo build --workspace --all-targets
    python3 benches/main_job.py [--aliccp FOLDER]

FOLDER holds `train.parquet` and `valid.parquet`. The baseline is NVIDIA Merlin (NVTabular and Merlin Models), which
took 212 s and 2.2 GB for the same job, measured once on two cores; it is not run here, since its image is 13 GB.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PIPELINE = ROOT / "pipelines" / "offline_batch_recsys.yaml"
MERLIN_SECONDS, MERLIN_BYTES = 212.0, 2.2e9


def run(binary, folder, pipeline):
    """Wall seconds, peak bytes and standard output of one run in a process of its own."""
    start = time.monotonic()
    process = subprocess.Popen([binary, "run", "--quiet", pipeline], cwd=folder, stdout=subprocess.PIPE, text=True)
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    if status != 0:
        sys.exit(f"the run failed:\n{text}")
    return seconds, usage.ru_maxrss * 1024, text


def line_of(text, name):
    found = re.search(rf"^ +{name} +([0-9.]+)", text, re.MULTILINE)
    return float(found.group(1))


def main_job(binary):
    with tempfile.TemporaryDirectory() as folder:
        seconds, peak, _ = run(binary, folder, PIPELINE)
        again, _, text = run(binary, folder, PIPELINE)
        if ": 0 ran, " not in text:
            sys.exit(f"the unchanged rerun ran something:\n{text}")
    print(f"main job, 1,000,000 rows: {seconds:.1f} s, {peak / 1e6:.0f} MB peak")
    print(f"  against Merlin's {MERLIN_SECONDS:.0f} s and {MERLIN_BYTES / 1e9:.1f} GB: "
          f"{MERLIN_SECONDS / seconds:.1f} times as fast, {MERLIN_BYTES / peak:.1f} times less memory")
    print(f"unchanged rerun: 0 ran, {again:.2f} s as a whole process")


def aliccp(binary, data):
    text = PIPELINE.read_text()
    source = f"op: ParquetSource\n    with: {{ splits: {{ train: {data}/train.parquet, valid: {data}/valid.parquet }} }}"
    text, replaced = re.subn(r"op: SyntheticAliCcp\n +with: .*", lambda _: source, text, count=1)
    assert replaced == 1, "the pipeline begins with SyntheticAliCcp"
    text = re.sub(r"^  rows: .*\n", "", text, flags=re.MULTILINE)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "pipeline.yaml"
        path.write_text(text)
        seconds, peak, out = run(binary, folder, path)
    model, popularity, chance = (line_of(out, name) for name in ("model", "popularity", "random"))
    print(f"{data}: {seconds:.1f} s, {peak / 1e6:.0f} MB peak")
    print(f"  recall@10 {model:.4f}, popularity {popularity:.4f} (ratio {model / popularity:.3f}), random {chance:.4f}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target" / "debug" / "towline")
    parser.add_argument("--aliccp", type=pathlib.Path, help="also run on this data")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    binary = arguments.binary.resolve()
    if not shutil.which(binary):
        sys.exit(f"{binary} is not there: build first")
    main_job(binary)
    if arguments.aliccp:
        aliccp(binary, arguments.aliccp.resolve())
