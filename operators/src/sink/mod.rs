//! Operators that publish: to Parquet files, and to a key-value store that an online service reads.

mod atomic_file;
mod cells;
mod changes;
mod chunk;
mod decimal;
mod decode;
mod documents;
mod embedded_store;
mod entries;
mod hash_fields;
mod key_pattern;
mod parquet_export;
mod redis;
mod spill;
#[cfg(test)]
mod testing;

pub use self::redis::{Document, Encoding, Gates, MaxChange, Metric, Publish, RedisSink, Stale, VectorSink};
pub(crate) use atomic_file::AtomicFile;
pub use embedded_store::KEYS_TABLE;
pub use parquet_export::ParquetExport;
