//! `JoinGroupStats`: joins group statistics to every row.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::compute::take;
use arrow::datatypes::{DataType, Int64Type};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::categorical::categorify::keys::value_type;
use crate::features::columns_of::{column, type_of, unknown};
use crate::features::fit_split::{default_split, unknown_split};
use crate::features::target::group_statistic::Stat;
use crate::features::target::group_summaries::Summaries;
use crate::features::target::groups::{GroupTable, Groups};
use towline_api::{
    Code, Column, DatasetPort, DatasetType, Describe, FitContext, FitOutput, Fitter, Form, Inputs, NamedExpr, NodeType,
    Operator, OperatorError, Port, Problem, Purity, Result, Schema, State, Stateful, Tag, TypeContext,
};
use towline_tables::array_function::array_function;

/// Computes group statistics on one split and joins them to the rows of every split. The output has one column
/// `<by>_<column>_<statistic>` per statistic, and no others.
///
/// Nulls follow SQL: aggregates ignore them. A group without values has null statistics and a `count` of 0; `std` and
/// `var` of a single value are null (sample statistics, n - 1). A row whose key contains null, or whose group was not
/// seen in the fit, gets null (`count` and `nunique` get 0). NaN is treated as null. Integer sums are exact; one that
/// overflows 64 bits fails the node.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinGroupStats {
    /// Columns to group by, for example `[item_id]`.
    pub by: Vec<String>,
    /// Columns to aggregate, for example `[price]`.
    pub columns: Vec<String>,
    /// Statistics: `count`, `sum`, `mean`, `std`, `var`, `min`, `max`, `nunique` (number of distinct values).
    pub stats: Vec<Stat>,
    /// The split to fit on.
    #[serde(default = "default_split")]
    pub fit_on: String,
}

impl JoinGroupStats {
    /// Output columns: name, input column, statistic.
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

const INPUT: DatasetPort = DatasetPort::required("input", "Rows with the key and the columns.");

impl Describe for JoinGroupStats {
    const NAME: &'static str = "JoinGroupStats";
    const CODE_VERSION: u32 = 2;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str =
        "op: JoinGroupStats\ninput: clicks\nwith: { by: [item_id], columns: [price], stats: [count, mean, std] }\n";

    fn check(&self) -> Vec<Problem> {
        let lists = [
            ("by", self.by.is_empty()),
            ("columns", self.columns.is_empty()),
            ("stats", self.stats.is_empty()),
        ];
        let empty = lists.into_iter().filter(|(_, empty)| *empty);
        empty
            .map(|(key, _)| Problem::new(Code::BadConfig, format!("`{key}` is empty")).at(key))
            .collect()
    }
}

impl Operator for JoinGroupStats {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = INPUT.input_type(inputs)?;
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
            problems.push(Problem::new(Code::WrongType, message).at("by"));
        }
        let numbers = self.stats.iter().any(|stat| !stat.counts());
        for column in known(&self.columns) {
            if value_type(&column.data_type).is_none() || (numbers && !column.data_type.is_numeric()) {
                let message = format!(
                    "column `{}` holds {}, which does not support these statistics",
                    column.name, column.data_type
                );
                problems.push(
                    Problem::new(Code::WrongType, message)
                        .at("columns")
                        .help("columns that are not numeric support `count` and `nunique`"),
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
            .ok_or_else(|| OperatorError::internal("the fit left no groups"))?;
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
            let (groups, found) = (Arc::clone(&groups), data_type.clone());
            let body = move |arrays: &[ArrayRef]| lookup(&groups, arrays, &place, stat, &found);
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

fn lookup(groups: &GroupTable, keys: &[ArrayRef], column: &str, stat: Stat, data_type: &DataType) -> Result<ArrayRef> {
    let mut places = groups.places(keys)?;
    for key in keys {
        // Null never equals a key, not even null.
        let absent = crate::features::numeric::fill_missing::missing(key)?;
        places = arrow::compute::nullif(&places, &absent)?.as_primitive().clone();
    }
    let Some(values) = groups.column(column) else {
        let nothing: ArrayRef = if stat.counts() {
            Arc::new(Int64Array::from(vec![0; places.len()]))
        } else {
            arrow::array::new_null_array(data_type, places.len())
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
