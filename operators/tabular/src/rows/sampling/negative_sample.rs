//! `NegativeSample`: negative sampling.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{interleave, take};
use arrow::datatypes::DataType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rows::memory_limit::MemoryLimit;
use crate::rows::row_numbers::CodedColumn;
use crate::rows::sampling::negative_draws::{Candidates, Drawing, Draws};
use crate::rows::sampling::random_rows::RandomRows;
use crate::rows::task_rows::{dataset, write_split};
use towline_api::{
    Artifact, Code, Column, Context, DatasetPort, Describe, Form, Inputs, NodeType, Operator, OperatorError, Output,
    Port, Problem, Purity, Result, Schema, TableFile, Tag, Task, TypeContext, byte_size, default_split,
};

/// Negative sampling: after every row, adds `n` rows with the same user and an item that this user has in no split.
/// Negatives are drawn from the items of the split `from` (null excluded); all columns tagged `item` are taken from the
/// drawn item, the other columns are repeated. A label column, tagged `target`, is 1 for the original rows and 0 for
/// negatives. A user who has interacted with almost all items may get fewer negatives.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NegativeSample {
    /// Number of negatives per row, from 1 to 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub n: u64,
    /// Sampling distribution: `uniform`, or `popularity` (proportional to an item's frequency in the split `from`).
    #[serde(default)]
    pub by: Likelihood,
    /// Random seed.
    #[serde(default)]
    pub seed: u64,
    /// The split whose items are drawn.
    #[serde(default = "default_split")]
    pub from: String,
    /// Name of the label column.
    #[serde(default = "label")]
    pub name: String,
    /// Memory limit, for example `512MB`, for users and items, their pairs, and the item columns of the split `from`;
    /// above it, they are spilled to temporary files. It does not change the result.
    #[serde(default)]
    #[schemars(transform = towline_api::cache_ignored)]
    pub memory_limit: Option<String>,
}

/// Sampling distribution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Likelihood {
    /// All items are equally likely.
    #[default]
    Uniform,
    /// Proportional to frequency.
    Popularity,
}

fn label() -> String {
    "label".to_owned()
}

/// The id column of the user or the item.
fn id(schema: &Schema, side: Tag) -> Result<&Column, Problem> {
    let mut found = schema.columns.iter().filter(|column| column.has(&[side, Tag::Id]));
    match (found.next(), found.next()) {
        (Some(column), None) => Ok(column),
        _ => {
            let message = format!("exactly one column must be tagged {side} and id");
            Err(Problem::new(Code::BadInput, message).at_port("input"))
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

const INPUT: DatasetPort = DatasetPort::required("input", "Interactions with tagged columns.");

impl Describe for NegativeSample {
    const NAME: &'static str = "NegativeSample";
    const CODE_VERSION: u32 = 3;
    const PURITY: Purity = Purity::Seeded;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: NegativeSample\ninput: features\nwith: { n: 4, by: popularity }\n";

    fn check(&self) -> Vec<Problem> {
        byte_size::problem(self.memory_limit.as_deref(), "memory_limit")
            .into_iter()
            .collect()
    }
}

impl Operator for NegativeSample {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let mut output = INPUT.input_type(inputs)?.clone();
        let sides = [Tag::User, Tag::Item].map(|side| id(&output.schema, side).err());
        let mut problems: Vec<Problem> = sides.into_iter().flatten().collect();
        if !output.splits.contains(&self.from) {
            problems.push(
                Problem::new(
                    Code::UnknownSplit,
                    format!("there is no split `{}` to draw from", self.from),
                )
                .at("from"),
            );
        }
        if output.schema.get(&self.name).is_some() {
            let message = format!("the column `{}` already exists", self.name);
            problems.push(Problem::new(Code::DuplicateColumn, message).at("name"));
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

impl Task for NegativeSample {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let input = INPUT.files(inputs)?;
        let limit = MemoryLimit::of(self.memory_limit.as_deref()).bytes();
        let (folder, cancel) = (&context.temp, &context.cancel);
        let name = |side| {
            let column = id(&input.schema, side);
            column.map_err(|problem| OperatorError::invalid(problem.message))
        };
        let mut users = CodedColumn::read(input, &name(Tag::User)?.name, limit / 2, folder, cancel)?;
        let mut items = CodedColumn::read(input, &name(Tag::Item)?.name, limit / 2, folder, cancel)?;
        let table = input.split(&self.from);
        let table = table.ok_or_else(|| OperatorError::internal(format!("there is no split `{}`", self.from)))?;
        let features: Vec<&str> = input
            .schema
            .tagged(&[Tag::Item])
            .map(|column| column.name.as_str())
            .collect();
        let rows = |table: &TableFile| usize::try_from(table.rows).unwrap_or(usize::MAX);
        let before = input.splits.iter().take_while(|(name, _)| *name != self.from);
        let first = before.map(|(_, table)| rows(table)).sum();
        let once = self.by == Likelihood::Uniform;
        let mut candidates = Candidates::of(&mut items, first..first + rows(table), once, limit / 4, folder)?;
        let source = RandomRows::read(table, &features, candidates.rows.as_mut(), limit / 4, folder, cancel)?;
        let drawing = Drawing {
            negatives: self.n,
            seed: self.seed,
            splits: input.splits.iter().map(|(_, table)| rows(table)).collect(),
            candidates,
        };
        let mut draws = Draws::of(drawing, &mut users, &mut items, limit / 2, folder, cancel)?;
        let schema = self.schema(&input.schema);
        let (mut written, mut index) = (Vec::new(), 0);
        for (split, (name, table)) in input.splits.iter().enumerate() {
            let mut row = 0;
            let path = context.temp_file(&format!("{split}.parquet"));
            let path = write_split(table, path, &schema, context, |batch| {
                let drawn = (0..batch.num_rows()).map(|place| draws.next(split, row + place, index + place));
                let drawn = drawn.collect::<Result<Vec<_>>>()?;
                row += batch.num_rows();
                index += batch.num_rows();
                sampled(&batch, &drawn, &source, &schema)
            })?;
            written.push((name.clone(), path));
        }
        Ok(dataset(schema, written, input))
    }
}

/// The rows of a batch, each followed by its negatives.
fn sampled(batch: &RecordBatch, drawn: &[Vec<u32>], source: &RandomRows, schema: &Schema) -> Result<RecordBatch> {
    let from_source = source.get(&drawn.concat())?;
    // The source of each output row's item: the batch or the drawn rows, and the index there.
    let (mut rows, mut items, mut labels, mut place) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for (row, drawn) in drawn.iter().enumerate() {
        rows.push(row as u32);
        items.push((0, row));
        labels.push(1);
        for _ in drawn {
            rows.push(row as u32);
            items.push((1, place));
            labels.push(0);
            place += 1;
        }
    }
    let rows = UInt32Array::from(rows);
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (column, own) in schema.columns.iter().zip(batch.columns()) {
        let of_item = column.tags.contains(&Tag::Item);
        columns.push(match source.column(&column.name).filter(|_| of_item) {
            Some(drawn) => interleave(&[own.as_ref(), from_source[drawn].as_ref()], &items)?,
            None => take(own.as_ref() as &dyn Array, &rows, None)?,
        });
    }
    columns.push(Arc::new(Int64Array::from(labels)));
    Ok(RecordBatch::try_new(schema.to_arrow(), columns)?)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use arrow::array::{AsArray, ListArray, StringArray};
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

    #[test]
    fn a_memory_limit_changes_nothing() {
        // Two splits of a few hundred users, with one null user, one null item, and lists and text among the features.
        let rows = |count: i64, step: i64| {
            let ids = |factor: i64, of: i64| {
                let id = move |row: i64| (row % 211 > 0).then_some(row * factor * step % of);
                Arc::new((0..count).map(id).collect::<Int64Array>()) as ArrayRef
            };
            let words = (0..count).map(|row| (row % 5 > 0).then(|| format!("word {}", row * 13 * step % 97)));
            let lists = (0..count).map(|row| Some((0..row % 3).map(|place| Some(row + place)).collect::<Vec<_>>()));
            [
                ("u", ids(7, 300)),
                ("i", ids(13, 97)),
                ("word", Arc::new(words.collect::<StringArray>()) as ArrayRef),
                (
                    "list",
                    Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)) as ArrayRef,
                ),
            ]
        };
        let data = Data::of(rows(3000, 1))
            .and("valid", rows(500, 3))
            .tagged("u", &[Tag::User, Tag::Id])
            .tagged("i", &[Tag::Item, Tag::Id])
            .tagged("word", &[Tag::Item])
            .tagged("list", &[Tag::Item]);
        for (by, from) in [("uniform", "train"), ("popularity", "valid")] {
            let rows = |limit: Option<&str>| {
                let config = json!({"n": 3, "by": by, "from": from, "seed": 5, "memory_limit": limit});
                let ran = run::<NegativeSample>(config, &[("input", data.clone())]);
                ["train", "valid"].map(|split| ran.rows(split))
            };
            let free = rows(None);
            for limit in ["1MB", "64kB", "8kB"] {
                assert!(rows(Some(limit)) == free, "{by} in {limit}");
            }
        }
        let config = json!({"n": 3, "memory_limit": "little"});
        assert_eq!(codes::<NegativeSample>(config, &[("input", data)]), ["bad-config"]);
    }

    #[test]
    fn rows_of_several_batches_draw_from_one_stream() {
        let ids = |step: i64, of: i64| {
            Arc::new(Int64Array::from_iter_values((0..20_000).map(|row| row * step % of))) as ArrayRef
        };
        let data = Data::of([("u", ids(7, 500)), ("i", ids(13, 997))])
            .tagged("u", &[Tag::User, Tag::Id])
            .tagged("i", &[Tag::Item, Tag::Id]);
        let ran = run::<NegativeSample>(json!({"n": 2}), &[("input", data)]);
        let rows = &ran.splits[0].1;
        let column = |place: usize| rows.column(place).as_primitive::<Int64Type>().values().to_vec();
        let (users, items, labels) = (column(0), column(1), column(2));
        assert_eq!(labels.len(), 60_000);
        let chosen: HashSet<(i64, i64)> = (0..20_000).map(|row| (row * 7 % 500, row * 13 % 997)).collect();
        for row in 0..labels.len() {
            assert_eq!(users[row], (row as i64 / 3) * 7 % 500);
            assert_eq!(chosen.contains(&(users[row], items[row])), labels[row] == 1);
        }
    }
    #[test]
    fn a_missing_item_is_never_drawn() {
        use crate::features::categorical::categorify::Categorify;
        let ids = |values: &[Option<i64>]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        let items = [None, Some(7), None, Some(8), Some(9), None];
        let users = [Some(1), Some(2), Some(3), Some(1), None, Some(2)];
        let plain = Data::of([("u", ids(&users)), ("i", ids(&items))]);
        let encoded = run::<Categorify>(json!({}), &[("input", plain.clone())]).data();
        for (data, least) in [(plain, 7), (encoded, 2)] {
            let data = data
                .tagged("u", &[Tag::User, Tag::Id])
                .tagged("i", &[Tag::Item, Tag::Id]);
            for by in ["uniform", "popularity"] {
                let ran = run::<NegativeSample>(json!({"n": 20, "by": by}), &[("input", data.clone())]);
                let (drawn, labels) = (ran.column("i"), ran.column("label"));
                let drawn = drawn.as_primitive::<Int64Type>().iter();
                let labels = labels.as_primitive::<Int64Type>().values().iter();
                let mut negatives = drawn.zip(labels).filter(|(_, label)| **label == 0);
                assert!(
                    negatives.all(|(item, _)| item.is_some_and(|item| item >= least)),
                    "{by}"
                );
                assert!(ran.column("label").len() > 100);
            }
        }
    }
}
