//! Files that appear whole: written under a temporary name in the same folder, made durable, then renamed.

use std::fs::File;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use crate::contract::{OperatorError, Result};

/// A file that is not visible yet; dropped without [`AtomicFile::publish`], it leaves nothing behind.
pub(crate) struct AtomicFile {
    temp: TempPath,
    folder: PathBuf,
    target: PathBuf,
}

impl AtomicFile {
    /// An empty file that will become `target`; missing folders are made.
    pub(crate) fn create(target: &Path) -> Result<Self> {
        let folder = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        std::fs::create_dir_all(&folder).map_err(OperatorError::io(&folder))?;
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let temp = builder(&format!(".{name}."), &folder).map_err(OperatorError::io(target))?;
        Ok(AtomicFile {
            temp: temp.into_temp_path(),
            folder,
            target: target.to_owned(),
        })
    }

    /// Where to write until it is published.
    pub(crate) fn path(&self) -> &Path {
        &self.temp
    }

    /// Makes the bytes durable and gives the file its name, replacing an older one in one step. Returns its size.
    pub(crate) fn publish(self) -> Result<u64> {
        let file = File::open(&self.temp).map_err(OperatorError::io(&self.target))?;
        file.sync_all().map_err(OperatorError::io(&self.target))?;
        let size = file.metadata().map_err(OperatorError::io(&self.target))?.len();
        self.temp
            .persist(&self.target)
            .map_err(|error| OperatorError::io(&self.target)(error.error))?;
        // The rename itself is durable only when the folder is.
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(OperatorError::io(&self.folder))?;
        Ok(size)
    }
}

fn builder(prefix: &str, folder: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix).suffix(".tmp");
    // Temporary files are private by default; a published one has the permissions that any new file has.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}
