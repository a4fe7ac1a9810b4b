//! Where the program is linked with libtorch in the usual way, it is there from the start.

use super::LoadError;

/// Loads libtorch: nothing is left to do here.
pub fn load() -> Result<(), LoadError> {
    Ok(())
}
