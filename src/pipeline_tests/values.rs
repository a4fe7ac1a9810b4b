//! Conversion of YAML values to Arrow arrays; a value that does not fit is reported at its span.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, StringArray, UInt64Array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};

use crate::config::yaml::{Code, Diagnostic, Value, ValueKind};

/// The error for a value that does not fit its column's type.
pub(super) type ValueMismatch = Box<Diagnostic>;

/// The array of a column of this type. A missing value and `null` are null.
pub(super) fn array(values: &[Option<&Value>], data_type: &DataType) -> Result<ArrayRef, ValueMismatch> {
    let plain: ArrayRef = match data_type {
        DataType::Boolean => Arc::new(BooleanArray::from(each(values, data_type, boolean)?)),
        DataType::UInt64 => Arc::new(UInt64Array::from(each(values, data_type, unsigned)?)),
        other if other.is_integer() => Arc::new(Int64Array::from(each(values, data_type, signed)?)),
        other if other.is_numeric() => Arc::new(Float64Array::from(each(values, data_type, float)?)),
        DataType::Dictionary(_, inner) => array(values, inner)?,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            lists(values, data_type, item)?
        }
        _ => Arc::new(StringArray::from(each(values, data_type, Value::as_str)?)),
    };
    // A value that the type cannot hold becomes null, which is how it is found.
    let cast = cast(&plain, data_type).unwrap_or_else(|_| new_null_array(data_type, plain.len()));
    let lost = (0..plain.len()).find(|&row| plain.is_valid(row) && cast.is_null(row));
    match lost.and_then(|row| values[row]) {
        Some(value) => Err(mismatch(value, data_type)),
        None => Ok(cast),
    }
}

/// The result of `read` for each value.
fn each<'v, T>(
    values: &[Option<&'v Value>],
    data_type: &DataType,
    read: impl Fn(&'v Value) -> Option<T>,
) -> Result<Vec<Option<T>>, ValueMismatch> {
    values
        .iter()
        .map(|value| match value.filter(|value| value.kind != ValueKind::Null) {
            Some(value) => read(value).map(Some).ok_or_else(|| mismatch(value, data_type)),
            None => Ok(None),
        })
        .collect()
}

fn lists(values: &[Option<&Value>], data_type: &DataType, item: &Field) -> Result<ArrayRef, ValueMismatch> {
    let lists = each(values, data_type, Value::as_sequence)?;
    let items: Vec<Option<&Value>> = lists
        .iter()
        .flatten()
        .flat_map(|items| items.iter().map(Some))
        .collect();
    let offsets = OffsetBuffer::from_lengths(lists.iter().map(|items| items.map_or(0, <[Value]>::len)));
    let nulls: NullBuffer = lists.iter().map(Option::is_some).collect();
    let inner = array(&items, item.data_type())?;
    let field = Arc::new(item.clone().with_nullable(true));
    Ok(Arc::new(ListArray::new(field, offsets, inner, Some(nulls))))
}

fn boolean(value: &Value) -> Option<bool> {
    match value.kind {
        ValueKind::Bool(flag) => Some(flag),
        _ => None,
    }
}

fn unsigned(value: &Value) -> Option<u64> {
    match value.kind {
        ValueKind::UInt(number) => Some(number),
        ValueKind::Int(number) => u64::try_from(number).ok(),
        _ => None,
    }
}

fn signed(value: &Value) -> Option<i64> {
    match value.kind {
        ValueKind::Int(number) => Some(number),
        _ => None,
    }
}

fn float(value: &Value) -> Option<f64> {
    match value.kind {
        ValueKind::Float(number) => Some(number),
        ValueKind::Int(number) => Some(number as f64),
        ValueKind::UInt(number) => Some(number as f64),
        _ => None,
    }
}

fn mismatch(value: &Value, data_type: &DataType) -> ValueMismatch {
    let found = value
        .to_text()
        .map_or_else(|| value.kind_name().to_owned(), |text| format!("`{text}`"));
    let message = format!("{found} is not a value of the type {data_type}");
    let diagnostic = Diagnostic::error(Code::WrongType, message).at(value.span);
    Box::new(match data_type {
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            diagnostic.help("write it as a text in ISO 8601, such as '2024-05-01' or '2024-05-01T12:00:00'")
        }
        _ => diagnostic,
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Float32Type, Int8Type, Int64Type, TimeUnit};

    use super::*;
    use crate::config::yaml::{SourceMap, parse};

    fn values(text: &str) -> Vec<Value> {
        let parsed = parse(&mut SourceMap::default(), "rows.yaml", text.as_bytes());
        let value = parsed.value.expect("it is YAML");
        value.as_sequence().expect("it is a list").to_vec()
    }

    fn read(text: &str, data_type: &DataType) -> Result<ArrayRef, String> {
        let values = values(text);
        let values: Vec<Option<&Value>> = values.iter().map(Some).collect();
        array(&values, data_type).map_err(|mismatch| mismatch.message)
    }

    #[test]
    fn values_become_arrays_of_the_type() {
        let numbers = read("[1, null, -3]", &DataType::Int8).expect("they fit");
        assert_eq!(
            numbers.as_primitive::<Int8Type>().iter().collect::<Vec<_>>(),
            [Some(1), None, Some(-3)]
        );
        let fractions = read("[0.5, 2]", &DataType::Float32).expect("they fit");
        assert_eq!(fractions.as_primitive::<Float32Type>().values(), &[0.5, 2.0]);
        let moments = read(
            "['2024-05-01', '2024-05-01T00:00:01']",
            &DataType::Timestamp(TimeUnit::Second, None),
        );
        assert_eq!(moments.expect("they fit").len(), 2);
        let item = Arc::new(Field::new("item", DataType::Int64, true));
        let lists = read("[[1, null], [], null]", &DataType::List(item)).expect("they fit");
        let lists = lists.as_list::<i32>();
        assert_eq!(
            (lists.value_length(0), lists.value_length(1), lists.is_null(2)),
            (2, 0, true)
        );
        assert_eq!(lists.value(0).as_primitive::<Int64Type>().value(0), 1);
        let words = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        assert_eq!(read("[a, b, a]", &words).expect("they fit").data_type(), &words);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        for (text, data_type, said) in [
            ("[1, 300]", DataType::Int8, "`300` is not a value of the type Int8"),
            ("[1.5]", DataType::Int64, "`1.5` is not a value of the type Int64"),
            ("[-1]", DataType::UInt64, "`-1` is not a value of the type UInt64"),
            ("[yes]", DataType::Boolean, "`yes` is not a value of the type Boolean"),
            ("[soon]", DataType::Date32, "`soon` is not a value of the type Date32"),
            ("[[1]]", DataType::Utf8, "a list is not a value of the type Utf8"),
            ("[1]", DataType::Utf8, "`1` is not a value of the type Utf8"),
        ] {
            assert_eq!(read(text, &data_type).expect_err(text), said);
        }
    }
}
