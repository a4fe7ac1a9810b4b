//! The JSON documents that are stored under the keys, in the bytes that Python's `json.dumps` would write.

use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, UInt64Type};

use crate::contract::{OperatorError, Result};

/// Values that can stand in a key or a document.
pub(super) enum Cells {
    Int(Int64Array),
    UInt(UInt64Array),
    Text(StringArray),
}

impl Cells {
    /// The values of an array: integers stay integers, everything else becomes text.
    pub(super) fn of(array: &ArrayRef) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::UInt64 => Cells::UInt(array.as_primitive::<UInt64Type>().clone()),
            other if other.is_integer() => {
                Cells::Int(cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
            }
            _ => Cells::Text(cast(array, &DataType::Utf8)?.as_string::<i32>().clone()),
        })
    }

    /// Whether a column of this type can be used.
    pub(super) fn takes(data_type: &DataType) -> bool {
        data_type.is_integer() || matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
    }

    /// Whether there is no value at `row`.
    pub(super) fn is_null(&self, row: usize) -> bool {
        match self {
            Cells::Int(cells) => cells.is_null(row),
            Cells::UInt(cells) => cells.is_null(row),
            Cells::Text(cells) => cells.is_null(row),
        }
    }

    /// Appends the value at `row` as plain text.
    pub(super) fn push_text(&self, row: usize, out: &mut String) {
        // Writing into a string cannot fail.
        let _ = match self {
            Cells::Int(cells) => write!(out, "{}", cells.value(row)),
            Cells::UInt(cells) => write!(out, "{}", cells.value(row)),
            Cells::Text(cells) => out.write_str(cells.value(row)),
        };
    }

    fn push_json(&self, row: usize, out: &mut String) {
        match self {
            Cells::Text(cells) => out.push_str(&json_text(cells.value(row))),
            _ => self.push_text(row, out),
        }
    }
}

fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The documents of one batch of rows.
pub(super) struct Documents {
    prefix: String,
    items: Cells,
    ranges: Vec<std::ops::Range<usize>>,
}

impl Documents {
    /// `user` is the name of the user's id column, `recommendations` the column of lists.
    pub(super) fn new(user: &str, recommendations: &ArrayRef) -> Result<Self> {
        // One layout for every kind of list.
        let lists = match recommendations.data_type() {
            DataType::List(_) => std::sync::Arc::clone(recommendations),
            DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
                cast(recommendations, &DataType::List(std::sync::Arc::clone(field)))?
            }
            other => {
                return Err(OperatorError::invalid(format!(
                    "`recommendations` holds {other}, not lists"
                )));
            }
        };
        let lists = lists.as_list::<i32>();
        let offsets = lists.offsets();
        let ranges = (0..lists.len())
            .map(|row| {
                if lists.is_null(row) {
                    0..0
                } else {
                    offsets[row] as usize..offsets[row + 1] as usize
                }
            })
            .collect();
        Ok(Documents {
            prefix: format!("{{{}: ", json_text(user)),
            items: Cells::of(lists.values())?,
            ranges,
        })
    }

    /// The document of `row`, and how many recommendations were left out because they are null.
    pub(super) fn encode(&self, users: &Cells, row: usize) -> (Vec<u8>, u64) {
        let mut out = String::with_capacity(self.prefix.len() + 32 + 12 * self.ranges[row].len());
        out.push_str(&self.prefix);
        users.push_json(row, &mut out);
        out.push_str(", \"recommendations\": [");
        let mut dropped = 0;
        let mut first = true;
        for item in self.ranges[row].clone() {
            if self.items.is_null(item) {
                dropped += 1;
                continue;
            }
            if !first {
                out.push_str(", ");
            }
            first = false;
            self.items.push_json(item, &mut out);
        }
        out.push_str("]}");
        (out.into_bytes(), dropped)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{FixedSizeListArray, ListArray, ListBuilder, StringBuilder};

    use super::*;

    fn text(documents: &Documents, users: &Cells, row: usize) -> String {
        String::from_utf8(documents.encode(users, row).0).unwrap()
    }

    #[test]
    fn writes_the_bytes_of_json_dumps() {
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
            Some(vec![Some(1), Some(2), Some(3)]),
            None,
            Some(vec![None, Some(-4)]),
        ]);
        let documents = Documents::new("user_id", &(Arc::new(lists) as ArrayRef)).unwrap();
        let users = Cells::of(&(Arc::new(UInt64Array::from(vec![42, u64::MAX, 7])) as ArrayRef)).unwrap();
        assert_eq!(
            text(&documents, &users, 0),
            r#"{"user_id": 42, "recommendations": [1, 2, 3]}"#
        );
        assert_eq!(
            text(&documents, &users, 1),
            r#"{"user_id": 18446744073709551615, "recommendations": []}"#
        );
        assert_eq!(
            documents.encode(&users, 2),
            (br#"{"user_id": 7, "recommendations": [-4]}"#.to_vec(), 1)
        );
    }

    #[test]
    fn escapes_text() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("a\"b"), Some("c\\\n")]);
        let documents = Documents::new("u", &(Arc::new(lists.finish()) as ArrayRef)).unwrap();
        let users = Cells::of(&(Arc::new(StringArray::from(vec!["x/é"])) as ArrayRef)).unwrap();
        assert_eq!(
            text(&documents, &users, 0),
            r#"{"u": "x/é", "recommendations": ["a\"b", "c\\\n"]}"#
        );
    }

    #[test]
    fn takes_lists_of_fixed_size() {
        let lists = FixedSizeListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1), Some(2)])], 2);
        let documents = Documents::new("u", &(Arc::new(lists) as ArrayRef)).unwrap();
        let users = Cells::of(&(Arc::new(Int64Array::from(vec![-1])) as ArrayRef)).unwrap();
        assert_eq!(text(&documents, &users, 0), r#"{"u": -1, "recommendations": [1, 2]}"#);
    }
}
