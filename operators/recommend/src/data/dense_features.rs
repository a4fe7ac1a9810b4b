//! Dense features: numbers and vectors of equal length.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type};

use towline_api::{OperatorError, Result};

/// A list array with these lengths over the concatenated `values`.
pub(crate) fn lists(element: DataType, lengths: impl IntoIterator<Item = usize>, values: ArrayRef) -> Result<ArrayRef> {
    let field = Arc::new(Field::new_list_field(element, true));
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(field, offsets, values, None)?))
}

/// The dense features of one column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DenseFeatures {
    /// Numbers per row; 0 until the first row of a list column is added.
    pub(crate) width: usize,
    /// Whether the column holds lists, even of length one.
    list: bool,
    /// Row-major [rows, width].
    pub(crate) values: Vec<f32>,
}

impl DenseFeatures {
    /// A column with these values.
    #[cfg(test)]
    pub(crate) fn of(width: usize, values: Vec<f32>) -> Self {
        DenseFeatures {
            width,
            list: width > 1,
            values,
        }
    }

    /// A column without rows.
    pub(crate) fn empty(list: bool) -> Self {
        DenseFeatures {
            width: usize::from(!list),
            list,
            values: Vec::new(),
        }
    }

    /// The features of a row.
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..(row + 1) * self.width]
    }

    fn set_width(&mut self, width: usize, name: &str) -> Result<()> {
        if self.values.is_empty() {
            self.width = width;
        }
        if self.width == width {
            return Ok(());
        }
        let text = format!(
            "`{name}` holds lists of {} and of {width} numbers: all vectors must have the same length",
            self.width
        );
        Err(OperatorError::invalid(text))
    }

    /// Appends another column.
    pub(crate) fn extend(&mut self, other: &Self, name: &str) -> Result<()> {
        if !other.values.is_empty() {
            self.set_width(other.width, name)?;
            self.values.extend_from_slice(&other.values);
        }
        Ok(())
    }

    /// Selects rows in the given order.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        DenseFeatures {
            values: rows.iter().flat_map(|&row| self.row(row)).copied().collect(),
            ..*self
        }
    }

    /// Appends an Arrow array.
    pub(crate) fn append(&mut self, array: &ArrayRef, name: &str) -> Result<()> {
        let missing = || {
            let text = format!("`{name}` has missing values, which a tower cannot read: put FillMissing before it");
            OperatorError::invalid(text)
        };
        if array.null_count() > 0 {
            return Err(missing());
        }
        let numbers = match array.data_type() {
            DataType::FixedSizeList(_, width) => {
                self.set_width(*width as usize, name)?;
                Arc::clone(array.as_fixed_size_list().values())
            }
            DataType::List(_) => self.of_lists::<i32>(array, name)?,
            DataType::LargeList(_) => self.of_lists::<i64>(array, name)?,
            _ => Arc::clone(array),
        };
        if numbers.null_count() > 0 {
            return Err(missing());
        }
        let numbers = cast(&numbers, &DataType::Float32)?;
        let numbers = numbers.as_primitive::<Float32Type>().values();
        if let Some(x) = numbers.iter().find(|x| !x.is_finite()) {
            let text =
                format!("`{name}` holds {x}, but a tower needs finite numbers: put FillMissing or Clip before it");
            return Err(OperatorError::invalid(text));
        }
        self.values.extend_from_slice(numbers);
        Ok(())
    }

    fn of_lists<O: arrow::array::OffsetSizeTrait>(&mut self, array: &ArrayRef, name: &str) -> Result<ArrayRef> {
        let lists = array.as_list::<O>();
        for row in 0..lists.len() {
            let width = lists.value_length(row).as_usize();
            // The first row determines the width.
            if row == 0 || width != self.width {
                self.set_width(width, name)?;
                if row > 0 && width != lists.value_length(0).as_usize() {
                    let text =
                        format!("`{name}` holds lists of different lengths: all vectors must have the same length");
                    return Err(OperatorError::invalid(text));
                }
            }
        }
        let offsets = lists.value_offsets();
        let (start, end) = (offsets[0].as_usize(), offsets[lists.len()].as_usize());
        Ok(lists.values().slice(start, end - start))
    }

    /// Converts `rows` rows to an Arrow array.
    pub(crate) fn to_arrow(&self, rows: usize) -> Result<ArrayRef> {
        let values: ArrayRef = Arc::new(Float32Array::from(self.values.clone()));
        if !self.list {
            return Ok(values);
        }
        lists(DataType::Float32, std::iter::repeat_n(self.width, rows), values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::feature_column::{FeatureColumn, FeatureKind};
    use towline_api::{Column, Tag};

    fn vectors(data_type: DataType) -> Column {
        Column::new("v", data_type, true).with_tag(Tag::Embedding)
    }

    #[test]
    fn vectors_have_one_length_and_survive_being_stored() {
        let list = |rows: &[&[f32]]| -> ArrayRef {
            let values = Arc::new(Float32Array::from(rows.concat()));
            lists(DataType::Float32, rows.iter().map(|row| row.len()), values).unwrap()
        };
        let column = vectors(list(&[]).data_type().clone());
        let mut cells = FeatureColumn::empty(&column);
        cells.append(&list(&[]), &column).unwrap();
        cells.append(&list(&[&[1.0, 2.0], &[3.0, 4.0]]), &column).unwrap();
        // A sliced array must contribute its own rows only.
        cells
            .append(&list(&[&[9.0, 9.0], &[5.0, 6.0]]).slice(1, 1), &column)
            .unwrap();
        let FeatureColumn::Dense(numbers) = &cells else {
            panic!("{cells:?}")
        };
        assert_eq!((numbers.width, numbers.row(2)), (2, &[5.0, 6.0][..]));
        let mut again = FeatureColumn::empty(&column);
        again.append(&cells.to_arrow(3).unwrap(), &column).unwrap();
        assert_eq!(again, cells);
        for rows in [&[&[1.0_f32][..]][..], &[&[1.0, 2.0], &[1.0]]] {
            let error = cells.clone().append(&list(rows), &column).unwrap_err();
            assert!(error.to_string().contains("same length"), "{error}");
            assert!(
                FeatureColumn::empty(&column)
                    .append(&list(&[&[1.0], &[1.0, 2.0]]), &column)
                    .is_err()
            );
        }
    }

    #[test]
    fn what_is_missing_or_infinite_is_refused_with_a_hint() {
        let column = Column::new("age", DataType::Float64, true).with_tag(Tag::Continuous);
        for (value, hint) in [
            (None, "FillMissing"),
            (Some(f64::NAN), "NaN"),
            (Some(f64::INFINITY), "Clip"),
        ] {
            let array: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![Some(1.0), value]));
            let error = FeatureColumn::empty(&column)
                .append(&array, &column)
                .unwrap_err()
                .to_string();
            assert!(error.contains("`age`") && error.contains(hint), "{error}");
        }
        assert_eq!(FeatureKind::of(&Column::new("age", DataType::Float64, true)), None);
        assert_eq!(FeatureKind::of(&Column::new("id", DataType::Int64, true)), None);
    }
}
