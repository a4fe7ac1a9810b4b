//! Item filters and caps.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{cast, concat_batches, take};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::{DFSchema, DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::prelude::SessionContext;

use crate::data::id_mapping::{IdMapping, original_type};
use crate::model::id_reader::{IdReader, id_problem};
use crate::model::retrieval_type::RetrievalType;
use crate::model::stored_model::LoadedModel;
use crate::towers::scoring::Scored;
use towline_api::{
    Artifact, Cancel, Code, Column, DatasetFiles, DatasetPort, Inputs, ModelFiles, NodeType, OperatorError, Optional,
    Problem, Result, Schema,
};
use towline_tables::sql_planning::{private_session, problem_in, steady};

pub(crate) const ITEMS: DatasetPort<Optional> = DatasetPort::optional(
    "items",
    "Features of items for `exclude`, `only` and `max_per`, by encoded or original item ids.",
);
pub(crate) const EXCLUDE: DatasetPort<Optional> = DatasetPort::optional("exclude", "Items not to recommend.");
pub(crate) const ONLY: DatasetPort<Optional> = DatasetPort::optional("only", "Recommend only these items.");

/// The filter parameters of an operator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ItemRules<'a> {
    pub(crate) exclude: Option<&'a str>,
    pub(crate) only: Option<&'a str>,
    pub(crate) max_per: &'a BTreeMap<String, usize>,
}

impl ItemRules<'_> {
    /// The predicates with their parameters.
    fn predicates(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let both = [(EXCLUDE.name(), self.exclude), (ONLY.name(), self.only)];
        both.into_iter().filter_map(|(key, predicate)| Some((key, predicate?)))
    }

    /// Problems found without data.
    pub(crate) fn problems(
        &self,
        inputs: &Inputs<NodeType>,
        model: &RetrievalType,
        session: &SessionContext,
    ) -> Result<Vec<Problem>, Vec<Problem>> {
        let mut problems = Vec::new();
        for port in [ITEMS, EXCLUDE, ONLY] {
            if let Some(dataset) = port.input_type(inputs)? {
                problems.extend(id_problem(model.item_column(), &dataset.schema, port.name()));
            }
        }
        let features = match ITEMS.input_type(inputs)? {
            Some(items) => items.schema.clone(),
            None => of_model(model),
        };
        for (key, predicate) in self.predicates() {
            let planned = DFSchema::try_from(features.to_arrow())
                .and_then(|schema| parse(session, &schema, predicate).map(|_| ()));
            if let Err(error) = planned {
                problems.push(problem_in(&error, &[&features], key, predicate));
            }
        }
        for (column, most) in self.max_per {
            let Some(found) = features.get(column) else {
                problems.push(Problem::unknown_column(column, &features).at("max_per"));
                continue;
            };
            let groups = &found.data_type;
            if found.is_list() || groups.is_floating() {
                let message = format!("`{column}` is {groups}, but a capped column needs one value per item");
                problems.push(Problem::new(Code::BadInput, message).at("max_per"));
            }
            if *most == 0 {
                let message = format!("a cap of 0 on `{column}` excludes every item");
                let help = "set at least 1; to exclude items use `exclude`";
                problems.push(Problem::new(Code::OutOfRange, message).at("max_per").help(help));
            }
        }
        Ok(problems)
    }

    /// Applies the filters to the catalogue.
    pub(crate) fn apply(
        &self,
        inputs: &Inputs<Artifact>,
        files: &ModelFiles,
        model: &LoadedModel,
        session: &SessionContext,
        cancel: &Cancel,
    ) -> Result<ItemSelection> {
        let mut eligible = vec![true; model.catalogue.len()];
        for (port, listed) in [(EXCLUDE, false), (ONLY, true)] {
            if let Some(dataset) = port.files(inputs)? {
                let rows = rows_of(dataset, model, port.name(), cancel)?;
                for (row, eligible) in eligible.iter_mut().enumerate() {
                    *eligible &= rows[row] == listed;
                }
            }
        }
        if self.predicates().next().is_none() && self.max_per.is_empty() {
            return Ok(ItemSelection::new(eligible, Vec::new()));
        }
        let features = match ITEMS.files(inputs)? {
            Some(items) => of_table(items, model, cancel)?,
            None => of_catalogue(model, files)?,
        };
        for (key, predicate) in self.predicates() {
            let schema = DFSchema::try_from(features.schema())?;
            let expr = parse(session, &schema, predicate)?;
            let truth = session.create_physical_expr(expr, &schema)?.evaluate(&features)?;
            let truth = truth.into_array(features.num_rows())?;
            let truth = truth
                .as_boolean_opt()
                .ok_or_else(|| OperatorError::invalid(format!("`{predicate}` is not true or false")))?;
            for (row, eligible) in eligible.iter_mut().enumerate() {
                *eligible &= (truth.is_valid(row) && truth.value(row)) == (key == ONLY.name());
            }
        }
        let caps = self.max_per.iter().map(|(column, most)| {
            let missing = || OperatorError::internal(format!("there is no column `{column}`"));
            let values = features.column_by_name(column).ok_or_else(missing)?;
            Ok(GroupCap {
                most: *most,
                groups: groups(values)?,
            })
        });
        Ok(ItemSelection::new(eligible, caps.collect::<Result<_>>()?))
    }
}

/// Parses a predicate; column names are case-sensitive.
fn parse(session: &SessionContext, schema: &DFSchema, predicate: &str) -> DataFusionResult<Expr> {
    let expr = private_session(session).parse_sql_expr(predicate, schema)?;
    steady(&expr)?;
    match expr.get_type(schema)? {
        DataType::Boolean => Ok(expr),
        other => Err(DataFusionError::Plan(format!(
            "`{predicate}` is {other}, not true or false"
        ))),
    }
}

/// The item features known to the model: single-valued item columns, decoded.
fn of_model(model: &RetrievalType) -> Schema {
    let columns = model.item.columns.iter().filter(|column| !column.is_list());
    Schema {
        columns: columns
            .map(|column| Column::new(&column.name, original_type(Some(column)), true))
            .collect(),
    }
}

fn of_catalogue(model: &LoadedModel, files: &ModelFiles) -> Result<RecordBatch> {
    let schema = of_model(&model.model_type);
    let columns = schema.columns.iter().map(|column| {
        let encoded = model.model_type.item.get(&column.name);
        let encoded =
            encoded.ok_or_else(|| OperatorError::internal(format!("there is no column `{}`", column.name)))?;
        let ids = model.catalogue.table.single(&column.name)?;
        let original = IdMapping::of(encoded, &files.vocabularies)?.decode(ids)?;
        Ok(cast(&original, &column.data_type)?)
    });
    let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
    Ok(RecordBatch::try_new(schema.to_arrow(), columns)?)
}

/// The features of catalogue items in a table, from an item's first row; null for items that are not in it.
fn of_table(dataset: &DatasetFiles, model: &LoadedModel, cancel: &Cancel) -> Result<RecordBatch> {
    let mut reader = IdReader::new(dataset, ITEMS.name());
    reader.column(model.model_type.item_column(), model.catalogue.originals())?;
    dataset.schema.names().for_each(|name| reader.beside(name));
    let mut place: Vec<Option<u32>> = vec![None; model.catalogue.len()];
    let (mut batches, mut rows) = (Vec::new(), 0_u32);
    reader.scan(None, cancel, |batch, ids| {
        let mut kept = Vec::new();
        for (row, id) in (0_u32..).zip(&ids[0]) {
            let item = id.and_then(|id| model.catalogue.rows.get(&id));
            if let Some(place) = item.map(|item| &mut place[*item as usize])
                && place.is_none()
            {
                *place = Some(rows);
                rows += 1;
                kept.push(row);
            }
        }
        let kept = UInt32Array::from(kept);
        let columns = batch.columns().iter().map(|column| take(column, &kept, None));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        batches.push(RecordBatch::try_new(batch.schema(), columns)?);
        Ok(())
    })?;
    let schema = nullable(&dataset.schema);
    let count = model.catalogue.len();
    if rows == 0 {
        let columns = schema
            .fields()
            .iter()
            .map(|field| new_null_array(field.data_type(), count));
        return Ok(RecordBatch::try_new(Arc::clone(&schema), columns.collect())?);
    }
    let all = concat_batches(&batches[0].schema(), &batches)?;
    let place = UInt32Array::from(place);
    let columns = schema.fields().iter().map(|field| {
        let missing = || OperatorError::internal(format!("there is no column `{}`", field.name()));
        Ok(take(
            all.column_by_name(field.name()).ok_or_else(missing)?,
            &place,
            None,
        )?)
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn nullable(schema: &Schema) -> SchemaRef {
    let mut schema = schema.clone();
    schema.columns.iter_mut().for_each(|column| column.nullable = true);
    schema.to_arrow()
}

/// A mask of the catalogue rows that a table of items contains.
fn rows_of(dataset: &DatasetFiles, model: &LoadedModel, port: &str, cancel: &Cancel) -> Result<Vec<bool>> {
    let mut reader = IdReader::new(dataset, port);
    reader.column(model.model_type.item_column(), model.catalogue.originals())?;
    let mut named = vec![false; model.catalogue.len()];
    reader.scan(None, cancel, |_, ids| {
        for row in ids[0].iter().flatten().filter_map(|id| model.catalogue.rows.get(id)) {
            named[*row as usize] = true;
        }
        Ok(())
    })?;
    Ok(named)
}

/// A group number for each value; `None` for null.
fn groups(values: &ArrayRef) -> Result<Vec<Option<u32>>> {
    let options = FormatOptions::default();
    let texts = ArrayFormatter::try_new(values, &options)?;
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let group = |row: usize| {
        values.is_valid(row).then(|| {
            let next = numbers.len() as u32;
            *numbers.entry(texts.value(row).to_string()).or_insert(next)
        })
    };
    Ok((0..values.len()).map(group).collect())
}

/// A cap on the number of items per group.
#[derive(Debug)]
struct GroupCap {
    most: usize,
    /// The group of each catalogue row; items without a group are not capped.
    groups: Vec<Option<u32>>,
}

/// The result of the filters.
#[derive(Debug)]
pub(crate) struct ItemSelection {
    /// Whether each catalogue row is eligible.
    eligible: Vec<bool>,
    caps: Vec<GroupCap>,
}

impl ItemSelection {
    fn new(eligible: Vec<bool>, caps: Vec<GroupCap>) -> Self {
        ItemSelection { eligible, caps }
    }

    /// The eligible catalogue rows in ascending order, `None` for all.
    pub(crate) fn rows(&self) -> Option<Vec<u32>> {
        if self.eligible.iter().all(|eligible| *eligible) {
            return None;
        }
        let rows = (0_u32..).zip(&self.eligible);
        Some(rows.filter_map(|(row, eligible)| eligible.then_some(row)).collect())
    }

    /// Whether an item is eligible.
    pub(crate) fn allows(&self, row: u32) -> bool {
        self.eligible[row as usize]
    }

    /// Whether there are caps.
    pub(crate) fn is_capped(&self) -> bool {
        !self.caps.is_empty()
    }

    /// Maximum list length under the caps.
    pub(crate) fn longest(&self) -> usize {
        let under = |cap: &GroupCap| {
            let mut sizes: HashMap<u32, usize> = HashMap::new();
            let mut free = 0;
            for (group, _) in cap.groups.iter().zip(&self.eligible).filter(|(_, eligible)| **eligible) {
                match group {
                    Some(group) => *sizes.entry(*group).or_default() += 1,
                    None => free += 1,
                }
            }
            free + sizes.into_values().map(|size| size.min(cap.most)).sum::<usize>()
        };
        let all = self.eligible.iter().filter(|eligible| **eligible).count();
        self.caps.iter().map(under).min().unwrap_or(all)
    }

    /// Takes the first `k` items that the caps allow: an item is skipped once its group is full.
    pub(crate) fn capped(&self, ranking: impl IntoIterator<Item = Scored>, k: usize) -> Vec<Scored> {
        let mut taken: HashMap<(usize, u32), usize> = HashMap::new();
        let mut list = Vec::with_capacity(k);
        for scored in ranking {
            if list.len() == k {
                break;
            }
            let groups = || {
                let of = |(cap, rule): (usize, &GroupCap)| Some((cap, rule.groups[scored.row as usize]?));
                self.caps.iter().enumerate().filter_map(of)
            };
            let fits = groups().all(|group| taken.get(&group).is_none_or(|count| *count < self.caps[group.0].most));
            if fits {
                groups().for_each(|group| *taken.entry(group).or_default() += 1);
                list.push(scored);
            }
        }
        list
    }
}
