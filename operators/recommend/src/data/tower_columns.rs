//! Assigns columns to the query tower and the item tower.

use crate::data::feature_column::FeatureKind;
use crate::model::retrieval_type::{RetrievalType, Score};
use towline_api::{Code, Column, DatasetFiles, OperatorError, Problem, Result, Schema, Tag};

/// The columns of the two towers.
#[derive(Debug, Clone)]
pub(crate) struct TowerColumns {
    /// Columns of the query tower, including the user id.
    pub(crate) query: Vec<Column>,
    /// Columns of the item tower, including the item id.
    pub(crate) item: Vec<Column>,
    /// Name of the user id column.
    pub(crate) user_id: String,
    /// Name of the item id column.
    pub(crate) item_id: String,
}

impl TowerColumns {
    /// Assigns a dataset's columns by tags, or returns all problems that prevent training.
    pub(crate) fn of(schema: &Schema) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut side = |tag: Tag| {
            let columns: Vec<Column> = schema.tagged(&[tag]).cloned().collect();
            for column in &columns {
                if column.has(&[Tag::Target]) {
                    let message = format!(
                        "`{}` is tagged {tag} and target: a target cannot be a feature",
                        column.name
                    );
                    let help = format!("leave it out, or remove the tag {tag}");
                    problems.push(Problem::new(Code::TagConflict, message).help(help));
                } else {
                    problems.extend(unusable(column));
                }
            }
            let ids: Vec<&Column> = columns.iter().filter(|column| column.has(&[Tag::Id])).collect();
            let id = match ids.as_slice() {
                [one] => one.name.clone(),
                [] => {
                    let message = format!("no column is tagged {tag} and id");
                    let help = format!("the id column of the {tag}s needs the tags [{tag}, id]");
                    problems.push(Problem::new(Code::BadInput, message).help(help));
                    String::new()
                }
                many => {
                    let names: Vec<&str> = many.iter().map(|column| column.name.as_str()).collect();
                    let message = format!("several columns are tagged {tag} and id: {}", names.join(", "));
                    problems.push(Problem::new(Code::BadInput, message).help("tag only one of them as the id"));
                    String::new()
                }
            };
            (columns, id)
        };
        let (query, user_id) = side(Tag::User);
        let (item, item_id) = side(Tag::Item);
        if problems.is_empty() {
            Ok(TowerColumns {
                query,
                item,
                user_id,
                item_id,
            })
        } else {
            Err(problems)
        }
    }

    /// The type of a model trained on these columns.
    pub(crate) fn model_type(&self, dim: usize, score: Score, metrics: Vec<String>) -> RetrievalType {
        RetrievalType {
            query: Schema {
                columns: self.query.clone(),
            },
            item: Schema {
                columns: self.item.clone(),
            },
            user_id: self.user_id.clone(),
            item_id: self.item_id.clone(),
            dim: Some(dim),
            score: Some(score),
            metrics,
        }
    }
}

fn unusable(column: &Column) -> Option<Problem> {
    let (kind, id) = (FeatureKind::of(column), column.has(&[Tag::Id]));
    if id && kind == Some(FeatureKind::IdFeatures) && column.is_list() {
        return Some(Problem::new(
            Code::BadInput,
            format!("the id column `{}` holds lists", column.name),
        ));
    }
    if kind == Some(FeatureKind::IdFeatures) || (kind.is_some() && !id) {
        return None;
    }
    let message = format!("`{}` ({}) is not an encoded category", column.name, column.data_type);
    let number = column.data_type.is_floating() || column.data_type.is_integer();
    let help = if number && !id {
        "encode it with Categorify, bucket it first, or leave it out; numbers are inputs after Normalize, which \
         tags it continuous"
    } else {
        "encode it with Categorify, bucket it first, or leave it out"
    };
    Some(Problem::new(Code::BadInput, message).help(help))
}

/// Differences between the dataset on `port` and the columns `wanted` by a model.
pub(crate) fn mismatches(wanted: &[&Column], schema: &Schema, port: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    for column in wanted {
        let name = &column.name;
        let Some(found) = schema.get(name) else {
            let mut problem = Problem::unknown_column(name, schema).at_port(port);
            problem.message.push_str(", which the model was trained on");
            problems.push(problem);
            continue;
        };
        let (domain, other) = (column.domain.as_ref(), found.domain.as_ref());
        if found.data_type != column.data_type {
            let message = format!(
                "`{name}` is {}, but the model was trained on {}",
                found.data_type, column.data_type
            );
            problems.push(Problem::new(Code::BadInput, message).at_port(port));
        } else if let (Some(a), Some(b)) = (domain, other)
            && a.vocabulary.is_some()
            && b.vocabulary.is_some()
            && a.vocabulary != b.vocabulary
        {
            let message = format!("`{name}` was encoded with another vocabulary than the model's");
            let help = "encode it with the same operator as the training data";
            problems.push(Problem::new(Code::BadInput, message).help(help).at_port(port));
        }
    }
    problems
}

/// The columns `wanted` of the dataset, checked again because vocabularies are known at run time.
pub(crate) fn columns_of<'a>(wanted: &[&Column], dataset: &'a DatasetFiles, port: &str) -> Result<Vec<&'a Column>> {
    if let Some(problem) = mismatches(wanted, &dataset.schema, port).into_iter().next() {
        return Err(OperatorError::invalid(format!("{port}: {}", problem.message)));
    }
    Ok(wanted
        .iter()
        .filter_map(|column| dataset.schema.get(&column.name))
        .collect())
}

/// The query columns and the two id columns, each once.
pub(crate) fn interaction_columns(model: &RetrievalType) -> Vec<&Column> {
    let mut columns: Vec<&Column> = model.query.columns.iter().collect();
    columns.extend(model.item_column());
    columns
}
