//! Operators that publish: to Parquet files, and to a key-value store that an online service reads.

mod atomic_file;
mod decode;
mod document;
mod embedded_store;
mod entries;
mod key_pattern;
mod parquet_export;
mod redis_server;
mod redis_sink;
#[cfg(test)]
mod redis_tests;
mod redis_url;
#[cfg(test)]
mod testing;

pub(crate) use atomic_file::AtomicFile;
pub use embedded_store::KEYS_TABLE;
pub use parquet_export::ParquetExport;
pub use redis_sink::RedisSink;
