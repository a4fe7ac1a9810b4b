//! What an executor may touch.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use futures::StreamExt;
use tokio_util::sync::CancellationToken;
use towline_api::{Cancel, LazyTable, OperatorError, ProgressSink, TableContext};

use crate::run::failure::Failure;

/// What an executor may touch.
#[derive(Clone, Copy)]
pub(in crate::run) struct ExecContext<'a> {
    /// The session that plans are built and run in, and the runtime to wait for them.
    pub(in crate::run) tables: &'a TableContext,
    /// Receives the progress of the job.
    pub(in crate::run) progress: &'a Arc<dyn ProgressSink>,
    /// When to stop.
    pub(in crate::run) stop: &'a Stop,
    /// The number of threads.
    pub(in crate::run) threads: usize,
    /// An empty folder on the file system of the store.
    pub(in crate::run) temp: &'a Path,
    /// Where unfinished work is kept that a later run may resume.
    pub(in crate::run) scratch: &'a Path,
}

/// When a job is to stop: its run is interrupted, or its time is over.
#[derive(Debug, Clone)]
pub(in crate::run) struct Stop {
    token: CancellationToken,
    limit: Option<(Instant, Duration)>,
    /// The same for operators.
    pub(in crate::run) cancel: Cancel,
}

impl Stop {
    /// For a job that may take this long from now on. `cancel` is what operators ask about the same token.
    pub(in crate::run) fn new(token: CancellationToken, cancel: &Cancel, limit: Option<Duration>) -> Self {
        Stop {
            token,
            limit: limit.map(|limit| (Instant::now(), limit)),
            cancel: limit.map_or_else(|| cancel.clone(), |limit| cancel.within(limit)),
        }
    }

    /// An error if the job is to stop.
    pub(in crate::run) fn check(&self) -> Result<(), OperatorError> {
        if self.token.is_cancelled() {
            return Err(OperatorError::Cancelled);
        }
        self.cancel.check()
    }

    /// The output of a future, unless the job is to stop before there is one.
    pub(in crate::run) async fn or<T>(&self, work: impl Future<Output = T>) -> Result<T, OperatorError> {
        let over = async {
            match self.limit {
                Some((start, limit)) => {
                    tokio::time::sleep_until((start + limit).into()).await;
                    limit
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.token.cancelled() => Err(OperatorError::Cancelled),
            limit = over => Err(OperatorError::TimedOut(limit)),
            done = work => Ok(done),
        }
    }
}

impl ExecContext<'_> {
    /// Computes a lazy table and passes its batches on, one by one.
    pub(super) fn batches(
        &self,
        table: &LazyTable,
        mut take: impl FnMut(&RecordBatch) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.progress.begin("rows", None);
        let frame = table.to_frame()?;
        self.tables.runtime.block_on(async {
            let mut stream = frame.execute_stream().await.map_err(OperatorError::from)?;
            while let Some(batch) = self.stop.or(stream.next()).await? {
                let batch = batch.map_err(OperatorError::from)?;
                take(&batch)?;
                self.progress.advance(batch.num_rows() as u64);
            }
            Ok(())
        })
    }
}
