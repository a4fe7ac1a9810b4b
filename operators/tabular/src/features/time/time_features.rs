//! `TimeFeatures`: calendar features of timestamps.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::compute::{DatePart, cast, date_part};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use towline_api::{
    Code, Column, Columns, DatasetPort, DatasetType, Describe, Domain, Form, Inputs, NamedExpr, NodeType, Operator,
    OperatorError, Port, Problem, Purity, Result, Schema, Tag, TypeContext,
};
use towline_tables::array_function::array_function;

/// Derives calendar features from timestamps, in UTC. The output has one column `<column>_<feature>` per input column
/// and feature, and no others. Input columns are timestamps, dates, or integers (seconds since 1970). Null stays null.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeFeatures {
    /// Features to derive: `hour` (0 to 23), `weekday` (0 is Monday), `day` (1 to 31) and `month` (1 to 12), tagged
    /// `categorical` with their domains; `hour_cyclical` (with minutes and seconds) and `weekday_cyclical` (two columns
    /// each, `_sin` and `_cos`, between -1 and 1) and `recency` (days before `reference`), tagged `continuous`.
    pub features: Vec<TimeFeature>,
    /// Reference time of `recency`, for example `2024-05-01T00:00:00`.
    #[serde(default)]
    pub reference: Option<String>,
}

/// A calendar feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeFeature {
    /// Hour of the day.
    Hour,
    /// Day of the week, from Monday.
    Weekday,
    /// Day of the month.
    Day,
    /// Month of the year.
    Month,
    /// Hour of the day as sine and cosine.
    HourCyclical,
    /// Day of the week as sine and cosine.
    WeekdayCyclical,
    /// Days before the reference time.
    Recency,
}

/// A column of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OutputFeature {
    Hour,
    Weekday,
    Day,
    Month,
    HourSin,
    HourCos,
    WeekdaySin,
    WeekdayCos,
    Recency,
}

impl OutputFeature {
    /// The suffix of the column name, and the size of the domain if there is one.
    fn describe(self) -> (&'static str, Option<u64>) {
        match self {
            OutputFeature::Hour => ("hour", Some(24)),
            OutputFeature::Weekday => ("weekday", Some(7)),
            OutputFeature::Day => ("day", Some(32)),
            OutputFeature::Month => ("month", Some(13)),
            OutputFeature::HourSin => ("hour_sin", None),
            OutputFeature::HourCos => ("hour_cos", None),
            OutputFeature::WeekdaySin => ("weekday_sin", None),
            OutputFeature::WeekdayCos => ("weekday_cos", None),
            OutputFeature::Recency => ("recency", None),
        }
    }
}

impl TimeFeature {
    fn parts(self) -> &'static [OutputFeature] {
        match self {
            TimeFeature::Hour => &[OutputFeature::Hour],
            TimeFeature::Weekday => &[OutputFeature::Weekday],
            TimeFeature::Day => &[OutputFeature::Day],
            TimeFeature::Month => &[OutputFeature::Month],
            TimeFeature::HourCyclical => &[OutputFeature::HourSin, OutputFeature::HourCos],
            TimeFeature::WeekdayCyclical => &[OutputFeature::WeekdaySin, OutputFeature::WeekdayCos],
            TimeFeature::Recency => &[OutputFeature::Recency],
        }
    }
}

impl TimeFeatures {
    fn parts(&self) -> impl Iterator<Item = OutputFeature> + '_ {
        self.features.iter().flat_map(|feature| feature.parts().iter().copied())
    }

    /// The reference time in microseconds since 1970.
    fn reference(&self) -> Option<i64> {
        let text: ArrayRef = Arc::new(arrow::array::StringArray::from(vec![self.reference.as_deref()?]));
        let moment = micros(&cast(&text, &DataType::Timestamp(TimeUnit::Microsecond, None)).ok()?).ok()?;
        moment.iter().next().flatten()
    }
}

/// Timestamps in microseconds since 1970, UTC.
fn micros(array: &ArrayRef) -> Result<Int64Array> {
    let time = match array.data_type() {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Arc::clone(array),
        data_type if data_type.is_integer() => {
            let seconds = cast(array, &DataType::Int64)?;
            cast(&seconds, &DataType::Timestamp(TimeUnit::Second, None))?
        }
        other => return Err(OperatorError::internal(format!("{other} is not a time type"))),
    };
    let time = cast(&time, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    Ok(cast(&time, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

fn feature(array: &ArrayRef, part: OutputFeature, reference: i64) -> Result<ArrayRef> {
    let micros = micros(array)?;
    // 1970 began on a Thursday, three days after a Monday.
    let weekday = |v: i64| (v.div_euclid(DAY) + 3).rem_euclid(7);
    let whole = |f: &dyn Fn(i64) -> i64| Arc::new(micros.unary::<_, Int64Type>(f)) as ArrayRef;
    let real = |f: &dyn Fn(i64) -> f64| Arc::new(micros.iter().map(|v| v.map(f)).collect::<Float64Array>()) as ArrayRef;
    let circle = |share: f64| share * std::f64::consts::TAU;
    let hours = |v: i64| circle(v.rem_euclid(DAY) as f64 / DAY as f64);
    Ok(match part {
        OutputFeature::Hour => whole(&|v| v.rem_euclid(DAY) / HOUR),
        OutputFeature::Weekday => whole(&weekday),
        OutputFeature::Day | OutputFeature::Month => {
            let part = if part == OutputFeature::Day {
                DatePart::Day
            } else {
                DatePart::Month
            };
            let time = cast(&micros, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
            cast(date_part(&time, part)?.as_primitive::<Int32Type>(), &DataType::Int64)?
        }
        OutputFeature::HourSin => real(&|v| hours(v).sin()),
        OutputFeature::HourCos => real(&|v| hours(v).cos()),
        OutputFeature::WeekdaySin => real(&|v| circle(weekday(v) as f64 / 7.0).sin()),
        OutputFeature::WeekdayCos => real(&|v| circle(weekday(v) as f64 / 7.0).cos()),
        OutputFeature::Recency => real(&|v| (reference - v) as f64 / DAY as f64),
    })
}

const INPUT: DatasetPort = DatasetPort::required("input", "Columns of points in time.");

impl Describe for TimeFeatures {
    const NAME: &'static str = "TimeFeatures";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str =
        "op: TimeFeatures\ninput: ratings[timestamp]\nwith: { features: [hour, weekday_cyclical] }\n";

    fn check(&self) -> Vec<Problem> {
        let recency = self.features.contains(&TimeFeature::Recency);
        match (&self.reference, recency) {
            (None, true) => vec![
                Problem::new(Code::MissingKey, "the parameter `reference` is missing")
                    .help("`recency` is relative to it"),
            ],
            (Some(_), false) => {
                vec![Problem::new(Code::Conflict, "`reference` needs the feature `recency`").at("reference")]
            }
            (Some(text), true) if self.reference().is_none() => {
                let help = "write it as in 2024-05-01T00:00:00";
                vec![
                    Problem::new(Code::BadConfig, format!("`{text}` is not a timestamp"))
                        .at("reference")
                        .help(help),
                ]
            }
            _ => Vec::new(),
        }
    }
}

impl Operator for TimeFeatures {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = INPUT.input_type(inputs)?;
        let (mut schema, mut problems) = (Schema::default(), Vec::new());
        for column in &input.schema.columns {
            let time = matches!(
                column.data_type,
                DataType::Timestamp(..) | DataType::Date32 | DataType::Date64
            );
            if !time && !column.data_type.is_integer() {
                let message = format!("column `{}` holds {}, not times", column.name, column.data_type);
                problems.push(Problem::new(Code::WrongType, message).at_port("input"));
            }
            for part in self.parts() {
                let (ending, size) = part.describe();
                let name = format!("{}_{ending}", column.name);
                let data_type = if size.is_some() {
                    DataType::Int64
                } else {
                    DataType::Float64
                };
                let mut out = Column::new(&name, data_type, true);
                out.tags = column.tags.iter().copied().filter(|tag| tag.is_side()).collect();
                out.tags.insert(if size.is_some() {
                    Tag::Categorical
                } else {
                    Tag::Continuous
                });
                out.domain = size.map(|size| Domain {
                    name,
                    size: Some(size),
                    ..Domain::default()
                });
                schema.columns.push(out);
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(NodeType::Dataset(DatasetType {
            schema,
            splits: input.splits.clone(),
        }))
    }

    fn form(&self) -> Form<'_> {
        Form::Columns(self)
    }
}

impl Columns for TimeFeatures {
    fn project(&self, inputs: &[&[NamedExpr]]) -> Result<Vec<NamedExpr>> {
        let reference = self.reference().unwrap_or_default();
        let mut out = Vec::new();
        for column in inputs.concat() {
            for part in self.parts() {
                let (ending, size) = part.describe();
                let data_type = if size.is_some() {
                    DataType::Int64
                } else {
                    DataType::Float64
                };
                let name = format!("time_{ending}({reference})");
                let body = move |arrays: &[ArrayRef]| feature(&arrays[0], part, reference);
                out.push(NamedExpr {
                    name: format!("{}_{ending}", column.name),
                    expr: array_function(name, data_type, true, vec![column.expr.clone()], body),
                });
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampSecondArray;
    use arrow::datatypes::Float64Type;
    use serde_json::json;

    use super::*;
    use crate::harness::{Data, codes, run};

    #[test]
    fn features_of_timestamps_and_of_seconds() {
        // Friday 2024-03-01 06:30:00, Wednesday 1969-12-31 23:00:00, null.
        let times = vec![Some(1_709_274_600), Some(-3600), None];
        let stamps: ArrayRef = Arc::new(TimestampSecondArray::from(times.clone()));
        let seconds: ArrayRef = Arc::new(Int64Array::from(times));
        let config = json!({"features": ["hour", "weekday", "day", "month"]});
        let ran = run::<TimeFeatures>(config, &[("input", Data::of([("t", stamps), ("s", seconds)]))]);
        assert_eq!(
            ran.rows("train"),
            format!("6 4 1 3 6 4 1 3; 23 2 31 12 23 2 31 12; {}", " ".repeat(7))
        );
        assert_eq!(
            ran.schema.get("t_weekday").unwrap().domain.as_ref().unwrap().size,
            Some(7)
        );
    }

    #[test]
    fn circles_and_recency() {
        let seconds: ArrayRef = Arc::new(Int64Array::from(vec![6 * 3600]));
        let data = Data::of([("t", seconds)]).tagged("t", &[Tag::User, Tag::Time]);
        let config = json!({"features": ["hour_cyclical", "recency"], "reference": "1970-01-03T00:00:00"});
        let ran = run::<TimeFeatures>(config, &[("input", data.clone())]);
        let value = |name: &str| ran.column(name).as_primitive::<Float64Type>().value(0);
        assert!((value("t_hour_sin") - 1.0).abs() < 1e-12 && value("t_hour_cos").abs() < 1e-12);
        assert_eq!(value("t_recency"), 1.75);
        assert_eq!(ran.tags("t_recency"), [Tag::User, Tag::Continuous]);
        let code = |config| codes::<TimeFeatures>(config, &[("input", data.clone())]);
        assert_eq!(code(json!({"features": ["recency"]})), ["missing-key"]);
        assert_eq!(
            code(json!({"features": ["recency"], "reference": "soon"})),
            ["bad-config"]
        );
    }
}
