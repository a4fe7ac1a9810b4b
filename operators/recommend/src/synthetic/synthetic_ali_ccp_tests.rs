use arrow::array::AsArray;
use arrow::datatypes::Int32Type;
use datafusion::prelude::SessionContext;

use super::*;
use crate::synthetic::planted_rule::TASTES;
use towline_api::{Cancel, ProgressSink, TableFile};

struct Silent;

impl ProgressSink for Silent {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn note(&self, _: &str) {}
}

fn make(operator: &SyntheticAliCcp, threads: usize) -> (Vec<(String, Vec<u8>)>, Vec<RecordBatch>) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let context = Context {
        progress: Arc::new(Silent),
        cancel: Cancel::default(),
        temp: folder.path().to_owned(),
        scratch: folder.path().join("scratch"),
        session: SessionContext::new(),
        runtime: runtime.handle().clone(),
        threads,
    };
    let output = operator.run(&Inputs(Vec::new()), &context).unwrap();
    let TaskResult::Dataset { splits, .. } = output.result else {
        panic!("a dataset")
    };
    let mut batches = Vec::new();
    let mut files = Vec::new();
    for (name, path) in splits {
        let table = TableFile {
            path: path.clone(),
            rows: 0,
        };
        batches.extend(table.batches(None).unwrap().map(Result::unwrap));
        files.push((name, std::fs::read(path).unwrap()));
    }
    (files, batches)
}

fn operator(rows: u64, structure: f64) -> SyntheticAliCcp {
    SyntheticAliCcp {
        rows,
        seed: 7,
        splits: splits(),
        structure,
    }
}

#[test]
fn the_bytes_do_not_depend_on_threads() {
    let operator = operator(150_000, 0.5);
    let (one, batches) = make(&operator, 1);
    assert_eq!(one, make(&operator, 3).0);
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 150_000);
    assert_eq!(
        one.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["train", "valid"]
    );
    assert_ne!(one, make(&SyntheticAliCcp { seed: 8, ..operator }, 1).0);
}

#[test]
fn ids_are_skewed_and_features_follow_from_them() {
    let (_, batches) = make(&operator(20_000, 0.0), 2);
    let column = |name: &str| -> Vec<i32> {
        let of = |b: &RecordBatch| {
            b.column_by_name(name)
                .unwrap()
                .as_primitive::<Int32Type>()
                .values()
                .to_vec()
        };
        batches.iter().flat_map(of).collect()
    };
    let users = column("user_id");
    let mut sorted = users.clone();
    sorted.sort_unstable();
    assert!((18..=22).contains(&sorted[10_000]), "median {}", sorted[10_000]);
    let (low, high) = (i64::from(sorted[0]), i64::from(sorted[19_999]));
    let range = IdRange { low, high };
    for (user, group) in users.iter().zip(column("user_group")) {
        assert_eq!(range.cut(i64::from(*user), 13), i64::from(group));
    }
    assert_eq!(column("user_shops").iter().max(), Some(&116_740));
    assert_eq!(column("position").iter().max(), Some(&3));
}

#[test]
fn cuts_are_those_of_the_reference() {
    // From Merlin's own output: ids 1..=2162 in 97 and 13 parts, and the shops of ids 2 and 3.
    let range = IdRange { low: 1, high: 2162 };
    assert_eq!([1, 23, 24, 45, 46].map(|id| range.cut(id, 97)), [1, 1, 2, 2, 3]);
    assert_eq!([167, 168, 333, 334].map(|id| range.cut(id, 13)), [1, 2, 2, 3]);
    assert_eq!([1, 2, 3, 2162].map(|id| range.cut(id, 116_740)), [1, 55, 109, 116_740]);
}

#[test]
fn structure_gives_every_user_a_taste() {
    let taste = |structure: f64| {
        let (_, batches) = make(&operator(20_000, structure), 2);
        let mut tastes = BTreeMap::<i32, std::collections::BTreeSet<i64>>::new();
        for batch in &batches {
            let column = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int32Type>().clone();
            for (user, item) in column("user_id").values().iter().zip(column("item_id").values()) {
                tastes.entry(*user).or_default().insert(i64::from(*item) % TASTES);
            }
        }
        tastes.values().map(std::collections::BTreeSet::len).max()
    };
    assert_eq!(taste(1.0), Some(1));
    assert_eq!(taste(0.0), Some(8));
}
