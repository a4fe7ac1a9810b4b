#!/usr/bin/env python3
"""How long an unchanged rerun takes as a whole process, beside `dvc repro` with nothing to do.

    python3 -m venv .bench-venv && .bench-venv/bin/pip install dvc
    python3 benches/rerun.py [--towline target/debug/towline] [--dvc .bench-venv/bin/dvc] [--rows 1000000]

Two pipelines: the one that ships (`pipelines/offline_batch_recsys.yaml`) and one of 200 nodes. For each a dvc pipeline
with the same number of stages in one chain, each with a small dependency and a small output, is brought up to date first.
Prints the median of several runs of each, and their ratio.
"""

import argparse
import pathlib
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
REPEATS = 11


def wide_pipeline():
    """200 nodes: a source, and 199 filters and files in chains over it."""
    lines = ["version: 1", "name: wide", "nodes:", "  n0: { op: SyntheticAliCcp, with: { rows: 1000 } }"]
    for number in range(1, 100):
        source = "n0" if number % 10 == 1 else f"n{number - 1}"
        lines.append(f'  n{number}: {{ op: Filter, input: {source}, with: {{ where: "user_id > {number}" }} }}')
    for number in range(100):
        lines.append(f"  file{number}: {{ op: ParquetExport, input: n{number}, with: {{ path: out/{number} }} }}")
    return "\n".join(lines) + "\n"


def seconds(command, folder):
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def dvc_pipeline(dvc, folder, stages):
    folder.mkdir()
    subprocess.run([dvc, "init", "--no-scm", "-q"], cwd=folder, check=True)
    (folder / "0.txt").write_text("0\n")
    lines = ["stages:"]
    for number in range(stages):
        lines += [
            f"  s{number}:",
            f"    cmd: cp {number}.txt {number + 1}.txt",
            f"    deps: [{number}.txt]",
            f"    outs: [{number + 1}.txt]",
        ]
    (folder / "dvc.yaml").write_text("\n".join(lines) + "\n")
    subprocess.run([dvc, "repro", "-q"], cwd=folder, check=True)
    return seconds([dvc, "repro", "-q"], folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--towline", default=ROOT / "target/debug/towline")
    parser.add_argument("--dvc", default=ROOT / ".bench-venv/bin/dvc")
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    towline, dvc = (str(pathlib.Path(path).absolute()) for path in (arguments.towline, arguments.dvc))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "wide.yaml").write_text(wide_pipeline())
        seed = str(ROOT / "pipelines/offline_batch_recsys.yaml")
        start = seconds([towline, "--version"], folder)
        print(f"starting the process: {start * 1000:.0f} ms")
        for name, command, stages in [
            ("the pipeline that ships", [towline, "run", seed, "-q", "--set", f"vars.rows={arguments.rows}"], 26),
            ("200 nodes", [towline, "run", "wide.yaml", "-q"], 200),
        ]:
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            ours = seconds(command, folder)
            theirs = dvc_pipeline(dvc, folder / f"dvc-{stages}", stages)
            print(
                f"{name}: {ours * 1000:.0f} ms; dvc repro with {stages} stages: {theirs * 1000:.0f} ms; "
                f"ratio {theirs / ours:.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
