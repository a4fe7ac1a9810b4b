//! Default values of parameters that several sinks have.

pub(crate) fn default_chunk() -> usize {
    512
}

pub(crate) fn default_in_flight() -> usize {
    8
}

pub(crate) fn default_connections() -> usize {
    1
}

pub(crate) fn default_retry_timeout() -> u64 {
    30
}

/// For serde: keeps a flag that is off out of the cache key.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference to the field"
)]
pub(crate) fn is_false(flag: &bool) -> bool {
    !flag
}
