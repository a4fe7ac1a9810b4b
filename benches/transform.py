#!/usr/bin/env python3
"""How long the library takes to apply fitted features to a batch of 100 rows.

    cargo build --workspace --all-targets
    python3 benches/transform.py [--rows 1000000] [--batch 100]

A pipeline with 16 encoded columns, filled and normalized numbers and a target encoding is run on rows of SyntheticAliCcp;
`examples/transform` opens it and transforms the first rows again and again. The goal is 1 ms for 100 rows.
"""

import argparse
import pathlib
import re
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PIPELINE = """version: 1
nodes:
  rows:   {{ op: SyntheticAliCcp, with: {{ rows: {rows}, splits: {{ train: 1.0 }} }} }}
  file:   {{ op: ParquetExport, input: rows, with: {{ path: rows.parquet }} }}
  ids:    rows[user_id, item_id, item_category, item_shop, item_brand, user_shops, user_profile, user_group, user_gender,
            user_age, user_consumption_2, user_is_occupied, user_geography, user_intentions, user_brands,
            user_categories] >> Categorify
  number: rows[position] >> FillMissing(with=median) >> Normalize
  rate:   {{ op: TargetEncode, input: 'rows[item_intention, click]', with: {{ target: [click] }} }}
  features: ids + number + rate
  out:    {{ op: ParquetExport, input: features, with: {{ path: features.parquet, decode: false }} }}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--target", type=pathlib.Path, default=ROOT / "target" / "debug")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    target = arguments.target.resolve()
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "p.yaml").write_text(PIPELINE.format(rows=arguments.rows))
        subprocess.run([target / "towline", "run", "--quiet", "p.yaml"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        command = [target / "examples" / "transform", "p.yaml", ".towline", "features", "rows.parquet", str(arguments.batch)]
        said = [subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
                for _ in range(arguments.runs)]
    best = min(said, key=lambda text: float(re.search(r": ([\d.]+) ms", text)[1]))
    print(best, end="")
    taken = float(re.search(r": ([\d.]+) ms", best)[1])
    print(f"the goal of 1 ms is {1 / taken:.1f} times the time taken")


if __name__ == "__main__":
    main()
