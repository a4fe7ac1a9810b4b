//! The values of a column, as text for keys and documents.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float32Array, Float64Array, Int64Array, StringArray};
use arrow::array::{ListArray, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, UInt64Type};

use crate::batch::decimal::{push_int, push_ints, push_uint, push_uints};
use towline_api::{OperatorError, Result};

/// Values that can stand in a document; whole numbers and text can stand in a key as well.
pub(crate) enum Cells {
    Int(Int64Array),
    UInt(UInt64Array),
    Text(StringArray),
    Bool(BooleanArray),
    Short(Float32Array),
    Long(Float64Array),
}

impl Cells {
    /// The values of an array: numbers and truth values stay what they are, everything else becomes text.
    pub(crate) fn of(array: &ArrayRef) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::UInt64 => Cells::UInt(array.as_primitive::<UInt64Type>().clone()),
            other if other.is_integer() => {
                Cells::Int(cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
            }
            DataType::Boolean => Cells::Bool(array.as_boolean().clone()),
            DataType::Float32 => Cells::Short(array.as_primitive::<Float32Type>().clone()),
            DataType::Float64 => Cells::Long(array.as_primitive::<Float64Type>().clone()),
            _ => Cells::Text(cast(array, &DataType::Utf8)?.as_string::<i32>().clone()),
        })
    }

    /// Whether a column of this type can stand in a key.
    pub(crate) fn takes(data_type: &DataType) -> bool {
        data_type.is_integer() || matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
    }

    /// Whether there is no value at `row`.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        match self {
            Cells::Int(cells) => cells.is_null(row),
            Cells::UInt(cells) => cells.is_null(row),
            Cells::Text(cells) => cells.is_null(row),
            Cells::Bool(cells) => cells.is_null(row),
            Cells::Short(cells) => cells.is_null(row),
            Cells::Long(cells) => cells.is_null(row),
        }
    }

    /// Whether the value at `row` is infinite or NaN.
    pub(crate) fn is_no_number(&self, row: usize) -> bool {
        match self {
            Cells::Short(cells) => !cells.is_null(row) && !cells.value(row).is_finite(),
            Cells::Long(cells) => !cells.is_null(row) && !cells.value(row).is_finite(),
            _ => false,
        }
    }

    /// Appends the value at `row` as plain text.
    pub(crate) fn push_text(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Cells::Int(cells) => push_int(cells.value(row), out),
            Cells::UInt(cells) => push_uint(cells.value(row), out),
            Cells::Text(cells) => out.extend_from_slice(cells.value(row).as_bytes()),
            Cells::Bool(cells) => out.extend_from_slice(if cells.value(row) { b"true" } else { b"false" }),
            // The shortest text that reads back as the same number, always with a point or an exponent.
            Cells::Short(cells) => out.extend_from_slice(format!("{:?}", cells.value(row)).as_bytes()),
            Cells::Long(cells) => out.extend_from_slice(format!("{:?}", cells.value(row)).as_bytes()),
        }
    }

    /// Appends the values in a range as JSON, with `, ` between them, if they are whole numbers and none is missing; else
    /// nothing, and returns `false`.
    pub(crate) fn push_whole(&self, range: Range<usize>, out: &mut Vec<u8>) -> bool {
        match self {
            Cells::Int(cells) if cells.null_count() == 0 => push_ints(&cells.values()[range], out),
            Cells::UInt(cells) if cells.null_count() == 0 => push_uints(&cells.values()[range], out),
            _ => return false,
        }
        true
    }

    /// Appends the value at `row` as JSON.
    pub(crate) fn push_json(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Cells::Text(cells) => push_json_text(cells.value(row), out),
            Cells::Short(cells) if !cells.value(row).is_finite() => out.extend_from_slice(b"null"),
            Cells::Long(cells) if !cells.value(row).is_finite() => out.extend_from_slice(b"null"),
            _ => self.push_text(row, out),
        }
    }
}

/// Appends a text as a JSON string.
pub(crate) fn push_json_text(text: &str, out: &mut Vec<u8>) {
    // Text becomes JSON, and writing into memory goes well, always.
    let _ = serde_json::to_writer(out, text);
}

/// The lists of a column, in whichever layout they came.
pub(crate) struct Lists {
    pub(crate) items: Cells,
    ranges: Vec<Range<usize>>,
}

impl Lists {
    /// `name` is the column, for errors.
    pub(crate) fn of(name: &str, array: &ArrayRef) -> Result<Self> {
        let lists = one_layout(name, array)?;
        let offsets = lists.offsets();
        let range = |row: usize| {
            if lists.is_null(row) {
                0..0
            } else {
                offsets[row] as usize..offsets[row + 1] as usize
            }
        };
        Ok(Lists {
            items: Cells::of(lists.values())?,
            ranges: (0..lists.len()).map(range).collect(),
        })
    }

    /// Where the items of the list at `row` are; none for a list that is null.
    pub(crate) fn range(&self, row: usize) -> Range<usize> {
        self.ranges[row].clone()
    }
}

/// Lists of any layout as lists of any length each.
pub(crate) fn one_layout(name: &str, array: &ArrayRef) -> Result<ListArray> {
    let lists = match array.data_type() {
        DataType::List(_) => Arc::clone(array),
        DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            cast(array, &DataType::List(Arc::clone(field)))?
        }
        other => return Err(OperatorError::internal(format!("`{name}` holds {other}, not lists"))),
    };
    Ok(lists.as_list::<i32>().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_values_read_back_as_what_they_were() {
        let text = |array: ArrayRef| {
            let mut out = Vec::new();
            Cells::of(&array).unwrap().push_json(0, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(Arc::new(Float32Array::from(vec![0.1]))), "0.1");
        assert_eq!(text(Arc::new(Float64Array::from(vec![2.0]))), "2.0");
        assert_eq!(text(Arc::new(Float64Array::from(vec![f64::NAN]))), "null");
        assert_eq!(text(Arc::new(BooleanArray::from(vec![true]))), "true");
        assert_eq!(text(Arc::new(StringArray::from(vec!["a\"b\n"]))), r#""a\"b\n""#);
    }
}
