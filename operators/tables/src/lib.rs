//! Arrow tables on disk and in query plans: Parquet writer, spill files, scalar functions, SQL planning.

pub mod array_function;
pub mod atomic_file;
pub mod parquet;
pub mod spill;
pub mod sql_planning;

pub use atomic_file::AtomicFile;
pub use parquet::TableWriter;
