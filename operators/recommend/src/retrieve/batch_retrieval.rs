//! Batch retrieval for `TopKEncode`: ranks users in batches and streams the lists to a file.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, ListArray, RecordBatch, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::Field;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::model::distinct_users::DistinctUsers;
use crate::model::id_reader::texts;
use crate::model::interaction_history::InteractionHistory;
use crate::model::ranker::Ranker;
use crate::model::stored_model::LoadedModel;
use crate::retrieve::cold_start::{COUNTS, ColdLists, ColdStart};
use crate::retrieve::item_filter::ItemSelection;
use crate::retrieve::target_users::{ListSource, ServingRules, TargetUsers, last_values, listed};
use crate::retrieve::top_k_encode::{METRICS, MODEL, QUERIES, SEEN, TopKEncode, USERS, schema};
use crate::towers::scoring::Scored;
use towline_api::{
    Artifact, BATCH_ROWS, Context, DEFAULT_SPLIT, DatasetFiles, Inputs, OperatorError, Output, Report, ReportTable,
    Result, Task, TaskResult,
};
use towline_tables::TableWriter;

/// Users in the sample shown after a run.
const SAMPLE: usize = 5;
/// Items shown per user of the sample.
const SAMPLE_ITEMS: usize = 10;
/// List items per row group of the output, which the writer keeps in memory.
const ROW_GROUP_ITEMS: usize = 1 << 20;
/// Minimum batch size.
const FEWEST: usize = 32;
/// Maximum number of candidates over all users of a batch when lists under caps are filled: about 40 MB.
const MOST_LOOKED_AT: usize = 1 << 20;
/// Memory per list item, including copies until it is written, in bytes.
const BYTES_PER_ITEM: usize = 40;

impl Task for TopKEncode {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let files = MODEL.files(inputs)?;
        let model = LoadedModel::load(files, &context.cancel)?;
        let queries = QUERIES.files(inputs)?;
        let split = self.split.as_deref();
        let users = DistinctUsers::read(queries, split, &model, QUERIES.name(), &context.cancel)?;
        let history = SEEN.files(inputs)?;
        let needed = self.exclude_seen || history.is_some() && self.cold_start.is_some();
        let (past, port) = history.map_or((queries, QUERIES.name()), |history| (history, SEEN.name()));
        let seen = if needed {
            InteractionHistory::read(past, None, &model, port, &context.cancel)?
        } else {
            InteractionHistory::default()
        };
        let rules = ServingRules {
            cold_start: self.cold_start.is_some(),
            history: history.is_some().then_some(&seen),
        };
        let audience = match (&self.users, USERS.files(inputs)?) {
            (Some(ids), _) => TargetUsers::listed(&listed(ids, users.original.data_type())?, &users, &model, &rules)?,
            (None, Some(table)) => TargetUsers::of_table(table, USERS.name(), &users, &model, &rules, &context.cancel)?,
            (None, None) => TargetUsers::everybody(&users, &rules),
        };
        let choice = self
            .rules()
            .apply(inputs, files, &model, &context.session, &context.cancel)?;
        let mut work = BatchRetrieval {
            operator: self,
            model: &model,
            users: &users,
            seen: &seen,
            ranker: model.ranker(choice.rows(), context.threads)?,
            cold: None,
            choice: &choice,
            context,
        };
        work.cold = cold(&work, inputs, &audience, (past, port))?;
        work.write(&audience)
    }
}

/// The cold-start lists, and the segment of each cold-start user.
struct ColdStartUsers {
    lists: ColdLists,
    segments: HashMap<String, String>,
}

impl ColdStartUsers {
    /// Memory use in bytes.
    fn bytes(&self) -> usize {
        let entry = 2 * size_of::<String>() + 16;
        let segments = self
            .segments
            .iter()
            .map(|(user, segment)| entry + user.len() + segment.len());
        self.lists.bytes() + segments.sum::<usize>()
    }
}

fn cold(
    work: &BatchRetrieval<'_>,
    inputs: &Inputs<Artifact>,
    audience: &TargetUsers,
    (past, port): (&DatasetFiles, &str),
) -> Result<Option<ColdStartUsers>> {
    let BatchRetrieval {
        operator,
        model,
        choice,
        context,
        ..
    } = work;
    if audience.cold() == 0 {
        return Ok(None);
    }
    let Some(ColdStart::Segment(column)) = &operator.cold_start else {
        return Ok(Some(ColdStartUsers {
            lists: ColdLists::overall(model, choice, operator.k),
            segments: HashMap::new(),
        }));
    };
    let names = texts(&audience.original)?.into_iter().zip(&audience.service);
    let wanted: BTreeSet<String> = names
        .filter(|(_, service)| **service == ListSource::ColdStart)
        .filter_map(|(name, _)| name)
        .collect();
    let (table, split, of_users) = match USERS.files(inputs)? {
        Some(users) => (users, None, USERS.name()),
        None => (QUERIES.files(inputs)?, operator.split.as_deref(), QUERIES.name()),
    };
    let segments = last_values(table, split, of_users, column, model, &wanted, &context.cancel)?;
    drop(wanted);
    let values: BTreeSet<String> = segments.values().cloned().collect();
    let room = match operator.limit() {
        Some(limit) => limit.saturating_sub(work.held()),
        None => COUNTS,
    };
    let (k, cancel) = (operator.k, &context.cancel);
    let lists = ColdLists::by_segment(past, port, column, &values, model, choice, k, room, cancel)?;
    Ok(Some(ColdStartUsers { lists, segments }))
}

/// Inputs of the lists.
struct BatchRetrieval<'a> {
    operator: &'a TopKEncode,
    model: &'a LoadedModel,
    users: &'a DistinctUsers,
    seen: &'a InteractionHistory,
    ranker: Ranker<'a>,
    cold: Option<ColdStartUsers>,
    choice: &'a ItemSelection,
    context: &'a Context,
}

impl BatchRetrieval<'_> {
    /// Writes the lists of all users.
    fn write(&self, audience: &TargetUsers) -> Result<Output> {
        let original = &self.model.catalogue.original;
        let schema = schema(
            &self.model.model_type.user_id,
            audience.original.data_type().clone(),
            original.data_type().clone(),
        );
        let path = self.context.temp_file("recommendations.parquet");
        let group = (ROW_GROUP_ITEMS / self.operator.k.max(1)).max(FEWEST);
        let mut writer = TableWriter::with_row_groups(&path, schema.to_arrow(), group)?;
        let (mut sample, mut short) = (Vec::new(), 0_u64);
        let count = audience.service.len();
        self.context.progress.begin("users", Some(count as u64));
        let step = self.batch(group)?;
        for start in (0..count).step_by(step) {
            let services = &audience.service[start..(start + step).min(count)];
            let names = audience.original.slice(start, services.len());
            let found = self.lists(&names, services)?;
            short += found.iter().filter(|list| list.len() < self.operator.k).count() as u64;
            let (recommendations, scores) = arrays(&found, original)?;
            let batch = RecordBatch::try_new(schema.to_arrow(), vec![names, recommendations, scores])?;
            writer.write(&batch)?;
            if sample.len() < SAMPLE {
                sample.extend(rows_of_sample(
                    &batch.slice(0, batch.num_rows().min(SAMPLE - sample.len())),
                )?);
            }
        }
        writer.finish()?;
        let values = [
            count as u64,
            audience.rows_without_user_id,
            short,
            audience.cold(),
            audience.unknown,
        ];
        let metrics = METRICS.iter().map(|name| (*name).to_owned());
        Ok(Output {
            result: TaskResult::Dataset {
                schema,
                splits: vec![(DEFAULT_SPLIT.to_owned(), path)],
                vocabularies: BTreeMap::new(),
            },
            metrics: metrics.zip(values.map(|value| value as f64)).collect(),
            report: self.report(&values, sample),
        })
    }

    /// Memory of the users in bytes.
    fn of_users(&self) -> usize {
        self.users.table.bytes() + self.users.ids.len() * 24
    }

    /// Memory held throughout: items, users and histories.
    fn held(&self) -> usize {
        self.ranker.bytes() + self.of_users() + self.seen.bytes()
    }

    /// Batch size: as many users as the remaining memory allows.
    fn batch(&self, group: usize) -> Result<usize> {
        let Some(limit) = self.operator.limit() else {
            return Ok(BATCH_ROWS);
        };
        let list = self.operator.k.min(self.ranker.len()) * BYTES_PER_ITEM;
        let cold = self.cold.as_ref().map_or(0, ColdStartUsers::bytes);
        let written = group.min(self.users.ids.len()) * self.operator.k * 12;
        let fixed = self.held() + cold + written;
        let of_query = self.ranker.bytes_of_query() + list;
        if fixed + FEWEST * of_query > limit {
            let megabytes = |bytes: usize| bytes.div_ceil(1_000_000);
            return Err(OperatorError::invalid(format!(
                "`memory_limit` is {} MB, but the items take {} MB, the users {} MB, histories {} MB, the lists of \
                 `cold_start` {} MB and a part of the output {} MB: raise it",
                megabytes(limit),
                megabytes(self.ranker.bytes()),
                megabytes(self.of_users()),
                megabytes(self.seen.bytes()),
                megabytes(cold),
                megabytes(written + FEWEST * of_query),
            )));
        }
        Ok(((limit - fixed) / of_query.max(1)).clamp(FEWEST, BATCH_ROWS))
    }

    /// The lists of these users, in order.
    fn lists(&self, names: &ArrayRef, services: &[ListSource]) -> Result<Vec<Vec<Scored>>> {
        let rows: Vec<usize> = services
            .iter()
            .filter_map(|service| {
                if let ListSource::Model(row) = service {
                    Some(*row)
                } else {
                    None
                }
            })
            .collect();
        let mut served = self.ranked(&rows)?.into_iter();
        let Some(cold) = &self.cold else {
            return Ok(served.collect());
        };
        let names = texts(names)?;
        let list = |(service, name): (&ListSource, Option<String>)| match service {
            ListSource::Model(_) => served.next().unwrap_or_default(),
            ListSource::ColdStart => {
                self.context.progress.advance(1);
                cold.lists.of(name.and_then(|name| cold.segments.get(&name))).to_vec()
            }
        };
        Ok(services.iter().zip(names).map(list).collect())
    }

    /// The model's lists for these user rows.
    fn ranked(&self, rows: &[usize]) -> Result<Vec<Vec<Scored>>> {
        let k = self.operator.k.min(self.ranker.len());
        if !self.choice.is_capped() {
            return self.search(rows, k, &|count| self.context.progress.advance(count));
        }
        // If the caps leave too few items, more candidates are ranked until none are left. A list with the maximum
        // length under the caps is complete.
        let longest = k.min(self.choice.longest());
        let mut lists: Vec<Vec<Scored>> = vec![Vec::new(); rows.len()];
        let mut open: Vec<usize> = (0..rows.len()).collect();
        let mut depth = 2 * k;
        while !open.is_empty() {
            let mut left = Vec::new();
            for places in open.chunks(at_once(depth)) {
                let some: Vec<usize> = places.iter().map(|place| rows[*place]).collect();
                let found = self.search(&some, depth, &|_| {})?;
                for (place, ranking) in places.iter().zip(found) {
                    let whole = ranking.len() < depth;
                    lists[*place] = self.choice.capped(ranking, longest);
                    if lists[*place].len() < longest && !whole {
                        left.push(*place);
                    }
                }
            }
            self.context.progress.advance((open.len() - left.len()) as u64);
            open = left;
            depth *= 4;
        }
        Ok(lists)
    }

    fn search(&self, rows: &[usize], k: usize, done: &(dyn Fn(u64) + Sync)) -> Result<Vec<Vec<Scored>>> {
        let ids: Vec<i64> = rows.iter().map(|row| self.users.ids[*row]).collect();
        let exclude = |query: usize| {
            if self.operator.exclude_seen {
                self.seen.by(ids[query])
            } else {
                &[]
            }
        };
        let table = self.users.table.select(rows);
        self.ranker.top_k(&table, &ids, k, &exclude, self.context, done)
    }

    fn report(&self, [users, without_user_id, short, cold, unknown]: &[u64; 5], sample: Vec<Vec<String>>) -> Report {
        let mut facts = vec![
            ("users".to_owned(), users.to_string()),
            ("items".to_owned(), self.ranker.len().to_string()),
            ("rows with an unknown user".to_owned(), without_user_id.to_string()),
            (format!("lists shorter than {}", self.operator.k), short.to_string()),
        ];
        if self.operator.cold_start.is_some() {
            facts.push(("users without history".to_owned(), cold.to_string()));
        }
        if *unknown > 0 {
            facts.push(("unknown users".to_owned(), unknown.to_string()));
        }
        if let Some((instructions, scored)) = self.ranker.proposals() {
            let per_user = scored as f64 / (users - cold).max(1) as f64;
            facts.push((
                "items scored per user".to_owned(),
                format!("{per_user:.0}, by {instructions}"),
            ));
        }
        Report {
            facts,
            tables: vec![ReportTable {
                title: "a sample, best first".to_owned(),
                columns: vec![self.model.model_type.user_id.clone(), "recommendations".to_owned()],
                rows: sample,
            }],
            ..Report::default()
        }
    }
}

/// Number of users per batch at this depth, so that a batch uses no more memory than one of depth k.
fn at_once(depth: usize) -> usize {
    (MOST_LOOKED_AT / depth.max(1)).max(1)
}

fn arrays(found: &[Vec<Scored>], original: &ArrayRef) -> Result<(ArrayRef, ArrayRef)> {
    let rows = UInt32Array::from_iter_values(found.iter().flatten().map(|scored| scored.row));
    let scores = Float32Array::from_iter_values(found.iter().flatten().map(|scored| scored.score));
    let lists = |values: ArrayRef| -> Result<ArrayRef> {
        let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(found.iter().map(Vec::len));
        Ok(Arc::new(ListArray::try_new(field, offsets, values, None)?))
    };
    Ok((lists(take(original.as_ref(), &rows, None)?)?, lists(Arc::new(scores))?))
}

/// Rows of the sample as text.
fn rows_of_sample(batch: &RecordBatch) -> Result<Vec<Vec<String>>> {
    let options = FormatOptions::default();
    let users = ArrayFormatter::try_new(batch.column(0), &options)?;
    let lists = batch.column(1).as_list::<i32>();
    let row = |row: usize| -> Result<Vec<String>> {
        let items = lists.value(row);
        let shown = items.slice(0, items.len().min(SAMPLE_ITEMS));
        let formatter = ArrayFormatter::try_new(&shown, &options)?;
        let items: Vec<String> = (0..shown.len()).map(|item| formatter.value(item).to_string()).collect();
        Ok(vec![users.value(row).to_string(), items.join(", ")])
    };
    (0..batch.num_rows()).map(row).collect()
}
