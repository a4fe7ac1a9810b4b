//! The DataFusion session that plans are built and run in.

use datafusion::prelude::{SessionConfig, SessionContext};

/// A session whose plans keep the order of rows: one partition, names as they are written, plain string arrays.
pub(crate) fn session() -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(1).with_batch_size(8192);
    let options = config.options_mut();
    options.sql_parser.enable_ident_normalization = false;
    options.execution.parquet.schema_force_view_types = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    SessionContext::new_with_config(config)
}
