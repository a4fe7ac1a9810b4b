//! `KCore`: keeps users and items that occur often enough.

use std::collections::BTreeMap;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::row::{RowConverter, SortField};
use hashbrown::HashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::per_split::unknown;
use super::task_rows::{dataset, write_split};
use crate::contract::{
    Artifact, Context, DatasetFiles, Describe, Form, Inputs, NodeType, Operator, OperatorError, Output, Port, Problem,
    Purity, Result, Task, TypeContext, dataset_at, file_dataset_at,
};

/// Keeps the rows whose value in each of some columns occurs often enough among the rows that are kept: rows are dropped
/// until that holds for all columns at once. The rows of all splits count together; their order stays. Rows with a missing
/// value in one of the columns are dropped.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KCore {
    /// How often a value must occur, by column, at least 1: `{ user_id: 5, item_id: 5 }`.
    pub min_count: BTreeMap<String, u64>,
}

impl Describe for KCore {
    const NAME: &'static str = "KCore";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[Port::dataset("input", "Interactions.")];
    const EXAMPLE: &'static str = "op: KCore\ninput: clicks\nwith: { min_count: { user_id: 5, item_id: 5 } }\n";

    fn assumed_type(inputs: &Inputs<NodeType>) -> Option<NodeType> {
        inputs.get("input").cloned()
    }

    fn check(&self) -> Vec<Problem> {
        if self.min_count.is_empty() {
            return vec![Problem::new("bad-config", "no column is named").at("min_count")];
        }
        Vec::new()
    }
}

impl Operator for KCore {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let mut output = dataset_at(inputs, "input")?.clone();
        let problems = unknown(self.min_count.keys(), &output.schema, "min_count");
        if !problems.is_empty() {
            return Err(problems);
        }
        for column in output
            .schema
            .columns
            .iter_mut()
            .filter(|column| self.min_count.contains_key(&column.name))
        {
            column.nullable = false;
        }
        Ok(NodeType::Dataset(output))
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }
}

impl Task for KCore {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let input = file_dataset_at(inputs, "input")?;
        let columns: Vec<Numbers> = self
            .min_count
            .iter()
            .map(|(name, least)| Numbers::read(input, name, *least))
            .collect::<Result<_>>()?;
        let kept = core(&columns, context)?;
        let mut schema = input.schema.clone();
        for column in schema
            .columns
            .iter_mut()
            .filter(|column| self.min_count.contains_key(&column.name))
        {
            column.nullable = false;
        }
        let arrow = schema.to_arrow();
        let mut row = 0;
        let mut splits = Vec::new();
        for (index, (name, table)) in input.splits.iter().enumerate() {
            let path = write_split(
                table,
                context.temp_file(&format!("{index}.parquet")),
                &schema,
                context,
                |batch| {
                    let mask = BooleanArray::from(kept[row..row + batch.num_rows()].to_vec());
                    row += batch.num_rows();
                    let batch = filter_record_batch(&batch, &mask)?;
                    Ok(RecordBatch::try_new(arrow.clone(), batch.columns().to_vec())?)
                },
            )?;
            splits.push((name.clone(), path));
        }
        Ok(dataset(schema, splits, input))
    }
}

/// A column as numbers: equal numbers for equal values, none for missing ones.
struct Numbers {
    values: Vec<Option<u32>>,
    counts: Vec<u64>,
    least: u64,
}

impl Numbers {
    fn read(input: &DatasetFiles, name: &str, least: u64) -> Result<Self> {
        let column = input.schema.get(name);
        let column = column.ok_or_else(|| OperatorError::invalid(format!("there is no column `{name}`")))?;
        let converter = RowConverter::new(vec![SortField::new(column.data_type.clone())])?;
        let mut numbers: HashMap<Box<[u8]>, u32> = HashMap::new();
        let mut values = Vec::new();
        for (_, table) in &input.splits {
            for batch in table.batches(Some(&[name]))? {
                let array = batch?.column(0).clone();
                let rows = converter.convert_columns(std::slice::from_ref(&array))?;
                for (place, row) in rows.iter().enumerate() {
                    let value = arrow::array::Array::is_valid(&array, place).then(|| {
                        let next = numbers.len() as u32;
                        numbers.get(row.as_ref()).copied().unwrap_or_else(|| {
                            numbers.insert(Box::from(row.as_ref()), next);
                            next
                        })
                    });
                    values.push(value);
                }
            }
        }
        let mut counts = vec![0; numbers.len()];
        for value in values.iter().flatten() {
            counts[*value as usize] += 1;
        }
        Ok(Numbers { values, counts, least })
    }
}

/// Which rows are left when none can be dropped any more.
fn core(columns: &[Numbers], context: &Context) -> Result<Vec<bool>> {
    let rows = columns.first().map_or(0, |column| column.values.len());
    let mut kept = vec![true; rows];
    let mut counts: Vec<Vec<u64>> = columns.iter().map(|column| column.counts.clone()).collect();
    loop {
        context.cancel.check()?;
        let mut dropped = false;
        for (row, kept) in kept.iter_mut().enumerate() {
            let rare = |(column, counts): (&Numbers, &Vec<u64>)| {
                column.values[row].is_none_or(|value| counts[value as usize] < column.least)
            };
            if !*kept || !columns.iter().zip(&counts).any(rare) {
                continue;
            }
            *kept = false;
            dropped = true;
            for (column, counts) in columns.iter().zip(&mut counts) {
                if let Some(value) = column.values[row] {
                    counts[value as usize] -= 1;
                }
            }
        }
        if !dropped {
            return Ok(kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use serde_json::json;

    use super::*;
    use crate::harness::{Data, codes, run};

    #[test]
    fn what_is_left_holds_for_all_columns_at_once() {
        let ints = |values: &[Option<i64>]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        // Item 9 falls with user 3, and user 2 with item 9.
        let users = [1, 1, 2, 2, 3].map(Some);
        let items = [7, 8, 7, 9, 9].map(Some);
        let data = Data::of([("u", ints(&users)), ("i", ints(&items))]).and(
            "valid",
            [
                ("u", ints(&[Some(4), Some(4), None])),
                ("i", ints(&[Some(7), Some(8), Some(7)])),
            ],
        );
        let ran = run::<KCore>(json!({"min_count": {"u": 2, "i": 2}}), &[("input", data.clone())]);
        assert_eq!(
            (ran.rows("train").as_str(), ran.rows("valid").as_str()),
            ("1 7; 1 8", "4 7; 4 8")
        );
        assert_eq!(
            codes::<KCore>(json!({"min_count": {"z": 2}}), &[("input", data.clone())]),
            ["unknown-column"]
        );
        assert_eq!(
            codes::<KCore>(json!({"min_count": {}}), &[("input", data)]),
            ["bad-config"]
        );
    }
}
