#!/usr/bin/env python3
"""Kills runs at random points and injects faults; every time the next run must succeed, with the same bytes.

    python3 benches/kill_test.py [--kills 200] [--faults 125] [--seed 1] [--towline target/debug/towline]

The pipeline has every kind of node: sources, plans, fits, training, encoding, sinks. Each round starts a run, on a new
store or on the one that the rounds before left, with one of several configurations, and kills it (SIGKILL) after a random
time; or runs it under a library that lets the n-th write below the store fail with ENOSPC, or the n-th read with EIO; or
damages a random blob; or sets the times in the store an hour ahead; or starts two runs at once where there are no file
locks. A kill counts if it lands before the run has ended. Then an undisturbed run must succeed, and the outputs must be
those of a run on an empty store. Prints figures; exits with 1 if anything was wrong.
"""

import argparse
import collections
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PIPELINE = """\
version: 1
name: kills
vars: { rows: 3000, k: 5, min_count: 1 }
nodes:
  raw: { op: SyntheticAliCcp, with: { rows: "${vars.rows}", seed: 7, structure: 0.5, splits: { train: 0.7, valid: 0.3 } } }
  names: { op: CsvSource, with: { path: names.csv } }
  clicks: { op: Filter, input: raw, with: { where: "click = 1" } }
  shops: { op: Sql, inputs: { c: clicks.train, n: names }, with: { query: "SELECT c.item_shop, n.name, count(*) AS n FROM c JOIN n ON c.item_shop % 10 = n.id GROUP BY c.item_shop, n.name ORDER BY 1, 2" } }
  user: clicks[user_id] >> Categorify(min_count=${vars.min_count}) >> TagAsUserID
  item: clicks[item_id] >> Categorify >> TagAsItemID
  features: user + item
  model: { op: TwoTowerTrain, input: features, with: { layers: [8], embedding_dim: 8, batch_size: 256, epochs: 2, seed: 3 } }
  lists: { op: TopKEncode, inputs: { model: model, queries: features }, with: { k: "${vars.k}" } }
  quality: { op: Evaluate, inputs: { model: model, data: features }, with: { k: [5] } }
  shops_file: { op: ParquetExport, input: shops, with: { path: out/shops.parquet } }
  lists_file: { op: ParquetExport, input: lists, with: { path: out/lists.parquet } }
  published: { op: RedisSink, input: lists, after: [quality], with: { path: out/lists.redb } }
"""
CONFIGURATIONS = [[], ["--set", "vars.k=4"], ["--set", "vars.min_count=2"], ["--set", "vars.rows=2500"]]

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
static long left = -1;
static int wanted(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return strstr(path, "/.towline/") != NULL;
}
static int fails(const char *kind, int fd) {
    const char *asked = getenv("FAULT_KIND");
    if (!asked || strcmp(asked, kind) || !wanted(fd)) return 0;
    if (left < 0) left = atol(getenv("FAULT_AT"));
    return __atomic_fetch_sub(&left, 1, __ATOMIC_RELAXED) <= 0;
}
int flock(int fd, int operation) {
    static int (*real)(int, int);
    if (!real) real = (int (*)(int, int))dlsym(RTLD_NEXT, "flock");
    const char *asked = getenv("FAULT_KIND");
    if (asked && !strcmp(asked, "ENOLCK") && wanted(fd)) { errno = ENOLCK; return -1; }
    return real(fd, operation);
}
#define REAL(type, name) static __typeof__(type) real; if (!real) real = (__typeof__(type))dlsym(RTLD_NEXT, name)
ssize_t write(int fd, const void *b, size_t n) {
    REAL(ssize_t (*)(int, const void *, size_t), "write");
    if (fails("ENOSPC", fd)) { errno = ENOSPC; return -1; }
    return real(fd, b, n);
}
ssize_t read(int fd, void *b, size_t n) {
    REAL(ssize_t (*)(int, void *, size_t), "read");
    if (fails("EIO", fd)) { errno = EIO; return -1; }
    return real(fd, b, n);
}
ssize_t pread64(int fd, void *b, size_t n, off64_t o) {
    REAL(ssize_t (*)(int, void *, size_t, off64_t), "pread64");
    if (fails("EIO", fd)) { errno = EIO; return -1; }
    return real(fd, b, n, o);
}
"""


LANDED = "killed in the middle"


class Workplace:
    def __init__(self, towline, folder):
        self.towline, self.folder = towline, folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "p.yaml").write_text(PIPELINE)
        (folder / "names.csv").write_text("id,name\n" + "".join(f"{i},shop {i}\n" for i in range(10)))

    def start(self, configuration, environment=None):
        return subprocess.Popen(
            [self.towline, "run", "p.yaml", "--quiet", *configuration],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )

    def run(self, configuration, environment=None):
        process = self.start(configuration, environment)
        text = process.communicate()[0].decode(errors="replace")
        return process.returncode, text

    def outputs(self):
        files = sorted(path for path in (self.folder / "out").rglob("*") if path.is_file())
        return {path.name: hashlib.blake2b(path.read_bytes()).hexdigest() for path in files}

    def records(self):
        shown = subprocess.run(
            [self.towline, "history", "--json", "-n", "1000"], cwd=self.folder, capture_output=True, text=True
        )
        return [json.loads(line) for line in shown.stdout.splitlines()]

    def blobs(self):
        return sorted(path for path in (self.folder / ".towline/blobs").rglob("*") if path.is_file())

    def clear(self):
        for name in [".towline", "out"]:
            shutil.rmtree(self.folder / name, ignore_errors=True)


def expected_outputs(towline, folder):
    """The outputs of each configuration on an empty store, and how long such a run takes."""
    expected, seconds = [], []
    for number, configuration in enumerate(CONFIGURATIONS):
        place = Workplace(towline, folder / f"undisturbed-{number}")
        start = time.monotonic()
        code, text = place.run(configuration)
        seconds.append(time.monotonic() - start)
        if code != 0:
            sys.exit(f"an undisturbed run failed:\n{text}")
        expected.append(place.outputs())
    return expected, max(seconds)


class Rounds:
    def __init__(self, towline, folder, random_numbers):
        self.random = random_numbers
        self.expected, self.seconds = expected_outputs(towline, folder)
        self.place = Workplace(towline, folder / "disturbed")
        self.counts = collections.Counter()
        self.shim = self.build_shim(folder)

    @staticmethod
    def build_shim(folder):
        source, library = folder / "faults.c", folder / "faults.so"
        source.write_text(SHIM)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        return library

    def kill(self, configuration):
        process = self.place.start(configuration)
        time.sleep(self.random.uniform(0, self.seconds))
        landed = process.poll() is None
        process.send_signal(signal.SIGKILL) if landed else None
        process.communicate()
        return LANDED if landed else "ended before the kill"

    def fault(self, kind, configuration):
        at = self.random.choice([0, 1, 2, 5, 10, 20, 50, 100, 200])
        environment = {"LD_PRELOAD": str(self.shim), "FAULT_KIND": kind, "FAULT_AT": str(at)}
        code, text = self.place.run(configuration, environment)
        if code not in (0, 1):
            self.wrong(f"{kind} ended with {code}:\n{text}")
        return f"{kind}: " + ("told as a failure" if code else "got around")

    def damage(self, configuration):
        code, text = self.place.run(configuration)
        if code != 0:
            self.wrong(f"an undisturbed run failed:\n{text}")
        blob = self.random.choice(self.place.blobs())
        data = bytearray(blob.read_bytes())
        blob.chmod(0o644)
        if self.random.random() < 0.5 and data:
            data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
            blob.write_bytes(data)
            return "a flipped bit"
        blob.write_bytes(data[: len(data) // 2])
        return "a truncated blob"

    def clock(self, configuration):
        code, text = self.place.run(configuration)
        if code != 0:
            self.wrong(f"an undisturbed run failed:\n{text}")
        later = time.time() + 3600
        for path in (self.place.folder / ".towline").rglob("*"):
            os.utime(path, (later, later))
        return "a clock set back"

    def no_locks(self, configuration):
        environment = {"LD_PRELOAD": str(self.shim), "FAULT_KIND": "ENOLCK"}
        before = len(self.place.records())
        both = [self.place.start(configuration, environment) for _ in range(2)]
        for process in both:
            text = process.communicate()[0].decode(errors="replace")
            if process.returncode != 0:
                self.wrong(f"one of two runs without file locks failed:\n{text}")
        records = self.place.records()[before:]
        ran = collections.Counter(n["name"] for r in records for n in r["nodes"] if n["status"] == "ran")
        twice = [name for name, count in ran.items() if count > 1]
        if len(records) != 2 or twice:
            self.wrong(f"two runs without file locks: {len(records)} records, made twice: {twice}")
        return "two runs at once without file locks"

    def wrong(self, text):
        self.counts["WRONG"] += 1
        print(f"WRONG: {text}", flush=True)

    def round(self, disturb):
        if self.random.random() < 0.25:
            self.place.clear()
        number = self.random.randrange(len(CONFIGURATIONS))
        self.counts[disturb(CONFIGURATIONS[number])] += 1
        # Half of the time the next run has another configuration than the disturbed one.
        if self.random.random() < 0.5:
            number = self.random.randrange(len(CONFIGURATIONS))
        code, text = self.place.run(CONFIGURATIONS[number])
        if code != 0:
            return self.wrong(f"the run after it failed with {code}:\n{text}")
        outputs = self.place.outputs()
        if outputs != self.expected[number]:
            differ = [name for name in outputs if outputs[name] != self.expected[number].get(name)]
            return self.wrong(f"the outputs of configuration {number} differ: {differ}")
        left = [path.name for path in (self.place.folder / ".towline/tmp").iterdir()]
        left += [path.name for path in (self.place.folder / ".towline/locks").iterdir()]
        if left:
            return self.wrong(f"left behind: {left}")
        self.counts["next run succeeded with identical outputs"] += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--faults", type=int, default=125)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--towline", default="target/debug/towline")
    arguments = parser.parse_args()
    towline = str(pathlib.Path(arguments.towline).resolve())
    with tempfile.TemporaryDirectory() as folder:
        rounds = Rounds(towline, pathlib.Path(folder), random.Random(arguments.seed))
        print(f"an undisturbed run takes up to {rounds.seconds:.1f} s", flush=True)
        start = time.monotonic()
        tried = 0
        while rounds.counts[LANDED] < arguments.kills and tried < 10 * arguments.kills:
            rounds.round(rounds.kill)
            tried += 1
        kinds = [
            lambda c: rounds.fault("ENOSPC", c),
            lambda c: rounds.fault("EIO", c),
            rounds.damage,
            rounds.clock,
            rounds.no_locks,
        ]
        for number in range(arguments.faults):
            rounds.round(kinds[number % len(kinds)])
    for what, count in sorted(rounds.counts.items()):
        print(f"{count:5}  {what}")
    print(f"{tried + arguments.faults} rounds in {time.monotonic() - start:.0f} s")
    sys.exit(1 if rounds.counts["WRONG"] else 0)


if __name__ == "__main__":
    main()
