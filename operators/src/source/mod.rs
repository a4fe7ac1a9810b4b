//! Operators that bring data in.

mod csv;
mod declared;
mod location;
mod parquet;
mod planted_optimum;
mod synthetic_ali_ccp;

pub use csv::CsvSource;
pub(crate) use declared::data_type;
pub use parquet::ParquetSource;
pub use synthetic_ali_ccp::SyntheticAliCcp;
