//! Features of new rows in a service: a pipeline that has run is opened once, and its features are applied to batches.
//! See `README.md` beside this file.

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use towline::run::Transformer;

/// How often the batch is transformed, so that the middle of all times means something.
const TIMES: usize = 1001;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [pipeline, store, node, rows, size] = arguments.as_slice() else {
        bail!("usage: transform PIPELINE.yaml STORE NODE ROWS.parquet BATCH_SIZE");
    };
    let start = Instant::now();
    let registry = towline_operators::builtin();
    let transformer = Transformer::open(Path::new(pipeline), Path::new(store), node, &registry)?;
    println!("opened in {:.0} ms", start.elapsed().as_secs_f64() * 1e3);

    let file = File::open(rows).with_context(|| rows.clone())?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?.with_batch_size(size.parse()?);
    let batch = reader.build()?.next().context("there are no rows")??;
    let mut taken = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let start = Instant::now();
        let features = transformer.transform(&batch)?;
        taken.push(start.elapsed());
        if features.num_rows() != batch.num_rows() {
            bail!("{} rows became {}", batch.num_rows(), features.num_rows());
        }
    }
    taken.sort();
    println!(
        "{} rows, {} columns: {:.3} ms (99th percentile {:.3} ms)",
        batch.num_rows(),
        transformer.output().columns.len(),
        taken[TIMES / 2].as_secs_f64() * 1e3,
        taken[TIMES * 99 / 100].as_secs_f64() * 1e3
    );
    Ok(())
}
