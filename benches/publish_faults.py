#!/usr/bin/env python3
"""Kills the client at random points while it publishes, again and again, with readers that check every batch they see.

    .bench-venv/bin/pip install redis pyarrow
    .bench-venv/bin/python benches/publish_faults.py [--kills 100] [--users 20000] [--towline target/debug/towline]

For `swap` and then for `pointer`, until so many runs were killed before they had ended. Every round publishes another batch, in which all users have the number
of the round as their list. The process is killed (SIGKILL) after a random time; then `towline run --resume` finishes.
Meanwhile four readers read whole batches (500 users in one go) and note every batch that is not of one round, every user
that is missing, and every step back. After each kill, and after each end, all users are looked at.
"""

import argparse
import json
import pathlib
import random
import socket
import subprocess
import tempfile
import threading
import time

import pyarrow
import pyarrow.parquet
import redis

ROOT = pathlib.Path(__file__).resolve().parent.parent
SAMPLE = 500


def write_batch(folder, users, number):
    ids = list(range(users))
    lists = pyarrow.array([[number]] * users, type=pyarrow.list_(pyarrow.int64()))
    table = pyarrow.table({"user_id": pyarrow.array(ids, type=pyarrow.int64()), "recommendations": lists})
    pyarrow.parquet.write_table(table, folder / "users.parquet")


def pipeline(port, mode, rate):
    return f"""version: 1
name: faults
nodes:
  rows: {{ op: ParquetSource, with: {{ splits: {{ train: users.parquet }} }} }}
  user: rows[user_id] >> TagAsUserID
  batch: user + rows[recommendations]
  publish:
    op: RedisSink
    input: batch
    with:
      {{ url: "redis://127.0.0.1:{port}/0", key: "USER:{{user_id}}", publish: {mode}, chunk: 100, rate_limit: {rate}{', keep: 3' if mode == 'pointer' else ''} }}
"""


def read(client, mode, users):
    """The numbers that some users have, read as one batch."""
    if mode == "swap":
        documents = client.mget([f"USER:{user}" for user in users])
    else:
        generation = client.get("RECS:CURRENT").decode()
        pipe = client.pipeline(transaction=False)
        for user in users:
            pipe.get(f"RECS:{generation}:{{USER:{user}}}")
        documents = pipe.execute()
    return [None if document is None else json.loads(document)["recommendations"][0] for document in documents]


class Readers:
    def __init__(self, port, mode, users):
        self.port, self.mode, self.users = port, mode, users
        self.going = True
        self.reads = self.mixed = self.missing = self.back = 0
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.go, args=(seed,)) for seed in range(4)]
        for thread in self.threads:
            thread.start()

    def go(self, seed):
        client = redis.Redis(port=self.port)
        draw = random.Random(seed)
        last = 0
        while self.going:
            seen = read(client, self.mode, draw.sample(range(self.users), min(SAMPLE, self.users)))
            with self.lock:
                self.reads += 1
                self.missing += None in seen
                numbers = {number for number in seen if number is not None}
                self.mixed += len(numbers) > 1
                self.back += min(numbers, default=last) < last
            last = max(numbers, default=last)
            time.sleep(0.02)

    def stop(self):
        self.going = False
        for thread in self.threads:
            thread.join()


def whole(client, mode, users):
    """The number that all users have; an error if they don't."""
    seen = set()
    for first in range(0, users, 5000):
        seen |= set(read(client, mode, range(first, min(first + 5000, users))))
    if len(seen) != 1 or None in seen:
        raise SystemExit(f"{mode}: the batch is not whole: {seen}")
    return seen.pop()


def rounds(arguments, mode, folder, port, draw):
    client = redis.Redis(port=port)
    client.flushall()
    (folder / "p.yaml").write_text(pipeline(port, mode, arguments.users))
    binary = str(pathlib.Path(arguments.towline).resolve())
    write_batch(folder, arguments.users, 1)
    subprocess.run([binary, "run", "p.yaml"], cwd=folder, check=True, capture_output=True)
    readers = Readers(port, mode, arguments.users)
    killed = finished = resumed = 0
    number = 1
    while killed < arguments.kills:
        number += 1
        write_batch(folder, arguments.users, number)
        process = subprocess.Popen(
            [binary, "run", "p.yaml"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(draw.uniform(0.05, 1.8))
        process.kill()
        if process.wait() == 0:
            finished += 1
        else:
            killed += 1
        now = whole(client, mode, arguments.users)
        if now not in (number - 1, number):
            raise SystemExit(f"{mode}: after the kill of {number}, {now} is published")
        done = subprocess.run([binary, "run", "p.yaml", "--resume"], cwd=folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(done.stdout + done.stderr)
        resumed += "acknowledged before" in done.stdout + done.stderr
        if whole(client, mode, arguments.users) != number:
            raise SystemExit(f"{mode}: {number} is not published in the end")
    readers.stop()
    print(
        f"{mode}: {killed} kills, {finished} runs that had ended before; {resumed} went on from what was acknowledged; "
        f"{readers.reads} batches read: {readers.mixed} mixed, {readers.missing} with users missing, {readers.back} steps back"
    )
    return readers.mixed + readers.missing + readers.back


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--towline", default=str(ROOT / "target/debug/towline"))
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    bad = 0
    for mode in ("swap", "pointer"):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            command = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no", "--dir", name]
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            try:
                client = redis.Redis(port=port)
                while True:
                    try:
                        client.ping()
                        break
                    except redis.ConnectionError:
                        time.sleep(0.05)
                bad += rounds(arguments, mode, folder, port, draw)
            finally:
                server.kill()
                server.wait()
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
