//! Differences of whole numbers in SQL, which DataFusion takes within their own type, where they wrap.

use arrow::datatypes::DataType;

/// The SQL of `later - earlier`, both expressions of this type: of whole numbers exact, or an error of the run where it has
/// no place in 64 bits.
pub(crate) fn difference(data_type: &DataType, later: &str, earlier: &str) -> String {
    let of = |target: &str| format!("CAST({later} AS {target}) - CAST({earlier} AS {target})");
    match data_type {
        DataType::Int64 | DataType::UInt64 => format!("CAST({} AS BIGINT)", of("DECIMAL(20, 0)")),
        small if small.is_integer() => of("BIGINT"),
        _ => format!("{later} - {earlier}"),
    }
}
