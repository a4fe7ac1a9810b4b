//! Arrow tables beyond memory and in plans: a Parquet writer, sorted runs on disk, functions over columns, SQL planning.

pub mod array_function;
pub mod atomic_file;
pub mod parquet;
pub mod sorted_runs;
pub mod sql_planning;

pub use atomic_file::AtomicFile;
pub use parquet::TableWriter;
