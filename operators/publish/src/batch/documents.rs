//! Documents: JSON in the bytes that Python's `json.dumps` writes, or fields of a hash.

use std::cell::Cell;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type};

use crate::batch::document_format::{DocumentFormat, RECOMMENDATIONS, SCORES};
use crate::batch::field_values::{ColumnValues, ListValues, as_list_array, push_json_text};
use crate::batch::hash_fields::push_field;
use towline_api::{OperatorError, Result};

/// Documents of a record batch.
pub(crate) enum Documents {
    ListValues {
        format: DocumentFormat,
        prefix: Vec<u8>,
        items: ListValues,
        scores: Option<ListValues>,
    },
    Fields(Vec<(String, HashField)>),
    Vectors {
        id: (String, ColumnValues),
        name: String,
        values: Float32Array,
        offsets: OffsetBuffer<i32>,
    },
}

/// Column whose values become hash fields.
pub(crate) enum HashField {
    Scalar(ColumnValues),
    List(ListValues, ArrayRef),
}

impl Documents {
    /// JSON documents with a list; `user` is the name of the user's id column.
    pub(crate) fn lists(
        format: DocumentFormat,
        user: &str,
        items: &ArrayRef,
        scores: Option<&ArrayRef>,
    ) -> Result<Self> {
        let mut prefix = b"{".to_vec();
        push_json_text(user, &mut prefix);
        prefix.extend_from_slice(b": ");
        let items = ListValues::of(RECOMMENDATIONS, items)?;
        let scores = scores.map(|scores| ListValues::of(SCORES, scores)).transpose()?;
        Ok(Documents::ListValues {
            format,
            prefix,
            items,
            scores,
        })
    }

    /// Hashes with a field per column.
    pub(crate) fn fields(columns: Vec<(String, ArrayRef)>) -> Result<Self> {
        let fields = columns.into_iter().map(|(name, array)| {
            let nested = matches!(
                array.data_type(),
                DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
            );
            let field = if nested {
                HashField::List(ListValues::of(&name, &array)?, array)
            } else {
                HashField::Scalar(ColumnValues::of(&array)?)
            };
            Ok((name, field))
        });
        Ok(Documents::Fields(fields.collect::<Result<_>>()?))
    }

    /// Hashes with an id and a vector. `dimension` is the length of earlier vectors, and set by the first one; another length is
    /// an error, and so is a missing or non-finite value.
    pub(crate) fn vectors(
        id: (&str, &ArrayRef),
        vector: (&str, &ArrayRef),
        dimension: &Cell<Option<usize>>,
    ) -> Result<Self> {
        let (name, array) = vector;
        let lists = as_list_array(name, array)?;
        let floats = cast(lists.values(), &DataType::Float32)?;
        let values = floats.as_primitive::<Float32Type>().clone();
        let (ids, offsets) = (ColumnValues::of(id.1)?, lists.offsets().clone());
        for row in (0..lists.len()).filter(|row| !ids.is_null(*row)) {
            let wrong = |what: &str| {
                let mut item = Vec::new();
                ids.push_text(row, &mut item);
                let item = String::from_utf8_lossy(&item);
                OperatorError::invalid(format!("`{name}` of the item `{item}` {what}; nothing was published"))
            };
            let range = offsets[row] as usize..offsets[row + 1] as usize;
            if lists.is_null(row) || range.is_empty() {
                return Err(wrong("holds no vector"));
            }
            let expected = dimension.get().unwrap_or(range.len());
            if range.len() != expected {
                let length = range.len();
                return Err(wrong(&format!(
                    "has {length} values where those before have {expected}"
                )));
            }
            dimension.set(Some(expected));
            if range
                .clone()
                .any(|at| values.is_null(at) || !values.value(at).is_finite())
            {
                return Err(wrong("has a value that is missing or not a number"));
            }
        }
        Ok(Documents::Vectors {
            id: (id.0.to_owned(), ids),
            name: name.to_owned(),
            values,
            offsets,
        })
    }

    /// Appends the document of `row`. Returns the number of null recommendations, which are skipped.
    pub(crate) fn encode(&self, users: &ColumnValues, row: usize, out: &mut Vec<u8>) -> Result<u64> {
        match self {
            Documents::ListValues {
                format,
                prefix,
                items,
                scores,
            } => {
                out.extend_from_slice(prefix);
                users.push_json(row, out);
                out.extend_from_slice(b", \"recommendations\": [");
                let dropped = encode_list(*format, items, scores.as_ref(), row, out)?;
                out.push(b'}');
                Ok(dropped)
            }
            Documents::Fields(fields) => {
                for (name, field) in fields {
                    match field {
                        HashField::Scalar(cells) if cells.is_null(row) => {}
                        HashField::Scalar(cells) => push_field(name, out, |out| cells.push_text(row, out)),
                        HashField::List(_, array) if array.is_null(row) => {}
                        HashField::List(lists, _) => push_field(name, out, |out| push_list(lists, row, out)),
                    }
                }
                Ok(0)
            }
            Documents::Vectors {
                id: (id, ids),
                name,
                values,
                offsets,
            } => {
                push_field(id, out, |out| ids.push_text(row, out));
                push_field(name, out, |out| {
                    let vector = &values.values()[offsets[row] as usize..offsets[row + 1] as usize];
                    out.extend(vector.iter().flat_map(|value| value.to_le_bytes()));
                });
                Ok(0)
            }
        }
    }

    /// Number of recommendations at `row`; 1 for documents without a list.
    pub(crate) fn length(&self, row: usize) -> usize {
        match self {
            Documents::ListValues { items, .. } => items.range(row).len(),
            Documents::Fields(_) | Documents::Vectors { .. } => 1,
        }
    }

    /// Name of a field at `row` with an infinite or NaN value.
    pub(crate) fn non_finite_field(&self, row: usize) -> Option<&str> {
        let Documents::Fields(fields) = self else { return None };
        let bad = |field: &HashField| match field {
            HashField::Scalar(cells) => cells.is_not_finite(row),
            HashField::List(lists, array) => {
                !array.is_null(row) && lists.range(row).any(|at| lists.items.is_not_finite(at))
            }
        };
        fields
            .iter()
            .find(|(_, field)| bad(field))
            .map(|(name, _)| name.as_str())
    }

    /// Whether a score at `row` is missing, infinite or NaN.
    pub(crate) fn has_invalid_score(&self, row: usize) -> bool {
        let Documents::ListValues {
            scores: Some(scores), ..
        } = self
        else {
            return false;
        };
        scores
            .range(row)
            .any(|at| scores.items.is_null(at) || scores.items.is_not_finite(at))
    }
}

/// Appends the list after its opening bracket, and the list of scores if the format has one.
fn encode_list(
    format: DocumentFormat,
    items: &ListValues,
    scores: Option<&ListValues>,
    row: usize,
    out: &mut Vec<u8>,
) -> Result<u64> {
    let range = items.range(row);
    let beside = scores
        .filter(|_| format != DocumentFormat::Ids)
        .map(|scores| (scores, scores.range(row)));
    if let Some((_, scored)) = &beside
        && scored.len() != range.len()
    {
        return Err(OperatorError::invalid(format!(
            "a row has {} recommendations and {} scores",
            range.len(),
            scored.len()
        )));
    }
    let mut dropped = 0;
    if format == DocumentFormat::Items || !items.items.push_integers(range.clone(), out) {
        let mut first = true;
        for (place, item) in range.clone().enumerate() {
            if items.items.is_null(item) {
                dropped += 1;
                continue;
            }
            if !std::mem::take(&mut first) {
                out.extend_from_slice(b", ");
            }
            match &beside {
                Some((scores, scored)) if format == DocumentFormat::Items => {
                    out.extend_from_slice(b"{\"id\": ");
                    items.items.push_json(item, out);
                    out.extend_from_slice(b", \"score\": ");
                    scores.items.push_json(scored.start + place, out);
                    out.push(b'}');
                }
                _ => items.items.push_json(item, out),
            }
        }
    }
    out.push(b']');
    if let (Some((scores, scored)), DocumentFormat::IdsAndScores) = (&beside, format) {
        out.extend_from_slice(b", \"scores\": [");
        let mut first = true;
        for (place, item) in range.enumerate() {
            if !items.items.is_null(item) {
                if !std::mem::take(&mut first) {
                    out.extend_from_slice(b", ");
                }
                scores.items.push_json(scored.start + place, out);
            }
        }
        out.push(b']');
    }
    Ok(dropped)
}

fn push_list(lists: &ListValues, row: usize, out: &mut Vec<u8>) {
    out.push(b'[');
    if !lists.items.push_integers(lists.range(row), out) {
        for (place, item) in lists.range(row).enumerate() {
            if place > 0 {
                out.extend_from_slice(b", ");
            }
            if lists.items.is_null(item) {
                out.extend_from_slice(b"null");
            } else {
                lists.items.push_json(item, out);
            }
        }
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        FixedSizeListArray, Float32Array, Int64Array, ListArray, ListBuilder, StringArray, StringBuilder, UInt64Array,
    };
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::batch::hash_fields::fields_of;

    fn text(documents: &Documents, users: &ColumnValues, row: usize) -> (String, u64) {
        let mut out = Vec::new();
        let dropped = documents.encode(users, row, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), dropped)
    }

    fn ids(user: &str, lists: impl Array + 'static) -> Documents {
        Documents::lists(DocumentFormat::Ids, user, &(Arc::new(lists) as ArrayRef), None).unwrap()
    }

    #[test]
    fn writes_the_bytes_of_json_dumps() {
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
            Some(vec![Some(1), Some(2), Some(3)]),
            None,
            Some(vec![None, Some(-4)]),
        ]);
        let documents = ids("user_id", lists);
        let users = ColumnValues::of(&(Arc::new(UInt64Array::from(vec![42, u64::MAX, 7])) as ArrayRef)).unwrap();
        assert_eq!(
            text(&documents, &users, 0),
            (r#"{"user_id": 42, "recommendations": [1, 2, 3]}"#.to_owned(), 0)
        );
        assert_eq!(
            text(&documents, &users, 1).0,
            r#"{"user_id": 18446744073709551615, "recommendations": []}"#
        );
        assert_eq!(
            text(&documents, &users, 2),
            (r#"{"user_id": 7, "recommendations": [-4]}"#.to_owned(), 1)
        );
    }

    #[test]
    fn escapes_text() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.append_value([Some("a\"b"), Some("c\\\n")]);
        let documents = ids("u", lists.finish());
        let users = ColumnValues::of(&(Arc::new(StringArray::from(vec!["x/é"])) as ArrayRef)).unwrap();
        assert_eq!(
            text(&documents, &users, 0).0,
            r#"{"u": "x/é", "recommendations": ["a\"b", "c\\\n"]}"#
        );
    }

    #[test]
    fn takes_lists_of_fixed_size() {
        let lists = FixedSizeListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1), Some(2)])], 2);
        let users = ColumnValues::of(&(Arc::new(Int64Array::from(vec![-1])) as ArrayRef)).unwrap();
        assert_eq!(
            text(&ids("u", lists), &users, 0).0,
            r#"{"u": -1, "recommendations": [1, 2]}"#
        );
    }

    #[test]
    fn scores_stand_beside_the_ids_or_with_them() {
        let items = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(7), None, Some(8)])]);
        let items = Arc::new(items) as ArrayRef;
        let scores =
            ListArray::from_iter_primitive::<Float32Type, _, _>(vec![Some(vec![Some(0.5), Some(0.25), Some(-1.0)])]);
        let scores = Arc::new(scores) as ArrayRef;
        let users = ColumnValues::of(&(Arc::new(Int64Array::from(vec![1])) as ArrayRef)).unwrap();
        let format = |format| {
            let documents = Documents::lists(format, "u", &items, Some(&scores)).unwrap();
            assert!(!documents.has_invalid_score(0));
            text(&documents, &users, 0).0
        };
        assert_eq!(
            format(DocumentFormat::IdsAndScores),
            r#"{"u": 1, "recommendations": [7, 8], "scores": [0.5, -1.0]}"#
        );
        assert_eq!(
            format(DocumentFormat::Items),
            r#"{"u": 1, "recommendations": [{"id": 7, "score": 0.5}, {"id": 8, "score": -1.0}]}"#
        );
    }

    #[test]
    fn hashes_have_a_field_for_every_value() {
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1), None]), None]);
        let columns: Vec<(String, ArrayRef)> = vec![
            ("id".to_owned(), Arc::new(Int64Array::from(vec![5, 6]))),
            ("share".to_owned(), Arc::new(Float32Array::from(vec![None, Some(0.5)]))),
            ("shops".to_owned(), Arc::new(lists)),
        ];
        let documents = Documents::fields(columns).unwrap();
        let users = ColumnValues::of(&(Arc::new(Int64Array::from(vec![5, 6])) as ArrayRef)).unwrap();
        let fields = |row| {
            let mut out = Vec::new();
            documents.encode(&users, row, &mut out).unwrap();
            let fields = fields_of(&out).into_iter();
            fields
                .map(|part| String::from_utf8(part.to_vec()).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(fields(0), ["id", "5", "shops", "[1, null]"]);
        assert_eq!(fields(1), ["id", "6", "share", "0.5"]);
    }
}
