//! `JoinGroupStats`: statistics of groups of rows, beside every row.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use hashbrown::HashSet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::categorify::keys::{Keys, Values, value_type};
use super::columns_of::{column, type_of, unknown};
use super::fit_split::{default_split, unknown_split};
use super::groups::{GroupTable, Groups};
use crate::array_function::array_function;
use crate::contract::{
    Column, DatasetType, Describe, FitContext, FitOutput, Fitter, Form, Inputs, NamedExpr, NodeType, Operator,
    OperatorError, Port, Problem, Purity, Result, Schema, State, Stateful, Tag, TypeContext, dataset_at,
};

/// Computes statistics of groups of rows on one split, and puts them beside every row of every split: one column
/// `<by>_<column>_<statistic>` each, and nothing else.
///
/// Nulls are as in SQL: statistics leave them out, those of a group without any value are null (its `count` is 0), and so
/// are `std` and `var` of a single value (they are those of a sample, n - 1). A row whose key has a null in it, or whose
/// group was not seen, has null (`count` and `nunique` 0). NaN counts as null. Sums of whole numbers are exact.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinGroupStats {
    /// The columns that make a group, for example `[item_id]`.
    pub by: Vec<String>,
    /// The columns to compute statistics of, for example `[price]`.
    pub columns: Vec<String>,
    /// The statistics: `count`, `sum`, `mean`, `std`, `var`, `min`, `max`, `nunique` (distinct values).
    pub stats: Vec<Stat>,
    /// The split to learn from.
    #[serde(default = "default_split")]
    pub fit_on: String,
}

/// A statistic of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stat {
    /// Number of values.
    Count,
    /// Sum.
    Sum,
    /// Arithmetic mean.
    Mean,
    /// Standard deviation of a sample.
    Std,
    /// Variance of a sample.
    Var,
    /// Smallest value.
    Min,
    /// Largest value.
    Max,
    /// Number of distinct values.
    Nunique,
}

impl Stat {
    fn word(self) -> &'static str {
        match self {
            Stat::Count => "count",
            Stat::Sum => "sum",
            Stat::Mean => "mean",
            Stat::Std => "std",
            Stat::Var => "var",
            Stat::Min => "min",
            Stat::Max => "max",
            Stat::Nunique => "nunique",
        }
    }

    fn counts(self) -> bool {
        matches!(self, Stat::Count | Stat::Nunique)
    }

    fn data_type(self, of: &DataType) -> DataType {
        match self {
            Stat::Count | Stat::Nunique => DataType::Int64,
            Stat::Sum | Stat::Min | Stat::Max if of.is_integer() && *of != DataType::UInt64 => DataType::Int64,
            _ => DataType::Float64,
        }
    }
}

impl JoinGroupStats {
    /// The columns of the output: name, column, statistic.
    fn outputs(&self) -> impl Iterator<Item = (String, &String, Stat)> {
        let by = self.by.join("_");
        self.columns.iter().flat_map(move |column| {
            let by = by.clone();
            self.stats
                .iter()
                .map(move |stat| (format!("{by}_{column}_{}", stat.word()), column, *stat))
        })
    }

    fn side(&self, schema: &Schema) -> std::collections::BTreeSet<Tag> {
        let first = self.by.first().and_then(|name| schema.get(name));
        first
            .map(|column| column.tags.iter().copied().filter(|tag| tag.is_side()).collect())
            .unwrap_or_default()
    }
}

impl Describe for JoinGroupStats {
    const NAME: &'static str = "JoinGroupStats";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[Port::dataset("input", "Rows with the key and the columns.")];
    const EXAMPLE: &'static str =
        "op: JoinGroupStats\ninput: clicks\nwith: { by: [item_id], columns: [price], stats: [count, mean, std] }\n";
    const NVTABULAR: &'static [&'static str] = &["JoinGroupby"];

    fn check(&self) -> Vec<Problem> {
        let lists = [
            ("by", self.by.is_empty()),
            ("columns", self.columns.is_empty()),
            ("stats", self.stats.is_empty()),
        ];
        let empty = lists.into_iter().filter(|(_, empty)| *empty);
        empty
            .map(|(key, _)| Problem::new("bad-config", format!("`{key}` is empty")).at(key))
            .collect()
    }
}

impl Operator for JoinGroupStats {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = dataset_at(inputs, "input")?;
        let mut problems: Vec<Problem> = unknown_split(&self.fit_on, &input.splits).into_iter().collect();
        problems.extend(unknown(self.by.iter().map(String::as_str), &input.schema, "by"));
        problems.extend(unknown(
            self.columns.iter().map(String::as_str),
            &input.schema,
            "columns",
        ));
        let known = |names: &Vec<String>| {
            names
                .iter()
                .filter_map(|name| input.schema.get(name))
                .cloned()
                .collect::<Vec<_>>()
        };
        for column in known(&self.by)
            .iter()
            .filter(|column| value_type(&column.data_type).is_none())
        {
            let message = format!(
                "column `{}` holds {}, which cannot be a key",
                column.name, column.data_type
            );
            problems.push(Problem::new("wrong-type", message).at("by"));
        }
        let numbers = self.stats.iter().any(|stat| !stat.counts());
        for column in known(&self.columns) {
            if value_type(&column.data_type).is_none() || (numbers && !column.data_type.is_numeric()) {
                let message = format!(
                    "column `{}` holds {}, which has no such statistics",
                    column.name, column.data_type
                );
                problems.push(
                    Problem::new("wrong-type", message)
                        .at("columns")
                        .help("of values that are no numbers there are `count` and `nunique`"),
                );
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let tags = self.side(&input.schema);
        let output = |(name, column, stat): (String, &String, Stat)| {
            let of = input
                .schema
                .get(column)
                .map_or(DataType::Float64, |column| column.data_type.clone());
            let mut out = Column::new(name, stat.data_type(&of), !stat.counts()).with_tag(Tag::Continuous);
            out.tags.extend(&tags);
            out
        };
        Ok(NodeType::Dataset(DatasetType {
            schema: Schema {
                columns: self.outputs().map(output).collect(),
            },
            splits: input.splits.clone(),
        }))
    }

    fn form(&self) -> Form<'_> {
        Form::Stateful(self)
    }
}

impl Stateful for JoinGroupStats {
    fn fit_on(&self) -> &str {
        &self.fit_on
    }

    fn fit_columns(&self, _: &Schema) -> Vec<String> {
        [self.by.clone(), self.columns.clone()].concat()
    }

    fn fitter(&self, input: &Schema, _: &FitContext<'_>) -> Result<Box<dyn Fitter>> {
        let column = |name: &String| {
            let data_type = type_of(input, name)?.clone();
            Ok(Summaries {
                name: name.clone(),
                data_type,
                groups: Vec::new(),
            })
        };
        Ok(Box::new(Fit {
            groups: Groups::by(&self.by, input)?,
            keys: self.by.len(),
            columns: self.columns.iter().map(column).collect::<Result<_>>()?,
            stats: self.stats.clone(),
        }))
    }

    fn project(&self, state: &State, input: &Schema, _: &str, columns: &[NamedExpr]) -> Result<Vec<NamedExpr>> {
        let table = state
            .tables
            .get("groups")
            .ok_or_else(|| OperatorError::invalid("the fit left no groups"))?;
        let groups = table.vocabulary.derived(|file| GroupTable::read(file.path()))?;
        let keys = self
            .by
            .iter()
            .map(|name| Ok(column(columns, name)?.expr.clone()))
            .collect::<Result<Vec<_>>>()?;
        let joined = |(name, column, stat): (String, &String, Stat)| {
            let place = format!("{column}_{}", stat.word());
            let function = format!("group_stat_{}({place})", table.digest);
            let data_type = stat.data_type(type_of(input, column)?);
            let groups = Arc::clone(&groups);
            let body = move |arrays: &[ArrayRef]| lookup(&groups, arrays, &place, stat);
            Ok(NamedExpr {
                name,
                expr: array_function(function, data_type, !stat.counts(), keys.clone(), body),
            })
        };
        self.outputs().map(joined).collect()
    }

    fn refine(&self, _: &State, output: &Schema) -> Result<Schema> {
        Ok(output.clone())
    }
}

fn lookup(groups: &GroupTable, keys: &[ArrayRef], column: &str, stat: Stat) -> Result<ArrayRef> {
    let mut places = groups.places(keys)?;
    for key in keys {
        // A null equals nothing, not even another null.
        let absent = super::fill_missing::missing(key)?;
        places = arrow::compute::nullif(&places, &absent)?.as_primitive().clone();
    }
    let Some(values) = groups.column(column) else {
        let nothing: ArrayRef = if stat.counts() {
            Arc::new(Int64Array::from(vec![0; places.len()]))
        } else {
            arrow::array::new_null_array(&DataType::Float64, places.len())
        };
        return Ok(nothing);
    };
    let found = take(values.as_ref(), &places, None)?;
    if !stat.counts() {
        return Ok(found);
    }
    let counts = found.as_primitive::<Int64Type>().iter().map(|count| count.unwrap_or(0));
    Ok(Arc::new(Int64Array::from_iter_values(counts)))
}

/// What is known of one column in one group.
#[derive(Default)]
struct Summary {
    count: u64,
    whole: i128,
    sum: f64,
    carry: f64,
    mean: f64,
    squares: f64,
    whole_range: Option<(i64, i64)>,
    range: Option<(f64, f64)>,
    distinct: HashSet<Box<[u8]>>,
}

impl Summary {
    fn add(&mut self, value: f64, whole: i64) {
        self.count += 1;
        self.whole += i128::from(whole);
        let next = self.sum + value;
        self.carry += if self.sum.abs() >= value.abs() {
            (self.sum - next) + value
        } else {
            (value - next) + self.sum
        };
        self.sum = next;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
        let (low, high) = self.range.unwrap_or((value, value));
        self.range = Some((low.min(value), high.max(value)));
        let (low, high) = self.whole_range.unwrap_or((whole, whole));
        self.whole_range = Some((low.min(whole), high.max(whole)));
    }

    fn real(&self, stat: Stat) -> Option<f64> {
        let variance = (self.count > 1).then(|| self.squares / (self.count - 1) as f64);
        match stat {
            Stat::Sum => (self.count > 0).then_some(self.sum + self.carry),
            Stat::Mean => (self.count > 0).then(|| (self.sum + self.carry) / self.count as f64),
            Stat::Var => variance,
            Stat::Std => variance.map(f64::sqrt),
            Stat::Min => self.range.map(|range| range.0),
            Stat::Max => self.range.map(|range| range.1),
            Stat::Count | Stat::Nunique => None,
        }
    }

    fn integer(&self, stat: Stat) -> Result<Option<i64>> {
        let too_large = |_| OperatorError::invalid("a sum of whole numbers is too large for 64 bits");
        Ok(match stat {
            Stat::Count => Some(self.count as i64),
            Stat::Nunique => Some(self.distinct.len() as i64),
            Stat::Sum if self.count > 0 => Some(i64::try_from(self.whole).map_err(too_large)?),
            Stat::Min => self.whole_range.map(|range| range.0),
            Stat::Max => self.whole_range.map(|range| range.1),
            _ => None,
        })
    }
}

struct Summaries {
    name: String,
    data_type: DataType,
    groups: Vec<Summary>,
}

impl Summaries {
    fn update(&mut self, groups: &[u32], array: &ArrayRef, stats: &[Stat]) -> Result<()> {
        let most = groups.iter().max().map_or(0, |group| *group as usize + 1);
        if most > self.groups.len() {
            self.groups.resize_with(most, Summary::default);
        }
        if stats.contains(&Stat::Nunique) {
            self.distinct(groups, array)?;
        }
        if !array.data_type().is_numeric() {
            for (_, group) in groups.iter().enumerate().filter(|(row, _)| array.is_valid(*row)) {
                self.groups[*group as usize].count += 1;
            }
            return Ok(());
        }
        let floats = cast(array, &DataType::Float64)?;
        let floats = floats.as_primitive::<Float64Type>();
        let whole = if array.data_type().is_integer() {
            Some(cast(array, &DataType::Int64)?)
        } else {
            None
        };
        let whole = whole.as_ref().map(AsArray::as_primitive::<Int64Type>);
        for (row, group) in groups.iter().enumerate() {
            if floats.is_valid(row) && !floats.value(row).is_nan() {
                let integer = whole.map_or(0, |whole| whole.value(row));
                self.groups[*group as usize].add(floats.value(row), integer);
            }
        }
        Ok(())
    }

    fn distinct(&mut self, groups: &[u32], array: &ArrayRef) -> Result<()> {
        let found = array.data_type();
        let kept = value_type(found).ok_or_else(|| OperatorError::invalid(format!("{found} cannot be told apart")))?;
        let keys = Values::of(&kept).keys(std::slice::from_ref(array))?;
        for (row, group) in groups.iter().enumerate() {
            let distinct = &mut self.groups[*group as usize].distinct;
            match &keys {
                Keys::Numbers(keys) if keys.is_valid(row) => distinct.insert(Box::from(keys.value(row).to_le_bytes())),
                Keys::Bytes(keys) if keys.is_valid(row) => distinct.insert(Box::from(keys.value(row))),
                _ => continue,
            };
        }
        Ok(())
    }

    fn column(&self, stat: Stat) -> Result<ArrayRef> {
        if stat.data_type(&self.data_type) == DataType::Float64 {
            let values: Float64Array = self.groups.iter().map(|group| group.real(stat)).collect();
            return Ok(Arc::new(values));
        }
        let values = self
            .groups
            .iter()
            .map(|group| group.integer(stat))
            .collect::<Result<Int64Array>>()?;
        Ok(Arc::new(values))
    }
}

struct Fit {
    groups: Groups,
    keys: usize,
    columns: Vec<Summaries>,
    stats: Vec<Stat>,
}

impl Fitter for Fit {
    fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        let groups = self.groups.of_rows(&batch.columns()[..self.keys])?;
        for (summaries, array) in self.columns.iter_mut().zip(&batch.columns()[self.keys..]) {
            summaries.update(&groups, array, &self.stats)?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>, folder: &Path) -> Result<FitOutput> {
        let mut columns = Vec::new();
        for summaries in &self.columns {
            for stat in &self.stats {
                columns.push((format!("{}_{}", summaries.name, stat.word()), summaries.column(*stat)?));
            }
        }
        let path = folder.join("groups.parquet");
        self.groups.write(&path, columns)?;
        let mut output = FitOutput::default();
        output.tables.insert("groups".to_owned(), path);
        Ok(output)
    }
}

#[cfg(test)]
#[path = "join_group_stats_tests.rs"]
mod tests;
