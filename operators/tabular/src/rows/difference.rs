//! Integer differences in SQL: DataFusion computes them in the operands' type, where they can wrap around.

use arrow::datatypes::DataType;

/// SQL for `later - earlier`, both of this type. Integer differences are exact; one that overflows 64 bits is a runtime
/// error.
pub(crate) fn difference(data_type: &DataType, later: &str, earlier: &str) -> String {
    let of = |target: &str| format!("CAST({later} AS {target}) - CAST({earlier} AS {target})");
    match data_type {
        DataType::Int64 | DataType::UInt64 => format!("CAST({} AS BIGINT)", of("DECIMAL(20, 0)")),
        small if small.is_integer() => of("BIGINT"),
        _ => format!("{later} - {earlier}"),
    }
}
