//! Checks of what is published against the receipt.

pub(crate) mod integrity;
pub(crate) mod receipt_check;
