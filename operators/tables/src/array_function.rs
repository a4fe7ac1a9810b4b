//! DataFusion scalar functions over whole columns, named by everything that determines their result.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use towline_api::Result;

/// The type of a column, and whether it is nullable.
pub type ColumnType = (DataType, bool);

struct ArrayFunction {
    name: String,
    signature: Signature,
    typing: Arc<dyn Fn(&[ColumnType]) -> ColumnType + Send + Sync>,
    body: Arc<dyn Fn(&[ArrayRef]) -> Result<ArrayRef> + Send + Sync>,
}

/// A scalar function `name` of `columns`: `body` receives them as arrays of equal length and returns an array of the
/// type that `typing` derives. The name must contain everything that `typing` and `body` depend on: functions with
/// equal names are treated as equal.
pub fn typed_function(
    name: String,
    columns: Vec<Expr>,
    typing: impl Fn(&[ColumnType]) -> ColumnType + Send + Sync + 'static,
    body: impl Fn(&[ArrayRef]) -> Result<ArrayRef> + Send + Sync + 'static,
) -> Expr {
    let function = ArrayFunction {
        name,
        signature: Signature::variadic_any(Volatility::Immutable),
        typing: Arc::new(typing),
        body: Arc::new(body),
    };
    ScalarUDF::new_from_impl(function).call(columns)
}

/// A [`typed_function`] with a fixed return type.
pub fn array_function(
    name: String,
    output: DataType,
    nullable: bool,
    columns: Vec<Expr>,
    body: impl Fn(&[ArrayRef]) -> Result<ArrayRef> + Send + Sync + 'static,
) -> Expr {
    let name = format!("{name}:{output}");
    typed_function(name, columns, move |_| (output.clone(), nullable), body)
}

/// A [`typed_function`] of one column that returns the column's own type.
pub fn same_type(
    name: String,
    column: Expr,
    body: impl Fn(&ArrayRef) -> Result<ArrayRef> + Send + Sync + 'static,
) -> Expr {
    let typing = |columns: &[ColumnType]| columns.first().cloned().unwrap_or((DataType::Null, true));
    typed_function(name, vec![column], typing, move |arrays| body(&arrays[0]))
}

impl fmt::Debug for ArrayFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrayFunction")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl PartialEq for ArrayFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ArrayFunction {}

impl Hash for ArrayFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for ArrayFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DataFusionResult<DataType> {
        let columns: Vec<ColumnType> = types.iter().map(|data_type| (data_type.clone(), true)).collect();
        Ok((self.typing)(&columns).0)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DataFusionResult<FieldRef> {
        let columns = args
            .arg_fields
            .iter()
            .map(|field| (field.data_type().clone(), field.is_nullable()));
        let (data_type, nullable) = (self.typing)(&columns.collect::<Vec<_>>());
        Ok(Arc::new(Field::new(&self.name, data_type, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let arrays = args.args.iter().map(|value| value.to_array(args.number_rows));
        let arrays = arrays.collect::<DataFusionResult<Vec<_>>>()?;
        let out = (self.body)(&arrays).map_err(|error| DataFusionError::Execution(error.to_string()))?;
        Ok(ColumnarValue::Array(out))
    }
}
