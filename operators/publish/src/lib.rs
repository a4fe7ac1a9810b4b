//! Operators that publish: Parquet exports and Redis.

mod batch;
mod embedded_store;
mod parquet_export;
pub mod redis;
#[cfg(test)]
mod testing;

pub use embedded_store::KEYS_TABLE;
pub use parquet_export::ParquetExport;
