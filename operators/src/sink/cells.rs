//! The values of a column, as text for keys and documents.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float32Array, Float64Array, Int64Array, StringArray};
use arrow::array::{ListArray, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, UInt64Type};

use crate::contract::{OperatorError, Result};

/// Values that can stand in a document; whole numbers and text can stand in a key as well.
pub(super) enum Cells {
    Int(Int64Array),
    UInt(UInt64Array),
    Text(StringArray),
    Bool(BooleanArray),
    Short(Float32Array),
    Long(Float64Array),
}

impl Cells {
    /// The values of an array: numbers and truth values stay what they are, everything else becomes text.
    pub(super) fn of(array: &ArrayRef) -> Result<Self> {
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
    pub(super) fn takes(data_type: &DataType) -> bool {
        data_type.is_integer() || matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
    }

    /// Whether there is no value at `row`.
    pub(super) fn is_null(&self, row: usize) -> bool {
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
    pub(super) fn is_no_number(&self, row: usize) -> bool {
        match self {
            Cells::Short(cells) => !cells.is_null(row) && !cells.value(row).is_finite(),
            Cells::Long(cells) => !cells.is_null(row) && !cells.value(row).is_finite(),
            _ => false,
        }
    }

    /// Appends the value at `row` as plain text.
    pub(super) fn push_text(&self, row: usize, out: &mut Vec<u8>) {
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

    /// Appends the value at `row` as JSON.
    pub(super) fn push_json(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Cells::Text(cells) => push_json_text(cells.value(row), out),
            Cells::Short(cells) if !cells.value(row).is_finite() => out.extend_from_slice(b"null"),
            Cells::Long(cells) if !cells.value(row).is_finite() => out.extend_from_slice(b"null"),
            _ => self.push_text(row, out),
        }
    }
}

/// Appends a text as a JSON string.
pub(super) fn push_json_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

fn push_int(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    push_uint(value.unsigned_abs(), out);
}

/// Appends a number in decimal; two digits at a time, because lists are mostly numbers.
fn push_uint(mut value: u64, out: &mut Vec<u8>) {
    const PAIRS: &[u8; 200] = b"00010203040506070809101112131415161718192021222324252627282930313233343536373839\
        40414243444546474849505152535455565758596061626364656667686970717273747576777879\
        8081828384858687888990919293949596979899";
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    while value >= 100 {
        let pair = (value % 100) as usize * 2;
        value /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if value >= 10 {
        let pair = value as usize * 2;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        digits[at] = b'0' + value as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

/// The lists of a column, in whichever layout they came.
pub(super) struct Lists {
    pub(super) items: Cells,
    ranges: Vec<Range<usize>>,
}

impl Lists {
    /// `name` is the column, for errors.
    pub(super) fn of(name: &str, array: &ArrayRef) -> Result<Self> {
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
    pub(super) fn range(&self, row: usize) -> Range<usize> {
        self.ranges[row].clone()
    }
}

/// Lists of any layout as lists of any length each.
pub(super) fn one_layout(name: &str, array: &ArrayRef) -> Result<ListArray> {
    let lists = match array.data_type() {
        DataType::List(_) => Arc::clone(array),
        DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            cast(array, &DataType::List(Arc::clone(field)))?
        }
        other => return Err(OperatorError::invalid(format!("`{name}` holds {other}, not lists"))),
    };
    Ok(lists.as_list::<i32>().clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whole_numbers_are_written_in_decimal(value in any::<i64>(), unsigned in any::<u64>(), small in 0_u64..2000) {
            for (number, text) in [(unsigned, unsigned.to_string()), (small, small.to_string())] {
                let mut out = Vec::new();
                push_uint(number, &mut out);
                prop_assert_eq!(String::from_utf8(out).unwrap(), text);
            }
            let mut out = Vec::new();
            push_int(value, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }

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
