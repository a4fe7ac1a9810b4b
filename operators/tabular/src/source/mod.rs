//! Sources: operators that read files.

pub(crate) mod csv;
pub(crate) mod location;
pub(crate) mod parquet;

pub use csv::CsvSource;
pub use parquet::ParquetSource;
