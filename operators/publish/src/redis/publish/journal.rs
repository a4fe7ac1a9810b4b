//! Journal: the progress of a publication, kept on disk so that an interrupted run can be resumed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use towline_api::{Context, OperatorError, Result};

/// Interval at which the journal is written.
const WRITE_INTERVAL: Duration = Duration::from_millis(200);

/// Progress of a publication.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PublishProgress {
    /// Fencing token of the run.
    pub(crate) token: String,
    pub(crate) generation: u64,
    /// `run_id`s of the server processes that were written to; others may lack the keys.
    pub(crate) processes: Vec<String>,
    /// Keys per chunk.
    pub(crate) chunk: u64,
    /// Number of all keys.
    pub(crate) keys: u64,
    /// Number of chunks, from the first one on, that are acknowledged without a gap.
    pub(crate) done: u64,
}

/// Journal of a publication.
pub(crate) struct Journal {
    path: PathBuf,
    progress: PublishProgress,
    /// Acknowledged chunks after a gap.
    ahead: BTreeSet<u64>,
    written: Option<Instant>,
}

/// Progress of an interrupted run, if this run was asked to resume it.
pub(crate) fn read(context: &Context) -> Option<PublishProgress> {
    let text = std::fs::read(context.scratch.join("publication.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

impl Journal {
    /// Starts a journal that continues from `progress`.
    pub(crate) fn start(context: &Context, progress: PublishProgress) -> Result<Self> {
        let mut journal = Journal {
            path: context.scratch()?.join("publication.json"),
            progress,
            ahead: BTreeSet::new(),
            written: None,
        };
        journal.write()?;
        Ok(journal)
    }

    /// Progress so far.
    pub(crate) fn progress(&self) -> &PublishProgress {
        &self.progress
    }

    /// Marks a chunk as acknowledged.
    pub(crate) fn acknowledge(&mut self, chunk: u64) -> Result<()> {
        self.ahead.insert(chunk);
        while self.ahead.remove(&self.progress.done) {
            self.progress.done += 1;
        }
        if self.written.is_none_or(|written| written.elapsed() > WRITE_INTERVAL) {
            self.write()?;
        }
        Ok(())
    }

    /// Replaces the file atomically but without fsync, which would take longer than the publication. After a crash of the
    /// machine it may be lost, and the batch starts anew.
    fn write(&mut self) -> Result<()> {
        let text = serde_json::to_vec(&self.progress).map_err(|error| OperatorError::internal(error.to_string()))?;
        let new = self.path.with_extension("tmp");
        std::fs::write(&new, text).map_err(OperatorError::io(&new))?;
        std::fs::rename(&new, &self.path).map_err(OperatorError::io(&self.path))?;
        self.written = Some(Instant::now());
        Ok(())
    }

    /// Removes the journal: the batch starts anew.
    pub(crate) fn discard(context: &Context) {
        // There may be none.
        let _ = std::fs::remove_file(context.scratch.join("publication.json"));
    }
}

/// Fencing token that no other run has.
pub(crate) fn new_token() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let seed = format!("{}:{}", std::process::id(), now.as_nanos());
    blake3::hash(seed.as_bytes()).to_hex()[..16].to_owned()
}
