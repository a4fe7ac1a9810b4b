#!/usr/bin/env python3
"""Reads every Parquet file under a folder that Towline wrote, with pandas, Polars and DuckDB, and says that all agree.

It is run by hand, after changes to how files are written: the test suite needs no Python package.

    python3 examples/python/read_exports.py output/offline-batch-recsys
"""

import pathlib
import sys

import duckdb
import pandas
import polars


def main(folder):
    files = sorted(pathlib.Path(folder).rglob("*.parquet"))
    if not files:
        sys.exit(f"there is no Parquet file under {folder}")
    for path in files:
        by_pandas = pandas.read_parquet(path)
        by_polars = polars.read_parquet(path)
        by_duckdb = duckdb.sql(f"SELECT * FROM read_parquet('{path}')")
        names = list(by_pandas.columns)
        if not names == by_polars.columns == by_duckdb.columns:
            sys.exit(f"{path}: the columns differ")
        rows = by_duckdb.count("*").fetchall()[0][0]
        if not len(by_pandas) == len(by_polars) == rows:
            sys.exit(f"{path}: the numbers of rows differ")
        if not by_polars.equals(by_duckdb.pl()):
            sys.exit(f"{path}: the values differ")
        print(f"{path.relative_to(folder)}: {rows} rows of {', '.join(names)}")


if __name__ == "__main__":
    main(sys.argv[1])
