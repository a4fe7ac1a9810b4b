use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;
use serde_json::{Value, json};

use crate::rows::{query::*, sampling::*, *};
use towline_api::{
    Code, DatasetType, Describe, Descriptor, Form, Input, Inputs, LazyDataset, LazyTable, NodeType, Problem, Schema,
    TableContext, Tag, TypeContext,
};

type Splits = Vec<(&'static str, RecordBatch)>;

fn ratings() -> RecordBatch {
    let ints = |values: [i64; 6]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
    let names = StringArray::from(vec!["a", "b", "c", "d", "e", "f"]);
    RecordBatch::try_from_iter([
        ("userId", ints([1, 2, 1, 2, 1, 3])),
        ("movieId", ints([10, 10, 20, 30, 30, 10])),
        ("when", ints([5, 9, 7, 8, 6, 1])),
        ("Note", Arc::new(names) as ArrayRef),
    ])
    .unwrap()
}

fn tagged(batch: &RecordBatch) -> Schema {
    let mut schema = Schema::from_arrow(&batch.schema());
    for column in &mut schema.columns {
        match column.name.as_str() {
            "userId" => column.tags.extend([Tag::User, Tag::Id]),
            "Note" => column.tags.extend([Tag::User]),
            _ => {}
        }
    }
    schema
}

/// The output type and the rows of every split, or the problem.
fn run<T: Describe>(
    config: Value,
    inputs: &[(&str, Splits)],
) -> Result<(DatasetType, Vec<(String, String)>), Vec<Problem>> {
    let built = Descriptor::of::<T>().build(&config)?;
    let port = T::PORTS[0].name;
    let session = SessionContext::new();
    let types = inputs.iter().map(|(label, splits)| Input {
        port,
        label: (*label).to_owned(),
        value: NodeType::Dataset(DatasetType {
            schema: tagged(&splits[0].1),
            splits: splits.iter().map(|(name, _)| (*name).to_owned()).collect(),
        }),
    });
    let types = Inputs(types.collect());
    let NodeType::Dataset(output) = built.operator.output_type(
        &types,
        &TypeContext {
            session: session.clone(),
            offline: false,
        },
    )?
    else {
        panic!("a dataset")
    };
    let lazy = inputs.iter().map(|(label, splits)| Input {
        port,
        label: (*label).to_owned(),
        value: LazyDataset {
            schema: tagged(&splits[0].1),
            splits: splits
                .iter()
                .map(|(name, batch)| {
                    (
                        (*name).to_owned(),
                        LazyTable::from_frame(session.read_batch(batch.clone()).unwrap()),
                    )
                })
                .collect(),
            vocabularies: BTreeMap::new(),
        },
    });
    let lazy = Inputs(lazy.collect());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let frames = match built.operator.form() {
        Form::Table(table) => table
            .apply(
                &lazy,
                &TableContext {
                    session,
                    runtime: runtime.handle().clone(),
                },
            )
            .unwrap(),
        Form::Columns(columns) => {
            let input = &lazy.0[0].value;
            input
                .splits
                .iter()
                .map(|(name, table)| {
                    let columns = columns.project(&[table.columns.as_slice()]).unwrap();
                    (
                        name.clone(),
                        LazyTable {
                            base: table.base.clone(),
                            columns,
                        }
                        .to_frame()
                        .unwrap(),
                    )
                })
                .collect()
        }
        _ => panic!("a table or columns"),
    };
    assert_eq!(
        frames.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        output.splits.iter().collect::<Vec<_>>()
    );
    let rows = frames
        .into_iter()
        .map(|(name, frame)| {
            assert_eq!(output.schema.to_arrow().as_ref(), frame.schema().as_arrow());
            let batches = runtime.block_on(frame.collect()).unwrap();
            let text = pretty_format_batches(&batches).unwrap().to_string();
            let rows = text.lines().filter(|line| line.starts_with('|')).skip(1).map(|line| {
                line.trim_matches('|')
                    .split('|')
                    .map(str::trim)
                    .collect::<Vec<_>>()
                    .join(" ")
            });
            (name, rows.collect::<Vec<_>>().join("; "))
        })
        .collect();
    Ok((output, rows))
}

fn one() -> [(&'static str, Splits); 1] {
    [("ratings", vec![("train", ratings())])]
}

fn code<T: Describe>(config: Value, inputs: &[(&str, Splits)]) -> &'static str {
    run::<T>(config, inputs).map(|_| ()).unwrap_err()[0].code.as_str()
}

#[test]
fn filter_keeps_case_tags_and_complains_in_time() {
    let (output, rows) = run::<Filter>(json!({"where": "userId = 2 AND Note <> 'b'"}), &one()).unwrap();
    assert_eq!(rows[0].1, "2 30 8 d");
    assert!(output.schema.columns[0].has(&[Tag::User, Tag::Id]));
    let problems = run::<Filter>(json!({"where": "userid = 2"}), &one())
        .map(|_| ())
        .unwrap_err();
    assert_eq!(problems[0].code, Code::UnknownColumn);
    assert!(problems[0].help.as_ref().unwrap().contains("userId"));
    assert_eq!(code::<Filter>(json!({"where": "userId ="}), &one()), "bad-sql");
    assert_eq!(code::<Filter>(json!({"where": "userId + 1"}), &one()), "bad-sql");
}

#[test]
fn select_and_rename() {
    let (_, rows) = run::<Select>(json!({"columns": ["Note", "userId"]}), &one()).unwrap();
    assert!(rows[0].1.starts_with("a 1; b 2"));
    let (all, _) = run::<Select>(json!({}), &one()).unwrap();
    let names: Vec<&str> = all.schema.names().collect();
    assert_eq!(names, ["userId", "movieId", "when", "Note"]);
    assert_eq!(code::<Select>(json!({"columns": ["note"]}), &one()), "unknown-column");
    assert_eq!(
        code::<Select>(json!({"columns": ["when", "when"]}), &one()),
        "duplicate-column"
    );
    let (output, _) = run::<Rename>(json!({"columns": {"userId": "movieId", "movieId": "userId"}}), &one()).unwrap();
    assert_eq!(
        output.schema.names().collect::<Vec<_>>(),
        ["movieId", "userId", "when", "Note"]
    );
    assert!(output.schema.columns[0].has(&[Tag::Id]));
    assert_eq!(
        code::<Rename>(json!({"columns": {"userId": "when"}}), &one()),
        "duplicate-column"
    );
}

#[test]
fn concat_refuses_duplicates_and_other_splits() {
    let two = [("a", vec![("train", ratings())]), ("b", vec![("train", ratings())])];
    assert_eq!(code::<Concat>(json!({}), &two), "duplicate-column");
    let other = [("a", vec![("train", ratings())]), ("b", vec![("valid", ratings())])];
    assert_eq!(code::<Concat>(json!({}), &other), "unrelated-rows");
}

#[test]
fn sql_broadcasts_single_splits_and_keeps_tags() {
    let inputs = [
        (
            "ratings",
            vec![("train", ratings().slice(0, 3)), ("valid", ratings().slice(3, 3))],
        ),
        ("Names", vec![("all", ratings())]),
    ];
    let query = "SELECT r.userId, n.Note AS title, count(*) AS n FROM ratings r JOIN Names n ON r.\"when\" = n.\"when\" \
                 GROUP BY r.userId, n.Note ORDER BY title";
    let (output, rows) = run::<Sql>(json!({"query": query}), &inputs).unwrap();
    assert_eq!(rows[0].1, "1 a 1; 2 b 1; 1 c 1");
    assert_eq!(rows[1].1, "2 d 1; 1 e 1; 3 f 1");
    assert!(output.schema.get("userId").unwrap().has(&[Tag::User, Tag::Id]));
    assert!(output.schema.get("title").unwrap().tags.is_empty());
    assert_eq!(
        code::<Sql>(json!({"query": "SELECT movie FROM ratings"}), &inputs),
        "unknown-column"
    );
    assert_eq!(
        code::<Sql>(json!({"query": "SELECT * FROM nowhere"}), &inputs),
        "bad-sql"
    );
    assert_eq!(code::<Sql>(json!({"query": "DROP TABLE ratings"}), &inputs), "bad-sql");
    let twice = "SELECT r.\"when\", n.\"when\" FROM ratings r, Names n";
    assert_eq!(code::<Sql>(json!({"query": twice}), &inputs), "duplicate-column");
    let apart = [
        ("a", vec![("x", ratings()), ("y", ratings())]),
        ("b", vec![("x", ratings()), ("z", ratings())]),
    ];
    assert_eq!(code::<Sql>(json!({"query": "SELECT 1 AS one"}), &apart), "bad-input");
}

#[test]
fn unique_rows_are_the_latest_or_the_smallest_in_order_of_the_id() {
    let (output, rows) = run::<UniqueRows>(json!({"by": "user", "order_by": "when"}), &one()).unwrap();
    assert_eq!(rows, [("train".to_owned(), "1 c; 2 b; 3 f".to_owned())]);
    assert_eq!(output.schema.names().collect::<Vec<_>>(), ["userId", "Note"]);
    assert!(output.schema.columns[1].has(&[Tag::User]));
    let (_, rows) = run::<UniqueRows>(json!({"by": "user"}), &one()).unwrap();
    assert_eq!(rows[0].1, "1 a; 2 b; 3 f");
    assert_eq!(code::<UniqueRows>(json!({"by": "item"}), &one()), "bad-input");
    assert_eq!(
        code::<UniqueRows>(json!({"by": "user", "split": "valid"}), &one()),
        "unknown-split"
    );
}

#[test]
fn split_by_order_and_by_time() {
    let config = json!({"leave_last": {"key": "userId", "order_by": "when", "n": 1}});
    let (_, rows) = run::<Split>(config, &one()).unwrap();
    assert_eq!(
        rows[0],
        ("train".to_owned(), "1 10 5 a; 1 30 6 e; 2 30 8 d; 3 10 1 f".to_owned())
    );
    assert_eq!(rows[1], ("valid".to_owned(), "1 20 7 c; 2 10 9 b".to_owned()));
    let config = json!({"leave_last": {"key": "userId", "order_by": "when", "share": 1.0, "min_rows": 3}});
    let (_, rows) = run::<Split>(config, &one()).unwrap();
    assert_eq!(rows[1].1, "1 30 6 e; 1 20 7 c");
    let (_, rows) = run::<Split>(json!({"time": {"column": "when", "at": 8}}), &one()).unwrap();
    assert_eq!(rows[1].1, "2 10 9 b; 2 30 8 d");
    let both = json!({"time": {"column": "when", "at": 8}, "fraction": {"train": 1.0}});
    assert_eq!(code::<Split>(both, &one()), "conflict");
    assert_eq!(
        code::<Split>(json!({"fraction": {"train": 0.5}}), &one()),
        "out-of-range"
    );
    assert_eq!(
        code::<Split>(json!({"time": {"column": "wen", "at": 8}}), &one()),
        "unknown-column"
    );
}

#[test]
fn split_by_chance_goes_by_content() {
    let many = |ids: Vec<i64>| {
        let keys: Vec<i64> = ids.iter().map(|id| id % 50).collect();
        let columns: [(&str, ArrayRef); 2] = [
            ("id", Arc::new(Int64Array::from(ids))),
            ("key", Arc::new(Int64Array::from(keys))),
        ];
        [("rows", vec![("train", RecordBatch::try_from_iter(columns).unwrap())])]
    };
    let config = json!({"fraction": {"valid": 0.25, "train": 0.75}, "seed": 3});
    let sets = |rows: &[(String, String)]| {
        let set = |text: &String| {
            text.split("; ")
                .map(str::to_owned)
                .collect::<std::collections::BTreeSet<_>>()
        };
        rows.iter().map(|(_, text)| set(text)).collect::<Vec<_>>()
    };
    let (output, rows) = run::<Split>(config.clone(), &many((0..1000).collect())).unwrap();
    assert_eq!(output.splits, ["train", "valid"]);
    let forward = sets(&rows);
    assert_eq!(forward[0].len() + forward[1].len(), 1000);
    assert!((200..300).contains(&forward[1].len()), "{}", forward[1].len());
    let (_, rows) = run::<Split>(config, &many((0..1000).rev().collect())).unwrap();
    assert_eq!(forward, sets(&rows));
    let config = json!({"fraction": {"valid": 0.5, "train": 0.5}, "key": "key"});
    let (_, rows) = run::<Split>(config, &many((0..1000).collect())).unwrap();
    let keys = |text: &str| {
        text.split("; ")
            .filter_map(|row| row.split(' ').nth(1))
            .map(str::to_owned)
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert!(keys(&rows[0].1).is_disjoint(&keys(&rows[1].1)));
}
