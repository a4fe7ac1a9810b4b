//! `ListSlice`: slices and pads lists.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, Scalar, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, is_null, take};
use arrow::datatypes::{DataType, Field};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::categorical::categorify::count::as_list;
use crate::features::columns_of::each_column;
use towline_api::{
    Code, Column, Columns, DatasetPort, Describe, Form, Inputs, NamedExpr, NodeType, Operator, Port, Problem, Purity,
    Result, TypeContext,
};
use towline_tables::array_function::{ColumnType, typed_function};

/// Slices every list from index `start` up to but excluding `end`; negative indexes count from the end. With `pad`,
/// short lists are padded at the end with `pad_value` to the length `end - start`. A null list stays null; with `pad`
/// it becomes a list of `pad_value`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListSlice {
    /// First index of the slice, from 0; `-3` without `end` takes the last three elements.
    #[serde(default)]
    #[schemars(range(min = -2_147_483_648_i64, max = 2_147_483_647))]
    pub start: i64,
    /// End index of the slice, exclusive, for example `20`; without it, the end of the list.
    #[serde(default)]
    #[schemars(range(min = -2_147_483_648_i64, max = 2_147_483_647))]
    pub end: Option<i64>,
    /// Whether to pad short lists; `start` and `end` must then define one length (`start: 0, end: 20`, or `start:
    /// -20`).
    #[serde(default)]
    pub pad: bool,
    /// Padding value: a number. Lists of text are padded with empty strings.
    #[serde(default)]
    #[schemars(range(min = -1e300, max = 1e300))]
    pub pad_value: f64,
}

impl ListSlice {
    /// The length to pad to.
    fn length(&self) -> Option<usize> {
        let length = match (self.start, self.end) {
            (start, Some(end)) if (start < 0) == (end < 0) => end - start,
            (start, None) if start < 0 => -start,
            _ => return None,
        };
        usize::try_from(length).ok().filter(|length| *length > 0)
    }

    /// The indexes of the slice in a list of this length.
    fn places(&self, length: i64) -> std::ops::Range<i64> {
        let place = |place: i64| {
            if place < 0 {
                (length + place).max(0)
            } else {
                place.min(length)
            }
        };
        let (start, end) = (place(self.start), self.end.map_or(length, place));
        start..end.max(start)
    }
}

const INPUT: DatasetPort = DatasetPort::required("input", "Columns of lists.");

impl Describe for ListSlice {
    const NAME: &'static str = "ListSlice";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: ListSlice\ninput: sessions[item_id_list]\nwith: { start: -20, pad: true }\n";

    fn check(&self) -> Vec<Problem> {
        if self.pad && self.length().is_none() {
            let message = "`pad` needs a fixed length, but `start` and `end` do not define one";
            return vec![
                Problem::new(Code::Conflict, message)
                    .at("pad")
                    .help("use `start: 0, end: 20` or `start: -20`"),
            ];
        }
        Vec::new()
    }
}

impl Operator for ListSlice {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        each_column(INPUT, inputs, |column| {
            if !column.is_list() {
                let message = format!("column `{}` holds {}, not lists", column.name, column.data_type);
                return Err(Problem::new(Code::WrongType, message));
            }
            let mut out: Column = column.clone();
            out.data_type = list_of(column.element_type());
            out.nullable &= !self.pad;
            Ok(out)
        })
    }

    fn form(&self) -> Form<'_> {
        Form::Columns(self)
    }
}

fn list_of(element: &DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(element.clone(), true)))
}

impl Columns for ListSlice {
    fn project(&self, inputs: &[&[NamedExpr]]) -> Result<Vec<NamedExpr>> {
        let sliced = |column: &NamedExpr| {
            let operator = self.clone();
            let pad = self.pad;
            let typing = move |columns: &[ColumnType]| {
                let (data_type, nullable) = columns.first().cloned().unwrap_or((DataType::Null, true));
                (
                    list_of(Column::new("", data_type, true).element_type()),
                    nullable && !pad,
                )
            };
            let name = format!("list_slice({},{:?},{pad},{:?})", self.start, self.end, self.pad_value);
            NamedExpr {
                name: column.name.clone(),
                expr: typed_function(name, vec![column.expr.clone()], typing, move |arrays| {
                    slice(&arrays[0], &operator)
                }),
            }
        };
        Ok(inputs.concat().iter().map(sliced).collect())
    }
}

fn slice(array: &ArrayRef, operator: &ListSlice) -> Result<ArrayRef> {
    let array = as_list(array)?;
    let lists = array.as_list::<i32>();
    let length = operator.length().filter(|_| operator.pad);
    let (mut taken, mut lengths): (Vec<Option<u32>>, Vec<usize>) = (Vec::new(), Vec::new());
    for row in 0..lists.len() {
        let before = taken.len();
        if lists.is_valid(row) {
            let first = lists.value_offsets()[row];
            let places = operator.places(i64::from(lists.value_length(row)));
            taken.extend(places.map(|place| Some((i64::from(first) + place) as u32)));
        }
        if let Some(length) = length {
            taken.resize(before + length, None);
        }
        lengths.push(taken.len() - before);
    }
    let places = UInt32Array::from(taken);
    let mut values = take(lists.values().as_ref(), &places, None)?;
    if length.is_some() {
        values = zip(
            &is_null(&places)?,
            &filler(operator.pad_value, values.data_type())?,
            &values,
        )?;
    }
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let nulls = lists.nulls().filter(|_| length.is_none()).cloned();
    Ok(Arc::new(ListArray::try_new(
        field,
        OffsetBuffer::from_lengths(lengths),
        values,
        nulls,
    )?))
}

fn filler(value: f64, data_type: &DataType) -> Result<Scalar<ArrayRef>> {
    let filler: ArrayRef = match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            Arc::new(arrow::array::StringArray::from(vec![""]))
        }
        _ => Arc::new(arrow::array::Float64Array::from(vec![value])),
    };
    Ok(Scalar::new(cast(&filler, data_type)?))
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;
    use arrow::datatypes::Int64Type;
    use serde_json::{Value, json};

    use super::*;
    use crate::harness::{Data, codes, run};

    fn rows(config: Value) -> String {
        let lists = [
            Some(vec![Some(1), Some(2), Some(3)]),
            Some(vec![None]),
            None,
            Some(vec![]),
        ];
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(lists);
        run::<ListSlice>(config, &[("input", Data::of([("x", Arc::new(lists) as ArrayRef)]))]).rows("train")
    }

    #[test]
    fn from_the_start_and_from_the_end() {
        assert_eq!(rows(json!({"end": 2})), "[1, 2]; []; ; []");
        assert_eq!(rows(json!({"start": -2})), "[2, 3]; []; ; []");
        assert_eq!(rows(json!({"start": 1, "end": -1})), "[2]; []; ; []");
        assert_eq!(rows(json!({"start": 5})), "[]; []; ; []");
    }

    #[test]
    fn padding_pads_and_leaves_missing_elements() {
        assert_eq!(
            rows(json!({"end": 2, "pad": true, "pad_value": 9})),
            "[1, 2]; [, 9]; [9, 9]; [9, 9]"
        );
        assert_eq!(
            rows(json!({"start": -4, "pad": true})),
            "[1, 2, 3, 0]; [, 0, 0, 0]; [0, 0, 0, 0]; [0, 0, 0, 0]"
        );
        let data = Data::of([("x", Arc::new(StringArray::from(vec!["a"])) as ArrayRef)]);
        assert_eq!(
            codes::<ListSlice>(json!({}), &[("input", data.clone())]),
            ["wrong-type"]
        );
        assert_eq!(
            codes::<ListSlice>(json!({"start": 1, "pad": true}), &[("input", data)]),
            ["conflict"]
        );
    }
}
