#!/usr/bin/env python3
"""Fits on many rows: memory under a limit, time for 5 million rows, growth with the rows, and bytes read.

    python3 -m venv .venv && .venv/bin/pip install duckdb
    cargo build --workspace --all-targets
    .venv/bin/python benches/many_ids.py [--rows 50000000] [--limit 512MB] [--runs 3]
        [--only memory|speed|slope|scans|negatives]

memory: two rows in five have an id of their own (20 million of 50 million rows), ids are 64-bit hashes. Categorify runs
with `memory_limit` and without; everything that the two put into their stores (the vocabulary and the encoded rows, by
digest) must be the same. Prints the peak of each.
speed: 5 million rows, 4 columns, 1.8 million users, Categorify and Normalize.
slope: the time for 1 to 50 million rows of the first kind, under the limit; a slope of 1 in logarithms is linear.
scans: what one and what five operators that learn from the same columns read, by the bytes that the process asked for.
negatives: 5 million rows, two negatives for each, by NegativeSample without a limit and under ever smaller ones; what is
stored must be the same.
"""

import argparse
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import duckdb

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Every row has another place in the order, so that new ids come until the end.
IDS = """COPY (SELECT (hash(CASE WHEN place < {distinct} THEN place ELSE (place * 7919) % {distinct} END) >> 1)::BIGINT AS user_id
FROM (SELECT (i * 1000003) % {rows} AS place FROM range({rows}) t(i))) TO '{path}' (FORMAT parquet, COMPRESSION zstd)"""
FOUR = """COPY (SELECT (CASE WHEN place < 1800000 THEN place ELSE (place * 7919) % 1800000 END)::BIGINT AS user_id,
(hash(place) % 100000)::BIGINT AS item_id, (hash(place + 1) % 1000)::BIGINT AS category,
(hash(place + 2) % 1000000) / 1e4 AS price
FROM (SELECT (i * 1000003) % {rows} AS place FROM range({rows}) t(i))) TO '{path}' (FORMAT parquet, COMPRESSION zstd)"""


def made(query, rows, folder, **values):
    path = folder / f"rows-{rows}.parquet"
    if not path.exists():
        duckdb.sql(query.format(rows=rows, path=path, **values))
    return path


def run(binary, nodes, folder):
    """Runs a pipeline in a process and a store of its own: seconds, peak bytes, bytes read, and the files in the
    store, which are named by their digests, with their sizes."""
    with tempfile.TemporaryDirectory(dir=folder) as here:
        lines = ["version: 1", "nodes:", *(f"  {name}: {node}" for name, node in nodes.items())]
        pathlib.Path(here, "p.yaml").write_text("\n".join(lines) + "\n")
        start = time.monotonic()
        process = subprocess.Popen([binary, "run", "--quiet", "p.yaml"], cwd=here, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        said = process.stdout.read()
        # The counters of a process that has ended are there until somebody has waited for it.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        seconds = time.monotonic() - start
        counters = pathlib.Path(f"/proc/{process.pid}/io").read_text().split()
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            sys.exit(f"the run failed:\n{said}")
        blobs = pathlib.Path(here, ".towline", "blobs").rglob("*.parquet")
        stored = {path.name: path.stat().st_size for path in blobs}
        return seconds, usage.ru_maxrss * 1024, int(counters[1]), stored


def encoded(path, limit=None):
    settings = f", with: {{ memory_limit: {limit} }}" if limit else ""
    return {
        "rows": f"{{ op: ParquetSource, with: {{ path: {path} }} }}",
        "ids": f"{{ op: Categorify, input: 'rows[user_id]'{settings} }}",
        "out": "{ op: ParquetExport, input: ids, with: { path: out, decode: false } }",
    }


def memory(arguments, folder):
    rows = arguments.rows
    path = made(IDS, rows, folder, distinct=rows * 2 // 5)
    print(f"{rows:,} rows, {rows * 2 // 5:,} distinct ids")
    results = {}
    for name, limit in [(f"memory_limit: {arguments.limit}", arguments.limit), ("no limit", None)]:
        seconds, peak, _, stored = run(arguments.binary, encoded(path, limit), folder)
        results[name] = stored
        print(f"  {name:20} {seconds:6.1f} s, peak {peak / 1e6:5.0f} MB", flush=True)
    first, second = results.values()
    if first != second or len(first) < 2:
        sys.exit(f"the stores differ: {json.dumps(results, indent=1)}")
    print(f"  the same {len(first)} digests with and without the limit")


def speed(arguments, folder):
    path = made(FOUR, 5_000_000, folder)
    nodes = {
        "rows": f"{{ op: ParquetSource, with: {{ path: {path} }} }}",
        "ids": "'rows[user_id, item_id, category] >> Categorify'",
        "price": "'rows[price] >> Normalize'",
        "all": "ids + price",
        "out": "{ op: ParquetExport, input: all, with: { path: out, decode: false } }",
    }
    best = min(run(arguments.binary, nodes, folder)[:2] for _ in range(arguments.runs))
    print(f"5,000,000 rows, 4 columns, 1,800,000 users: {best[0]:.2f} s, peak {best[1] / 1e6:.0f} MB "
          f"(the goal is 4 s: {4 / best[0]:.1f} times as fast)", flush=True)


def slope(arguments, folder):
    points = []
    for rows in sorted({1_000_000, 5_000_000, 10_000_000, arguments.rows}):
        path = made(IDS, rows, folder, distinct=rows * 2 // 5)
        taken = [run(arguments.binary, encoded(path, arguments.limit), folder) for _ in range(arguments.runs)]
        seconds, peak = min(taken)[:2]
        points.append((rows, seconds))
        print(f"{rows:>12,} rows: {seconds:6.2f} s, {seconds / rows * 1e6:.2f} s per million, peak {peak / 1e6:.0f} MB",
              flush=True)
    xs, ys = ([math.log(point[axis]) for point in points] for axis in (0, 1))
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    tilt = sum((a - x) * (b - y) for a, b in zip(xs, ys)) / sum((a - x) ** 2 for a in xs)
    print(f"slope in logarithms, 1 to {arguments.rows // 1_000_000} million rows: {tilt:.2f}")


def scans(arguments, folder):
    path = made(FOUR, 5_000_000, folder)
    size = path.stat().st_size
    columns = "rows[user_id, item_id, category, price]"
    source = {"rows": f"{{ op: ParquetSource, with: {{ path: {path} }} }}"}
    fits = {
        "scaled": f"'{columns} >> Normalize'",
        "ids": f"'{columns} >> Categorify'",
        "filled": f"'{columns} >> FillMissing(with=mean)'",
        "ranged": f"'{columns} >> Normalize(method=min_max)'",
        "middle": f"'{columns} >> FillMissing(with=approximate_median)'",
    }
    for count in (1, len(fits)):
        chosen = dict(list(fits.items())[:count])
        nodes = source | chosen
        for name in chosen:
            names = ", ".join(f"{column}: {column}_{name}" for column in ("user_id", "item_id", "category", "price"))
            nodes[f"{name}_named"] = f"{{ op: Rename, input: {name}, with: {{ columns: {{ {names} }} }} }}"
        nodes["all"] = f"{{ op: Concat, inputs: [{', '.join(f'{name}_named' for name in chosen)}] }}"
        _, _, read, stored = run(arguments.binary, nodes, folder)
        # What is stored is read once more for its digest.
        scanned = read - sum(stored.values())
        print(f"{count} fits: {scanned / 1e6:.0f} MB read of a file of {size / 1e6:.0f} MB, {scanned / size:.2f} times "
              "(its digest, one scan for all fits, one to apply them)", flush=True)


def negatives(arguments, folder):
    path = made(FOUR, 5_000_000, folder)
    for likelihood in ("uniform", "popularity"):
        print(f"5,000,000 rows, 2 negatives for each, {likelihood}")
        first = None
        for limit in (None, "512MB", "64MB", "16MB"):
            settings = f"n: 2, by: {likelihood}" + (f", memory_limit: {limit}" if limit else "")
            nodes = {
                "rows": f"{{ op: ParquetSource, with: {{ path: {path} }} }}",
                "user": "'rows[user_id] >> TagAsUserID'",
                "item": "'rows[item_id] >> TagAsItemID'",
                "category": "'rows[category] >> TagAsItemFeatures'",
                "all": "user + item + category",
                "sampled": f"{{ op: NegativeSample, input: all, with: {{ {settings} }} }}",
            }
            seconds, peak, _, stored = run(arguments.binary, nodes, folder)
            first = first or (seconds, stored)
            if stored != first[1]:
                sys.exit(f"{limit} stores something else")
            print(f"  {limit or 'no limit':10} {seconds:6.1f} s ({seconds / first[0]:.1f} times), "
                  f"peak {peak / 1e6:5.0f} MB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=str(ROOT / "target" / "debug" / "towline"))
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--limit", default="512MB")
    parser.add_argument("--runs", type=int, default=3)
    parts = {"speed": speed, "scans": scans, "memory": memory, "slope": slope, "negatives": negatives}
    parser.add_argument("--only", choices=parts, action="append")
    arguments = parser.parse_args()
    arguments.binary = str(pathlib.Path(arguments.binary).resolve())
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only or parts:
            subfolder = pathlib.Path(folder, {"memory": "ids", "slope": "ids"}.get(name, "four"))
            subfolder.mkdir(exist_ok=True)
            parts[name](arguments, subfolder)


if __name__ == "__main__":
    main()
