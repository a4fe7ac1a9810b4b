#!/usr/bin/env python3
"""How long `towline validate` takes as a whole process, for pipelines of 100 and of 1,000 nodes, beside `dvc dag`.

    python3 benches/validate.py [--towline target/debug/towline] [--runs 20]

The pipelines filter, encode, join, run SQL and export, so that every form of operator is typed and SQL is planned. DVC reads
a `dvc.yaml` with as many stages and prints their graph; unlike `validate` it looks at no column and no parameter. It is
installed from PyPI into a folder under `target/`. Times are wall clock; the least of the runs is that of the machine at rest.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOALS = {100: 0.020, 1000: 0.100}


def pipeline(nodes: int) -> str:
    lines = ["version: 1", "nodes:", "  rows: { op: SyntheticAliCcp, with: { rows: 1000 } }"]
    count, group = 1, 0
    while count < nodes:
        parts = [
            (1, f'clicks_{group}: {{ op: Filter, input: rows, with: {{ where: "click = 1 AND user_id > {group}" }} }}'),
            (2, f"user_{group}: clicks_{group}[user_id] >> Categorify >> TagAsUserID"),
            (2, f"item_{group}: clicks_{group}[item_id] >> Categorify(min_count=2) >> TagAsItemID"),
            (1, f"features_{group}: user_{group} + item_{group}"),
            (1, f"renamed_{group}: {{ op: Rename, input: clicks_{group}, with: {{ columns: {{ user_id: who }} }} }}"),
            (1, f"counts_{group}: {{ op: Sql, inputs: {{ t: renamed_{group} }}, "
                'with: { query: "SELECT who, count(*) AS n FROM t GROUP BY who" } }'),
            (1, f"out_{group}: {{ op: ParquetExport, input: features_{group}, with: {{ path: out/f{group} }} }}"),
            (1, f"counted_{group}: {{ op: ParquetExport, input: counts_{group}, with: {{ path: out/c{group} }} }}"),
        ]
        for made, line in parts:
            if count + made > nodes:
                continue
            lines.append("  " + line)
            count += made
        group += 1
    return "\n".join(lines) + "\n"


def stages(nodes: int) -> str:
    lines = ["stages:"]
    for node in range(nodes):
        lines += [f"  s{node}:", "    cmd: 'true'", f"    outs: [o{node}]"]
        if node:
            lines.append(f"    deps: [o{(node - 1) // 2}]")
    return "\n".join(lines) + "\n"


def dvc() -> list[str]:
    venv = ROOT / "target" / "bench-venv"
    program = venv / "bin" / "dvc"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin" / "pip", "install", "--quiet", "dvc"], check=True)
    return [str(program)]


def times(command: list[str], folder: str, runs: int) -> list[float]:
    taken = []
    for _ in range(runs):
        begin = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        taken.append(time.perf_counter() - begin)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--towline", default=ROOT / "target" / "debug" / "towline", type=pathlib.Path)
    parser.add_argument("--runs", default=20, type=int)
    arguments = parser.parse_args()
    program = str(arguments.towline.resolve())
    peer = dvc()
    os.environ["DVC_NO_ANALYTICS"] = "1"
    print(f"{'nodes':>6} {'validate':>12} {'median':>10} {'goal':>8} {'dvc dag':>10} {'ratio':>7}")
    for nodes, goal in GOALS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            (path / "pipeline.yaml").write_text(pipeline(nodes))
            own = times([program, "validate", "pipeline.yaml"], folder, arguments.runs)
            subprocess.run([*peer, "init", "--no-scm", "--quiet"], cwd=folder, check=True)
            (path / "dvc.yaml").write_text(stages(nodes))
            other = min(times([*peer, "dag", "--dot"], folder, 2))
            print(
                f"{nodes:>6} {min(own) * 1e3:>9.1f} ms {statistics.median(own) * 1e3:>7.1f} ms {goal * 1e3:>5.0f} ms "
                f"{other * 1e3:>7.0f} ms {other / min(own):>6.0f}x"
            )


if __name__ == "__main__":
    main()
