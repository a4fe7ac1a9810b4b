//! `Categorify`: categories as small integers.

use std::path::Path;

use arrow::array::RecordBatch;
use datafusion::logical_expr::ScalarUDF;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::count::{Counter, Limits};
use super::encode::{Encode, encoded_type};
use super::keys::value_type;
use super::tagging::tagged;
use crate::contract::{
    DEFAULT_SPLIT, DatasetType, Describe, Domain, FitOutput, Fitter, Form, Inputs, NamedExpr, NodeType, OOV_ID,
    Operator, OperatorError, Port, Problem, Purity, Result, Schema, State, Stateful, Tag, TypeContext, dataset_at,
    suggest,
};

/// Encodes every column of its input as small integers, one vocabulary per column.
///
/// Ids: 0 is padding and never produced; 1 is null or NaN; 2 and on are `oov_buckets` buckets for values outside the
/// vocabulary, chosen by a fixed hash (XXH3 of the value's bytes); after them come the values, the most frequent first and
/// equally frequent ones in ascending order. Lists are encoded element by element. Takes integers of every width, strings,
/// booleans, dates, times and floats; the result is `Int64`, tagged `categorical`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Categorify {
    /// Values seen fewer times than this get no id of their own and fall into the out-of-vocabulary buckets.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub min_count: u64,
    /// The largest number of ids, reserved ones (padding, null, buckets) counted, for example `100_000`; rarer values fall
    /// into the buckets.
    #[serde(default)]
    #[schemars(range(min = 4))]
    pub max_size: Option<u64>,
    /// How many ids the values outside the vocabulary share.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 16_777_216))]
    pub oov_buckets: u64,
    /// The split that the vocabulary is learnt from.
    #[serde(default = "default_split")]
    pub fit_on: String,
}

fn one() -> u64 {
    1
}

fn default_split() -> String {
    DEFAULT_SPLIT.to_owned()
}

impl Default for Categorify {
    fn default() -> Self {
        Categorify {
            min_count: 1,
            max_size: None,
            oov_buckets: 1,
            fit_on: default_split(),
        }
    }
}

impl Describe for Categorify {
    const NAME: &'static str = "Categorify";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[Port::dataset("input", "The columns to encode.")];
    const EXAMPLE: &'static str = "op: Categorify\ninput: clicks[item_brand]\nwith: { min_count: 2 }\n";

    fn check(&self) -> Vec<Problem> {
        let least = OOV_ID as u64 + self.oov_buckets + 1;
        match self.max_size {
            Some(size) if size < least => vec![
                Problem::new(
                    "out-of-range",
                    format!("{size} ids leave none for values: {} are reserved", least - 1),
                )
                .at("max_size")
                .help(format!("use at least {least}, or fewer `oov_buckets`")),
            ],
            _ => Vec::new(),
        }
    }
}

impl Operator for Categorify {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = dataset_at(inputs, "input")?;
        let mut problems = Vec::new();
        if !input.splits.contains(&self.fit_on) {
            let known: Vec<&str> = input.splits.iter().map(String::as_str).collect();
            problems.push(
                Problem::new(
                    "unknown-split",
                    format!("there is no split `{}` to learn from", self.fit_on),
                )
                .at("fit_on")
                .help(suggest::sentence(&self.fit_on, &known, "splits")),
            );
        }
        for column in &input.schema.columns {
            if value_type(column.element_type()).is_none() {
                problems.push(
                    Problem::new(
                        "wrong-type",
                        format!(
                            "column `{}` holds {}, which cannot be encoded",
                            column.name, column.data_type
                        ),
                    )
                    .at_port("input")
                    .help("integers, strings, booleans, dates and lists of them can be encoded"),
                );
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut schema = tagged(&input.schema, &[Tag::Categorical])?;
        for column in &mut schema.columns {
            let list = column.is_list();
            let values = value_type(column.element_type());
            column.data_type = encoded_type(list);
            column.nullable &= list;
            column.domain = Some(Domain {
                name: column.name.clone(),
                at_most: self.max_size,
                values,
                ..Domain::default()
            });
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

impl Stateful for Categorify {
    fn fit_on(&self) -> &str {
        &self.fit_on
    }

    fn fit_columns(&self, input: &Schema) -> Vec<String> {
        input.names().map(str::to_owned).collect()
    }

    fn fitter(&self, input: &Schema) -> Result<Box<dyn Fitter>> {
        let limits = Limits {
            min_count: self.min_count,
            max_size: self.max_size,
            oov_buckets: self.oov_buckets,
        };
        let columns = input
            .columns
            .iter()
            .map(|column| {
                let kept = value_type(column.element_type()).ok_or_else(|| {
                    OperatorError::invalid(format!(
                        "column `{}` holds {}, which cannot be encoded",
                        column.name, column.data_type
                    ))
                })?;
                Ok((column.name.clone(), Counter::new(kept)))
            })
            .collect::<Result<_>>()?;
        Ok(Box::new(Fit { limits, columns }))
    }

    fn project(&self, state: &State, input: &Schema, columns: &[NamedExpr]) -> Result<Vec<NamedExpr>> {
        columns
            .iter()
            .map(|column| {
                let table = state
                    .tables
                    .get(&column.name)
                    .ok_or_else(|| no_vocabulary(&column.name))?;
                let encode = Encode::new(&column.name, &table.digest, table.vocabulary.load()?.as_ref())?;
                if let Some(known) = input.get(&column.name) {
                    encode.accept(known.element_type())?;
                }
                let expr = ScalarUDF::new_from_impl(encode).call(vec![column.expr.clone()]);
                Ok(NamedExpr {
                    name: column.name.clone(),
                    expr,
                })
            })
            .collect()
    }

    fn refine(&self, state: &State, output: &Schema) -> Result<Schema> {
        let mut schema = output.clone();
        for column in &mut schema.columns {
            let table = state
                .tables
                .get(&column.name)
                .ok_or_else(|| no_vocabulary(&column.name))?;
            column.domain = Some(Domain {
                name: column.name.clone(),
                size: Some(table.vocabulary.load()?.size() as u64),
                vocabulary: Some(table.digest.clone()),
                ..column.domain.take().unwrap_or_default()
            });
        }
        Ok(schema)
    }
}

fn no_vocabulary(column: &str) -> OperatorError {
    OperatorError::invalid(format!(
        "column `{column}` has no vocabulary: it was not there when the fit ran"
    ))
}

struct Fit {
    limits: Limits,
    columns: Vec<(String, Counter)>,
}

impl Fitter for Fit {
    fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        for ((name, counter), array) in self.columns.iter_mut().zip(batch.columns()) {
            counter
                .update(array)
                .map_err(|error| OperatorError::invalid(format!("column `{name}`: {error}")))?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>, folder: &Path) -> Result<FitOutput> {
        let mut output = FitOutput::default();
        for (name, counter) in self.columns {
            let path = folder.join(format!("{}.parquet", file_name(&name)));
            counter.write(&path, self.limits)?;
            output.tables.insert(name, path);
        }
        Ok(output)
    }
}

/// The column's name with every character that a file name may not hold written as `%` and its code.
fn file_name(column: &str) -> String {
    column
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || c == '_' || c == '-' {
                c.to_string()
            } else {
                format!("%{:X}", u32::from(c))
            }
        })
        .collect()
}

#[cfg(test)]
#[path = "categorify_tests.rs"]
mod tests;
