//! `Sample`: random sampling of rows.

use datafusion::common::Column as ColumnRef;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, ScalarUDF, lit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rows::per_split::unknown;
use crate::rows::sampling::split_hash::RowPlace;
use towline_api::{
    Code, DatasetPort, Describe, Form, Inputs, LazyDataset, NodeType, Operator, Port, Problem, Purity, Result, Table,
    TableContext, TypeContext,
};

/// Keeps a random sample of the rows of every split. Whether a row is kept depends on a hash of its content and the
/// seed, so adding rows does not change the sample of the others; equal rows are kept or dropped together.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// Fraction of rows to keep, more than 0 and at most 1: `0.1`.
    #[schemars(range(max = 1.0))]
    pub fraction: f64,
    /// Random seed.
    #[serde(default)]
    pub seed: u64,
    /// Column to sample by, for example `user_id`: rows with equal values are kept or dropped together.
    #[serde(default)]
    pub key: Option<String>,
}

const INPUT: DatasetPort = DatasetPort::required("input", "The rows to choose from.");

impl Describe for Sample {
    const NAME: &'static str = "Sample";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Seeded;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: Sample\ninput: clicks\nwith: { fraction: 0.1, key: user_id }\n";

    fn assumed_type(inputs: &Inputs<NodeType>) -> Option<NodeType> {
        INPUT.get(inputs).cloned()
    }

    fn check(&self) -> Vec<Problem> {
        if self.fraction > 0.0 {
            return Vec::new();
        }
        vec![
            Problem::new(
                Code::OutOfRange,
                format!("`fraction` must be more than 0, not {}", self.fraction),
            )
            .at("fraction"),
        ]
    }
}

impl Operator for Sample {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = INPUT.input_type(inputs)?;
        let problems = unknown(&self.key, &input.schema, "key");
        if problems.is_empty() {
            Ok(NodeType::Dataset(input.clone()))
        } else {
            Err(problems)
        }
    }

    fn form(&self) -> Form<'_> {
        Form::Table(self)
    }
}

impl Table for Sample {
    fn apply(&self, inputs: &Inputs<LazyDataset>, _: &TableContext) -> Result<Vec<(String, DataFrame)>> {
        let input = INPUT.lazy(inputs)?;
        let names: Vec<&str> = match &self.key {
            Some(key) => vec![key],
            None => input.schema.names().collect(),
        };
        let columns = names
            .into_iter()
            .map(|name| Expr::Column(ColumnRef::new_unqualified(name)))
            .collect();
        let place = ScalarUDF::new_from_impl(RowPlace::new(self.seed)).call(columns);
        let stays = place.lt(lit(self.fraction));
        let sampled = |(name, table): &(String, towline_api::LazyTable)| {
            Ok((name.clone(), table.to_frame()?.filter(stays.clone())?))
        };
        input.splits.iter().map(sampled).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use serde_json::json;

    use super::*;
    use crate::harness::{Data, codes, run};

    #[test]
    fn what_stays_does_not_depend_on_other_rows() {
        let data = |ids: std::ops::Range<i64>| {
            let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
            Data::of([("id", ids)])
        };
        let kept = |config, data| {
            let ran = run::<Sample>(config, &[("input", data)]);
            ran.rows("train")
                .split("; ")
                .map(str::to_owned)
                .collect::<BTreeSet<_>>()
        };
        let few = kept(json!({"fraction": 0.25, "seed": 1}), data(0..1000));
        assert!((200..300).contains(&few.len()), "{}", few.len());
        assert!(few.is_subset(&kept(json!({"fraction": 0.25, "seed": 1}), data(0..2000))));
        assert_ne!(few, kept(json!({"fraction": 0.25, "seed": 2}), data(0..1000)));
        assert_eq!(kept(json!({"fraction": 1.0}), data(0..100)).len(), 100);
        assert_eq!(
            codes::<Sample>(json!({"fraction": 0.0}), &[("input", data(0..1))]),
            ["out-of-range"]
        );
    }
}
