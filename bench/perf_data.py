#!/usr/bin/env python3
"""Made-up query logs as a server with a day's changing load writes them: CSV for `akidb perf export`.

    perf_data.py FOLDER DAY [--days N] [--rows N | --bytes N] [--server] [--seed N]

A dozen collections of very different use, some sixty shapes of query, each with its own cost; load that follows the hour;
times that scatter as they do (log-normal, with slow ones); misses that wait for the disk. Without --server the columns and
the precision are those of the work order (nine columns, whole seconds, a decimal of a millisecond); with it those that
AkiDB's own log has (eleven columns, microseconds, four digits of a millisecond).
"""

import argparse
import datetime
import math
import pathlib
import random

NINE = "timestamp,query_hash,query_type,execution_time_ms,rows_examined,rows_returned,cache_hit,table_name,index_used"
TABLES = ["embeddings", "documents", "products", "support_tickets", "users", "images", "chat_history", "code_search"]
TABLES += ["news_2025", "eval-set", "tmp.import", "faq"]
BLOCK = 4096  # rows made at once


class Shapes:
    """The shapes of queries: what each costs, and how often it comes."""

    def __init__(self, chance):
        self.all = []
        for number in range(60):
            table = TABLES[min(int(chance.expovariate(0.45)), len(TABLES) - 1)]
            kind = chance.choices(["SELECT", "INSERT", "DELETE", "COUNT"], [80, 14, 3, 3])[0]
            self.all.append(
                {
                    "hash": f"{chance.getrandbits(64):016x}",
                    "kind": kind,
                    "table": table,
                    "index": {
                        "SELECT": chance.choice([f"idx_{table}_vector", f"idx_{table}_vector", "idx_namespace", ""]),
                        "COUNT": "idx_namespace",
                    }.get(kind, ""),
                    "ms": math.log(chance.choice([0.4, 0.9, 1.5, 3, 7, 12, 45])),
                    "spread": chance.uniform(0.15, 0.5),
                    "examined": chance.choice([64, 256, 800, 1234, 5000, 20000]),
                    "k": chance.choice([1, 5, 10, 10, 10, 20, 50, 100]),
                    "hits": chance.choice([0.99, 0.97, 0.9, 0.6]),
                }
            )
        self.weights = [1 / (1 + i) for i in range(len(self.all))]


def milliseconds(ms, server):
    """As AkiDB's own log has them: four digits, at most three decimals."""
    if not server:
        return f"{ms:.1f}"
    decimals = 3 if ms < 10 else 2 if ms < 100 else 1 if ms < 1000 else 0
    text = f"{ms:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if decimals else text


def row(shape, time, chance, server):
    ms = math.exp(chance.gauss(shape["ms"], shape["spread"]))
    hit = chance.random() < shape["hits"]
    io = 0.0
    if not hit:
        io = chance.expovariate(1 / 8)
        ms += io
    if chance.random() < 0.003:
        ms *= chance.uniform(5, 40)
    is_read = shape["kind"] in ("SELECT", "COUNT")
    examined = max(1, round(shape["examined"] * chance.gauss(1, 0.12))) if is_read else 1
    returned = (shape["k"] if chance.random() < 0.97 else chance.randrange(shape["k"] + 1)) if is_read else 0
    fields = [shape["hash"][: 16 if server else 6], shape["kind"], milliseconds(ms, server)]
    fields += [str(examined), str(returned), "true" if hit else "false", shape["table"], shape["index"]]
    if server:
        cpu = (ms - io) * chance.uniform(0.9, 1)
        fields += [milliseconds(cpu, True), milliseconds(io, True)]
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    else:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ")
    return ",".join([stamp, *fields]) + "\n"


def moments(day, count, chance):
    """Sorted times of a day: twice as many at noon as at night."""
    begin = datetime.datetime.combine(day, datetime.time())
    hours = [1 + 0.6 * math.sin((h - 8) / 24 * 2 * math.pi) for h in range(24)]
    total = sum(hours)
    made = 0
    for hour, share in enumerate(hours):
        n = round(count * share / total) if hour < 23 else count - made
        made += n
        step = 3600 / max(n, 1)
        for i in range(n):
            yield begin + datetime.timedelta(seconds=min(hour * 3600 + (i + chance.random()) * step, 86399.999999))


def write_day(path, day, rows=0, size=0, server=False, seed=1):
    """A log of `rows` rows, or of about `size` bytes; gives its rows."""
    chance = random.Random(seed * 100003 + day.toordinal())
    shapes = Shapes(random.Random(seed))
    if not rows:
        sample = [row(shapes.all[i % 60], datetime.datetime.combine(day, datetime.time(12)), chance, server) for i in range(600)]
        rows = max(1, round(size * len(sample) / sum(map(len, sample))))
    with open(path, "w", buffering=1 << 20) as out:
        out.write(NINE + (",cpu_time_ms,io_wait_ms\n" if server else "\n"))
        times = moments(day, rows, chance)
        for at in range(0, rows, BLOCK):
            chosen = chance.choices(shapes.all, shapes.weights, k=min(BLOCK, rows - at))
            out.writelines(row(shape, next(times), chance, server) for shape in chosen)
    return rows


def write_large(path, day, size, server=True, seed=1, block_rows=200_000):
    """As write_day for gigabytes: the rows of one block again and again, with times that go on."""
    small = pathlib.Path(str(path) + ".block")
    write_day(small, day, rows=block_rows, server=server, seed=seed)
    header, *lines = small.read_text().splitlines(keepends=True)
    small.unlink()
    tails = [line.split(",", 1)[1] for line in lines]
    total = sum(map(len, lines))
    chance = random.Random(seed)
    rounds = max(1, round(size / total))
    step = 86_399_000_000 / (rounds * len(tails))
    rows = 0
    with open(path, "w", buffering=1 << 22) as out:
        out.write(header)
        for _ in range(rounds):
            parts = []
            for tail in tails:
                us = int((rows + chance.random()) * step)
                s = us // 1_000_000
                parts.append(f"{day}T{s // 3600:02}:{s // 60 % 60:02}:{s % 60:02}")
                parts.append(f".{us % 1_000_000:06}Z," if server else "Z,")
                parts.append(tail)
                rows += 1
            out.write("".join(parts))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("day", type=datetime.date.fromisoformat)
    parser.add_argument("--days", type=int, default=1)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--bytes", type=int, default=200_000)
    parser.add_argument("--server", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    for i in range(args.days):
        day = args.day + datetime.timedelta(days=i)
        path = args.folder / f"query_perf_daily_{day:%Y%m%d}.csv"
        make = write_large if args.bytes > 100_000_000 and not args.rows else write_day
        size = {"size": args.bytes} if make is write_large else {"size": args.bytes, "rows": args.rows}
        rows = make(path, day, server=args.server, seed=args.seed, **size)
        print(f"{path}: {rows} rows, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
