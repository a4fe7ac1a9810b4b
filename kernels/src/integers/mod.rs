//! Integer columns: counting, ranking, sorting, dictionary ids, bit packing.

mod counts;
mod dictionary;
mod packing;

pub use counts::{IntegerCounts, IntegerIds, rank, sort, widened};
pub use dictionary::IntegerDictionary;
pub use packing::{bits, pack_differences, pack_flags, pack_run, pack_runs};
