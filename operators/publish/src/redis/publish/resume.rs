//! What a publication that did not come to its end leaves for the next one.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use towline_api::{Context, OperatorError, Result};

/// How often what was acknowledged is taken down.
const EVERY: Duration = Duration::from_millis(200);

/// How far a publication has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// What tells this publication from others.
    pub(crate) token: String,
    pub(crate) generation: u64,
    /// The processes that the keys went to; others may not have them.
    pub(crate) processes: Vec<String>,
    /// Keys in a chunk, and in all.
    pub(crate) chunk: u64,
    pub(crate) keys: u64,
    /// So many chunks from the beginning on are acknowledged.
    pub(crate) done: u64,
}

/// Takes down how far a publication has come.
pub(crate) struct Journal {
    path: PathBuf,
    progress: Progress,
    /// Chunks that are acknowledged while one before them is not.
    early: BTreeSet<u64>,
    written: Option<Instant>,
}

/// What an earlier run has left, if the run was asked to resume.
pub(crate) fn left_behind(context: &Context) -> Option<Progress> {
    let text = std::fs::read(context.scratch.join("publication.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

impl Journal {
    /// A journal that goes on from `progress`.
    pub(crate) fn begin(context: &Context, progress: Progress) -> Result<Self> {
        let mut journal = Journal {
            path: context.scratch()?.join("publication.json"),
            progress,
            early: BTreeSet::new(),
            written: None,
        };
        journal.write()?;
        Ok(journal)
    }

    /// How far it has come.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// A chunk is acknowledged.
    pub(crate) fn acknowledged(&mut self, chunk: u64) -> Result<()> {
        self.early.insert(chunk);
        while self.early.remove(&self.progress.done) {
            self.progress.done += 1;
        }
        if self.written.is_none_or(|written| written.elapsed() > EVERY) {
            self.write()?;
        }
        Ok(())
    }

    /// A file that appears whole, but is not made durable: to wait for the disk several times a second would take longer
    /// than the publication. After a crash of the machine it may be gone, and the batch begins anew.
    fn write(&mut self) -> Result<()> {
        let text = serde_json::to_vec(&self.progress).map_err(|error| OperatorError::internal(error.to_string()))?;
        let new = self.path.with_extension("tmp");
        std::fs::write(&new, text).map_err(OperatorError::io(&new))?;
        std::fs::rename(&new, &self.path).map_err(OperatorError::io(&self.path))?;
        self.written = Some(Instant::now());
        Ok(())
    }

    /// What was acknowledged counts no longer.
    pub(crate) fn discard(context: &Context) {
        // Where there is none, nothing has to go.
        let _ = std::fs::remove_file(context.scratch.join("publication.json"));
    }
}

/// A name for a publication that no other has.
pub(crate) fn token() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let seed = format!("{}:{}", std::process::id(), now.as_nanos());
    blake3::hash(seed.as_bytes()).to_hex()[..16].to_owned()
}
