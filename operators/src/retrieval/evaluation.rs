//! Queries with known answers, ranked over the full catalogue.

use std::collections::{BTreeMap, HashMap};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::catalogue::Catalogue;
use super::columns::EncodedTable;
use super::ids::Originals;
use super::metrics::Average;
use super::scoring::Candidates;
use super::seen::Seen;
use super::towers::Towers;
use crate::contract::{Context, ModelType, Result};

/// A query and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// Row of the query in [`Cases::queries`].
    query: usize,
    /// Relevant rows of the catalogue, ascending.
    relevant: Vec<u32>,
    /// Number of relevant items, those outside the catalogue included.
    count: usize,
}

/// Queries with known answers.
#[derive(Debug)]
pub(crate) struct Cases {
    /// Distinct queries: rows that no tower can tell apart are ranked once.
    queries: EncodedTable,
    /// The user of each query.
    users: Vec<i64>,
    cases: Vec<Case>,
    /// Relevant items that are not in the catalogue: always misses.
    pub(crate) outside: u64,
    /// Interactions that were left out: of users without an identity, or of what was seen before.
    pub(crate) left_out: u64,
}

impl Cases {
    /// One case per row of `table`.
    pub(crate) fn per_interaction(
        table: &EncodedTable,
        model: &ModelType,
        catalogue: &Catalogue,
        seen: &Seen,
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
            cases.push(Case {
                query,
                relevant,
                count: 1,
            });
        }
        let users = rows.iter().map(|&row| users[row]).collect();
        Ok(Cases {
            queries: table.select(&rows),
            users,
            cases,
            outside,
            left_out,
        })
    }

    /// One case per user with an identity; the features are those of the last row.
    pub(crate) fn per_user(
        table: &EncodedTable,
        model: &ModelType,
        catalogue: &Catalogue,
        originals: &Originals,
        seen: &Seen,
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
            items.dedup();
            let mut relevant: Vec<u32> = items
                .iter()
                .filter_map(|item| catalogue.rows.get(item).copied())
                .collect();
            relevant.sort_unstable();
            outside += (items.len() - relevant.len()) as u64;
            cases.push(Case {
                query: rows.len(),
                relevant,
                count: items.len(),
            });
            rows.push(row);
            users.push(user);
        }
        Ok(Cases {
            queries: table.select(&rows),
            users,
            cases,
            outside,
            left_out,
        })
    }

    /// Number of cases.
    pub(crate) fn len(&self) -> usize {
        self.cases.len()
    }

    /// Each distinct query's ranking by the model.
    pub(crate) fn by_model(
        &self,
        towers: &Towers,
        items: &[f32],
        k: usize,
        seen: &Seen,
        context: &Context,
    ) -> Result<Vec<Vec<u32>>> {
        let queries = towers.query.embed(&self.queries, towers.normalize, context.threads)?;
        let candidates = Candidates {
            embeddings: items,
            dim: towers.item.shape.dim(),
        };
        let exclude = |query: usize| seen.by(self.users[query]);
        let done = |_| ();
        let lists = candidates.top_k(&queries, k, &exclude, context.threads, &context.cancel, &done)?;
        Ok(lists
            .into_iter()
            .map(|list| list.into_iter().map(|scored| scored.row).collect())
            .collect())
    }

    /// The same list for every query: the most frequent items that its user has not seen.
    pub(crate) fn by_popularity(&self, catalogue: &Catalogue, k: usize, seen: &Seen) -> Vec<Vec<u32>> {
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

    /// Items drawn evenly from those that the user has not seen, with a stream of random numbers per query.
    pub(crate) fn by_chance(&self, catalogue: &Catalogue, k: usize, seen: &Seen, seed: u64) -> Vec<Vec<u32>> {
        let list = |(query, user): (usize, &i64)| {
            let seen = seen.by(*user);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(query as u64);
            let amount = k.saturating_add(seen.len()).min(catalogue.len());
            let drawn = rand::seq::index::sample(&mut rng, catalogue.len(), amount);
            drawn
                .iter()
                .map(|row| row as u32)
                .filter(|row| seen.binary_search(row).is_err())
                .take(k)
                .collect()
        };
        self.users.iter().enumerate().map(list).collect()
    }

    /// The metrics of these rankings at each k.
    pub(crate) fn average(&self, rankings: &[Vec<u32>], ks: &[usize]) -> Vec<Average> {
        let average = |&k: &usize| {
            let mut average = Average::new(k);
            for case in &self.cases {
                average.add(&rankings[case.query], &case.relevant, case.count);
            }
            average
        };
        ks.iter().map(average).collect()
    }
}
