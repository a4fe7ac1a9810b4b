//! The type of a reference: all of a node's output, some columns, or one split.

use towline_api::{DatasetType, NodeType, Problem, Schema, Tag, suggest};

use crate::config::yaml::{Code, Diagnostic};
use crate::config::{Reference, Selection};

/// The type of a reference to a node's output.
pub(crate) fn selected(output: &NodeType, reference: &Reference) -> Result<NodeType, Vec<Diagnostic>> {
    let NodeType::Dataset(dataset) = output else {
        if reference.columns.is_some() || reference.split.is_some() {
            let message = format!("only a dataset has columns and splits; this is a {}", output.kind());
            return Err(vec![Diagnostic::error(Code::BadInput, message).at(reference.span)]);
        }
        return Ok(output.clone());
    };
    let mut out = dataset.clone();
    let mut errors = Vec::new();
    if let Some(split) = &reference.split {
        if dataset.splits.contains(&split.value) {
            out.splits = vec![split.value.clone()];
        } else {
            let known: Vec<&str> = dataset.splits.iter().map(String::as_str).collect();
            let message = format!("there is no split `{}`", split.value);
            let help = suggest::sentence(&split.value, &known, "splits");
            errors.push(Diagnostic::error(Code::UnknownSplit, message).at(split.span).help(help));
        }
    }
    if let Some(columns) = &reference.columns {
        out.schema.columns.clear();
        for selection in columns {
            select(dataset, selection, &mut out, &mut errors);
        }
    }
    if errors.is_empty() {
        Ok(NodeType::Dataset(out))
    } else {
        Err(errors)
    }
}

fn select(dataset: &DatasetType, selection: &Selection, out: &mut DatasetType, errors: &mut Vec<Diagnostic>) {
    let before = out.schema.columns.len();
    match selection {
        Selection::Column(name) => match dataset.schema.get(&name.value) {
            Some(column) if out.schema.get(&name.value).is_none() => out.schema.columns.push(column.clone()),
            Some(_) => {
                let message = format!("the column `{}` is selected twice", name.value);
                errors.push(Diagnostic::error(Code::DuplicateColumn, message).at(name.span));
            }
            None => {
                let problem = Problem::unknown_column(&name.value, &dataset.schema);
                let mut diagnostic = Diagnostic::error(problem.code, problem.message).at(name.span);
                diagnostic.help = problem.help;
                errors.push(diagnostic);
            }
        },
        Selection::Tag(name) => match name.value.parse::<Tag>() {
            Ok(tag) => {
                let found = dataset
                    .schema
                    .tagged(std::slice::from_ref(&tag))
                    .cloned()
                    .collect::<Vec<_>>();
                let new = found
                    .into_iter()
                    .filter(|column| out.schema.get(&column.name).is_none())
                    .collect::<Vec<_>>();
                out.schema.columns.extend(new);
                if out.schema.columns.len() == before {
                    let message = format!("no column is tagged `{}`", name.value);
                    errors.push(Diagnostic::error(Code::UnknownColumn, message).at(name.span));
                }
            }
            Err(error) => {
                let known: Vec<&str> = Tag::ALL.iter().map(|tag| tag.as_str()).collect();
                let help = suggest::sentence(&name.value, &known, "tags");
                errors.push(
                    Diagnostic::error(Code::UnknownTag, error.to_string())
                        .at(name.span)
                        .help(help),
                );
            }
        },
    }
}

/// The names that a reference selects from a schema that propagation has checked.
pub(crate) fn selected_names(schema: &Schema, reference: &Reference) -> Option<Vec<String>> {
    let columns = reference.columns.as_ref()?;
    let mut out: Vec<String> = Vec::new();
    for selection in columns {
        match selection {
            Selection::Column(name) => out.push(name.value.clone()),
            Selection::Tag(name) => {
                if let Ok(tag) = name.value.parse::<Tag>() {
                    let new: Vec<String> = schema
                        .tagged(&[tag])
                        .map(|c| c.name.clone())
                        .filter(|name| !out.contains(name))
                        .collect();
                    out.extend(new);
                }
            }
        }
    }
    Some(out)
}
