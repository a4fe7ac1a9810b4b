//! Training data of models that use interactions only.

use std::path::PathBuf;

use crate::data::catalogue::{Catalogue, ITEMS, ItemTable};
use crate::data::feature_table::FeatureTable;
use crate::data::id_mapping::IdMapping;
use crate::data::tower_columns::TowerColumns;
use crate::model::distinct_users::unknown_split;
use crate::model::retrieval_type::{RetrievalType, Score};
use towline_api::{
    Column, Context, DatasetFiles, DatasetType, OperatorError, Output, Problem, Report, Result, Schema, TaskResult,
};

/// The interactions of a split.
pub(crate) struct Interactions<'a> {
    dataset: &'a DatasetFiles,
    /// The type of a model trained on them.
    pub(crate) model_type: RetrievalType,
    /// The model's columns.
    pub(crate) table: FeatureTable,
    /// Mapping from encoded to original user ids.
    pub(crate) users: IdMapping,
    /// All items, including reserved ids.
    items: ItemTable,
    /// Recommendable items.
    pub(crate) catalogue: Catalogue,
}

/// The type of a model with the two id columns and the named user columns.
fn model_type(sides: &TowerColumns, of_user: &[&str], dim: Option<usize>) -> RetrievalType {
    let keep = |columns: &[Column], id: &str, more: &[&str]| Schema {
        columns: columns
            .iter()
            .filter(|c| c.name == id || more.contains(&c.name.as_str()))
            .cloned()
            .collect(),
    };
    RetrievalType {
        query: keep(&sides.query, &sides.user_id, of_user),
        item: keep(&sides.item, &sides.item_id, &[]),
        user_id: sides.user_id.clone(),
        item_id: sides.item_id.clone(),
        dim,
        score: dim.map(|_| Score::Dot),
        metrics: Vec::new(),
    }
}

/// The static type of such a model, or the problems.
pub(crate) fn interactions_type(
    dataset: &DatasetType,
    fit_on: &str,
    of_user: &[&str],
    dim: Option<usize>,
) -> Result<RetrievalType, Vec<Problem>> {
    let mut problems: Vec<Problem> = unknown_split(Some(fit_on), &dataset.splits, "fit_on")
        .into_iter()
        .collect();
    match TowerColumns::of(&dataset.schema) {
        Ok(sides) if problems.is_empty() => Ok(model_type(&sides, of_user, dim)),
        Ok(_) => Err(problems),
        Err(more) => {
            problems.extend(more);
            Err(problems)
        }
    }
}

impl<'a> Interactions<'a> {
    /// Reads a split.
    pub(crate) fn read(
        dataset: &'a DatasetFiles,
        fit_on: &str,
        of_user: &[&str],
        dim: Option<usize>,
        context: &Context,
    ) -> Result<Self> {
        let sides = TowerColumns::of(&dataset.schema).map_err(|problems| {
            let texts: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
            OperatorError::invalid(texts.join("; "))
        })?;
        let model_type = model_type(&sides, of_user, dim);
        let columns: Vec<&Column> = model_type
            .query
            .columns
            .iter()
            .chain(&model_type.item.columns)
            .collect();
        let table = FeatureTable::read(
            crate::model::stored_model::tables(dataset, Some(fit_on))?,
            &columns,
            &context.cancel,
        )?;
        let (Some(user), Some(item)) = (model_type.user_column(), model_type.item_column()) else {
            return Err(OperatorError::internal("there are no id columns"));
        };
        let users = IdMapping::of(user, &dataset.vocabularies)?;
        let items = ItemTable::collect(&table, &model_type.item, &model_type.item_id)?;
        let catalogue = Catalogue::new(&items, &IdMapping::of(item, &dataset.vocabularies)?)?;
        if catalogue.len() == 0 {
            return Err(OperatorError::invalid(format!(
                "the split `{fit_on}` has no item to recommend"
            )));
        }
        Ok(Interactions {
            dataset,
            model_type,
            table,
            users,
            items,
            catalogue,
        })
    }

    /// The positives of each user by encoded id, as ascending distinct catalogue rows. Unknown users are excluded.
    pub(crate) fn histories(&self) -> Result<Vec<(i64, Vec<u32>)>> {
        let seen = crate::model::interaction_history::InteractionHistory::of(
            &self.table,
            &self.model_type,
            &self.catalogue,
            &self.users,
        )?;
        Ok(seen.into_ordered())
    }

    /// The number of ids of a column.
    pub(crate) fn size(&self, column: &Column) -> Result<usize> {
        let size = column.domain.as_ref().and_then(|domain| domain.size);
        size.map(|size| size as usize)
            .ok_or_else(|| OperatorError::internal(format!("the domain of `{}` has no number of ids", column.name)))
    }

    /// Stores the model with its weights in `file`.
    pub(crate) fn stored(
        self,
        description: serde_json::Value,
        weights: (&str, PathBuf),
        context: &Context,
    ) -> Result<Output> {
        let catalogue_file = context.temp_file(ITEMS);
        self.items.write(&catalogue_file)?;
        let columns = self
            .model_type
            .query
            .columns
            .iter()
            .chain(&self.model_type.item.columns);
        let digests = columns.filter_map(|column| column.domain.as_ref()?.vocabulary.as_ref());
        let vocabularies = digests
            .filter_map(|digest| Some((digest.clone(), self.dataset.vocabularies.get(digest)?.clone())))
            .collect();
        let facts = vec![
            ("interactions".to_owned(), self.table.rows.to_string()),
            ("items".to_owned(), self.catalogue.len().to_string()),
        ];
        Ok(Output {
            result: TaskResult::Model {
                model_type: self.model_type.into(),
                description,
                files: [(weights.0.to_owned(), weights.1), (ITEMS.to_owned(), catalogue_file)].into(),
                vocabularies,
            },
            metrics: std::collections::BTreeMap::new(),
            report: Report {
                facts,
                ..Report::default()
            },
        })
    }
}
