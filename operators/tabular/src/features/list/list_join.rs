//! `ListJoin`: concatenates columns into one list column.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{DataType, Field};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::categorical::categorify::count::{as_list, is_list};
use towline_api::{
    Code, Column, Columns, DatasetPort, DatasetType, Describe, Form, Inputs, NamedExpr, NodeType, Operator, Port,
    Problem, Purity, Result, Schema, Tag, TypeContext,
};
use towline_tables::array_function::{ColumnType, typed_function};

/// Concatenates columns into one list column: for every row the values, or the list elements, of all columns in their
/// order. A null value is a null element; a null list adds no element. All columns must have the same value type. The
/// list keeps the tags that all columns have, and their domain if they share one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListJoin {
    /// Name of the output column, for example `genres`. The output has no other column.
    pub name: String,
}

const INPUT: DatasetPort = DatasetPort::required("input", "The columns to join, in order.");

impl Describe for ListJoin {
    const NAME: &'static str = "ListJoin";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: ListJoin\ninput: movies[genre_1, genre_2]\nwith: { name: genres }\n";
}

impl Operator for ListJoin {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = INPUT.input_type(inputs)?;
        let Some(first) = input.schema.columns.first() else {
            return Err(vec![
                Problem::new(Code::BadInput, "no column is selected").at_port("input"),
            ]);
        };
        let element = first.element_type();
        let others: Vec<Problem> = input
            .schema
            .columns
            .iter()
            .filter(|column| column.element_type() != element)
            .map(|column| {
                let message = format!(
                    "`{}` holds {element}, `{}` holds {}",
                    first.name,
                    column.name,
                    column.element_type()
                );
                Problem::new(Code::WrongType, message).at_port("input")
            })
            .collect();
        if !others.is_empty() {
            return Err(others);
        }
        let mut column = Column::new(&self.name, list_of(element), false);
        column.tags.clone_from(&first.tags);
        column
            .tags
            .retain(|tag| input.schema.columns.iter().all(|column| column.tags.contains(tag)));
        column.tags.remove(&Tag::Id);
        column.tags.insert(Tag::List);
        let shared = input.schema.columns.iter().all(|column| column.domain == first.domain);
        column.domain = first.domain.clone().filter(|_| shared);
        Ok(NodeType::Dataset(DatasetType {
            schema: Schema { columns: vec![column] },
            splits: input.splits.clone(),
        }))
    }

    fn form(&self) -> Form<'_> {
        Form::Columns(self)
    }
}

fn list_of(element: &DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(element.clone(), true)))
}

impl Columns for ListJoin {
    fn project(&self, inputs: &[&[NamedExpr]]) -> Result<Vec<NamedExpr>> {
        let columns = inputs.concat().into_iter().map(|column| column.expr).collect();
        let typing = |columns: &[ColumnType]| {
            let first = columns
                .first()
                .map_or(DataType::Null, |(data_type, _)| data_type.clone());
            (list_of(Column::new("", first, true).element_type()), false)
        };
        Ok(vec![NamedExpr {
            name: self.name.clone(),
            expr: typed_function("list_join".to_owned(), columns, typing, join),
        }])
    }
}

fn join(arrays: &[ArrayRef]) -> Result<ArrayRef> {
    let lists = arrays.iter().map(|array| {
        if is_list(array.data_type()) {
            as_list(array)
        } else {
            Ok(Arc::clone(array))
        }
    });
    let lists = lists.collect::<Result<Vec<ArrayRef>>>()?;
    let values: Vec<ArrayRef> = lists
        .iter()
        .map(|array| {
            array
                .as_list_opt::<i32>()
                .map_or_else(|| Arc::clone(array), |list| Arc::clone(list.values()))
        })
        .collect();
    let element = values.first().map_or(DataType::Null, |first| first.data_type().clone());
    let values = values
        .iter()
        .map(|array| Ok(cast(array, &element)?))
        .collect::<Result<Vec<_>>>()?;
    let mut base = Vec::new();
    let mut next = 0_u32;
    for part in &values {
        base.push(next);
        next += part.len() as u32;
    }
    let rows = arrays.first().map_or(0, Array::len);
    let (mut places, mut lengths) = (Vec::new(), Vec::with_capacity(rows));
    for row in 0..rows {
        let before = places.len();
        for (array, base) in lists.iter().zip(&base) {
            match array.as_list_opt::<i32>() {
                Some(list) if list.is_valid(row) => {
                    let (first, last) = (list.value_offsets()[row] as u32, list.value_offsets()[row + 1] as u32);
                    places.extend((first..last).map(|place| base + place));
                }
                Some(_) => {}
                None => places.push(base + row as u32),
            }
        }
        lengths.push(places.len() - before);
    }
    let parts: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
    let joined = take(concat(&parts)?.as_ref(), &UInt32Array::from(places), None)?;
    let field = Arc::new(Field::new_list_field(element, true));
    Ok(Arc::new(ListArray::try_new(
        field,
        OffsetBuffer::from_lengths(lengths),
        joined,
        None,
    )?))
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::Int64Type;
    use serde_json::json;

    use super::*;
    use crate::harness::{Data, codes, run};

    #[test]
    fn values_and_lists_in_the_order_of_columns() {
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(7), None]), Some(vec![]), None]);
        let data = Data::of([("a", ints), ("b", Arc::new(lists) as ArrayRef)])
            .tagged("a", &[Tag::Item, Tag::Id])
            .tagged("b", &[Tag::Item]);
        let ran = run::<ListJoin>(json!({"name": "x"}), &[("input", data)]);
        assert_eq!(ran.rows("train"), "[1, 7, ]; []; [3]");
        assert_eq!(ran.tags("x"), [Tag::Item, Tag::List]);
        let text: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["a"]));
        let mixed = Data::of([("a", Arc::new(Int64Array::from(vec![1])) as ArrayRef), ("t", text)]);
        assert_eq!(
            codes::<ListJoin>(json!({"name": "x"}), &[("input", mixed)]),
            ["wrong-type"]
        );
    }
}
