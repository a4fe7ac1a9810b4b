//! Hashes rows by content to numbers in [0, 1).

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::common::Result as DataFusionResult;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// `row_place_<seed>(columns...)`: a uniform hash of a row's content in [0, 1).
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowPlace {
    name: String,
    seed: u64,
    signature: Signature,
}

impl RowPlace {
    pub(crate) fn new(seed: u64) -> Self {
        let signature = Signature::variadic_any(Volatility::Immutable);
        RowPlace {
            name: format!("row_place_{seed}"),
            seed,
            signature,
        }
    }
}

impl ScalarUDFImpl for RowPlace {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DataFusionResult<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let columns = args
            .args
            .iter()
            .map(|arg| arg.to_array(args.number_rows))
            .collect::<DataFusionResult<Vec<ArrayRef>>>()?;
        let fields = columns
            .iter()
            .map(|column| SortField::new(column.data_type().clone()))
            .collect();
        let rows = RowConverter::new(fields)?.convert_columns(&columns)?;
        // A double represents 53-bit integers exactly.
        let place = |bytes: &[u8]| (xxh3_64_with_seed(bytes, self.seed) >> 11) as f64 / (1_u64 << 53) as f64;
        let places = Float64Array::from_iter_values(rows.iter().map(|row| place(row.as_ref())));
        Ok(ColumnarValue::Array(Arc::new(places)))
    }
}
