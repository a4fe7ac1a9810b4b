#!/usr/bin/env python3
"""Categorify 16 columns, Parquet in, Parquet out, against Polars and DuckDB doing the same in the same run.

    python3 -m venv .venv && .venv/bin/pip install polars duckdb
    cargo build --workspace --all-targets
    .venv/bin/python benches/categorify.py [--input FILE.parquet] [--rows 10000000] [--runs 5]

Without --input the rows come from SyntheticAliCcp. "The same": count the values of each column, order them by count
descending and value ascending, write the ids of all rows in their order, as 64-bit integers under Zstandard (level 1;
DuckDB at its own level). Every run is a process of its own; the best of all runs counts, and they take turns. Towline
does more than its peers: it digests the source and the result, syncs both to the disk, and keeps the vocabularies and the
encoded rows in its store beside the exported copy. The floor is Polars and Towline reading and writing the file unchanged.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLUMNS = [
    "user_id", "item_id", "item_category", "item_shop", "item_brand", "user_shops", "user_profile", "user_group",
    "user_gender", "user_age", "user_consumption_2", "user_is_occupied", "user_geography", "user_intentions",
    "user_brands", "user_categories",
]
POLARS = """
import sys, polars as pl
source, target, *columns = sys.argv[1:]
rows = pl.read_parquet(source, columns=columns)
out = []
for name in columns:
    counts = rows[name].value_counts().sort(["count", name], descending=[True, False])
    ids = counts.with_row_index("id", offset=3).select(name, pl.col("id").cast(pl.Int64))
    out.append(rows.select(name).join(ids, on=name, how="left", maintain_order="left")["id"].alias(name))
pl.DataFrame(out).write_parquet(target, compression="zstd", compression_level=1)
"""
DUCKDB = """
import sys, duckdb
source, target, *columns = sys.argv[1:]
db = duckdb.connect()
for name in columns:
    db.execute(f"CREATE TABLE v_{name} AS SELECT {name} AS value, 2 + row_number() OVER (ORDER BY count(*) DESC, {name}) AS id"
               f" FROM '{source}' GROUP BY {name}")
joins = " ".join(f"LEFT JOIN v_{name} ON v_{name}.value = r.{name}" for name in columns)
ids = ", ".join(f"v_{name}.id AS {name}" for name in columns)
db.execute(f"COPY (SELECT {ids} FROM (SELECT *, file_row_number AS row FROM read_parquet('{source}', file_row_number=true)) r {joins}"
           f" ORDER BY row) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
"""
COPY = """
import sys, polars as pl
source, target, *columns = sys.argv[1:]
pl.read_parquet(source, columns=columns).write_parquet(target, compression="zstd", compression_level=1)
"""


def measured(command, folder):
    """Wall seconds and peak bytes of a command in a process of its own."""
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command[0]} failed:\n{said}")
    return time.monotonic() - start, usage.ru_maxrss * 1024


def towline(binary, source, encode):
    pick = f"rows[{', '.join(COLUMNS)}]"
    steps = f"{pick} >> Categorify" if encode else pick
    text = f"""version: 1
nodes:
  rows: {{ op: ParquetSource, with: {{ path: {source} }} }}
  ids:  {steps}
  out:  {{ op: ParquetExport, input: ids, with: {{ path: out, decode: false }} }}
"""

    def run():
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "p.yaml").write_text(text)
            return measured([binary, "run", "--quiet", "p.yaml"], folder)

    return run


def python(script, source):
    def run():
        with tempfile.TemporaryDirectory() as folder:
            return measured([sys.executable, "-c", script, source, "out.parquet", *COLUMNS], folder)

    return run


def synthetic(binary, rows, folder):
    text = f"""version: 1
nodes:
  rows: {{ op: SyntheticAliCcp, with: {{ rows: {rows}, splits: {{ train: 1.0 }} }} }}
  out:  {{ op: ParquetExport, input: rows, with: {{ path: rows.parquet }} }}
"""
    pathlib.Path(folder, "p.yaml").write_text(text)
    measured([binary, "run", "--quiet", "p.yaml"], folder)
    return str(pathlib.Path(folder, "rows.parquet"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", default=str(ROOT / "target" / "debug" / "towline"))
    parser.add_argument("--input", help="a Parquet file with the columns of Ali-CCP")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = arguments.input and str(pathlib.Path(arguments.input).resolve())
        source = source or synthetic(arguments.binary, arguments.rows, folder)
        contenders = {
            "polars, unchanged": python(COPY, source),
            "towline, unchanged": towline(arguments.binary, source, False),
            "towline": towline(arguments.binary, source, True),
            "polars": python(POLARS, source),
            "duckdb": python(DUCKDB, source),
        }
        best = {}
        # In turns, so that a loaded machine is as bad for all.
        for _ in range(arguments.runs):
            for name, run in contenders.items():
                seconds, peak = run()
                if name not in best or seconds < best[name][0]:
                    best[name] = (seconds, peak)
    for name, (seconds, peak) in best.items():
        print(f"{name:20} {seconds:7.2f} s {peak / 1e6:7.0f} MB")
    floor, peer = best["towline, unchanged"][0], min(best["polars"][0], best["duckdb"][0])
    own = best["towline"][0]
    print(f"towline: {own / floor:.2f} times its own floor, {peer / own:.2f} times as fast as the faster peer")


if __name__ == "__main__":
    main()
