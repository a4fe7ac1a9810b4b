//! Derives the vocabularies to fit, and the columns each of them encodes.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::DataType;

use crate::features::categorical::categorify::keys::{Values, shared_type, value_type};
use towline_api::{Code, Column, Problem, Result, Schema};

/// The definition of a vocabulary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VocabularySpec {
    /// Name of the vocabulary and of its domain; also the output column of a combination.
    pub(crate) name: String,
    /// The input columns.
    pub(crate) columns: Vec<String>,
    /// Storage types of the values: one for all columns, or one per column of a combination.
    pub(crate) kept: Vec<DataType>,
    /// Whether the values are tuples of the columns' values.
    pub(crate) combo: bool,
}

impl VocabularySpec {
    pub(crate) fn values(&self) -> Result<Values> {
        match self.kept.as_slice() {
            [kept] if !self.combo => Ok(Values::of(kept)),
            kept => {
                let columns: Vec<_> = self.columns.iter().cloned().zip(kept.iter().cloned()).collect();
                Values::tuple(&columns)
            }
        }
    }
}

/// The vocabularies for these columns, ordered by their first column, combinations last; or the problems found.
pub(crate) fn units(
    schema: &Schema,
    joint: &BTreeMap<String, Vec<String>>,
    combo: &BTreeMap<String, Vec<String>>,
) -> Result<Vec<VocabularySpec>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    for (key, groups) in [("joint", joint), ("combo", combo)] {
        for column in groups.values().flatten() {
            if schema.get(column).is_none() {
                problems.push(Problem::unknown_column(column, schema).at(key));
            }
            let again = !taken.insert(column);
            if again && key == "joint" {
                problems.push(Problem::new(Code::Conflict, format!("column `{column}` is in two groups")).at(key));
            }
        }
        for (name, columns) in groups {
            if columns.len() < 2 {
                let message = format!("`{name}` needs at least two columns");
                problems.push(Problem::new(Code::BadConfig, message).at(key));
            }
            if schema.get(name).is_some() && !columns.contains(name) {
                let message = format!("`{name}` is the name of another column of the input");
                problems.push(Problem::new(Code::DuplicateColumn, message).at(key));
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut units: Vec<VocabularySpec> = Vec::new();
    for column in &schema.columns {
        let group = joint.iter().find(|(_, columns)| columns.contains(&column.name));
        let name = group.map_or(&column.name, |(name, _)| name);
        let Some(kept) = value_type(column.element_type()) else {
            problems.push(not_encodable(column));
            continue;
        };
        if combo.values().flatten().any(|name| *name == column.name) && group.is_none() {
            continue;
        }
        let unit = units.iter_mut().find(|unit| group.is_some() && unit.name == *name);
        let Some(unit) = unit else {
            let (name, columns) = (name.clone(), vec![column.name.clone()]);
            units.push(VocabularySpec {
                name,
                columns,
                kept: vec![kept],
                combo: false,
            });
            continue;
        };
        match shared_type(&unit.kept[0], &kept) {
            Some(shared) => {
                unit.kept[0] = shared;
                unit.columns.push(column.name.clone());
            }
            None => {
                let message = format!(
                    "`{name}` would hold {} and {kept} (column `{}`), which cannot share a vocabulary",
                    unit.kept[0], column.name
                );
                problems.push(Problem::new(Code::WrongType, message).at("joint"));
            }
        }
    }
    for (name, columns) in combo {
        let parts: Vec<&Column> = columns.iter().filter_map(|column| schema.get(column)).collect();
        if let Some(list) = parts.iter().find(|column| column.is_list()) {
            let message = format!(
                "column `{}` holds lists, which cannot be part of a combination",
                list.name
            );
            problems.push(Problem::new(Code::WrongType, message).at("combo"));
            continue;
        }
        let kept = parts
            .iter()
            .filter_map(|column| value_type(&column.data_type))
            .collect();
        units.push(VocabularySpec {
            name: name.clone(),
            columns: columns.clone(),
            kept,
            combo: true,
        });
    }
    if problems.is_empty() { Ok(units) } else { Err(problems) }
}

fn not_encodable(column: &Column) -> Problem {
    let message = format!(
        "column `{}` holds {}, which cannot be encoded",
        column.name, column.data_type
    );
    Problem::new(Code::WrongType, message)
        .at_port("input")
        .help("integers, floats, strings, booleans, dates, times and lists of them can be encoded")
}
