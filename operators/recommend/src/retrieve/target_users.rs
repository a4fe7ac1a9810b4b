//! Target users of a batch retrieval.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, UInt32Array, UInt64Array};
use arrow::compute::{CastOptions, cast_with_options, concat, sort_to_indices, take};
use arrow::datatypes::DataType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::distinct_users::Users;
use crate::model::id_reader::{IdReader, Lookup, is_text};
use crate::model::interaction_history::Seen;
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
pub(crate) enum Service {
    /// The model, with this row of [`Users`].
    Model(usize),
    /// The cold-start list.
    ColdStart,
}

/// Distinct target users, ordered by original id.
#[derive(Debug)]
pub(crate) struct Audience {
    /// Original ids.
    pub(crate) original: ArrayRef,
    /// The source of each user's list.
    pub(crate) service: Vec<Service>,
    /// Number of requested users who cannot be served.
    pub(crate) unknown: u64,
    /// Number of rows of the table of users without a known id.
    pub(crate) nameless_rows: u64,
}

/// Rules that decide the source of a list.
pub(crate) struct Rules<'a> {
    /// Whether users without history get a list.
    pub(crate) cold_start: bool,
    /// Histories, if a dataset of interactions is connected.
    pub(crate) history: Option<&'a Seen>,
}

impl Audience {
    /// All users with known features.
    pub(crate) fn everybody(users: &Users, rules: &Rules<'_>) -> Self {
        let service = (0..users.ids.len()).map(|row| rules.service(users, row));
        Audience {
            original: Arc::clone(&users.original),
            service: service.collect(),
            unknown: 0,
            nameless_rows: users.nameless_rows,
        }
    }

    /// The users with the listed original ids; null is ignored.
    pub(crate) fn listed(ids: &ArrayRef, users: &Users, model: &LoadedModel, rules: &Rules<'_>) -> Result<Self> {
        let encoded = Lookup::new(&model.users)?.encode(ids)?;
        let mut choice = Choice::default();
        for (place, id) in (0_u32..).zip(encoded) {
            match id.filter(|id| !model.users.is_reserved(*id)) {
                Some(id) => _ = choice.known.insert(id),
                None if ids.is_valid(place as usize) => choice.strangers.push(place),
                None => choice.nameless += 1,
            }
        }
        let strangers = take(ids, &UInt32Array::from(std::mem::take(&mut choice.strangers)), None)?;
        choice.serve(vec![strangers], users, model, rules)
    }

    /// The users of a table, with original or encoded ids.
    pub(crate) fn of_table(
        dataset: &DatasetFiles,
        port: &str,
        users: &Users,
        model: &LoadedModel,
        rules: &Rules<'_>,
        cancel: &Cancel,
    ) -> Result<Self> {
        let mut reader = IdReader::new(dataset, port);
        reader.column(model.model_type.user_column(), &model.users)?;
        let encoded = reader.is_encoded();
        let mut choice = Choice::default();
        let mut strangers = Vec::new();
        reader.scan(None, cancel, |batch, ids| {
            let values = batch.column_by_name(&model.model_type.user_id);
            let values = values.ok_or_else(|| OperatorError::internal("the table has no user ids"))?;
            let mut rows = Vec::new();
            for (row, id) in (0_u32..).zip(&ids[0]) {
                match id.filter(|id| !model.users.is_reserved(*id)) {
                    Some(id) => _ = choice.known.insert(id),
                    // An encoded id that is out of vocabulary does not identify a user.
                    None if !encoded && values.is_valid(row as usize) => rows.push(row),
                    None => choice.nameless += 1,
                }
            }
            strangers.push(as_ids(
                &take(values, &UInt32Array::from(rows), None)?,
                users.original.data_type(),
            )?);
            Ok(())
        })?;
        if encoded {
            strangers.clear();
        }
        choice.serve(strangers, users, model, rules)
    }

    /// Number of users with a cold-start list.
    pub(crate) fn cold(&self) -> u64 {
        self.service
            .iter()
            .filter(|service| **service == Service::ColdStart)
            .count() as u64
    }
}

impl Rules<'_> {
    fn service(&self, users: &Users, row: usize) -> Service {
        let without = |seen: &Seen| !seen.has(users.ids[row]);
        if self.cold_start && self.history.is_some_and(without) {
            Service::ColdStart
        } else {
            Service::Model(row)
        }
    }
}

/// Requested users.
#[derive(Debug, Default)]
struct Choice {
    /// Encoded ids of known users.
    known: BTreeSet<i64>,
    /// Indexes of unknown users.
    strangers: Vec<u32>,
    nameless: u64,
}

impl Choice {
    fn serve(
        self,
        strangers: Vec<ArrayRef>,
        users: &Users,
        model: &LoadedModel,
        rules: &Rules<'_>,
    ) -> Result<Audience> {
        let rows: HashMap<i64, usize> = users.ids.iter().enumerate().map(|(row, id)| (*id, row)).collect();
        let (mut service, mut ids) = (Vec::new(), Vec::new());
        let mut unknown = 0;
        for id in self.known {
            match rows.get(&id) {
                Some(row) => service.push(rules.service(users, *row)),
                None if rules.cold_start => service.push(Service::ColdStart),
                None => {
                    unknown += 1;
                    continue;
                }
            }
            ids.push(id);
        }
        let mut parts = vec![as_ids(&model.users.decode(&ids)?, users.original.data_type())?];
        let all = strangers.iter().filter(|values| !values.is_empty());
        let distinct = distinct(&all.map(AsRef::as_ref).collect::<Vec<_>>())?;
        if let Some(strangers) = distinct {
            if rules.cold_start {
                service.extend(std::iter::repeat_n(Service::ColdStart, strangers.len()));
                parts.push(strangers);
            } else {
                unknown += strangers.len() as u64;
            }
        }
        let all = concat(&parts.iter().map(AsRef::as_ref).collect::<Vec<&dyn Array>>())?;
        let order = sort_to_indices(&all, None, None)?;
        Ok(Audience {
            original: take(&all, &order, None)?,
            service: order.values().iter().map(|place| service[*place as usize]).collect(),
            unknown,
            nameless_rows: self.nameless,
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
