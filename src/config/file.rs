//! Reading pipeline files, with what is not one refused before it is read.

use std::fs;
use std::path::Path;

use crate::config::yaml;

/// The bytes of a file, or why there are none.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err("it is a directory".to_owned()),
        // A pipe or a device may never end.
        Ok(metadata) if !metadata.is_file() => Err("it is not a regular file".to_owned()),
        Ok(metadata) if metadata.len() > yaml::MAX_BYTES as u64 => {
            Err(format!("it has {} bytes: this is not a pipeline", metadata.len()))
        }
        Ok(_) => fs::read(path).map_err(|error| error.to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err("there is no such file".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
