//! Evaluation queries with their relevant items, ranked over the full catalogue.

use std::collections::{BTreeMap, HashMap};

use crate::data::catalogue::Catalogue;
use crate::data::feature_table::FeatureTable;
use crate::data::id_mapping::{IdMapping, numbers};
use crate::evaluate::metrics::AverageMetrics;
use crate::model::interaction_history::InteractionHistory;
use crate::model::ranker::Ranker;
use crate::model::retrieval_type::RetrievalType;
use towline_api::{Context, Result};

/// An evaluation query with its relevant items.
#[derive(Debug, Clone)]
pub(crate) struct EvaluationQuery {
    /// Row of the query in [`EvaluationQueries::queries`].
    query: usize,
    /// Relevant catalogue rows in ascending order.
    relevant: Vec<u32>,
    /// Number of relevant items, including those outside the catalogue.
    count: usize,
}

/// Evaluation queries with their relevant items.
#[derive(Debug)]
pub(crate) struct EvaluationQueries {
    /// Distinct queries: rows that a tower cannot distinguish are ranked once.
    queries: FeatureTable,
    /// The user of each query.
    users: Vec<i64>,
    cases: Vec<EvaluationQuery>,
    /// Number of relevant items outside the catalogue, which are always misses.
    pub(crate) outside: u64,
    /// Number of interactions excluded, because the user is unknown or has seen the item.
    pub(crate) left_out: u64,
}

impl EvaluationQueries {
    /// One query per row of `table`.
    pub(crate) fn per_interaction(
        table: &FeatureTable,
        model: &RetrievalType,
        catalogue: &Catalogue,
        seen: &InteractionHistory,
    ) -> Result<Self> {
        let (users, items) = (table.single(&model.user_id)?, table.single(&model.item_id)?);
        let mut places: HashMap<Vec<i64>, usize> = HashMap::new();
        let mut rows = Vec::new();
        let (mut cases, mut outside, mut left_out) = (Vec::new(), 0, 0);
        for row in 0..table.rows {
            let relevant: Vec<u32> = catalogue.rows.get(&items[row]).copied().into_iter().collect();
            if relevant
                .iter()
                .any(|item| seen.by(users[row]).binary_search(item).is_ok())
            {
                left_out += 1;
                continue;
            }
            outside += u64::from(relevant.is_empty());
            let query = *places.entry(table.key(row, &model.query.columns)?).or_insert_with(|| {
                rows.push(row);
                rows.len() - 1
            });
            cases.push(EvaluationQuery {
                query,
                relevant,
                count: 1,
            });
        }
        let users = rows.iter().map(|&row| users[row]).collect();
        Ok(EvaluationQueries {
            queries: table.select(&rows),
            users,
            cases,
            outside,
            left_out,
        })
    }

    /// One query per known user; features are taken from the user's last row.
    pub(crate) fn per_user(
        table: &FeatureTable,
        model: &RetrievalType,
        catalogue: &Catalogue,
        originals: &IdMapping,
        seen: &InteractionHistory,
    ) -> Result<Self> {
        let mut answers: BTreeMap<i64, (usize, Vec<i64>)> = BTreeMap::new();
        let (mut outside, mut left_out) = (0, 0);
        let pairs = table.single(&model.user_id)?.iter().zip(table.single(&model.item_id)?);
        for (row, (&user, &item)) in pairs.enumerate() {
            let known = catalogue
                .rows
                .get(&item)
                .is_some_and(|row| seen.by(user).binary_search(row).is_ok());
            if originals.is_reserved(user) || known {
                left_out += 1;
                continue;
            }
            let answer = answers.entry(user).or_default();
            answer.0 = row;
            answer.1.push(item);
        }
        let (mut rows, mut users, mut cases) = (Vec::new(), Vec::new(), Vec::new());
        for (user, (row, mut items)) in answers {
            items.sort_unstable();
            // Out-of-vocabulary items share an id but count as distinct items.
            items.dedup_by(|a, b| a == b && !catalogue.is_reserved(*a));
            let mut relevant: Vec<u32> = items
                .iter()
                .filter_map(|item| catalogue.rows.get(item).copied())
                .collect();
            relevant.sort_unstable();
            outside += (items.len() - relevant.len()) as u64;
            cases.push(EvaluationQuery {
                query: rows.len(),
                relevant,
                count: items.len(),
            });
            rows.push(row);
            users.push(user);
        }
        Ok(EvaluationQueries {
            queries: table.select(&rows),
            users,
            cases,
            outside,
            left_out,
        })
    }

    /// The reason why every model must score 0, if there is one; `rows` is the number of interactions in the split.
    pub(crate) fn hopeless(&self, split: &str, rows: usize) -> Option<String> {
        let why = if rows == 0 {
            "it has no rows".to_owned()
        } else if self.cases.is_empty() {
            format!("all of its {rows} interactions are of unknown users or with items that the user has already seen")
        } else if self.cases.iter().all(|case| case.relevant.is_empty()) {
            format!("none of its {rows} interactions has an item in the catalogue")
        } else {
            return None;
        };
        Some(format!("the split `{split}` has no queries to evaluate: {why}"))
    }

    /// Number of queries.
    pub(crate) fn len(&self) -> usize {
        self.cases.len()
    }

    /// Ranks the catalogue for each distinct query by the model.
    pub(crate) fn by_model(
        &self,
        ranker: &Ranker<'_>,
        k: usize,
        seen: &InteractionHistory,
        context: &Context,
    ) -> Result<Vec<Vec<u32>>> {
        let exclude = |query: usize| seen.by(self.users[query]);
        let lists = ranker.top_k(&self.queries, &self.users, k, &exclude, context, &|_| ())?;
        Ok(lists
            .into_iter()
            .map(|list| list.into_iter().map(|scored| scored.row).collect())
            .collect())
    }

    /// Ranks by popularity: the most frequent items that the user has not seen.
    pub(crate) fn by_popularity(&self, catalogue: &Catalogue, k: usize, seen: &InteractionHistory) -> Vec<Vec<u32>> {
        let popular = catalogue.by_popularity();
        let list = |user: &i64| {
            let seen = seen.by(*user);
            popular
                .iter()
                .copied()
                .filter(|row| seen.binary_search(row).is_err())
                .take(k)
                .collect()
        };
        self.users.iter().map(list).collect()
    }

    /// Ranks randomly: the unseen items with the highest random scores. Scores are a hash of the original ids, the same
    /// for every model and on every machine.
    pub(crate) fn by_chance(
        &self,
        catalogue: &Catalogue,
        originals: &IdMapping,
        k: usize,
        seen: &InteractionHistory,
        seed: u64,
    ) -> Result<Vec<Vec<u32>>> {
        let items = numbers(&catalogue.original)?;
        let users = numbers(&originals.decode(&self.users)?)?;
        let list = |(user, number): (&i64, u64)| towline_kernels::by_chance(seed, number, &items, seen.by(*user), k);
        Ok(self.users.iter().zip(users).map(list).collect())
    }

    /// The metrics of these rankings at each k.
    pub(crate) fn average(&self, rankings: &[Vec<u32>], ks: &[usize], catalogue: usize) -> Vec<AverageMetrics> {
        self.average_of(rankings, ks, catalogue, |_| true)
    }

    /// The metrics of these rankings at each k restricted to the relevant items that are `wanted`; queries without any
    /// are ignored.
    pub(crate) fn average_of(
        &self,
        rankings: &[Vec<u32>],
        ks: &[usize],
        catalogue: usize,
        wanted: impl Fn(Option<u32>) -> bool,
    ) -> Vec<AverageMetrics> {
        let mut averages: Vec<AverageMetrics> = ks.iter().map(|&k| AverageMetrics::new(k, catalogue)).collect();
        for case in &self.cases {
            let relevant: Vec<u32> = case.relevant.iter().copied().filter(|row| wanted(Some(*row))).collect();
            let outside = if wanted(None) {
                case.count - case.relevant.len()
            } else {
                0
            };
            if relevant.len() + outside > 0 {
                for average in &mut averages {
                    average.add(&rankings[case.query], &relevant, relevant.len() + outside);
                }
            }
        }
        averages
    }

    /// The metrics of these rankings at `k` per value of a query column, by encoded id.
    pub(crate) fn by_column(
        &self,
        rankings: &[Vec<u32>],
        k: usize,
        catalogue: usize,
        column: &str,
    ) -> Result<BTreeMap<i64, AverageMetrics>> {
        let values = self.queries.single(column)?;
        let mut segments = BTreeMap::new();
        for case in &self.cases {
            let average = segments
                .entry(values[case.query])
                .or_insert_with(|| AverageMetrics::new(k, catalogue));
            average.add(&rankings[case.query], &case.relevant, case.count);
        }
        Ok(segments)
    }
}
