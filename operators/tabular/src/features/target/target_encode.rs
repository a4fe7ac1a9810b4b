//! `TargetEncode`: target encoding of categories.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion::functions_window::expr_fn::row_number;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::features::categorical::categorify::keys::value_type;
use crate::features::columns_of::{column, unknown};
use crate::features::fit_split::{default_split, unknown_split};
use crate::features::target::groups::{GroupTable, Groups};
use crate::features::target::target_means::{LeftOut, Means, Sum, fold, sums_of};
use towline_api::{
    Code, Column, DatasetPort, DatasetType, Describe, FitContext, FitOutput, Fitter, Form, Inputs, NamedExpr, NodeType,
    Operator, OperatorError, Port, Problem, Purity, Result, Schema, State, Stateful, Tag, TypeContext,
};
use towline_tables::array_function::array_function;

/// Target encoding: replaces each category by the smoothed mean of the target over its rows. One output column
/// `TE_<category>_<target>` each, `Float64`, tagged `continuous`.
///
/// To prevent target leakage on the fitted split, rows are assigned to `folds` by row number and seed, and a row's mean
/// is computed on the other folds (out of fold), or on all other rows with `leave_one_out`. Other splits use the mean
/// over the whole fitted split. The mean is (sum + smoothing * m) / (count + smoothing), where m is the global mean of
/// the target over the same rows; an unknown category gets m. Rows with a null target are ignored; rows with a null
/// category form a category of their own.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetEncode {
    /// Target columns, numeric, for example `[click]`.
    pub target: Vec<String>,
    /// Categories made of several columns, by name: `{ shop_brand: [shop, brand] }`. Columns in no group are categories
    /// of their own.
    #[serde(default)]
    pub groups: BTreeMap<String, Vec<String>>,
    /// Number of folds, 2 to 100.
    #[serde(default = "folds")]
    #[schemars(range(min = 2, max = 100))]
    pub folds: u64,
    /// Smoothing strength: the weight of the global mean, as a number of rows.
    #[serde(default = "smoothing")]
    #[schemars(range(min = 0.0))]
    pub smoothing: f64,
    /// Whether a row of the fitted split uses the mean of all other rows (leave-one-out) instead of the other folds.
    #[serde(default)]
    pub leave_one_out: bool,
    /// Seed of the assignment to folds.
    #[serde(default)]
    pub seed: u64,
    /// The split to fit on.
    #[serde(default = "default_split")]
    pub fit_on: String,
}

fn folds() -> u64 {
    5
}

fn smoothing() -> f64 {
    20.0
}

impl TargetEncode {
    /// The categories: name and columns.
    fn categories(&self, schema: &Schema) -> Vec<(String, Vec<String>)> {
        let grouped = |name: &str| self.groups.values().flatten().any(|column| column == name);
        let alone = schema
            .names()
            .filter(|name| !grouped(name) && !self.target.iter().any(|target| target == name));
        let alone = alone.map(|name| (name.to_owned(), vec![name.to_owned()]));
        alone
            .chain(
                self.groups
                    .iter()
                    .map(|(name, columns)| (name.clone(), columns.clone())),
            )
            .collect()
    }

    /// Number of partial sums per category: leave-one-out needs no folds.
    fn parts(&self) -> u64 {
        if self.leave_one_out { 1 } else { self.folds }
    }
}

const INPUT: DatasetPort = DatasetPort::required("input", "The categories and the targets.");

impl Describe for TargetEncode {
    const NAME: &'static str = "TargetEncode";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Seeded;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str =
        "op: TargetEncode\ninput: clicks[item_brand, click]\nwith: { target: [click], folds: 5 }\n";

    fn check(&self) -> Vec<Problem> {
        if self.target.is_empty() {
            return vec![Problem::new(Code::BadConfig, "`target` is empty").at("target")];
        }
        Vec::new()
    }
}

impl Operator for TargetEncode {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = INPUT.input_type(inputs)?;
        let mut problems: Vec<Problem> = unknown_split(&self.fit_on, &input.splits).into_iter().collect();
        problems.extend(unknown(self.target.iter().map(String::as_str), &input.schema, "target"));
        problems.extend(unknown(
            self.groups.values().flatten().map(String::as_str),
            &input.schema,
            "groups",
        ));
        for target in self.target.iter().filter_map(|name| input.schema.get(name)) {
            if !target.data_type.is_numeric() && target.data_type != DataType::Boolean {
                let message = format!("column `{}` holds {}, which has no mean", target.name, target.data_type);
                problems.push(Problem::new(Code::WrongType, message).at("target"));
            }
        }
        let categories = self.categories(&input.schema);
        for column in categories
            .iter()
            .flat_map(|(_, columns)| columns)
            .filter_map(|name| input.schema.get(name))
        {
            if value_type(&column.data_type).is_none() {
                let message = format!(
                    "column `{}` holds {}, which cannot be a category",
                    column.name, column.data_type
                );
                problems.push(Problem::new(Code::WrongType, message).at_port("input"));
            }
        }
        if categories.is_empty() {
            problems.push(Problem::new(Code::BadInput, "the input has no column besides the targets").at_port("input"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut schema = Schema::default();
        for (name, columns) in &categories {
            let sides = columns
                .first()
                .and_then(|name| input.schema.get(name))
                .map(|column| column.tags.clone());
            for target in &self.target {
                let mut out =
                    Column::new(format!("TE_{name}_{target}"), DataType::Float64, true).with_tag(Tag::Continuous);
                out.tags
                    .extend(sides.iter().flatten().copied().filter(|tag| tag.is_side()));
                schema.columns.push(out);
            }
        }
        Ok(NodeType::Dataset(DatasetType {
            schema,
            splits: input.splits.clone(),
        }))
    }

    fn form(&self) -> Form<'_> {
        Form::Stateful(self)
    }
}

impl Stateful for TargetEncode {
    fn fit_on(&self) -> &str {
        &self.fit_on
    }

    fn fit_columns(&self, input: &Schema) -> Vec<String> {
        input.names().map(str::to_owned).collect()
    }

    fn fitter(&self, input: &Schema, _: &FitContext<'_>) -> Result<Box<dyn Fitter>> {
        let place = |name: &String| input.names().position(|column| column == name).unwrap_or_default();
        let category = |(name, columns): (String, Vec<String>)| {
            Ok(Category {
                name,
                columns: columns.iter().map(place).collect(),
                groups: Groups::by(&columns, input)?,
                sums: Vec::new(),
            })
        };
        Ok(Box::new(Fit {
            operator: self.clone(),
            targets: self.target.iter().map(|name| (name.clone(), place(name))).collect(),
            categories: self
                .categories(input)
                .into_iter()
                .map(category)
                .collect::<Result<_>>()?,
            all: vec![vec![Sum::default(); self.parts() as usize]; self.target.len()],
            rows: 0,
        }))
    }

    fn project(&self, state: &State, input: &Schema, split: &str, columns: &[NamedExpr]) -> Result<Vec<NamedExpr>> {
        let learnt_from = split == self.fit_on;
        let mut out = Vec::new();
        for (index, (name, parts)) in self.categories(input).into_iter().enumerate() {
            let table = state.tables.get(&format!("{index}"));
            let table = table.ok_or_else(|| OperatorError::internal(format!("`{name}` did not exist in the fit")))?;
            let groups = table.vocabulary.derived(|file| GroupTable::read(file.path()))?;
            for target in &self.target {
                let mut arguments = parts
                    .iter()
                    .map(|part| Ok(column(columns, part)?.expr.clone()))
                    .collect::<Result<Vec<_>>>()?;
                if learnt_from {
                    // A row's position is its number in the split; the fit counted rows in the same order.
                    arguments.push(if self.leave_one_out {
                        column(columns, target)?.expr.clone()
                    } else {
                        row_number()
                    });
                }
                let means = Means {
                    groups: Arc::clone(&groups),
                    all: sums_of(state, target, self.parts() as usize),
                    target: target.clone(),
                    smoothing: self.smoothing,
                    left_out: learnt_from.then_some(if self.leave_one_out {
                        LeftOut::Row
                    } else {
                        LeftOut::Fold {
                            seed: self.seed,
                            folds: self.folds,
                        }
                    }),
                };
                let settings = json!([
                    self.parts(),
                    self.smoothing,
                    self.leave_one_out,
                    self.seed,
                    means.all.iter().map(|s| (s.count, s.sum)).collect::<Vec<_>>()
                ]);
                let function = format!("target_mean_{}({target},{settings},{learnt_from})", table.digest);
                out.push(NamedExpr {
                    name: format!("TE_{name}_{target}"),
                    expr: array_function(function, DataType::Float64, true, arguments, move |arrays| {
                        means.of(arrays)
                    }),
                });
            }
        }
        Ok(out)
    }

    fn refine(&self, _: &State, output: &Schema) -> Result<Schema> {
        Ok(output.clone())
    }
}

/// A category in the fit: `sums[group][target][part]`.
struct Category {
    name: String,
    columns: Vec<usize>,
    groups: Groups,
    sums: Vec<Vec<Vec<Sum>>>,
}

struct Fit {
    operator: TargetEncode,
    targets: Vec<(String, usize)>,
    categories: Vec<Category>,
    all: Vec<Vec<Sum>>,
    rows: u64,
}

impl Fitter for Fit {
    fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        let parts = self.operator.parts() as usize;
        let part_of = |row: usize| {
            if parts == 1 {
                0
            } else {
                fold(self.rows + row as u64, self.operator.seed, parts as u64)
            }
        };
        let folds: Vec<usize> = (0..batch.num_rows()).map(part_of).collect();
        let mut targets = Vec::new();
        for (_, place) in &self.targets {
            let array = batch.column(*place);
            // Arrow has no cast from boolean to double, but one from boolean to integer.
            let array = if *array.data_type() == DataType::Boolean {
                cast(array, &DataType::Int64)?
            } else {
                Arc::clone(array)
            };
            targets.push(cast(&array, &DataType::Float64)?.as_primitive::<Float64Type>().clone());
        }
        let value = |target: usize, row: usize| {
            let values: &Float64Array = &targets[target];
            Some(values.value(row)).filter(|value| values.is_valid(row) && !value.is_nan())
        };
        for category in &mut self.categories {
            let columns: Vec<ArrayRef> = category
                .columns
                .iter()
                .map(|place| Arc::clone(batch.column(*place)))
                .collect();
            for (row, group) in category.groups.of_rows(&columns)?.into_iter().enumerate() {
                let group = group as usize;
                if group == category.sums.len() {
                    category.sums.push(vec![vec![Sum::default(); parts]; targets.len()]);
                }
                for target in 0..targets.len() {
                    if let Some(value) = value(target, row) {
                        category.sums[group][target][folds[row]].add(value);
                    }
                }
            }
        }
        for (target, all) in self.all.iter_mut().enumerate() {
            for (row, fold) in folds.iter().enumerate() {
                if let Some(value) = value(target, row) {
                    all[*fold].add(value);
                }
            }
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>, folder: &Path) -> Result<FitOutput> {
        let mut output = FitOutput::default();
        for (index, category) in self.categories.into_iter().enumerate() {
            let mut columns: Vec<(String, ArrayRef)> = Vec::new();
            for (target, (name, _)) in self.targets.iter().enumerate() {
                for part in 0..self.operator.parts() as usize {
                    let sums = category.sums.iter().map(|group| group[target][part]);
                    let counts = arrow::array::UInt64Array::from_iter_values(sums.clone().map(|sum| sum.count));
                    columns.push((
                        format!("{name}_sum_{part}"),
                        Arc::new(Float64Array::from_iter_values(sums.map(|sum| sum.sum))),
                    ));
                    columns.push((format!("{name}_count_{part}"), Arc::new(counts)));
                }
            }
            let path = folder.join(format!("{index}.parquet"));
            category
                .groups
                .write(&path, columns)
                .map_err(|error| error.reworded(|text| format!("`{}`: {text}", category.name)))?;
            output.tables.insert(format!("{index}"), path);
        }
        for ((name, _), sums) in self.targets.iter().zip(&self.all) {
            let sums = sums
                .iter()
                .map(|sum| json!({ "count": sum.count, "sum": sum.sum }))
                .collect();
            output.facts.insert(name.clone(), Value::Array(sums));
        }
        Ok(output)
    }
}

#[cfg(test)]
#[path = "target_encode_tests.rs"]
mod tests;
