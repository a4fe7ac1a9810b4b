#!/usr/bin/env python3
"""Training two towers, against PyTorch on the same data: CPU time per step, and its ratio.

    cargo build --workspace --all-targets
    python3 -m venv .bench-venv
    .bench-venv/bin/pip install torch==2.13.0 numpy
    .bench-venv/bin/python benches/training.py [--rounds 3] [--threads 1]

Both train 16 columns (one user id, eleven features of the user, one item id, three of the item) with embeddings of the
same widths, layers 128 and 64, batches of 4096 rows, in-batch softmax with logQ and the mask of a row's own item, and
Adam. PyTorch does so with `sparse=True` embeddings and SparseAdam, once as it comes and once with a malloc that keeps
large blocks (M_MMAP_THRESHOLD of 1 GiB). Ids are drawn by a power law; half of the items suit the group of the user.

The two differ in one thing besides the code: Towline scores each distinct item of a batch once, with the weight of its
draws, which leaves the loss the same; PyTorch scores all 4096 rows. How many items repeat depends on the data.

`precision: bf16` of Towline is meant for processors with AMX; the script says whether this one has it. On others it
costs what single precision does.

A step's time is the CPU time of a process with many steps, less that of one with few: reading the data and starting up
fall out. The runs alternate, and the least time of each counts. With one thread it is close to wall time; the latter is
printed too, and worth little on a machine that does other work.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BATCH, ROWS = 4096, 4096 * 40
USER = {"user_id": 100_000, **{f"user_{i}": size for i, size in enumerate([20_000, 97, 13, 2, 7, 3, 2, 4, 8_000, 9_000, 6_000])}}
ITEM = {"item_id": 20_000, "item_0": 6_000, "item_1": 10_000, "item_2": 5_000}
FEW, MANY = 1, 3

PIPELINE = """version: 1
name: bench-{epochs}-{precision}
nodes:
  rows: {{ op: CsvSource, with: {{ path: rows.csv }} }}
  user_id: rows[user_id] >> Categorify >> TagAsUserID
  item_id: rows[item_id] >> Categorify >> TagAsItemID
  user: rows[{user}] >> Categorify >> TagAsUserFeatures
  item: rows[{item}] >> Categorify >> TagAsItemFeatures
  features: user_id + user + item_id + item
  model:
    op: TwoTowerTrain
    input: features
    cache: never
    with: {{ layers: [128, 64], batch_size: {batch}, epochs: {epochs}, mask_positives: false, precision: {precision}, seed: 1 }}
"""


def data(folder):
    import numpy

    random = numpy.random.default_rng(7)
    group = random.integers(0, 50, ROWS)
    columns = {}
    for name, size in {**USER, **ITEM}.items():
        ids = (random.random(ROWS) ** 3 * size).astype(numpy.int64)
        if name == "item_id":
            ids = numpy.where(random.random(ROWS) < 0.5, ids - ids % 50 + group, ids)
        if name == "user_1":
            ids = group
        columns[name] = ids
    names = list(columns)
    numpy.savetxt(
        folder / "rows.csv", numpy.stack([columns[n] for n in names], 1), fmt="%d", delimiter=",", header=",".join(names),
        comments="",
    )
    # The peer gets ids without gaps, as Categorify makes them.
    numpy.savez(folder / "rows.npz", **{n: numpy.unique(ids, return_inverse=True)[1] for n, ids in columns.items()})


def width(rows):
    """The widths of TwoTowerTrain: twice the fourth root of the number of ids, in steps of 8, at most 64."""
    return min(64, -(-int(2 * rows ** 0.25 + 0.999999) // 8) * 8)


def peer(path, epochs, threads):
    import numpy
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    rows = {name: torch.from_numpy(ids) for name, ids in numpy.load(path).items()}
    count = torch.bincount(rows["item_id"]).double()
    log_q = (count / count.sum()).log().float()

    class Tower(torch.nn.Module):
        def __init__(self, names):
            super().__init__()
            sizes = {name: int(rows[name].max()) + 1 for name in names}
            self.tables = torch.nn.ModuleDict(
                {n: torch.nn.Embedding(size, width(size + 3), sparse=True) for n, size in sizes.items()}
            )
            wide = sum(table.embedding_dim for table in self.tables.values())
            self.layers = torch.nn.Sequential(torch.nn.Linear(wide, 128), torch.nn.ReLU(), torch.nn.Linear(128, 64))

        def forward(self, batch):
            return self.layers(torch.cat([table(rows[name][batch]) for name, table in self.tables.items()], 1))

    query, item = Tower(USER), Tower(ITEM)
    tables = [p for tower in (query, item) for p in tower.tables.parameters()]
    dense = [p for tower in (query, item) for p in tower.layers.parameters()]
    optimizers = [torch.optim.SparseAdam(tables, 1e-3), torch.optim.Adam(dense, 1e-3)]
    for _ in range(epochs):
        order = torch.randperm(ROWS)
        for batch in order.split(BATCH):
            held = rows["item_id"][batch]
            logits = query(batch) @ item(batch).T - log_q[held]
            same = held[:, None] == held[None, :]
            same.fill_diagonal_(False)
            loss = torch.nn.functional.cross_entropy(logits.masked_fill(same, float("-inf")), torch.arange(len(batch)))
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()


def timed(command, folder, environment):
    """CPU and wall seconds of a process."""
    import time

    start = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command} failed:\n{text.decode()}")
    return usage.ru_utime + usage.ru_stime, time.monotonic() - start


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--binary", default=ROOT / "target" / "debug" / "towline")
    arguments.add_argument("--peer", nargs=2, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.peer:
        return peer(options.peer[0], int(options.peer[1]), options.threads)
    base = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    tuned = {**base, "MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        data(folder)
        cores = ["taskset", "-c", ",".join(map(str, range(options.threads)))]
        torch = lambda epochs: [sys.executable, __file__, "--threads", str(options.threads), "--peer", folder / "rows.npz", str(epochs)]
        columns = {"user": ", ".join(list(USER)[1:]), "item": ", ".join(list(ITEM)[1:])}
        for epochs in (FEW, MANY):
            for precision in ("f32", "bf16"):
                text = PIPELINE.format(epochs=epochs, batch=BATCH, precision=precision, **columns)
                (folder / f"{epochs}-{precision}.yaml").write_text(text)
        towline = lambda precision: lambda epochs: [options.binary, "run", "--quiet", f"{epochs}-{precision}.yaml"]
        contestants = {
            "Towline": (towline("f32"), base),
            "Towline, bf16": (towline("bf16"), base),
            "PyTorch, sparse": (torch, base),
            "PyTorch, sparse, tuned malloc": (torch, tuned),
        }
        best = {}
        for _ in range(options.rounds):
            for contestant, (command, environment) in contestants.items():
                for epochs in (FEW, MANY):
                    found = timed([*cores, *command(epochs)], folder, environment)
                    before = best.get((contestant, epochs), found)
                    best[contestant, epochs] = tuple(map(min, found, before))
    steps = (MANY - FEW) * ROWS / BATCH
    per_step = {c: [(best[c, MANY][i] - best[c, FEW][i]) / steps * 1e3 for i in (0, 1)] for c in contestants}
    own = per_step["Towline"]
    print(f"{'':32}{'CPU ms per step':>16}{'wall ms':>10}{'CPU ratio to Towline':>24}")
    for contestant, (cpu, wall) in per_step.items():
        print(f"{contestant:32}{cpu:16.1f}{wall:10.1f}{cpu / own[0]:24.2f}")
    amx = "amx_bf16" in pathlib.Path("/proc/cpuinfo").read_text()
    print(f"AMX for bf16: {'yes' if amx else 'not on this processor, so its kernel was not run'}")
    print(json.dumps({"batch": BATCH, "threads": options.threads, "cpu_ms": {c: round(v[0], 2) for c, v in per_step.items()}}))


if __name__ == "__main__":
    main()
