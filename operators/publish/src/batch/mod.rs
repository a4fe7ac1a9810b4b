//! A batch of key-value entries: encoding, spilling, change detection.

pub(crate) mod changes;
pub(crate) mod chunk;
pub(crate) mod decimal;
pub(crate) mod decode;
pub(crate) mod document_format;
pub(crate) mod documents;
pub(crate) mod field_values;
pub(crate) mod hash_fields;
pub(crate) mod key_pattern;
pub(crate) mod row_encoder;
pub(crate) mod spill;
