//! `NegativeSample`: items that a user did not choose.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, interleave, take};
use arrow::datatypes::DataType;
use hashbrown::HashSet;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::memory_limit::MemoryLimit;
use super::numbers::Numbering;
use super::task_rows::{dataset, write_split};
use crate::contract::{
    Artifact, Column, Context, DEFAULT_SPLIT, DatasetFiles, Describe, Form, Inputs, NodeType, Operator, OperatorError,
    Output, Port, Problem, Purity, Result, Schema, Tag, Task, TypeContext, dataset_at, file_dataset_at,
};
use crate::feature::byte_size;

/// How many items are drawn before a row goes without a negative: a user who chose nearly everything has few others.
const TRIES: usize = 100;
/// What a pair takes in a set at the load that it has on average, and in the smaller one while it grows.
const PAIR_BYTES: usize = 24;
/// What can be done where memory does not suffice.
const HELP: &str = "give it more memory, or fewer rows (`Sample`, `KCore`), or draw from a smaller split";

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
    /// How much memory it may take, for example `2GB`. In memory are the users and items, the pairs of them that occur, and
    /// the columns of the items in the split `from`; if they are more than the limit, the run stops before it takes more.
    /// It changes no result.
    #[serde(default)]
    pub memory_limit: Option<String>,
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
    const CACHE_IGNORE: &'static [&'static str] = &["memory_limit"];
    const EXAMPLE: &'static str = "op: NegativeSample\ninput: features\nwith: { n: 4, by: popularity }\n";

    fn check(&self) -> Vec<Problem> {
        byte_size::problem(self.memory_limit.as_deref(), "memory_limit")
            .into_iter()
            .collect()
    }
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

/// Users and items as numbers, equal for equal values over all splits, and what was chosen.
struct Choices {
    user: String,
    item: String,
    users: Numbering,
    items: Numbering,
    chosen: HashSet<(u32, u32)>,
}

impl Choices {
    fn of(input: &DatasetFiles) -> Result<Self> {
        let column = |side| id(&input.schema, side).map_err(|problem| OperatorError::invalid(problem.message));
        let (user, item) = (column(Tag::User)?, column(Tag::Item)?);
        Ok(Choices {
            user: user.name.clone(),
            item: item.name.clone(),
            users: Numbering::of_type(&user.data_type)?,
            items: Numbering::of_type(&item.data_type)?,
            chosen: HashSet::new(),
        })
    }

    /// The users and the items of some rows.
    fn numbers(&mut self, batch: &RecordBatch) -> Result<(Vec<u32>, Vec<u32>)> {
        let column = |name: &str| {
            let column = batch.column_by_name(name);
            column.ok_or_else(|| OperatorError::invalid(format!("there is no column `{name}`")))
        };
        let users = self.users.add(column(&self.user)?, false)?;
        let items = self.items.add(column(&self.item)?, false)?;
        Ok((users, items))
    }

    fn bytes(&self) -> usize {
        self.users.bytes() + self.items.bytes() + self.chosen.len() * PAIR_BYTES
    }
}

/// What is drawn from: the columns of items of a split, and the number of each row's item.
struct Source {
    columns: RecordBatch,
    items: Vec<u32>,
    /// The rows to draw from: each item once, or every row.
    candidates: Vec<u32>,
}

impl Task for NegativeSample {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let input = file_dataset_at(inputs, "input")?;
        let limit = MemoryLimit::of(self.memory_limit.as_deref());
        let mut choices = Choices::of(input)?;
        let ids = [choices.user.clone(), choices.item.clone()];
        for (_, table) in &input.splits {
            for batch in table.batches(Some(&[&ids[0], &ids[1]]))? {
                context.cancel.check()?;
                let (users, items) = choices.numbers(&batch?)?;
                choices.chosen.extend(users.into_iter().zip(items));
                limit.check(choices.bytes(), "the users, the items and the pairs of them", HELP)?;
            }
        }
        let source = self.source(input, &mut choices, limit, context)?;
        let schema = self.schema(&input.schema);
        let mut written = Vec::new();
        for (index, (name, table)) in input.splits.iter().enumerate() {
            let mut random = ChaCha8Rng::seed_from_u64(self.seed);
            random.set_stream(index as u64);
            let path = context.temp_file(&format!("{index}.parquet"));
            let path = write_split(table, path, &schema, context, |batch| {
                self.sampled(&batch, &source, &mut choices, &mut random, &schema)
            })?;
            written.push((name.clone(), path));
        }
        Ok(dataset(schema, written, input))
    }
}

impl NegativeSample {
    /// The split to draw from.
    fn source(
        &self,
        input: &DatasetFiles,
        choices: &mut Choices,
        limit: MemoryLimit,
        context: &Context,
    ) -> Result<Source> {
        let table = input.split(&self.from);
        let table = table.ok_or_else(|| OperatorError::invalid(format!("there is no split `{}`", self.from)))?;
        let mut needed: Vec<&str> = input
            .schema
            .tagged(&[Tag::Item])
            .map(|column| column.name.as_str())
            .collect();
        needed.push(&choices.user);
        let needed: Vec<String> = needed.into_iter().map(str::to_owned).collect();
        let needed: Vec<&str> = needed.iter().map(String::as_str).collect();
        let (mut batches, mut items, mut taken) = (Vec::new(), Vec::new(), choices.bytes());
        for batch in table.batches(Some(&needed))? {
            context.cancel.check()?;
            let batch = batch?;
            items.extend(choices.numbers(&batch)?.1);
            // Once as they are read, and once in one piece.
            taken += 2 * batch.get_array_memory_size();
            limit.check(taken, "the pairs of users and items and the columns of the items", HELP)?;
            batches.push(batch);
        }
        let columns = match batches.first() {
            Some(first) => concat_batches(&first.schema(), &batches)?,
            None => RecordBatch::new_empty(input.schema.to_arrow()),
        };
        let all = 0..items.len() as u32;
        let candidates = if self.by == Likelihood::Popularity {
            all.collect()
        } else {
            let mut seen = HashSet::new();
            all.filter(|row| seen.insert(items[*row as usize])).collect()
        };
        Ok(Source {
            columns,
            items,
            candidates,
        })
    }

    fn sampled(
        &self,
        batch: &RecordBatch,
        source: &Source,
        choices: &mut Choices,
        random: &mut ChaCha8Rng,
        schema: &Schema,
    ) -> Result<RecordBatch> {
        let (users, _) = choices.numbers(batch)?;
        // Items come from these rows or from the source: which of the two, and the place there.
        let (mut rows, mut items, mut labels) = (Vec::new(), Vec::new(), Vec::new());
        for (row, user) in users.iter().enumerate() {
            rows.push(row as u32);
            items.push((0, row));
            labels.push(1);
            for _ in 0..self.n {
                let candidates = &source.candidates;
                let mut draw = || candidates.get(random.random_range(0..candidates.len().max(1))).copied();
                let fits = |place: &u32| !choices.chosen.contains(&(*user, source.items[*place as usize]));
                if let Some(place) = (0..TRIES).find_map(|_| draw().filter(fits)) {
                    rows.push(row as u32);
                    items.push((1, place as usize));
                    labels.push(0);
                }
            }
        }
        let rows = UInt32Array::from(rows);
        let mut columns: Vec<ArrayRef> = Vec::new();
        for (column, own) in schema.columns.iter().zip(batch.columns()) {
            let drawn = source.columns.column_by_name(&column.name);
            columns.push(match drawn.filter(|_| column.tags.contains(&Tag::Item)) {
                Some(drawn) => interleave(&[own.as_ref(), drawn.as_ref()], &items)?,
                None => take(own.as_ref() as &dyn Array, &rows, None)?,
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
    use crate::harness::{Data, Ran, codes, run, try_run};

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
    fn a_memory_limit_changes_nothing_or_is_told() {
        let config = |limit: &str| json!({"n": 3, "by": "popularity", "memory_limit": limit});
        let free = sample(json!({"n": 3, "by": "popularity"}));
        assert_eq!(sample(config("1MB")).rows("train"), free.rows("train"));
        let refused = try_run::<NegativeSample>(config("300B"), &[("input", data())])
            .err()
            .unwrap();
        assert!(
            refused.contains("pairs") && refused.contains("memory_limit"),
            "{refused}"
        );
        assert_eq!(
            codes::<NegativeSample>(config("little"), &[("input", data())]),
            ["bad-config"]
        );
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
}
