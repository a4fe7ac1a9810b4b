//! Run records: one file per run, in the order of the runs.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::{Result, Store, at, read_json};

impl Store {
    /// An id for a run that begins now, which no other run has: microseconds since 1970, and always greater than those
    /// there are, so that the last run is the last even if the clock was set back. Under it stands `record` of the id,
    /// until the run writes another: a run that is killed leaves a trace.
    pub fn begin_run<T: Serialize>(&self, record: impl Fn(&str) -> T) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let last = self
            .runs()?
            .pop()
            .and_then(|id| id.parse::<u128>().ok())
            .unwrap_or_default();
        let mut number = now.as_micros().max(last + 1);
        loop {
            let id = format!("{number:016}");
            let path = self.run_path(&id);
            match File::create_new(&path) {
                Ok(mut file) => {
                    let bytes = serde_json::to_vec(&record(&id)).map_err(|error| at(&path)(error.into()))?;
                    file.write_all(&bytes).map_err(at(&path))?;
                    return Ok(id);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(at(&path)(error)),
            }
        }
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
