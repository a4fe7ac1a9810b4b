//! Cold-start lists: the most popular items, overall or per user segment.

use std::collections::{BTreeSet, HashMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::catalogue::by_count;
use crate::model::id_reader::IdReader;
use crate::model::stored_model::LoadedModel;
use crate::retrieve::item_filter::ItemSelection;
use crate::retrieve::target_users::{column_of, decoded};
use crate::towers::scoring::Scored;
use towline_api::{Cancel, Code, Column, DatasetFiles, OperatorError, Problem, Result, Schema};

/// Fallback for users without history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ColdStart {
    /// The most popular items overall.
    Overall,
    /// The most popular items of the user's segment; overall, if the segment is unknown.
    Segment(String),
}

/// Every segment has a list.
const MOST_SEGMENTS: usize = 1024;
/// Memory for counts if no limit is set.
pub(crate) const COUNTS: usize = 256 << 20;
/// Memory per item while a segment's counts are sorted, in addition to the counts.
const BYTES_TO_SORT: usize = 12;

/// A problem if the dataset on `port` cannot provide this segment column.
pub(crate) fn segment_problem(column: &str, schema: &Schema, port: &str) -> Option<Problem> {
    let Some(found) = schema.get(column) else {
        let mut problem = Problem::unknown_column(column, schema).at("cold_start");
        problem.message.push_str(&format!(" in `{port}`"));
        return Some(problem);
    };
    let unusable = |column: &Column| column.is_list() || column.data_type.is_floating();
    unusable(found).then(|| {
        let message = format!(
            "`{column}` is {}, but a segment column needs one value per user",
            found.data_type
        );
        Problem::new(Code::BadInput, message).at("cold_start")
    })
}

/// Cold-start lists.
#[derive(Debug)]
pub(crate) struct ColdLists {
    overall: Vec<Scored>,
    segments: HashMap<String, Vec<Scored>>,
}

impl ColdLists {
    /// One list, from the frequencies of the catalogue.
    pub(crate) fn overall(model: &LoadedModel, choice: &ItemSelection, k: usize) -> Self {
        ColdLists {
            overall: list(model.catalogue.counts(), model.catalogue.counts(), choice, k),
            segments: HashMap::new(),
        }
    }

    /// A list for each wanted segment, from the pairs of a dataset. If the counts of all segments and items exceed
    /// `room` bytes, the pairs are read several times, for some of the segments each. It is an error if one segment
    /// does not fit.
    #[expect(clippy::too_many_arguments, reason = "all rows are counted")]
    pub(crate) fn by_segment(
        dataset: &DatasetFiles,
        port: &str,
        column: &str,
        wanted: &BTreeSet<String>,
        model: &LoadedModel,
        choice: &ItemSelection,
        k: usize,
        room: usize,
        cancel: &Cancel,
    ) -> Result<Self> {
        if wanted.len() > MOST_SEGMENTS {
            let (count, most) = (wanted.len(), MOST_SEGMENTS);
            return Err(OperatorError::invalid(format!(
                "`{column}` has {count} values among users without history, but a segment column can have at most {most}"
            )));
        }
        let (items, overall) = (model.catalogue.len(), model.catalogue.counts());
        let for_one = items * (size_of::<u64>() + BYTES_TO_SORT);
        if for_one > room && !wanted.is_empty() {
            return Err(OperatorError::invalid(format!(
                "the counts of one segment of `{column}` take {} MB, and `memory_limit` leaves {} MB for them: raise it, or \
                 write `cold_start: overall`",
                for_one.div_ceil(1_000_000),
                room / 1_000_000
            )));
        }
        let at_once = room.saturating_sub(items * BYTES_TO_SORT) / (items * size_of::<u64>()).max(1);
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let mut segments = HashMap::new();
        for names in wanted.chunks(at_once.max(1)) {
            let mut reader = IdReader::new(dataset, port);
            reader.column(model.model_type.item_column(), model.catalogue.originals())?;
            reader.beside(column);
            let mut counts: HashMap<&str, Vec<u64>> = names.iter().map(|name| (*name, vec![0; items])).collect();
            reader.scan(None, cancel, |batch, ids| {
                let segments = decoded(dataset, column, &column_of(batch, column)?)?;
                for (id, segment) in ids[0].iter().zip(segments) {
                    let row = id.and_then(|id| model.catalogue.rows.get(&id));
                    let counts = segment.and_then(|segment| counts.get_mut(segment.as_str()));
                    if let (Some(row), Some(counts)) = (row, counts) {
                        counts[*row as usize] += 1;
                    }
                }
                Ok(())
            })?;
            let known = counts
                .into_iter()
                .filter(|(_, counts)| counts.iter().any(|count| *count > 0));
            segments.extend(known.map(|(name, counts)| (name.to_owned(), list(&counts, overall, choice, k))));
        }
        Ok(ColdLists {
            overall: list(overall, overall, choice, k),
            segments,
        })
    }

    /// Memory use in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let lists = self.segments.values().map(Vec::len).sum::<usize>() + self.overall.len();
        lists * size_of::<Scored>()
    }

    /// The list of a segment.
    pub(crate) fn of(&self, segment: Option<&String>) -> &[Scored] {
        segment
            .and_then(|segment| self.segments.get(segment))
            .unwrap_or(&self.overall)
    }
}

/// The `k` items with the highest counts; ties by overall count, then by smaller id. An item's score is its relative
/// frequency.
fn list(counts: &[u64], overall: &[u64], choice: &ItemSelection, k: usize) -> Vec<Scored> {
    let mut rows = by_count(overall);
    rows.sort_by_key(|&row| std::cmp::Reverse(counts[row as usize]));
    let total = counts.iter().sum::<u64>().max(1) as f64;
    let ranking = rows.into_iter().filter(|row| choice.allows(*row)).map(|row| Scored {
        row,
        score: (counts[row as usize] as f64 / total) as f32,
    });
    choice.capped(ranking, k)
}
