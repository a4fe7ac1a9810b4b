//! The fit: counts the values of each vocabulary, with the vocabularies divided among a few threads.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use arrow::array::{ArrayRef, RecordBatch};

use crate::features::categorical::categorify::count::Counter;
use crate::features::categorical::categorify::rank::{GivenValues, VocabularyLimits, write};
use towline_api::{FitOutput, Fitter, OperatorError, Result};

/// Capacity of a thread's queue of batches: enough to balance the load, small enough to bound memory.
const WAITING: usize = 8;

/// A vocabulary that is being counted.
pub(crate) struct VocabularyFit {
    pub(crate) name: String,
    /// Input columns: their index in the batches, and their name.
    pub(crate) columns: Vec<(usize, String)>,
    pub(crate) combo: bool,
    pub(crate) limits: VocabularyLimits,
    pub(crate) counter: Counter,
    pub(crate) given: Option<GivenValues>,
    /// The file of a vocabulary that is used unchanged; nothing is counted.
    pub(crate) taken: Option<PathBuf>,
}

impl VocabularyFit {
    fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        if self.taken.is_some() {
            return Ok(());
        }
        let named = |names: &[(usize, String)], error: OperatorError| {
            let names: Vec<&str> = names.iter().map(|(_, name)| name.as_str()).collect();
            error.reworded(|text| format!("column `{}`: {text}", names.join("`, `")))
        };
        if self.combo {
            let columns: Vec<ArrayRef> = self
                .columns
                .iter()
                .map(|(place, _)| batch.column(*place).clone())
                .collect();
            return self
                .counter
                .update(&columns)
                .map_err(|error| named(&self.columns, error));
        }
        for column in &self.columns {
            let array = std::slice::from_ref(batch.column(column.0));
            self.counter
                .update(array)
                .map_err(|error| named(std::slice::from_ref(column), error))?;
        }
        Ok(())
    }

    fn write(self, folder: &Path) -> Result<(String, PathBuf)> {
        let path = folder.join(format!("{}.parquet", file_name(&self.name)));
        match self.taken {
            Some(taken) => {
                std::fs::copy(&taken, &path).map_err(OperatorError::io(&taken))?;
            }
            None => write(self.counter.finish()?, self.limits, self.given, &path, folder)?,
        }
        Ok((self.name, path))
    }
}

type Written = Result<Vec<(String, PathBuf)>>;

/// A thread and the vocabularies it counts. It sees every batch, so no vocabulary's counts are split between threads.
struct Worker {
    batches: Option<SyncSender<RecordBatch>>,
    thread: Option<JoinHandle<Written>>,
}

impl Worker {
    fn start(units: Vec<VocabularyFit>, folder: PathBuf) -> Self {
        let (batches, receiver) = sync_channel(WAITING);
        let thread = std::thread::spawn(move || count(units, &receiver, &folder));
        Worker {
            batches: Some(batches),
            thread: Some(thread),
        }
    }

    fn join(&mut self) -> Written {
        self.batches = None;
        let Some(thread) = self.thread.take() else {
            return Err(OperatorError::internal("the fit has ended already"));
        };
        thread
            .join()
            .unwrap_or_else(|_| Err(OperatorError::internal("a thread of the fit panicked")))
    }
}

fn count(mut units: Vec<VocabularyFit>, batches: &Receiver<RecordBatch>, folder: &Path) -> Written {
    for batch in batches {
        for unit in &mut units {
            unit.update(&batch)?;
        }
    }
    units.into_iter().map(|unit| unit.write(folder)).collect()
}

/// The fit state of `Categorify`.
pub(crate) struct Fit {
    workers: Vec<Worker>,
}

impl Fit {
    /// Starts counting on at most `threads` threads; vocabularies are written to `folder`.
    pub(crate) fn start(units: Vec<VocabularyFit>, threads: usize, folder: &Path) -> Self {
        let threads = threads.clamp(1, units.len().max(1));
        let mut shares: Vec<Vec<VocabularyFit>> = (0..threads).map(|_| Vec::new()).collect();
        for (index, unit) in units.into_iter().enumerate() {
            shares[index % threads].push(unit);
        }
        let workers = shares
            .into_iter()
            .map(|share| Worker::start(share, folder.to_owned()))
            .collect();
        Fit { workers }
    }
}

impl Fitter for Fit {
    fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        for worker in &mut self.workers {
            let sent = worker
                .batches
                .as_ref()
                .is_some_and(|batches| batches.send(batch.clone()).is_ok());
            if !sent {
                worker.join()?;
                return Err(OperatorError::internal("a thread of the fit ended early"));
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, _: &Path) -> Result<FitOutput> {
        // Signal all workers before waiting for any, so that they write concurrently.
        for worker in &mut self.workers {
            worker.batches = None;
        }
        let mut output = FitOutput::default();
        for worker in &mut self.workers {
            output.tables.extend(worker.join()?);
        }
        Ok(output)
    }
}

/// Percent-encodes the characters that are not allowed in file names.
fn file_name(name: &str) -> String {
    let safe = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    name.chars()
        .map(|c| {
            if safe(c) {
                c.to_string()
            } else {
                format!("%{:X}", u32::from(c))
            }
        })
        .collect()
}
