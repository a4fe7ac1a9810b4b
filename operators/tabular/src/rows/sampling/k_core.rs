//! `KCore`: k-core filtering of interactions.

use std::collections::BTreeMap;

use arrow::array::{BooleanArray, BooleanBufferBuilder, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rows::memory_limit::MemoryLimit;
use crate::rows::per_split::unknown;
use crate::rows::row_numbers::{CodedColumn, MISSING};
use crate::rows::task_rows::{dataset, write_split};
use towline_api::{
    Artifact, Code, Context, DatasetPort, Describe, Form, Inputs, NodeType, Operator, Output, Port, Problem, Purity,
    Result, Task, TypeContext, byte_size,
};

/// K-core filtering: drops rows until every remaining value of each given column occurs at least `min_count` times. The
/// rows of all splits are counted together; row order is kept. Rows with a null in one of the columns are dropped.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KCore {
    /// Minimum number of occurrences, by column, at least 1: `{ user_id: 5, item_id: 5 }`.
    pub min_count: BTreeMap<String, u64>,
    /// Memory limit, for example `512MB`; above it, values are encoded by an external sort. One bit per row and eight
    /// bytes per distinct value always stay in memory; if these exceed the limit, the node fails at its start. It does
    /// not change the result.
    #[serde(default)]
    #[schemars(transform = towline_api::cache_ignored)]
    pub memory_limit: Option<String>,
}

const INPUT: DatasetPort = DatasetPort::required("input", "Interactions.");

impl Describe for KCore {
    const NAME: &'static str = "KCore";
    const CODE_VERSION: u32 = 2;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: KCore\ninput: clicks\nwith: { min_count: { user_id: 5, item_id: 5 } }\n";

    fn assumed_type(inputs: &Inputs<NodeType>) -> Option<NodeType> {
        INPUT.get(inputs).cloned()
    }

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.min_count.is_empty() {
            problems.push(Problem::new(Code::BadConfig, "`min_count` is empty").at("min_count"));
        }
        problems.extend(byte_size::problem(self.memory_limit.as_deref(), "memory_limit"));
        problems
    }
}

impl Operator for KCore {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let mut output = INPUT.input_type(inputs)?.clone();
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
        let input = INPUT.files(inputs)?;
        let limit = MemoryLimit::of(self.memory_limit.as_deref());
        let mut columns = Vec::new();
        for (name, least) in &self.min_count {
            let numbers = CodedColumn::read(input, name, limit.bytes() / 2, &context.temp, &context.cancel)?;
            columns.push((numbers, *least));
        }
        let distinct: usize = columns.iter().map(|(numbers, _)| numbers.distinct).sum();
        let rows = columns.first().map_or(0, |(numbers, _)| numbers.rows);
        let help = "raise `memory_limit`, or use fewer columns or rows";
        limit.check(
            rows / 8 + distinct * 8,
            "the rows and the counts of the different values",
            help,
        )?;
        let kept = core(columns, context)?;
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
                    let mask = BooleanArray::new(kept.slice(row, batch.num_rows()), None);
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

/// The rows that remain when no more can be dropped.
fn core(mut columns: Vec<(CodedColumn, u64)>, context: &Context) -> Result<BooleanBuffer> {
    let rows = columns.first().map_or(0, |(numbers, _)| numbers.rows);
    let mut counts: Vec<Vec<u64>> = Vec::new();
    for (numbers, _) in &mut columns {
        let mut counted = vec![0; numbers.distinct];
        let mut reader = numbers.reader()?;
        for _ in 0..rows {
            if let Some(count) = counted.get_mut(reader.next()? as usize) {
                *count += 1;
            }
        }
        counts.push(counted);
    }
    let mut kept = BooleanBufferBuilder::new(rows);
    kept.append_n(rows, true);
    let mut numbers = vec![MISSING; columns.len()];
    loop {
        context.cancel.check()?;
        let mut dropped = false;
        let readers = columns.iter_mut().map(|(numbers, _)| numbers.reader());
        let mut readers = readers.collect::<Result<Vec<_>>>()?;
        for row in 0..rows {
            for (number, reader) in numbers.iter_mut().zip(&mut readers) {
                *number = reader.next()?;
            }
            let mut found = numbers.iter().zip(&counts).zip(&columns);
            // Missing values are not counted.
            let rare = |((number, counts), (_, least)): ((&u32, &Vec<u64>), &(CodedColumn, u64))| {
                counts.get(*number as usize).is_none_or(|count| count < least)
            };
            if !kept.get_bit(row) || !found.any(rare) {
                continue;
            }
            kept.set_bit(row, false);
            dropped = true;
            for (number, counts) in numbers.iter().zip(&mut counts) {
                if let Some(count) = counts.get_mut(*number as usize) {
                    *count -= 1;
                }
            }
        }
        if !dropped {
            return Ok(kept.finish());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use serde_json::json;

    use super::*;
    use crate::harness::{Data, codes, run, try_run};

    #[test]
    fn what_is_left_holds_for_all_columns_at_once() {
        let ints = |values: &[Option<i64>]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        // Dropping user 3 drops item 9, and that drops user 2.
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

    #[test]
    fn a_memory_limit_changes_nothing_or_is_told() {
        let users: Vec<Option<i64>> = (0..20_000)
            .map(|row| (row % 11 > 0).then_some(row * row % 7001))
            .collect();
        let items: Vec<String> = (0..20_000).map(|row| format!("item {}", row * 31 % 6007)).collect();
        let columns = || {
            let users = Arc::new(Int64Array::from(users.clone())) as ArrayRef;
            let items = Arc::new(arrow::array::StringArray::from(items.clone())) as ArrayRef;
            [("u", users), ("i", items)]
        };
        let data = || [("input", Data::of(columns()))];
        let kept = |limit: Option<&str>| {
            let config = json!({"min_count": {"u": 3, "i": 2}, "memory_limit": limit});
            run::<KCore>(config, &data()).rows("train")
        };
        let whole = kept(None);
        assert!(whole.len() > 1000);
        // Too little memory for the values, enough for their counts.
        assert_eq!(kept(Some("200kB")), whole);
        let config = json!({"min_count": {"u": 3, "i": 2}, "memory_limit": "50kB"});
        let refused = try_run::<KCore>(config, &data()).err().unwrap();
        assert!(refused.contains("memory_limit"), "{refused}");
        assert_eq!(
            codes::<KCore>(json!({"min_count": {"u": 1}, "memory_limit": "some"}), &data()),
            ["bad-config"]
        );
    }
}
