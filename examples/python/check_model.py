#!/usr/bin/env python3
"""Trains a small model with Towline, and scores with its exported files in Python: the scores must be the same.

    python3 -m venv .venv && .venv/bin/pip install torch numpy pandas pyarrow polars duckdb
    cargo build --workspace --all-targets
    .venv/bin/python examples/python/check_model.py [--towline target/debug/towline]

Three readers of the same export are held against each other and against the scores that Towline wrote: the weights
(`tower.py`), the TorchScript query tower, and the files (`read_exports.py`).
"""

import argparse
import pathlib
import random
import subprocess
import sys
import tempfile

import polars
import torch

import read_exports
import tower

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CLOSE = 1e-5
PIPELINE = """version: 1
nodes:
  clicks:  {{ op: CsvSource, with: {{ path: clicks.csv }} }}
  lists:
    op: Sql
    inputs: {{ clicks: clicks }}
    with: {{ query: "SELECT user, item, age, brand, string_to_array(genres, '|') AS genres FROM clicks" }}
  user:    lists[user] >> Categorify >> TagAsUserID
  item:    lists[item] >> Categorify >> TagAsItemID
  of_user: lists[age] >> Categorify >> TagAsUserFeatures
  of_item: lists[brand, genres] >> Categorify >> TagAsItemFeatures
  features: user + item + of_user + of_item
  model:   {{ op: TwoTowerTrain, input: features, with: {settings} }}
  export:  {{ op: ModelExport, input: model, with: {{ path: out/model }} }}
  users:   {{ op: UniqueRows, input: features, with: {{ by: user }} }}
  items:   {{ op: UniqueRows, input: features, with: {{ by: item }} }}
  best:    {{ op: TopKEncode, inputs: {{ model: model, queries: features }}, with: {{ k: 10 }} }}
  user_file: {{ op: ParquetExport, input: users, with: {{ path: out/users.parquet, decode: false }} }}
  item_file: {{ op: ParquetExport, input: items, with: {{ path: out/items.parquet, decode: false }} }}
  user_names: {{ op: ParquetExport, input: users, with: {{ path: out/user_names.parquet }} }}
  item_names: {{ op: ParquetExport, input: items, with: {{ path: out/item_names.parquet }} }}
  best_file: {{ op: ParquetExport, input: best, with: {{ path: out/best.parquet }} }}
  merlin:  {{ op: MerlinExport, input: features, with: {{ path: out/merlin }} }}
"""
MODELS = [
    "{ layers: [16, 8], epochs: 2, seed: 1, batch_size: 256, pooling: attention }",
    "{ layers: [16, 8], epochs: 2, seed: 1, batch_size: 256 }",
    "{ layers: [16, 12, 8], epochs: 2, seed: 1, batch_size: 256, activation: elu, dropout: 0.1 }",
    "{ layers: [16, 8], epochs: 2, seed: 1, batch_size: 256, activation: tanh }",
    "{ layers: [16, 8], epochs: 2, seed: 1, batch_size: 256, activation: leaky_relu }",
    "{ layers: [], embedding_dim: 8, epochs: 2, seed: 1, batch_size: 256, normalize: l2, pooling: max }",
]


def clicks(path):
    """Users and items with features that are theirs in every row."""
    draw = random.Random(1)
    lines = ["user,item,age,brand,genres"]
    for _ in range(5000):
        user, item = draw.randrange(200), draw.randrange(100)
        genres = "|".join(f"g{(item * k) % 7}" for k in range(1, 2 + item % 3))
        lines.append(f"u{user},{item},{user % 9},b{item % 11},{genres}")
    path.write_text("\n".join(lines) + "\n")


def columns(path, names):
    """The columns of encoded rows as tensors; lists padded with 0."""
    rows = polars.read_parquet(path)
    out = {}
    for name in names:
        values = rows[name].to_list()
        if isinstance(values[0], list):
            longest = max(map(len, values))
            values = [row + [0] * (longest - len(row)) for row in values]
        out[name] = torch.tensor(values)
    return out


def check(folder, settings, binary):
    (folder / "p.yaml").write_text(PIPELINE.format(settings=settings))
    subprocess.run([binary, "run", "--quiet", "p.yaml"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    out = folder / "out"
    architecture, weights = tower.read(out / "model")
    sides = {side: [e["column"] for e in architecture[side]["embeddings"]] for side in ("query", "item")}
    users = columns(out / "users.parquet", sides["query"])
    queries = tower.encode("query", users, architecture, weights)
    items = tower.encode("item", columns(out / "items.parquet", sides["item"]), architecture, weights)

    # The script takes a list of tensors, in the order of the architecture's embeddings.
    script = torch.jit.load(out / "model" / "query_tower.pt")
    by_script = script(*[users[name] for name in sides["query"]])
    apart = (by_script - queries).abs().max().item()

    scores = queries @ items.T
    place = {name: row for row, name in enumerate(polars.read_parquet(out / "item_names.parquet")["item"])}
    row_of = {name: row for row, name in enumerate(polars.read_parquet(out / "user_names.parquet")["user"])}
    best = polars.read_parquet(out / "best.parquet")
    compared, off = 0, 0.0
    for user, found, given in best.select("user", "recommendations", "scores").iter_rows():
        for item, score in zip(found, given):
            off = max(off, abs(scores[row_of[user], place[item]].item() - score))
            compared += 1
    print(f"{settings}: {compared} scores, at most {off:.1e} apart; TorchScript at most {apart:.1e} apart")
    if compared < 1000 or off > CLOSE or apart > CLOSE:
        sys.exit("the scores differ")
    read_exports.main(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--towline", type=pathlib.Path, default=ROOT / "target" / "debug" / "towline")
    binary = parser.parse_args().towline.resolve()
    for settings in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            clicks(pathlib.Path(folder, "clicks.csv"))
            check(pathlib.Path(folder), settings, binary)


if __name__ == "__main__":
    main()
