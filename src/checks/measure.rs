//! The query for facts about rows: it reads each split once and only the columns it needs.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::{Column as ColumnRef, ScalarValue};
use datafusion::dataframe::DataFrame;
use datafusion::error::Result;
use datafusion::functions::expr_fn::isnan;
use datafusion::functions_aggregate::expr_fn::{count, count_distinct, max, min, sum};
use datafusion::logical_expr::{Expr, cast, lit, when};
use towline_api::{LazyDataset, LazyTable, OperatorError};

use crate::checks::fact::{Fact, Measure};
use crate::checks::result_type::ValueClass;
use crate::config::expression::Scalar;

/// The column that says which split a row comes from.
const SPLIT: &str = "split";

/// The query for the facts among `facts` that are about rows.
///
/// Splits are told apart by a column of the union of all, so that what is different in all splits together is counted
/// exactly. Sums are kept apart by split and added in order of the splits: a sum of fractions depends on the order.
pub fn measurement(dataset: &LazyDataset, facts: &BTreeSet<Fact>) -> std::result::Result<Measurement, OperatorError> {
    let facts: Vec<&Fact> = facts.iter().filter(|fact| fact.is_of_rows()).collect();
    let splits = needed_splits(dataset, &facts);
    if facts.is_empty() || splits.is_empty() {
        return Ok(Measurement::default());
    }
    let names: Vec<&str> = splits.iter().map(|(name, _)| name.as_str()).collect();
    let columns = needed_columns(dataset, &facts);
    let mut query = Query {
        dataset,
        splits: &names,
        columns: &columns,
        aggregates: Vec::new(),
    };
    for fact in &facts {
        query.add(fact)?;
    }
    let rows = union(&splits, &columns)?;
    let aggregates = query
        .aggregates
        .iter()
        .map(|(name, aggregate)| aggregate.clone().alias(name))
        .collect();
    Ok(Measurement {
        query: Some(rows.aggregate(Vec::new(), aggregates)?),
        facts: facts.into_iter().cloned().collect(),
        splits: names.into_iter().map(str::to_owned).collect(),
    })
}

/// A planned query for facts about rows.
#[derive(Default)]
pub struct Measurement {
    query: Option<DataFrame>,
    facts: Vec<Fact>,
    splits: Vec<String>,
}

impl Measurement {
    /// Reads the rows.
    pub async fn run(self) -> std::result::Result<BTreeMap<Fact, Scalar>, OperatorError> {
        let Some(query) = self.query else {
            return Ok(BTreeMap::new());
        };
        let batches = query.collect().await?;
        let results = Results { batches: &batches };
        let splits: Vec<&str> = self.splits.iter().map(String::as_str).collect();
        let found = |fact: Fact| Ok((fact.clone(), results.fact(&fact, &splits)?));
        self.facts.into_iter().map(found).collect()
    }
}

/// The splits that a fact speaks of, in order.
fn needed_splits<'a>(dataset: &'a LazyDataset, facts: &[&Fact]) -> Vec<&'a (String, LazyTable)> {
    let needed = |name: &String| {
        facts.iter().any(|fact| match fact {
            Fact::Rows { split } | Fact::Column { split, .. } => split.as_ref().is_none_or(|split| split == name),
            Fact::Metric(_) | Fact::Records => false,
        })
    };
    dataset.splits.iter().filter(|(name, _)| needed(name)).collect()
}

/// The columns that the facts speak of, in order of the schema.
fn needed_columns<'a>(dataset: &'a LazyDataset, facts: &[&Fact]) -> Vec<&'a str> {
    let speaks = |name: &str| {
        facts
            .iter()
            .any(|fact| matches!(fact, Fact::Column { column, .. } if column == name))
    };
    dataset.schema.names().filter(|name| speaks(name)).collect()
}

/// The rows of all splits, with these columns of theirs and the number of the split.
fn union(splits: &[&(String, LazyTable)], columns: &[&str]) -> std::result::Result<DataFrame, OperatorError> {
    let mut all: Option<DataFrame> = None;
    for (number, (_, table)) in splits.iter().enumerate() {
        let mut exprs = vec![lit(number as i64).alias(SPLIT)];
        for (place, name) in columns.iter().enumerate() {
            let column = table.columns.iter().find(|column| column.name == *name);
            let Some(column) = column else {
                return Err(OperatorError::invalid(format!(
                    "there is no column `{name}` to measure"
                )));
            };
            exprs.push(column.expr.clone().alias(measured_name(place)));
        }
        let part = table.base.plan()?.clone().select(exprs)?;
        all = Some(match all {
            None => part,
            Some(all) => all.union(part)?,
        });
    }
    all.ok_or_else(|| OperatorError::invalid("there are no rows to measure"))
}

fn measured_name(place: usize) -> String {
    format!("c{place}")
}

struct Query<'a> {
    dataset: &'a LazyDataset,
    splits: &'a [&'a str],
    columns: &'a [&'a str],
    /// Names and aggregates; an aggregate that several facts need is there once.
    aggregates: Vec<(String, Expr)>,
}

impl Query<'_> {
    fn add(&mut self, fact: &Fact) -> Result<()> {
        match fact {
            Fact::Rows { split } => self.rows(split.as_deref()),
            Fact::Column { measure, split, column } => self.column(*measure, split.as_deref(), column),
            Fact::Metric(_) | Fact::Records => Ok(()),
        }
    }

    fn rows(&mut self, split: Option<&str>) -> Result<()> {
        self.aggregate(rows_name(split), count, lit(1_i64), split)
    }

    fn column(&mut self, measure: Measure, split: Option<&str>, column: &str) -> Result<()> {
        let (Some(field), Some(place)) = (
            self.dataset.schema.get(column),
            self.columns.iter().position(|known| *known == column),
        ) else {
            return Ok(());
        };
        let values = ValueClass::of(&field.data_type);
        let value = value_at(place, &field.data_type)?;
        let name = |part: &str| column_name(part, split, column);
        match measure {
            Measure::Values => self.aggregate(name("values"), count, value, split),
            Measure::Nulls | Measure::NullShare => {
                self.aggregate(name("values"), count, value, split)?;
                self.rows(split)
            }
            Measure::Distinct => self.aggregate(name("distinct"), count_distinct, value, split),
            Measure::Min => self.aggregate(name("min"), min, ordered(value, values), split),
            Measure::Max => self.aggregate(name("max"), max, ordered(value, values), split),
            Measure::Mean => {
                self.aggregate(name("values"), count, value.clone(), split)?;
                let number = cast(value, DataType::Float64);
                for own in self
                    .splits
                    .iter()
                    .filter(|own| split.is_none_or(|split| split == **own))
                {
                    self.aggregate(column_name("sum", Some(own), column), sum, number.clone(), Some(own))?;
                }
                Ok(())
            }
        }
    }

    /// Adds an aggregate of the rows of one split, or of all. The rows of other splits count as null rather than being
    /// filtered out: the engine's distinct counts do not heed a filter of their own.
    fn aggregate(&mut self, name: String, function: fn(Expr) -> Expr, value: Expr, split: Option<&str>) -> Result<()> {
        if self.aggregates.iter().any(|(known, _)| *known == name) {
            return Ok(());
        }
        let number = split.and_then(|split| self.splits.iter().position(|own| *own == split));
        let value = match number {
            Some(number) => {
                let of_split = Expr::Column(ColumnRef::new_unqualified(SPLIT)).eq(lit(number as i64));
                when(of_split, value).end()?
            }
            None => value,
        };
        self.aggregates.push((name, function(value)));
        Ok(())
    }
}

/// A column's value, or null where it is NaN.
fn value_at(place: usize, data_type: &DataType) -> Result<Expr> {
    let value = Expr::Column(ColumnRef::new_unqualified(measured_name(place)));
    if !data_type.is_floating() {
        return Ok(value);
    }
    when(isnan(value.clone()), lit(ScalarValue::try_from(data_type)?)).otherwise(value)
}

/// A value cast to a type whose minimum and maximum are a number, a text or a time.
fn ordered(value: Expr, values: ValueClass) -> Expr {
    match values {
        ValueClass::Number => cast(value, DataType::Float64),
        ValueClass::Text => cast(value, DataType::Utf8),
        _ => value,
    }
}

fn rows_name(split: Option<&str>) -> String {
    split.map_or_else(|| "rows".to_owned(), |split| format!("rows of {split}"))
}

fn column_name(part: &str, split: Option<&str>, column: &str) -> String {
    split.map_or_else(
        || format!("{part} {column}"),
        |split| format!("{part} {column} of {split}"),
    )
}

struct Results<'a> {
    batches: &'a [RecordBatch],
}

impl Results<'_> {
    fn fact(&self, fact: &Fact, splits: &[&str]) -> Result<Scalar> {
        let Fact::Column { measure, split, column } = fact else {
            return match fact {
                Fact::Rows { split } => self.number(&rows_name(split.as_deref())).map(Scalar::of),
                _ => Ok(Scalar::Missing),
            };
        };
        let split = split.as_deref();
        let name = |part: &str| column_name(part, split, column);
        let rows = || self.number(&rows_name(split));
        let values = || self.number(&name("values"));
        Ok(match measure {
            Measure::Values => Scalar::of(values()?),
            Measure::Nulls => Scalar::of(rows()? - values()?),
            Measure::NullShare => {
                let rows = rows()?;
                Scalar::of(if rows == 0.0 { 0.0 } else { (rows - values()?) / rows })
            }
            Measure::Distinct => Scalar::of(self.number(&name("distinct"))?),
            Measure::Min => self.scalar(&name("min"))?,
            Measure::Max => self.scalar(&name("max"))?,
            Measure::Mean => {
                let mut total = 0.0;
                for own in splits.iter().filter(|own| split.is_none_or(|split| split == **own)) {
                    if let Scalar::Number(sum) = self.scalar(&column_name("sum", Some(own), column))? {
                        total += sum;
                    }
                }
                Scalar::of(total / values()?)
            }
        })
    }

    fn number(&self, name: &str) -> Result<f64> {
        Ok(match self.scalar(name)? {
            Scalar::Number(number) => number,
            _ => f64::NAN,
        })
    }

    fn scalar(&self, name: &str) -> Result<Scalar> {
        let Some(column) = self
            .batches
            .iter()
            .find(|b| b.num_rows() > 0)
            .and_then(|b| b.column_by_name(name))
        else {
            return Ok(Scalar::Missing);
        };
        Ok(match ScalarValue::try_from_array(column, 0)? {
            value if value.is_null() => Scalar::Missing,
            ScalarValue::Int64(Some(number)) => Scalar::of(number as f64),
            ScalarValue::Float64(Some(number)) => Scalar::of(number),
            ScalarValue::Utf8(Some(text)) => Scalar::Text(text),
            moment => Scalar::Text(array_value_to_string(&in_utc(moment).to_array()?, 0)?),
        })
    }
}

/// A timestamp without its time zone, whose text is the same instant in UTC.
fn in_utc(value: ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::TimestampSecond(value, _) => ScalarValue::TimestampSecond(value, None),
        ScalarValue::TimestampMillisecond(value, _) => ScalarValue::TimestampMillisecond(value, None),
        ScalarValue::TimestampMicrosecond(value, _) => ScalarValue::TimestampMicrosecond(value, None),
        ScalarValue::TimestampNanosecond(value, _) => ScalarValue::TimestampNanosecond(value, None),
        other => other,
    }
}
