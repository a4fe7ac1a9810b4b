//! A DataFusion function over whole columns, named by everything that decides what it does.

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

/// The type of a column, and whether it may hold null.
pub type ColumnType = (DataType, bool);

struct ArrayFunction {
    name: String,
    signature: Signature,
    typing: Arc<dyn Fn(&[ColumnType]) -> ColumnType + Send + Sync>,
    body: Arc<dyn Fn(&[ArrayRef]) -> Result<ArrayRef> + Send + Sync>,
}

/// The function `name` of `columns`: `body` gets them as arrays of equal length and returns one of the type that `typing`
/// makes of theirs. The name must hold whatever `typing` and `body` depend on: two functions of one name are one.
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

/// A [`typed_function`] whose result is of one type, whatever the columns.
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

/// A [`typed_function`] of one column, whose result has the column's own type.
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
