//! File stamps, which show that a file is unchanged without reading it.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A file system's clock moves in steps of a few milliseconds: what changed less than this ago can change again under
/// the same time.
const SETTLED_AFTER_NANOS: i128 = 100_000_000;

/// Size, times and inode of a file. The change time catches an edit that sets the modification time back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    inode: u64,
}

impl Stamp {
    /// The stamp of a file as it is now.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Stamp::from(&fs::metadata(path)?))
    }

    /// The file's length.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether any later change would get another stamp. A stamp in the future (the clock was set back) is not settled.
    pub fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let changed = i128::from(self.changed.0) * 1_000_000_000 + i128::from(self.changed.1);
        now.as_nanos() as i128 - changed > SETTLED_AFTER_NANOS
    }
}

impl From<&Metadata> for Stamp {
    fn from(meta: &Metadata) -> Self {
        Stamp {
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
        }
    }
}
