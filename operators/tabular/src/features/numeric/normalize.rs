//! `Normalize`: scales numbers.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::features::columns_of::{each_column, number};
use crate::features::fit_split::{default_split, unknown_split};
use crate::features::numeric::quantile::exact;
use towline_api::{
    Code, DatasetPort, Describe, FitContext, FitOutput, Fitter, Form, Inputs, NamedExpr, NodeType, Operator,
    OperatorError, Port, Problem, Purity, Result, Schema, State, Stateful, Tag, TypeContext,
};
use towline_tables::array_function::array_function;

/// Scales numeric columns, as `Float64`, tagged `continuous`. Nulls and NaN are kept and ignored by the fit.
///
/// Constant columns become 0 with every method. A column with infinite values is an error. Mean and standard deviation
/// are computed by Welford's algorithm, which is stable for large numbers with a small spread.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Normalize {
    /// Scaling method. `standard`: z-score, (x - mean) / standard deviation of the sample (n - 1). `min_max`: to the
    /// range 0 to 1. `robust`: (x - median) / interquartile range, if that is not 0 (exact; keeps all values of a
    /// column in memory).
    #[serde(default)]
    pub method: Method,
    /// With `min_max`: whether to clip values outside the fitted range to 0 or 1.
    #[serde(default)]
    pub clip: bool,
    /// The split to fit on.
    #[serde(default = "default_split")]
    pub fit_on: String,
}

/// Scaling method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// By mean and standard deviation.
    #[default]
    Standard,
    /// By minimum and maximum.
    MinMax,
    /// By median and interquartile range.
    Robust,
}

const INPUT: DatasetPort = DatasetPort::required("input", "Columns of numbers.");

impl Describe for Normalize {
    const NAME: &'static str = "Normalize";
    const CODE_VERSION: u32 = 2;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: Normalize\ninput: clicks[price]\nwith: { method: min_max, clip: true }\n";

    fn check(&self) -> Vec<Problem> {
        if self.clip && self.method != Method::MinMax {
            return vec![Problem::new(Code::Conflict, "`clip` needs `method: min_max`").at("clip")];
        }
        Vec::new()
    }
}

impl Operator for Normalize {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        if let Some(problem) = unknown_split(&self.fit_on, &INPUT.input_type(inputs)?.splits) {
            return Err(vec![problem]);
        }
        each_column(INPUT, inputs, |column| {
            number(column, "cannot be scaled")?;
            let mut column = column.clone().with_tag(Tag::Continuous);
            column.data_type = DataType::Float64;
            Ok::<_, Problem>(column)
        })
    }

    fn form(&self) -> Form<'_> {
        Form::Stateful(self)
    }
}

impl Stateful for Normalize {
    fn fit_on(&self) -> &str {
        &self.fit_on
    }

    fn fit_columns(&self, input: &Schema) -> Vec<String> {
        input.names().map(str::to_owned).collect()
    }

    fn fitter(&self, input: &Schema, _: &FitContext<'_>) -> Result<Box<dyn Fitter>> {
        let learner = || match self.method {
            Method::Standard => ColumnFit::Moments(Moments::default()),
            Method::MinMax => ColumnFit::Range(f64::INFINITY, f64::NEG_INFINITY),
            Method::Robust => ColumnFit::Values(Vec::new()),
        };
        Ok(Box::new(Fit(input
            .names()
            .map(|name| (name.to_owned(), learner()))
            .collect())))
    }

    fn project(&self, state: &State, _: &Schema, _: &str, columns: &[NamedExpr]) -> Result<Vec<NamedExpr>> {
        let scaled = |column: &NamedExpr| {
            let facts = state.facts.get(&column.name);
            let fact = |key: &str| facts.and_then(|facts| facts.get(key)).and_then(Value::as_f64);
            let (Some(center), Some(scale)) = (fact("center"), fact("scale")) else {
                let message = format!("column `{}` did not exist in the fit", column.name);
                return Err(OperatorError::invalid(message));
            };
            let clip = self.clip;
            let name = format!("normalize({center:?},{scale:?},{clip})");
            let body = move |arrays: &[ArrayRef]| normalize(&arrays[0], center, scale, clip);
            Ok(NamedExpr {
                name: column.name.clone(),
                expr: array_function(name, DataType::Float64, true, vec![column.expr.clone()], body),
            })
        };
        columns.iter().map(scaled).collect()
    }

    fn refine(&self, _: &State, output: &Schema) -> Result<Schema> {
        Ok(output.clone())
    }
}

fn normalize(array: &ArrayRef, center: f64, scale: f64, clip: bool) -> Result<ArrayRef> {
    let floats = cast(array, &DataType::Float64)?;
    let scaled = |v: f64| {
        if v.is_nan() {
            return v;
        }
        let out = if scale > 0.0 { (v - center) / scale } else { 0.0 };
        if clip { out.clamp(0.0, 1.0) } else { out }
    };
    Ok(Arc::new(
        floats.as_primitive::<Float64Type>().unary::<_, Float64Type>(scaled),
    ))
}

/// Mean and sum of squares relative to the first value: exact for large numbers with a small spread, where an absolute
/// mean would drift.
#[derive(Default)]
struct Moments {
    origin: Option<f64>,
    count: u64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        let value = value - *self.origin.get_or_insert(value);
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
    }

    fn mean_and_deviation(&self) -> (f64, f64) {
        let variance = self.squares / self.count.saturating_sub(1).max(1) as f64;
        (self.origin.unwrap_or(0.0) + self.mean, variance.sqrt())
    }
}

enum ColumnFit {
    Moments(Moments),
    Range(f64, f64),
    Values(Vec<f64>),
}

impl ColumnFit {
    fn add(&mut self, value: f64) {
        match self {
            ColumnFit::Moments(moments) => moments.add(value),
            ColumnFit::Range(low, high) => (*low, *high) = (low.min(value), high.max(value)),
            ColumnFit::Values(values) => values.push(value),
        }
    }

    /// The offset and the scale; a scale of 0 marks a constant column.
    fn scale(self) -> (f64, f64) {
        match self {
            ColumnFit::Moments(moments) => moments.mean_and_deviation(),
            ColumnFit::Range(low, high) if low <= high => (low, high - low),
            ColumnFit::Range(..) => (0.0, 0.0),
            ColumnFit::Values(mut values) => {
                let quantile = |values: &mut [f64], q| exact(values, q).unwrap_or(0.0);
                let width = quantile(&mut values, 0.75) - quantile(&mut values, 0.25);
                // `values` is sorted by now. If the quartiles are equal but the column is not constant, values are only
                // centred.
                let constant = values.first() == values.last();
                (
                    quantile(&mut values, 0.5),
                    if width == 0.0 && !constant { 1.0 } else { width },
                )
            }
        }
    }
}

struct Fit(Vec<(String, ColumnFit)>);

impl Fitter for Fit {
    fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        for ((_, learner), array) in self.0.iter_mut().zip(batch.columns()) {
            let floats = cast(array, &DataType::Float64)?;
            for value in floats
                .as_primitive::<Float64Type>()
                .iter()
                .flatten()
                .filter(|v| !v.is_nan())
            {
                learner.add(value);
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Path) -> Result<FitOutput> {
        let fact = |(name, learner): (String, ColumnFit)| {
            let (center, scale) = learner.scale();
            if !(center.is_finite() && scale.is_finite()) {
                let message =
                    format!("column `{name}` has infinite values, or its scale is infinite; put Clip before it");
                return Err(OperatorError::invalid(message));
            }
            Ok((name, json!({ "center": center, "scale": scale })))
        };
        Ok(FitOutput {
            facts: self.0.into_iter().map(fact).collect::<Result<_>>()?,
            ..FitOutput::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array};

    use super::*;
    use crate::harness::{Data, codes, run, try_run};

    fn scaled(config: Value, values: Vec<Option<f64>>) -> Float64Array {
        let column: ArrayRef = Arc::new(Float64Array::from(values));
        let ran = run::<Normalize>(config, &[("input", Data::of([("x", column)]))]);
        ran.column("x").as_primitive::<Float64Type>().clone()
    }

    fn deviation(values: &Float64Array) -> f64 {
        let mean = values.values().iter().sum::<f64>() / values.len() as f64;
        (values.values().iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
    }

    #[test]
    fn large_numbers_that_differ_little_keep_their_deviation() {
        use rand::{Rng, SeedableRng};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let mut normal = || (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
        let out = scaled(json!({}), (0..20_000).map(|_| Some(1e9 + normal())).collect());
        assert!((deviation(&out) - 1.0).abs() < 1e-6, "{}", deviation(&out));
        assert!((out.values().iter().sum::<f64>() / 20_000.0).abs() < 1e-6);
    }

    #[test]
    fn constants_are_zero_and_gaps_stay() {
        for method in ["standard", "min_max", "robust"] {
            let out = scaled(json!({"method": method}), vec![Some(3.0), None, Some(3.0)]);
            assert_eq!(out, Float64Array::from(vec![Some(0.0), None, Some(0.0)]), "{method}");
            let out = scaled(json!({"method": method}), vec![None, None]);
            assert_eq!(out, Float64Array::from(vec![None, None]), "{method}");
        }
    }

    #[test]
    fn min_max_and_robust() {
        let out = scaled(
            json!({"method": "min_max"}),
            vec![Some(2.0), Some(4.0), Some(3.0), Some(f64::NAN)],
        );
        assert_eq!(out.values()[..3], [0.0, 1.0, 0.5]);
        assert!(out.value(3).is_nan());
        let out = scaled(
            json!({"method": "robust"}),
            (0..=4).map(|v| Some(f64::from(v))).collect(),
        );
        assert_eq!(out.values(), &[-1.0, -0.5, 0.0, 0.5, 1.0]);
        let ints = |values: &[i64]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        let data = Data::of([("x", ints(&[0, 10]))]).and("valid", [("x", ints(&[-5, 20]))]);
        let ran = run::<Normalize>(json!({"method": "min_max", "clip": true}), &[("input", data.clone())]);
        assert_eq!(ran.rows("valid"), "0.0; 1.0");
        assert_eq!(
            codes::<Normalize>(json!({"clip": true}), &[("input", data)]),
            ["conflict"]
        );
    }

    #[test]
    fn infinite_numbers_have_no_scale_and_the_column_is_named() {
        for (method, values) in [
            ("standard", [1.0, f64::INFINITY, 2.0]),
            ("standard", [-1e300, 0.0, 1e300]),
            ("min_max", [1.0, f64::NEG_INFINITY, 2.0]),
            ("robust", [f64::INFINITY, f64::INFINITY, 2.0]),
        ] {
            let column: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
            let ran = try_run::<Normalize>(json!({"method": method}), &[("input", Data::of([("price", column)]))]);
            let told = ran.err().unwrap_or_default();
            assert!(
                told.contains("column `price` has infinite values, or its scale is infinite") && told.contains("Clip"),
                "{method}: {told}"
            );
        }
    }

    #[test]
    fn an_id_is_not_a_number_on_a_scale() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let data = Data::of([("x", column)]).tagged("x", &[Tag::Id]);
        assert_eq!(codes::<Normalize>(json!({}), &[("input", data)]), ["tag-conflict"]);
    }

    #[test]
    fn a_column_that_is_mostly_one_value_keeps_the_others() {
        let values = [0.0, 0.0, 0.0, 0.0, 9.0].map(Some).to_vec();
        assert_eq!(
            scaled(json!({"method": "robust"}), values).values(),
            &[0.0, 0.0, 0.0, 0.0, 9.0]
        );
    }
}
