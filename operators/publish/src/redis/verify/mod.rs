//! Verification of published generations.

pub(crate) mod integrity;
pub(crate) mod receipt_check;
