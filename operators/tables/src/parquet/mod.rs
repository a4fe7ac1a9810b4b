//! Parquet files: the writer of stored tables and its column encoders.

mod column_encoders;
mod number_column;
#[cfg(test)]
mod read_back;
mod table_writer;

pub use table_writer::TableWriter;
