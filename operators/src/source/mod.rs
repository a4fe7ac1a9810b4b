//! Operators that bring data in.

mod csv;
mod declared;
mod location;
mod parquet;
mod planted_optimum;
mod planted_rule;
mod synthetic_ali_ccp;

pub use csv::CsvSource;
pub(crate) use declared::data_type;
pub use parquet::ParquetSource;
pub(crate) use planted_rule::{PlantedRule, TASTES, suits, taste};
pub use synthetic_ali_ccp::SyntheticAliCcp;
