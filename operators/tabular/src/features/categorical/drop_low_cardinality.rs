//! `DropLowCardinality`: drops columns with few distinct values.

use std::path::Path;

use arrow::array::RecordBatch;
use hashbrown::HashSet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::categorical::categorify::count::is_list;
use crate::features::categorical::categorify::keys::{Keys, Values, value_type};
use crate::features::columns_of::unknown;
use crate::features::fit_split::{default_split, unknown_split};
use towline_api::{
    DatasetPort, DatasetType, Describe, FitContext, FitOutput, Fitter, Form, Inputs, NamedExpr, NodeType, Operator,
    OperatorError, Port, Problem, Purity, Result, Schema, State, Stateful, TypeContext,
};

/// Drops columns that have fewer than `min_cardinality` distinct values.
///
/// Column names must be known before data is read, so list the columns to drop; the data then confirms the list. If a
/// listed column has enough distinct values, or another column has too few, the node fails and reports the correct
/// list. Null counts as a distinct value. Lists and other types that cannot be compared for equality are kept.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DropLowCardinality {
    /// Columns to drop, for example `[country]`; `[]` if none.
    pub drop: Vec<String>,
    /// Minimum number of distinct values of a column that is kept, 2 or more.
    #[serde(default = "two")]
    #[schemars(range(min = 2))]
    pub min_cardinality: u64,
    /// The split to count distinct values on.
    #[serde(default = "default_split")]
    pub fit_on: String,
}

fn two() -> u64 {
    2
}

const INPUT: DatasetPort = DatasetPort::required("input", "The columns to choose from.");

impl Describe for DropLowCardinality {
    const NAME: &'static str = "DropLowCardinality";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: DropLowCardinality\ninput: clicks\nwith: { drop: [country] }\n";
}

impl Operator for DropLowCardinality {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = INPUT.input_type(inputs)?;
        let mut problems: Vec<Problem> = unknown_split(&self.fit_on, &input.splits).into_iter().collect();
        problems.extend(unknown(self.drop.iter().map(String::as_str), &input.schema, "drop"));
        if !problems.is_empty() {
            return Err(problems);
        }
        let stays = input
            .schema
            .columns
            .iter()
            .filter(|column| !self.drop.contains(&column.name));
        Ok(NodeType::Dataset(DatasetType {
            schema: Schema {
                columns: stays.cloned().collect(),
            },
            splits: input.splits.clone(),
        }))
    }

    fn form(&self) -> Form<'_> {
        Form::Stateful(self)
    }
}

/// Columns whose distinct values can be counted.
fn countable(input: &Schema) -> impl Iterator<Item = (String, Values)> + '_ {
    let values = |column: &towline_api::Column| {
        let kept = value_type(&column.data_type).filter(|_| !is_list(&column.data_type))?;
        Some((column.name.clone(), Values::of(&kept)))
    };
    input.columns.iter().filter_map(values)
}

impl Stateful for DropLowCardinality {
    fn fit_on(&self) -> &str {
        &self.fit_on
    }

    fn fit_columns(&self, input: &Schema) -> Vec<String> {
        countable(input).map(|(name, _)| name).collect()
    }

    fn fitter(&self, input: &Schema, _: &FitContext<'_>) -> Result<Box<dyn Fitter>> {
        let column = |(name, values)| DistinctValues {
            name,
            values,
            distinct: HashSet::new(),
        };
        Ok(Box::new(Fit {
            operator: self.clone(),
            columns: countable(input).map(column).collect(),
        }))
    }

    fn project(&self, _: &State, _: &Schema, _: &str, columns: &[NamedExpr]) -> Result<Vec<NamedExpr>> {
        Ok(columns
            .iter()
            .filter(|column| !self.drop.contains(&column.name))
            .cloned()
            .collect())
    }

    fn refine(&self, _: &State, output: &Schema) -> Result<Schema> {
        Ok(output.clone())
    }
}

/// Distinct values of a column, counted up to the minimum.
struct DistinctValues {
    name: String,
    values: Values,
    distinct: HashSet<Option<Box<[u8]>>>,
}

struct Fit {
    operator: DropLowCardinality,
    columns: Vec<DistinctValues>,
}

impl Fitter for Fit {
    fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        let enough = self.operator.min_cardinality as usize;
        for (seen, array) in self.columns.iter_mut().zip(batch.columns()) {
            if seen.distinct.len() >= enough {
                continue;
            }
            let keys: Vec<Option<Box<[u8]>>> = match seen.values.keys(std::slice::from_ref(array))? {
                Keys::Numbers(keys) => keys
                    .iter()
                    .map(|key| key.map(|key| Box::from(key.to_le_bytes())))
                    .collect(),
                Keys::Bytes(keys) => keys.iter().map(|key| key.map(Box::from)).collect(),
            };
            for key in keys {
                if seen.distinct.len() < enough {
                    seen.distinct.insert(key);
                }
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Path) -> Result<FitOutput> {
        let DropLowCardinality {
            drop, min_cardinality, ..
        } = &self.operator;
        let few = self
            .columns
            .iter()
            .filter(|seen| (seen.distinct.len() as u64) < *min_cardinality);
        let few: Vec<&str> = few.map(|seen| seen.name.as_str()).collect();
        let missed = few.iter().any(|name| !drop.iter().any(|dropped| dropped == name));
        let wrongly = drop.iter().any(|name| !few.contains(&name.as_str()));
        if missed || wrongly {
            let message = format!(
                "`drop` does not list the columns with fewer than {min_cardinality} distinct values: set `drop: [{}]`",
                few.join(", ")
            );
            return Err(OperatorError::invalid(message));
        }
        Ok(FitOutput::default())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use serde_json::json;

    use super::*;
    use crate::harness::{Data, codes, run, try_run};

    #[test]
    fn the_data_decides_whether_the_list_is_right() {
        let one: ArrayRef = Arc::new(StringArray::from(vec!["a", "a", "a"]));
        let gaps: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("a")]));
        let many: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let input = [("input", Data::of([("one", one), ("gaps", gaps), ("many", many)]))];
        let ran = run::<DropLowCardinality>(json!({"drop": ["one"]}), &input);
        assert_eq!(ran.schema.names().collect::<Vec<_>>(), ["gaps", "many"]);
        for (config, list) in [
            (json!({"drop": []}), "drop: [one]"),
            (json!({"drop": ["one", "many"]}), "drop: [one]"),
            (json!({"drop": ["one"], "min_cardinality": 3}), "drop: [one, gaps]"),
        ] {
            let error = try_run::<DropLowCardinality>(config, &input).err().unwrap();
            assert!(error.contains(list), "{error}");
        }
        assert_eq!(
            codes::<DropLowCardinality>(json!({"drop": ["z"]}), &input),
            ["unknown-column"]
        );
    }
}
