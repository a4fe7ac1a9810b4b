//! Run records: one file per run, in the order of the runs.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Result, Store, at, read_json};

impl Store {
    /// An id for a run that begins now: microseconds since 1970, and always greater than those there are, so that the
    /// last run is the last even if the clock was set back.
    pub fn next_run_id(&self) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let last = self
            .runs()?
            .pop()
            .and_then(|id| id.parse::<u128>().ok())
            .unwrap_or_default();
        Ok(format!("{:016}", now.as_micros().max(last + 1)))
    }

    /// The ids of all runs, the oldest first.
    pub fn runs(&self) -> Result<Vec<String>> {
        let folder = self.root.join("runs");
        let mut ids = Vec::new();
        for entry in fs::read_dir(&folder).map_err(at(&folder))? {
            let name = entry.map_err(at(&folder))?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
            ids.extend(
                id.filter(|id| id.bytes().all(|byte| byte.is_ascii_digit()))
                    .map(str::to_owned),
            );
        }
        ids.sort_by_key(|id| (id.len(), id.clone()));
        Ok(ids)
    }

    /// The record of a run, if it is there and readable.
    pub fn run<T: DeserializeOwned>(&self, id: &str) -> Option<T> {
        read_json(&self.run_path(id))
    }

    /// Writes a run record.
    pub fn write_run(&self, id: &str, record: &impl Serialize) -> Result<()> {
        self.write_json(&self.run_path(id), record)
    }

    fn run_path(&self, id: &str) -> PathBuf {
        self.root.join("runs").join(format!("{id}.json"))
    }
}
