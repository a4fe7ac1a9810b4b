//! `NegativeSample`: items that a user did not choose.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use hashbrown::{HashMap, HashSet};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::task_rows::dataset;
use crate::contract::{
    Artifact, Column, Context, DEFAULT_SPLIT, Describe, Form, Inputs, NodeType, Operator, OperatorError, Output, Port,
    Problem, Purity, Result, Schema, TableFile, TableWriter, Tag, Task, TypeContext, dataset_at, file_dataset_at,
};

/// How many items are drawn before a row goes without a negative: a user who chose nearly everything has few others.
const TRIES: usize = 100;

/// Adds to every row so many rows with the same user and an item that this user chose in no split. Items are drawn from
/// those of the split `from`; all columns tagged `item` are those of the drawn item, the others are repeated. A new column
/// says which is which: 1 for what was there, 0 for what was added; it is tagged `target`. A row of a user who chose nearly
/// everything may get fewer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NegativeSample {
    /// How many rows to add for each, from 1 to 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub n: u64,
    /// `uniform`: every item is as likely. `popularity`: as likely as it is frequent in the split `from`.
    #[serde(default)]
    pub by: Likelihood,
    /// Another seed, other items.
    #[serde(default)]
    pub seed: u64,
    /// The split whose items are drawn.
    #[serde(default = "default_split")]
    pub from: String,
    /// The name of the new column.
    #[serde(default = "label")]
    pub name: String,
}

/// How likely an item is drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Likelihood {
    /// All are as likely.
    #[default]
    Uniform,
    /// As likely as frequent.
    Popularity,
}

fn default_split() -> String {
    DEFAULT_SPLIT.to_owned()
}

fn label() -> String {
    "label".to_owned()
}

/// The column with these tags.
fn id(schema: &Schema, side: Tag) -> Result<&Column, Problem> {
    let mut found = schema.columns.iter().filter(|column| column.has(&[side, Tag::Id]));
    match (found.next(), found.next()) {
        (Some(column), None) => Ok(column),
        _ => {
            let message = format!("exactly one column must be tagged {side} and id");
            Err(Problem::new("bad-input", message).at_port("input"))
        }
    }
}

impl NegativeSample {
    fn schema(&self, input: &Schema) -> Schema {
        let mut schema = input.clone();
        schema
            .columns
            .push(Column::new(&self.name, DataType::Int64, false).with_tag(Tag::Target));
        schema
    }
}

impl Describe for NegativeSample {
    const NAME: &'static str = "NegativeSample";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Seeded;
    const PORTS: &'static [Port] = &[Port::dataset("input", "Interactions with tagged columns.")];
    const EXAMPLE: &'static str = "op: NegativeSample\ninput: features\nwith: { n: 4, by: popularity }\n";
}

impl Operator for NegativeSample {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let mut output = dataset_at(inputs, "input")?.clone();
        let sides = [Tag::User, Tag::Item].map(|side| id(&output.schema, side).err());
        let mut problems: Vec<Problem> = sides.into_iter().flatten().collect();
        if !output.splits.contains(&self.from) {
            problems.push(
                Problem::new(
                    "unknown-split",
                    format!("there is no split `{}` to draw from", self.from),
                )
                .at("from"),
            );
        }
        if output.schema.get(&self.name).is_some() {
            let message = format!("there is a column `{}` already", self.name);
            problems.push(Problem::new("duplicate-column", message).at("name"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        output.schema = self.schema(&output.schema);
        Ok(NodeType::Dataset(output))
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }
}

/// Values as numbers, equal for equal values over all splits.
#[derive(Default)]
struct Numbering(HashMap<Box<[u8]>, u32>);

impl Numbering {
    fn of(&mut self, array: &ArrayRef) -> Result<Vec<u32>> {
        let converter = RowConverter::new(vec![SortField::new(array.data_type().clone())])?;
        let rows = converter.convert_columns(std::slice::from_ref(array))?;
        let number = |row: arrow::row::Row<'_>| {
            let next = self.0.len() as u32;
            self.0.get(row.as_ref()).copied().unwrap_or_else(|| {
                self.0.insert(Box::from(row.as_ref()), next);
                next
            })
        };
        Ok(rows.iter().map(number).collect())
    }
}

/// A split in memory, with its users and items as numbers.
struct Split {
    rows: RecordBatch,
    users: Vec<u32>,
    items: Vec<u32>,
}

fn whole(table: &TableFile, schema: &Schema) -> Result<RecordBatch> {
    let batches = table.batches(None)?.collect::<Result<Vec<_>, _>>()?;
    Ok(concat_batches(&schema.to_arrow(), &batches)?)
}

impl Task for NegativeSample {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let input = file_dataset_at(inputs, "input")?;
        let names = [Tag::User, Tag::Item].map(|side| id(&input.schema, side).map(|column| column.name.clone()));
        let [Ok(user), Ok(item)] = names else {
            return Err(OperatorError::invalid("the input has no user and item"));
        };
        let (mut users, mut items) = (Numbering::default(), Numbering::default());
        let mut splits = Vec::new();
        for (name, table) in &input.splits {
            let rows = whole(table, &input.schema)?;
            let column = |name: &str| {
                rows.column_by_name(name)
                    .cloned()
                    .ok_or_else(|| OperatorError::invalid(format!("there is no column `{name}`")))
            };
            let (users, items) = (users.of(&column(&user)?)?, items.of(&column(&item)?)?);
            splits.push((name.clone(), Split { rows, users, items }));
        }
        let pairs = splits
            .iter()
            .flat_map(|(_, split)| split.users.iter().copied().zip(split.items.iter().copied()));
        let chosen: HashSet<(u32, u32)> = pairs.collect();
        let source = splits
            .iter()
            .find(|(name, _)| *name == self.from)
            .map(|(_, split)| split);
        let source = source.ok_or_else(|| OperatorError::invalid(format!("there is no split `{}`", self.from)))?;
        let candidates = self.candidates(source);
        let schema = self.schema(&input.schema);
        let mut written: Vec<(String, PathBuf)> = Vec::new();
        for (index, (name, split)) in splits.iter().enumerate() {
            context.cancel.check()?;
            let path = context.temp_file(&format!("{index}.parquet"));
            let rows = self.sampled(split, source, &candidates, &chosen, index as u64, &schema)?;
            let mut writer = TableWriter::create(&path, schema.to_arrow())?;
            writer.write(&rows)?;
            writer.finish()?;
            written.push((name.clone(), path));
        }
        Ok(dataset(schema, written, input))
    }
}

impl NegativeSample {
    /// The rows of `source` to draw from: each item once, or every row.
    fn candidates(&self, source: &Split) -> Vec<u32> {
        let all = 0..source.items.len() as u32;
        if self.by == Likelihood::Popularity {
            return all.collect();
        }
        let mut seen = HashSet::new();
        all.filter(|row| seen.insert(source.items[*row as usize])).collect()
    }

    fn sampled(
        &self,
        split: &Split,
        source: &Split,
        candidates: &[u32],
        chosen: &HashSet<(u32, u32)>,
        stream: u64,
        schema: &Schema,
    ) -> Result<RecordBatch> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(stream);
        // Items come from the rows of this split or of the other; one take serves both after they are put together.
        let here = split.users.len() as u32;
        let (mut rows, mut items, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..here {
            rows.push(row);
            items.push(row);
            labels.push(1);
            for _ in 0..self.n {
                let mut draw = || candidates.get(random.random_range(0..candidates.len().max(1))).copied();
                let fits = |place: &u32| !chosen.contains(&(split.users[row as usize], source.items[*place as usize]));
                if let Some(place) = (0..TRIES).find_map(|_| draw().filter(fits)) {
                    rows.push(row);
                    items.push(here + place);
                    labels.push(0);
                }
            }
        }
        let (rows, items) = (UInt32Array::from(rows), UInt32Array::from(items));
        let mut columns: Vec<ArrayRef> = Vec::new();
        for (column, (own, drawn)) in schema
            .columns
            .iter()
            .zip(split.rows.columns().iter().zip(source.rows.columns()))
        {
            columns.push(if column.tags.contains(&Tag::Item) {
                let both = arrow::compute::concat(&[own.as_ref(), drawn.as_ref()])?;
                take(both.as_ref(), &items, None)?
            } else {
                take(own.as_ref() as &dyn Array, &rows, None)?
            });
        }
        columns.push(Arc::new(Int64Array::from(labels)));
        Ok(RecordBatch::try_new(schema.to_arrow(), columns)?)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    use serde_json::{Value, json};

    use super::*;
    use crate::harness::{Data, Ran, codes, run};

    fn data() -> Data {
        let ints = |values: &[i64]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        let columns = |users: &[i64], items: &[i64]| {
            let brands: Vec<i64> = items.iter().map(|item| item * 10).collect();
            [("u", ints(users)), ("i", ints(items)), ("brand", ints(&brands))]
        };
        Data::of(columns(&[1, 1, 2, 3], &[1, 2, 3, 4]))
            .and("valid", columns(&[1], &[3]))
            .tagged("u", &[Tag::User, Tag::Id])
            .tagged("i", &[Tag::Item, Tag::Id])
            .tagged("brand", &[Tag::Item])
    }

    fn sample(config: Value) -> Ran {
        run::<NegativeSample>(config, &[("input", data())])
    }

    #[test]
    fn negatives_are_of_the_same_user_and_chosen_in_no_split() {
        for by in ["uniform", "popularity"] {
            let ran = sample(json!({"n": 5, "by": by, "seed": 1}));
            let chosen = [(1, 1), (1, 2), (1, 3), (2, 3), (3, 4)];
            for (_, rows) in &ran.splits {
                let column = |place: usize| rows.column(place).as_primitive::<Int64Type>().values().to_vec();
                let (users, items, brands, labels) = (column(0), column(1), column(2), column(3));
                assert_eq!(labels.iter().sum::<i64>() * 6, labels.len() as i64);
                for row in 0..labels.len() {
                    assert_eq!(brands[row], items[row] * 10, "features are those of the item");
                    assert_eq!(chosen.contains(&(users[row], items[row])), labels[row] == 1);
                }
            }
        }
    }

    #[test]
    fn the_seed_decides_and_the_label_is_a_target() {
        let rows = |seed| sample(json!({"n": 3, "seed": seed})).rows("train");
        assert_eq!(rows(1), rows(1));
        assert_ne!(rows(1), rows(2));
        assert_eq!(sample(json!({"n": 1})).tags("label"), [Tag::Target]);
        assert_eq!(
            codes::<NegativeSample>(json!({"n": 1, "name": "u"}), &[("input", data())]),
            ["duplicate-column"]
        );
        assert_eq!(
            codes::<NegativeSample>(json!({"n": 0}), &[("input", data())]),
            ["out-of-range"]
        );
    }
}
