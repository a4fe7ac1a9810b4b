//! Locks between runs on one store, in one process or several.
//!
//! A lock is a locked file: the system drops it with the process that holds it, however that ends. On a file system
//! without locks a lease takes its place: a file that its holder touches while it lives, and that anybody may take over
//! once it was not touched for a while.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Interval at which the holder of a lease renews it.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// A lease that was not renewed for this long has expired.
const EXPIRES_AFTER: Duration = Duration::from_secs(30);

/// A lock that is held; dropping it gives it back.
#[derive(Debug)]
pub struct Lock(Guard);

#[derive(Debug)]
enum Guard {
    File { file: File, path: PathBuf },
    Lease(#[expect(dead_code, reason = "the lease is held until it is dropped")] Lease),
}

impl Lock {
    /// The lock at `path`, or `None` while somebody else holds it.
    pub(super) fn try_take(path: &Path) -> io::Result<Option<Lock>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => {
                // The last holder may have removed the file between the opening and the locking: then this is a lock on
                // a file that nobody else will ever see.
                if !is_at(&file, path) {
                    return Ok(None);
                }
                let path = path.to_owned();
                Ok(Some(Lock(Guard::File { file, path })))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) if cannot_lock(&error) => {
                Ok(Lease::try_take(&path.with_extension("lease"), EXPIRES_AFTER)?
                    .map(|lease| Lock(Guard::Lease(lease))))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // What cannot be removed or unlocked here is dropped with the process at the latest.
        if let Guard::File { file, path } = &self.0 {
            let _ = fs::remove_file(path);
            let _ = file.unlock();
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let inode = |meta: fs::Metadata| (meta.dev(), meta.ino());
    matches!((file.metadata().map(inode), fs::metadata(path).map(inode)), (Ok(a), Ok(b)) if a == b)
}

/// Whether the error says that the file system has no locks (`ENOSYS`, `ENOTSUP`, `ENOLCK`).
pub(super) fn cannot_lock(error: &io::Error) -> bool {
    const NO_LOCKS: i32 = 37;
    error.kind() == io::ErrorKind::Unsupported || error.raw_os_error() == Some(NO_LOCKS)
}

/// A file that says that its maker lives, as long as it is touched.
#[derive(Debug)]
struct Lease {
    path: PathBuf,
    over: Arc<AtomicBool>,
}

impl Lease {
    fn try_take(path: &Path, expires_after: Duration) -> io::Result<Option<Lease>> {
        match OpenOptions::new().create_new(true).write(true).open(path) {
            Ok(file) => Ok(Some(Lease::keep(path, file))),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let age = fs::metadata(path)
                    .and_then(|meta| meta.modified())
                    .map(|time| time.elapsed());
                // A time in the future (a clock was set back) is the age of nothing: such a lease waits for its holder.
                if matches!(age, Ok(Ok(age)) if age > expires_after) {
                    // Of several that find it expired, the rename succeeds for one; the next attempt makes a new one.
                    let grave = path.with_extension(format!("expired-{}", std::process::id()));
                    if fs::rename(path, &grave).is_ok() {
                        fs::remove_file(&grave)?;
                    }
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn keep(path: &Path, file: File) -> Lease {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        std::thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                // A lease that cannot be touched runs out; the work is then done twice, which costs time only.
                let _ = file.set_modified(std::time::SystemTime::now());
                std::thread::park_timeout(HEARTBEAT);
            }
        });
        let path = path.to_owned();
        Lease { path, over }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // If it stays it runs out.
        let _ = fs::remove_file(&self.path);
    }
}

/// A lock on the whole store: shared by runs, exclusive for collection.
#[derive(Debug)]
pub struct StoreLock(#[expect(dead_code, reason = "the lock is held as long as the file is open")] File);

impl StoreLock {
    /// Takes part in the use of a store; waits while it is being collected. On a file system without locks there is
    /// nothing to wait for: collection leaves alone there what is young.
    pub(super) fn shared(path: &Path) -> io::Result<StoreLock> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.lock_shared() {
            Err(error) if !cannot_lock(&error) => Err(error),
            _ => Ok(StoreLock(file)),
        }
    }

    /// The exclusive lock on the store, or `None` while a run uses it.
    pub(super) fn exclusive(path: &Path) -> io::Result<Option<StoreLock>> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(StoreLock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let lock = Lock::try_take(&path).unwrap().expect("it is free");
        assert!(Lock::try_take(&path).unwrap().is_none());
        drop(lock);
        assert!(!path.exists());
        assert!(Lock::try_take(&path).unwrap().is_some());
    }

    #[test]
    fn a_file_that_a_dead_process_left_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "").unwrap();
        assert!(Lock::try_take(&path).unwrap().is_some());
    }

    #[test]
    fn a_lease_is_held_while_it_is_touched_and_taken_over_when_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.lease");
        let lease = Lease::try_take(&path, EXPIRES_AFTER).unwrap().expect("it is free");
        assert!(Lease::try_take(&path, EXPIRES_AFTER).unwrap().is_none());
        drop(lease);
        assert!(!path.exists());
        let dead = File::create(&path).unwrap();
        let long_ago = std::time::SystemTime::now() - 2 * EXPIRES_AFTER;
        dead.set_modified(long_ago).unwrap();
        assert!(
            Lease::try_take(&path, EXPIRES_AFTER).unwrap().is_none(),
            "it is removed first"
        );
        assert!(Lease::try_take(&path, EXPIRES_AFTER).unwrap().is_some());
    }

    #[test]
    fn a_store_in_use_is_not_held_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let one = StoreLock::shared(&path).unwrap();
        let other = StoreLock::shared(&path).unwrap();
        assert!(StoreLock::exclusive(&path).unwrap().is_none());
        drop((one, other));
        assert!(StoreLock::exclusive(&path).unwrap().is_some());
    }
}
