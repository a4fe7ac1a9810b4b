//! Atomic file replacement: write to a temporary name in the same folder, sync, rename.

use std::fs::File;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use towline_api::{OperatorError, Result};

/// A file under its temporary name. Dropped without [`AtomicFile::publish`], it is deleted.
pub struct AtomicFile {
    temp: TempPath,
    folder: PathBuf,
    target: PathBuf,
}

impl AtomicFile {
    /// Creates an empty temporary file for `target`, and missing folders.
    pub fn create(target: &Path) -> Result<Self> {
        let folder = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        std::fs::create_dir_all(&folder).map_err(OperatorError::io(&folder))?;
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        sweep(&folder, &format!(".{name}."));
        let prefix = format!(".{name}.{}-", std::process::id());
        let temp = builder(&prefix, &folder).map_err(OperatorError::io(target))?;
        Ok(AtomicFile {
            temp: temp.into_temp_path(),
            folder,
            target: target.to_owned(),
        })
    }

    /// The temporary path to write to.
    pub fn path(&self) -> &Path {
        &self.temp
    }

    /// Syncs the file and renames it to the target, replacing an older file in one step. Returns its size.
    pub fn publish(self) -> Result<u64> {
        let file = File::open(&self.temp).map_err(OperatorError::io(&self.target))?;
        file.sync_all().map_err(OperatorError::io(&self.target))?;
        let size = file.metadata().map_err(OperatorError::io(&self.target))?.len();
        self.temp
            .persist(&self.target)
            .map_err(|error| OperatorError::io(&self.target)(error.error))?;
        // A rename is durable only after the folder is synced.
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(OperatorError::io(&self.folder))?;
        Ok(size)
    }
}

/// Deletes temporary files of processes that no longer run.
fn sweep(folder: &Path, prefix: &str) {
    let processes = Path::new("/proc");
    let own = std::process::id().to_string();
    if !processes.join(&own).exists() {
        return;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let rest = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(".tmp"));
        let process = rest.and_then(|rest| rest.split_once('-')).map(|(process, _)| process);
        let dead = process.is_some_and(|process| {
            !process.is_empty()
                && process.bytes().all(|byte| byte.is_ascii_digit())
                && !processes.join(process).exists()
        });
        if dead {
            // A file that cannot be deleted only wastes space.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn builder(prefix: &str, folder: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).suffix(".tmp");
    // Temporary files are private by default; a published one has a new file's usual permissions.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_left_is_removed_and_what_a_living_one_writes_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.parquet");
        // A process id beyond every system's limit.
        for name in [
            ".a.parquet.4294967295-x.tmp",
            ".a.parquet.x.tmp",
            ".b.parquet.4294967295-x.tmp",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let living = AtomicFile::create(&target).unwrap();
        let file = AtomicFile::create(&target).unwrap();
        assert!(living.path().exists() && file.path().exists());
        assert!(!folder.path().join(".a.parquet.4294967295-x.tmp").exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
        std::fs::write(file.path(), "new").unwrap();
        assert_eq!(file.publish().unwrap(), 3);
        assert_eq!(std::fs::read(&target).unwrap(), b"new");
    }
}
