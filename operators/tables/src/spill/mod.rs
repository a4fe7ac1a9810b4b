//! Data beyond the memory limit: record batches in temporary Arrow IPC files, and an external sort on top of them.

pub mod external_sort;
pub mod spill_file;
