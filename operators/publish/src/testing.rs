//! What the tests of the sinks share.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch};
use datafusion::prelude::SessionContext;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use towline_api::{
    Artifact, Cancel, Context, DatasetFiles, Input, Inputs, Output, ProgressSink, Receipt, TableFile, TaskResult,
};
use towline_tables::TableWriter;

struct Silent;

impl ProgressSink for Silent {
    fn begin(&self, _unit: &str, _total: Option<u64>) {}
    fn advance(&self, _n: u64) {}
    fn note(&self, _text: &str) {}
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
});

/// A context, and the temporary folder that it lives in.
pub(crate) fn test_context() -> (Context, TempDir) {
    let temp = tempfile::tempdir().unwrap();
    let context = Context {
        progress: Arc::new(Silent),
        cancel: Cancel::default(),
        temp: temp.path().to_owned(),
        scratch: temp.path().join("scratch"),
        session: SessionContext::new(),
        runtime: RUNTIME.handle().clone(),
        threads: 1,
    };
    (context, temp)
}

/// A stored table with these columns.
pub(crate) fn write_table(path: &Path, columns: Vec<(&str, ArrayRef)>) -> TableFile {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap();
    let mut writer = TableWriter::create(path, batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap()
}

/// A dataset on the port `input`.
pub(crate) fn inputs(dataset: DatasetFiles) -> Inputs<Artifact> {
    Inputs(vec![Input {
        port: "input",
        label: "data".into(),
        value: Artifact::Dataset(dataset),
    }])
}

/// The receipt of an output.
pub(crate) fn receipt(output: &Output) -> &Receipt {
    match &output.result {
        TaskResult::Receipt(receipt) => receipt,
        other => panic!("not a receipt: {other:?}"),
    }
}
