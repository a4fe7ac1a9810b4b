#!/usr/bin/env python3
"""Exact top-k, against FAISS on the same vectors: CPU time, and its ratio.

    cargo build --workspace --all-targets
    python3 -m venv .bench-venv
    .bench-venv/bin/pip install faiss-cpu==1.15.1 numpy pyarrow
    .bench-venv/bin/python benches/top_k.py [--rounds 5] [--quick] [--skip NAME] [--kind independent] [--memory]

Searches 20,000 users in 100,000 items, and 2,000 in 1,000,000, by vectors of 64 numbers, once drawn independently and once
like those of a trained model (users and items around common directions, items of different lengths). FAISS is
`IndexFlatIP` with blocks of 512 queries and 4096 items, which are better than its own, and its OpenBLAS is told which
kernels to use: on processors that it does not know by name it takes those for SSE3, and is three times slower. Every
instruction set of Towline's is measured by itself; what this processor lacks is said to be not run.

The runs that are compared use one thread and alternate, and the least CPU time of each counts. The same search is then made
with two threads: its wall time stands beside that of one (on a machine with nothing else to do it is half), and its peak,
for each thread has candidates of its own; the lists must be the same. Building the index (sorting and rounding the
items) is printed beside the search; the ratio is that of the searches, and of both together in brackets. The lists of all
instruction sets are compared with those of brute force (`check` of the same program, which scores everything) and, as sets
of ids, with those of FAISS. `--memory` measures something else: the peak of `TopKEncode` as a part of a pipeline, under
several limits of memory, with 400,000 users and 200,000 items, and with lists for strangers by 500 segments, whose counts
would take 800 MB at once; the files of lists must be the same. The limit is about what is held: the tables of ids while the
model and the users are read stand beside it, which the run with one user shows. `products` is the time of the matrix products in single precision alone, whose ratio no search
that scores everything so can exceed.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target/debug/examples/top_k"
DIM = 64
GOALS = {"AVX-512": (2.0, 1.7), "AVX-512 VNNI": (4.0, 2.5), "AMX": (8.0, 5.0)}


def vectors(folder, kind, users, items):
    import numpy

    random = numpy.random.default_rng(3)
    draw = lambda count: random.standard_normal((count, DIM), dtype=numpy.float32)
    if kind == "independent":
        queries, table = draw(users), draw(items)
    else:
        middles = draw(50)
        queries = middles[random.integers(0, 50, users)] + 0.7 * draw(users)
        table = middles[random.integers(0, 50, items)] + 0.7 * draw(items)
        table *= random.lognormal(0, 0.25, (items, 1)).astype(numpy.float32)
        table, queries = table / 8, queries / 8
    queries.astype("<f4").tofile(folder / "queries")
    table.astype("<f4").tofile(folder / "items")


def faiss_peer(folder, k):
    """Runs in a process of its own."""
    import time

    import faiss
    import numpy

    faiss.omp_set_num_threads(1)
    faiss.cvar.distance_compute_blas_query_bs = 512
    faiss.cvar.distance_compute_blas_database_bs = 4096
    index = faiss.IndexFlatIP(DIM)
    index.add(numpy.fromfile(folder / "items", "<f4").reshape(-1, DIM))
    queries = numpy.fromfile(folder / "queries", "<f4").reshape(-1, DIM)
    start, cpu = time.perf_counter(), time.process_time()
    _, ids = index.search(queries, k)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - start
    ids.astype("<u4").tofile(folder / "faiss")
    # Not ru_maxrss, which a process has from the one that started it.
    status = pathlib.Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    print(json.dumps({"cpu_ms": cpu * 1e3, "wall_ms": wall * 1e3, "peak_mb": peak}))


def blas_kernels():
    flags = pathlib.Path("/proc/cpuinfo").read_text()
    kernels = [("avx512f", "SkylakeX"), ("avx2", "Haswell")]
    return next(({"OPENBLAS_CORETYPE": name} for flag, name in kernels if flag in flags), {})


def run(*command):
    environment = os.environ | {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"} | blas_kernels()
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, env=environment).stdout


def measure(folder, kind, users, items, k, names, rounds):
    import numpy

    print(f"\n{users:,} users x {items:,} items x {DIM}, k = {k}, vectors {kind}")
    best, second, wall, products = {}, {}, {}, float("inf")
    for _ in range(rounds):
        one = {"FAISS": json.loads(run(sys.executable, __file__, "--faiss", folder, k))}
        for name in names:
            lists = folder / name.replace(" ", "-")
            one[name] = json.loads(
                run(PROGRAM, "search", folder / "items", folder / "queries", DIM, k, name, 1, lists)
            )
        for name, result in one.items():
            if name not in best or result["cpu_ms"] < best[name]["cpu_ms"]:
                best[name] = result
            wall[name] = min(wall.get(name, result["wall_ms"]), result["wall_ms"])
        products = min(products, float(run(PROGRAM, "products", folder / "items", folder / "queries", DIM)))
        for name in names:
            lists = folder / f"{name.replace(' ', '-')}-2"
            result = json.loads(run(PROGRAM, "search", folder / "items", folder / "queries", DIM, k, name, 2, lists))
            if lists.read_bytes() != (folder / name.replace(" ", "-")).read_bytes():
                raise SystemExit(f"{name}: two threads make other lists")
            if name not in second or result["wall_ms"] < second[name]["wall_ms"]:
                second[name] = result
    faiss = best.pop("FAISS")
    print(
        f"  {'':14}{'CPU ms':>9}{'ratio':>14}{'goal':>6}{'build':>8}{'peak MB':>9}{'proposed':>10}{'most':>7}"
        f"{'wall ms, 1 and 2 threads':>26}{'peak':>6}  differs from"
    )
    print(f"  {'FAISS':14}{faiss['cpu_ms']:9.0f}{'':28}{faiss['peak_mb']:9.0f}")
    print(f"  {'products':14}{products:9.0f}{faiss['cpu_ms'] / products:6.2f}")
    wrong = {}
    theirs = numpy.sort(numpy.fromfile(folder / "faiss", "<u4").reshape(users, -1), 1)
    for name, result in best.items():
        lists = folder / name.replace(" ", "-")
        content = lists.read_bytes()
        if content not in wrong:
            wrong[content] = int(run(PROGRAM, "check", folder / "items", folder / "queries", DIM, k, lists))
        ours = numpy.sort(numpy.fromfile(lists, "<u4").reshape(users, -1), 1)
        other = int((ours != theirs).any(1).sum())
        ratio = faiss["cpu_ms"] / result["cpu_ms"]
        both = faiss["cpu_ms"] / (result["cpu_ms"] + result["build_cpu_ms"])
        goal = GOALS.get(name)
        goal = f"{goal[k > 20]:.1f}" if goal else ""
        print(
            f"  {name:14}{result['cpu_ms']:9.0f}{ratio:6.2f} ({both:5.2f}){goal:>6}{result['build_cpu_ms']:8.0f}"
            f"{result['peak_mb']:9.0f}{result['proposed_per_user']:10.0f}{result['most_proposed']:7}"
            f"{wall[name]:14.0f} {second[name]['wall_ms']:5.0f} x{wall[name] / second[name]['wall_ms']:4.2f}"
            f"{second[name]['peak_mb']:6.0f}  brute force: {wrong[content]} users, FAISS: {other}",
            flush=True,
        )


PIPELINE = """version: 1
vars: { limit: 1GB }
nodes:
  rows: { op: ParquetSource, with: { path: rows.parquet } }
  strangers: { op: ParquetSource, with: { path: users.parquet } }
  user_id: rows[user_id] >> Categorify >> TagAsUserID
  item_id: rows[item_id] >> Categorify >> TagAsItemID
  place: rows[place]
  features: user_id + item_id + place
  model: { op: Als, input: features, with: { factors: 32, iterations: 1 } }
  one_user: { op: TopKEncode, inputs: { model: model, queries: features }, with: { k: 1, users: [1] } }
  everybody:
    op: TopKEncode
    inputs: { model: model, queries: features }
    with: { k: 50, memory_limit: "${vars.limit}" }
  by_segment:
    op: TopKEncode
    inputs: { model: model, queries: features, users: strangers }
    with: { k: 50, cold_start: { segment: place }, memory_limit: "${vars.limit}" }
"""


def memory_input(folder, users, items):
    """Runs in a process of its own: what a process holds when it starts another counts as the other's peak."""
    import numpy
    import pyarrow
    import pyarrow.parquet

    random = numpy.random.default_rng(5)
    user = numpy.concatenate([numpy.arange(users), random.integers(0, users, 3 * users)])
    item = numpy.concatenate([numpy.arange(items), (items * random.random(len(user) - items) ** 2).astype("int64")])
    write = lambda name, **columns: pyarrow.parquet.write_table(pyarrow.table(columns), folder / name)
    write("rows.parquet", user_id=user, item_id=item, place=user % 500)
    who = numpy.concatenate([numpy.arange(0, users, 4), numpy.arange(users, users + users // 4)])
    write("users.parquet", user_id=who, place=who % 500)


def peak(folder, node, limit):
    """Runs one node anew, whose inputs are there: its peak in MB, and the file of lists."""
    binary = ROOT / "target/debug/towline"
    command = [binary, "run", "--quiet", "p.yaml", "--until", node, "--force", node, "--set", f"vars.limit={limit}"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        return None, next((line for line in said.splitlines() if "failed:" in line), said)
    blobs = (folder / ".towline" / "blobs").rglob("*.parquet")
    return usage.ru_maxrss * 1024 / 1e6, max(blobs, key=lambda path: path.stat().st_mtime).name


def memory(quick):
    users, items = (40_000, 20_000) if quick else (400_000, 200_000)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "p.yaml").write_text(PIPELINE)
        run(sys.executable, __file__, "--memory-input", folder, users, items)
        # The first run trains.
        peak(folder, "one_user", "1GB")
        one, said = peak(folder, "one_user", "1GB")
        least, said = peak(folder, "strangers", "1GB") if one else (None, said)
        if least is None:
            raise SystemExit(said)
        scores = users * items * 4 / 1e9
        print(f"{users:,} users x {items:,} items (all scores: {scores:.0f} GB), k = 50")
        print(f"  the program alone: {least:.0f} MB, with all users read and one served: {one:.0f} MB")
        for node in ("everybody", "by_segment"):
            files = set()
            for limit in ("50MB", "100MB", "200MB", "400MB"):
                found, file = peak(folder, node, limit)
                if found is None:
                    print(f"  {node:12} memory_limit {limit:>6}: {file}", flush=True)
                    continue
                files.add(file)
                print(f"  {node:12} memory_limit {limit:>6}: peak {found:5.0f} MB, {found - least:5.0f} more than alone", flush=True)
            if len(files) != 1:
                raise SystemExit(f"{node}: the lists differ")


def main():
    if sys.argv[1:2] == ["--faiss"]:
        return faiss_peer(pathlib.Path(sys.argv[2]), int(sys.argv[3]))
    if sys.argv[1:2] == ["--memory-input"]:
        return memory_input(pathlib.Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tenth of the users, and fewer cases")
    parser.add_argument("--skip", action="append", default=[], metavar="NAME", help="an instruction set not to measure")
    parser.add_argument("--kind", choices=["independent", "trained-like"], help="only these vectors")
    parser.add_argument("--memory", action="store_true", help="the peak under limits of memory instead")
    arguments = parser.parse_args()
    if arguments.memory:
        return memory(arguments.quick)
    available = dict(line.split("\t") for line in run(PROGRAM, "available").splitlines())
    names = [name for name, found in available.items() if found == "true" and name not in arguments.skip]
    for name, found in available.items():
        if found != "true":
            print(f"{name}: not run, this processor does not have it")
    share = 10 if arguments.quick else 1
    kinds = [arguments.kind] if arguments.kind else ["trained-like"] if arguments.quick else ["independent", "trained-like"]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for users, items, ks in [(20_000, 100_000, [20, 100]), (2_000, 1_000_000, [20, 100])]:
            for kind in kinds:
                vectors(folder, kind, users // share, items // share)
                for k in ks:
                    measure(folder, kind, users // share, items // share, k, names, arguments.rounds)


if __name__ == "__main__":
    main()
