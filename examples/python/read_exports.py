#!/usr/bin/env python3
"""Reads every Parquet file under a folder that Towline wrote, with pandas, Polars and DuckDB, and says that all agree in
every value.

    python3 -m venv .venv && .venv/bin/pip install pandas pyarrow polars duckdb
    .venv/bin/python examples/python/read_exports.py output/offline-batch-recsys

The test suite runs it with the two readers that `cargo xtask servers` fetches: `--readers polars,duckdb`.
"""

import argparse
import datetime
import math
import pathlib
import sys


def by_pandas(path):
    import pandas

    # With the types of Arrow a missing number stays apart from NaN, and a whole number is no float.
    frame = pandas.read_parquet(path, dtype_backend="pyarrow")
    for name in frame.columns:
        yield name, [None if value is pandas.NA else value for value in frame[name].tolist()]


def by_polars(path):
    import polars

    for column in polars.read_parquet(path).iter_columns():
        yield column.name, column.to_list()


def by_duckdb(path):
    import duckdb

    rows = duckdb.read_parquet(str(path))
    for name in rows.columns:
        yield name, [value for (value,) in rows.select(duckdb.ColumnExpression(name)).fetchall()]


READERS = {"pandas": by_pandas, "polars": by_polars, "duckdb": by_duckdb}


def plain(value):
    """A value without what its reader wraps it in, so that equal ones compare as equal."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if hasattr(value, "to_pydatetime"):
        value = value.to_pydatetime(warn=False)
    if hasattr(value, "to_pytimedelta"):
        value = value.to_pytimedelta()
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.timezone.utc)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return value


def compare(path, readers):
    """The columns of a file, and how many rows it has; ends the program where two readers differ."""
    read = {reader: dict(READERS[reader](path)) for reader in readers}
    first, *others = readers
    names = list(read[first])
    for other in others:
        if list(read[other]) != names:
            sys.exit(f"{path}: {first} reads the columns {names}, {other} {list(read[other])}")
        for name in names:
            ours, theirs = read[first][name], read[other][name]
            if len(ours) != len(theirs):
                sys.exit(f"{path}: {first} reads {len(ours)} rows of `{name}`, {other} {len(theirs)}")
            for row, (a, b) in enumerate(zip(map(plain, ours), map(plain, theirs))):
                if a != b or type(a) is not type(b):
                    sys.exit(f"{path}: row {row} of `{name}` is {a!r} to {first}, {b!r} to {other}")
    return names, len(read[first][names[0]]) if names else 0


def main(folder, readers=tuple(READERS)):
    files = sorted(pathlib.Path(folder).rglob("*.parquet"))
    if not files:
        sys.exit(f"there is no Parquet file under {folder}")
    for path in files:
        names, rows = compare(path, readers)
        print(f"{path.relative_to(folder)}: {rows} rows of {', '.join(names)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--readers", default=",".join(READERS), help="two or more of them, with commas between")
    arguments = parser.parse_args()
    chosen = arguments.readers.split(",")
    if len(set(chosen) & set(READERS)) < 2 or not set(chosen) <= set(READERS):
        parser.error(f"--readers takes two or more of {', '.join(READERS)}")
    main(arguments.folder, chosen)
