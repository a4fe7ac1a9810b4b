//! Keyed digests of values that may be secrets.
//!
//! A plain digest of a password can be guessed offline by anyone who reads the store, or a shared store that got its
//! fingerprints. The key of these digests is random, made once per store, and never leaves its folder. So work that depends on
//! such a value is reused in one store, and has another cache key in every other one.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use crate::store::{Result, Store, at};

/// The file of the key, readable by its owner alone.
const KEY_FILE: &str = "secret.key";
const KEY_BYTES: usize = blake3::KEY_LEN;

impl Store {
    /// The keyed digest of a value that may be a secret, in hex. Equal values have equal digests in one store.
    pub fn secret_digest(&self, value: &serde_json::Value) -> Result<String> {
        let key = self.secret_key()?;
        let digest = blake3::keyed_hash(&key, value.to_string().as_bytes());
        Ok(digest.to_hex().to_string())
    }

    fn secret_key(&self) -> Result<[u8; KEY_BYTES]> {
        let path = self.root.join(KEY_FILE);
        if let Some(key) = read_key(&path)? {
            return Ok(key);
        }
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(|error| at(&path)(io::Error::other(error.to_string())))?;
        let parent = self.root.join("tmp");
        let mut file = tempfile::NamedTempFile::new_in(&parent).map_err(at(&parent))?;
        file.write_all(&key).map_err(at(&path))?;
        file.as_file().sync_all().map_err(at(&path))?;
        match file.persist_noclobber(&path) {
            Ok(_) => Ok(key),
            Err(lost) => match read_key(&path)? {
                // Another run has made it meanwhile.
                Some(theirs) => Ok(theirs),
                None => Err(at(&path)(lost.error)),
            },
        }
    }
}

/// The key, if it is there; one that is damaged is removed, so that a new one is made.
fn read_key(path: &Path) -> Result<Option<[u8; KEY_BYTES]>> {
    match fs::read(path) {
        Ok(bytes) => match <[u8; KEY_BYTES]>::try_from(bytes) {
            Ok(key) => Ok(Some(key)),
            Err(_) => fs::remove_file(path).map(|()| None).map_err(at(path)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;

    #[test]
    fn digests_are_the_same_in_one_store_and_differ_between_stores() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (store, other) = (Store::open(here.path()).unwrap(), Store::open(there.path()).unwrap());
        let value = json!("hunter2");
        let digest = store.secret_digest(&value).unwrap();
        assert_eq!(Store::open(here.path()).unwrap().secret_digest(&value).unwrap(), digest);
        assert_ne!(store.secret_digest(&json!("hunter3")).unwrap(), digest);
        assert_ne!(other.secret_digest(&value).unwrap(), digest);
        assert_ne!(crate::store::digest_json(&value), digest);
        let mode = fs::metadata(here.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }

    #[test]
    fn a_damaged_key_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        fs::write(folder.path().join(KEY_FILE), "short").unwrap();
        let digest = store.secret_digest(&json!(1)).unwrap();
        assert_eq!(store.secret_digest(&json!(1)).unwrap(), digest);
    }
}
