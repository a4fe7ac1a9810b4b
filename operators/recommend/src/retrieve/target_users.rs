//! Target users of a batch retrieval.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow::compute::{CastOptions, cast_with_options, concat, sort_to_indices, take};
use arrow::datatypes::DataType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::distinct_users::DistinctUsers;
use crate::model::id_reader::{IdEncoder, IdReader, is_text};
use crate::model::interaction_history::InteractionHistory;
use crate::model::stored_model::LoadedModel;
use towline_api::{Cancel, Code, DatasetFiles, OperatorError, Problem, Result};

/// An original user id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum UserId {
    /// An integer.
    Whole(i64),
    /// An integer above 63 bits.
    Large(u64),
    /// A string.
    Text(String),
}

/// Problems for listed ids that cannot have this type.
pub(crate) fn mismatched(ids: &[UserId], original: &DataType) -> Vec<Problem> {
    let wrong = |id: &UserId| match id {
        UserId::Text(_) => !is_text(original),
        UserId::Whole(_) | UserId::Large(_) => !original.is_integer(),
    };
    let places = ids.iter().enumerate().filter(|(_, id)| wrong(id));
    let problem = |(place, _)| {
        let message = format!("the ids of the users are {original}");
        Problem::new(Code::WrongType, message).at_index("users", place)
    };
    places.map(problem).collect()
}

/// Listed ids in the type of the user ids.
pub(crate) fn listed(ids: &[UserId], original: &DataType) -> Result<ArrayRef> {
    let values: ArrayRef = if is_text(original) {
        let text = |id: &UserId| match id {
            UserId::Text(text) => text.clone(),
            UserId::Whole(number) => number.to_string(),
            UserId::Large(number) => number.to_string(),
        };
        Arc::new(ids.iter().map(|id| Some(text(id))).collect::<StringArray>())
    } else if ids.iter().any(|id| matches!(id, UserId::Large(_))) {
        let number = |id: &UserId| match id {
            UserId::Large(number) => Some(*number),
            UserId::Whole(number) => u64::try_from(*number).ok(),
            UserId::Text(_) => None,
        };
        Arc::new(ids.iter().map(number).collect::<UInt64Array>())
    } else {
        let number = |id: &UserId| {
            if let UserId::Whole(number) = id {
                Some(*number)
            } else {
                None
            }
        };
        Arc::new(ids.iter().map(number).collect::<Int64Array>())
    };
    as_ids(&values, original)
}

/// Casts values to the type of the user ids.
fn as_ids(values: &ArrayRef, original: &DataType) -> Result<ArrayRef> {
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(values, original, &strict)
        .map_err(|error| OperatorError::invalid(format!("a value cannot be a user id of type {original}: {error}")))
}

/// Source of a user's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListSource {
    /// The model, with this row of [`DistinctUsers`].
    Model(usize),
    /// The cold-start list.
    ColdStart,
}

/// Distinct target users, ordered by original id.
#[derive(Debug)]
pub(crate) struct TargetUsers {
    /// Original ids.
    pub(crate) original: ArrayRef,
    /// The source of each user's list.
    pub(crate) service: Vec<ListSource>,
    /// Number of requested users who cannot be served.
    pub(crate) unknown: u64,
    /// Number of rows of the table of users without a known id.
    pub(crate) rows_without_user_id: u64,
}

/// Rules that decide the source of a list.
pub(crate) struct ServingRules<'a> {
    /// Whether users without history get a list.
    pub(crate) cold_start: bool,
    /// Histories, if a dataset of interactions is connected.
    pub(crate) history: Option<&'a InteractionHistory>,
}

impl TargetUsers {
    /// All users with known features.
    pub(crate) fn everybody(users: &DistinctUsers, rules: &ServingRules<'_>) -> Self {
        let service = (0..users.ids.len()).map(|row| rules.service(users, row));
        TargetUsers {
            original: Arc::clone(&users.original),
            service: service.collect(),
            unknown: 0,
            rows_without_user_id: users.rows_without_user_id,
        }
    }

    /// The users with the listed original ids; null is ignored.
    pub(crate) fn listed(
        ids: &ArrayRef,
        users: &DistinctUsers,
        model: &LoadedModel,
        rules: &ServingRules<'_>,
    ) -> Result<Self> {
        let encoded = IdEncoder::new(&model.users)?.encode(ids)?;
        let mut choice = RequestedUsers::default();
        for (place, id) in (0_u32..).zip(encoded) {
            match id.filter(|id| !model.users.is_reserved(*id)) {
                Some(id) => _ = choice.known.insert(id),
                None if ids.is_valid(place as usize) => choice.unknown_users.push(place),
                None => choice.without_user_id += 1,
            }
        }
        let unknown_users = take(ids, &UInt32Array::from(std::mem::take(&mut choice.unknown_users)), None)?;
        choice.serve(vec![unknown_users], users, model, rules)
    }

    /// The users of a table, with original or encoded ids.
    pub(crate) fn of_table(
        dataset: &DatasetFiles,
        port: &str,
        users: &DistinctUsers,
        model: &LoadedModel,
        rules: &ServingRules<'_>,
        cancel: &Cancel,
    ) -> Result<Self> {
        let mut reader = IdReader::new(dataset, port);
        reader.column(model.model_type.user_column(), &model.users)?;
        let encoded = reader.is_encoded();
        let mut choice = RequestedUsers::default();
        let mut unknown_users = Vec::new();
        reader.scan(None, cancel, |batch, ids| {
            let values = batch.column_by_name(&model.model_type.user_id);
            let values = values.ok_or_else(|| OperatorError::internal("the table has no user ids"))?;
            let mut rows = Vec::new();
            for (row, id) in (0_u32..).zip(&ids[0]) {
                match id.filter(|id| !model.users.is_reserved(*id)) {
                    Some(id) => _ = choice.known.insert(id),
                    // An encoded id that is out of vocabulary does not identify a user.
                    None if !encoded && values.is_valid(row as usize) => rows.push(row),
                    None => choice.without_user_id += 1,
                }
            }
            unknown_users.push(as_ids(
                &take(values, &UInt32Array::from(rows), None)?,
                users.original.data_type(),
            )?);
            Ok(())
        })?;
        if encoded {
            unknown_users.clear();
        }
        choice.serve(unknown_users, users, model, rules)
    }

    /// Number of users with a cold-start list.
    pub(crate) fn cold(&self) -> u64 {
        self.service
            .iter()
            .filter(|service| **service == ListSource::ColdStart)
            .count() as u64
    }
}

impl ServingRules<'_> {
    fn service(&self, users: &DistinctUsers, row: usize) -> ListSource {
        let without = |seen: &InteractionHistory| !seen.has(users.ids[row]);
        if self.cold_start && self.history.is_some_and(without) {
            ListSource::ColdStart
        } else {
            ListSource::Model(row)
        }
    }
}

/// Requested users.
#[derive(Debug, Default)]
struct RequestedUsers {
    /// Encoded ids of known users.
    known: BTreeSet<i64>,
    /// Indexes of unknown users.
    unknown_users: Vec<u32>,
    without_user_id: u64,
}

impl RequestedUsers {
    fn serve(
        self,
        unknown_users: Vec<ArrayRef>,
        users: &DistinctUsers,
        model: &LoadedModel,
        rules: &ServingRules<'_>,
    ) -> Result<TargetUsers> {
        let rows: HashMap<i64, usize> = users.ids.iter().enumerate().map(|(row, id)| (*id, row)).collect();
        let (mut service, mut ids) = (Vec::new(), Vec::new());
        let mut unknown = 0;
        for id in self.known {
            match rows.get(&id) {
                Some(row) => service.push(rules.service(users, *row)),
                None if rules.cold_start => service.push(ListSource::ColdStart),
                None => {
                    unknown += 1;
                    continue;
                }
            }
            ids.push(id);
        }
        let mut parts = vec![as_ids(&model.users.decode(&ids)?, users.original.data_type())?];
        let all = unknown_users.iter().filter(|values| !values.is_empty());
        let distinct = distinct(&all.map(AsRef::as_ref).collect::<Vec<_>>())?;
        if let Some(unknown_users) = distinct {
            if rules.cold_start {
                service.extend(std::iter::repeat_n(ListSource::ColdStart, unknown_users.len()));
                parts.push(unknown_users);
            } else {
                unknown += unknown_users.len() as u64;
            }
        }
        let all = concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?;
        let order = sort_to_indices(&all, None, None)?;
        Ok(TargetUsers {
            original: take(&all, &order, None)?,
            service: order.values().iter().map(|place| service[*place as usize]).collect(),
            unknown,
            rows_without_user_id: self.without_user_id,
        })
    }
}

/// Distinct values.
fn distinct(parts: &[&dyn Array]) -> Result<Option<ArrayRef>> {
    if parts.is_empty() {
        return Ok(None);
    }
    let all = concat(parts)?;
    let order = sort_to_indices(&all, None, None)?;
    let sorted = take(&all, &order, None)?;
    let options = arrow::util::display::FormatOptions::default();
    let texts = arrow::util::display::ArrayFormatter::try_new(&sorted, &options)?;
    let mut rows: Vec<u32> = Vec::new();
    for row in 0..sorted.len() as u32 {
        let same = |last: &u32| texts.value(*last as usize).to_string() == texts.value(row as usize).to_string();
        if !rows.last().is_some_and(same) {
            rows.push(row);
        }
    }
    Ok(Some(take(&sorted, &UInt32Array::from(rows), None)?))
}

/// The value of a column for each wanted user, from the user's last row.
pub(crate) fn last_values(
    dataset: &DatasetFiles,
    split: Option<&str>,
    port: &str,
    column: &str,
    model: &LoadedModel,
    wanted: &BTreeSet<String>,
    cancel: &Cancel,
) -> Result<HashMap<String, String>> {
    let mut reader = IdReader::new(dataset, port);
    reader.column(model.model_type.user_column(), &model.users)?;
    reader.beside(column);
    let encoded = reader.is_encoded();
    let mut found = HashMap::new();
    reader.scan(split, cancel, |batch, ids| {
        let names = if encoded {
            let ids: Vec<i64> = ids[0].iter().map(|id| id.unwrap_or_default()).collect();
            model.users.decode(&ids)?
        } else {
            column_of(batch, &model.model_type.user_id)?
        };
        let values = decoded(dataset, column, &column_of(batch, column)?)?;
        for (name, value) in crate::model::id_reader::texts(&names)?.into_iter().zip(values) {
            if let (Some(name), Some(value)) = (name, value)
                && wanted.contains(&name)
            {
                found.insert(name, value);
            }
        }
        Ok(())
    })?;
    Ok(found)
}

pub(crate) fn column_of(batch: &RecordBatch, name: &str) -> Result<ArrayRef> {
    let column = batch.column_by_name(name).map(Arc::clone);
    column.ok_or_else(|| OperatorError::internal(format!("there is no column `{name}`")))
}

/// The values of a dataset column as text, decoded if encoded.
pub(crate) fn decoded(dataset: &DatasetFiles, name: &str, values: &ArrayRef) -> Result<Vec<Option<String>>> {
    let original = match dataset.vocabulary_of(name) {
        Some(vocabulary) => {
            let ids = values.as_primitive_opt::<arrow::datatypes::Int64Type>();
            let ids = ids.ok_or_else(|| OperatorError::internal(format!("`{name}` does not hold encoded ids")))?;
            vocabulary
                .load()?
                .decode(&ids.iter().map(Option::unwrap_or_default).collect::<Vec<_>>())?
        }
        None => Arc::clone(values),
    };
    crate::model::id_reader::texts(&original)
}
