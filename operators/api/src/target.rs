//! Names for places outside the store, equal for equal places.

use std::path::{Component, Path, PathBuf};

/// A file or folder. The same path may be written in several ways: `out`, `./out`, `x/../out`.
pub fn path(path: &Path) -> String {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if plain.file_name().is_some() => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    format!("`{}`", plain.display())
}

/// The keys of a pattern in a server.
pub fn keys(pattern: &str, server: &str) -> String {
    format!("the keys `{pattern}` in {server}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_places_have_equal_names() {
        assert_eq!(path(Path::new("./out/x")), path(Path::new("y/../out//x")));
        assert_ne!(path(Path::new("../out")), path(Path::new("out")));
    }
}
