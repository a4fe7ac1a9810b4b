//! `TopKEncode` and `AnnIndex` on synthetic data, against a reference implementation.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Float32Type, Int64Type};
use serde_json::{Value, json};

use crate::baselines::*;
use crate::model::retrieval_type::{RetrievalType, Score};
use crate::retrieve::*;
use crate::tests::fixture::*;
use crate::train::*;
use towline_api::*;
use towline_tables::TableWriter;

/// A table without tags or domains.
fn table(fixture: &Fixture, name: &str, columns: Vec<(&str, ArrayRef)>) -> DatasetFiles {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let path = fixture.folder.path().join(format!("{name}.parquet"));
    let mut writer = TableWriter::create(&path, batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    DatasetFiles {
        schema: Schema::from_arrow(&batch.schema()),
        splits: vec![("train".to_owned(), writer.finish().unwrap())],
        vocabularies: BTreeMap::new(),
    }
}

fn trained<T: Describe + Task>(fixture: &Fixture, config: Value) -> ModelFiles {
    let operator: T = parse(&config).unwrap();
    let input = inputs(vec![("input", Artifact::Dataset(fixture.dataset.clone()))]);
    model(operator.run(&input, &fixture.context(T::NAME)).unwrap())
}

struct Lists {
    users: Vec<i64>,
    lists: Vec<Vec<(String, f32)>>,
    metrics: BTreeMap<String, f64>,
    bytes: Vec<u8>,
}

fn node_type(artifact: &Artifact) -> NodeType {
    match artifact {
        Artifact::Model(model) => NodeType::Model(model.model_type.clone()),
        Artifact::Dataset(dataset) => NodeType::Dataset(DatasetType {
            schema: dataset.schema.clone(),
            splits: dataset.splits.iter().map(|(name, _)| name.clone()).collect(),
        }),
        _ => unreachable!("tests connect models and datasets"),
    }
}

fn problems<T: Describe>(fixture: &Fixture, config: Value, ports: &[(&'static str, Artifact)]) -> Vec<&'static str> {
    let types = ports.iter().map(|(port, value)| (*port, node_type(value))).collect();
    let built = Descriptor::of::<T>().build(&config);
    let found = built.and_then(|built| built.operator.output_type(&inputs(types), &fixture.types()));
    found.map_or_else(
        |found| found.into_iter().map(|problem| problem.code.as_str()).collect(),
        |_| Vec::new(),
    )
}

fn run(fixture: &Fixture, config: Value, ports: &[(&'static str, Artifact)]) -> Result<Lists> {
    assert_eq!(
        problems::<TopKEncode>(fixture, config.clone(), ports),
        [""; 0],
        "{config}"
    );
    let operator: TopKEncode = parse(&config).unwrap();
    let folder = format!("top-{}", blake3::hash(config.to_string().as_bytes()).to_hex());
    let output = operator.run(&inputs(ports.to_vec()), &fixture.context(&folder))?;
    let TaskResult::Dataset { splits, .. } = &output.result else {
        panic!("not a dataset")
    };
    let path = splits[0].1.clone();
    let file = TableFile {
        path: path.clone(),
        rows: 0,
    };
    let batches: Vec<RecordBatch> = file.batches(None).unwrap().map(std::result::Result::unwrap).collect();
    let Some(first) = batches.first() else {
        return Ok(Lists {
            users: Vec::new(),
            lists: Vec::new(),
            metrics: output.metrics,
            bytes: Vec::new(),
        });
    };
    let all = concat_batches(&first.schema(), &batches).unwrap();
    let lists = (0..all.num_rows()).map(|row| {
        let items = all.column(1).as_list::<i32>().value(row);
        let scores = all.column(2).as_list::<i32>().value(row);
        let items: Vec<String> = items
            .as_string::<i32>()
            .iter()
            .map(|id| id.unwrap().to_owned())
            .collect();
        let scores = scores.as_primitive::<Float32Type>().values().to_vec();
        items.into_iter().zip(scores).collect()
    });
    Ok(Lists {
        users: all.column(0).as_primitive::<Int64Type>().values().to_vec(),
        lists: lists.collect(),
        metrics: output.metrics,
        bytes: std::fs::read(path).unwrap(),
    })
}

fn names(list: &[(String, f32)]) -> Vec<&str> {
    list.iter().map(|(name, _)| name.as_str()).collect()
}

fn brand(item: &str) -> Option<String> {
    let number: i64 = item.trim_start_matches("item-").parse().unwrap();
    (number % 5 != 0).then(|| format!("brand {}", number % 3))
}

/// Item ids with a brand; every fifth brand is null.
fn brands(fixture: &Fixture) -> DatasetFiles {
    let items: Vec<String> = (FIRST..FIRST + ITEMS).map(item_name).collect();
    let brands: StringArray = items.iter().map(|item| brand(item)).collect();
    let items: ArrayRef = Arc::new(StringArray::from(items));
    table(fixture, "brands", vec![("item", items), ("brand", Arc::new(brands))])
}

#[test]
fn rules_for_items_keep_the_order_of_what_is_left_for_every_kind_of_model() {
    let fixture = Fixture::new();
    let queries = Artifact::Dataset(fixture.dataset.clone());
    let items = Artifact::Dataset(brands(&fixture));
    let models = [
        trained::<Popularity>(&fixture, json!({})),
        trained::<Ease>(&fixture, json!({})),
        trained::<ItemKNN>(&fixture, json!({})),
        trained::<Als>(&fixture, json!({ "factors": 4 })),
    ];
    for model in models {
        let ports = [("model", Artifact::Model(model)), ("queries", queries.clone())];
        let with_items = [ports.to_vec(), vec![("items", items.clone())]].concat();
        let all = run(&fixture, json!({ "k": 40 }), &ports).unwrap();
        assert!(all.lists.iter().all(|list| list.len() == ITEMS as usize));

        let some = run(&fixture, json!({ "k": 3, "exclude": "item < 'item-870'" }), &ports).unwrap();
        for (list, all) in some.lists.iter().zip(&all.lists) {
            let expected = names(all).into_iter().filter(|name| *name >= "item-870").take(3);
            assert_eq!(names(list), expected.collect::<Vec<_>>());
        }
        let config = json!({ "k": 30, "only": "brand = 'brand 1' OR brand IS NULL", "exclude_seen": true });
        let some = run(&fixture, config, &with_items).unwrap();
        assert!(some.metrics["short_lists"] > 0.0);
        let seen = run(&fixture, json!({ "k": 40, "exclude_seen": true }), &ports).unwrap();
        for (list, all) in some.lists.iter().zip(&seen.lists) {
            let fits = |name: &&str| brand(name).is_none_or(|brand| brand == "brand 1");
            assert_eq!(names(list), names(all).into_iter().filter(fits).collect::<Vec<_>>());
        }

        let capped = run(&fixture, json!({ "k": 12, "max_per": { "brand": 2 } }), &with_items).unwrap();
        for (list, all) in capped.lists.iter().zip(&all.lists) {
            let mut taken: BTreeMap<String, usize> = BTreeMap::new();
            let mut expected = Vec::new();
            for name in names(all) {
                let count = brand(name).map(|brand| taken.entry(brand).or_default());
                if count.as_ref().is_none_or(|count| **count < 2) && expected.len() < 12 {
                    if let Some(count) = count {
                        *count += 1;
                    }
                    expected.push(name);
                }
            }
            assert_eq!(names(list), expected);
        }
    }
}

#[test]
fn items_can_be_named_by_tables_and_pairs_by_original_ids_of_another_width() {
    let fixture = Fixture::new();
    let ports = vec![
        ("model", Artifact::Model(trained::<Popularity>(&fixture, json!({})))),
        ("queries", Artifact::Dataset(fixture.dataset.clone())),
    ];
    let all = run(&fixture, json!({ "k": 40 }), &ports).unwrap();
    let best: Vec<String> = names(&all.lists[0])
        .iter()
        .take(4)
        .map(|name| (*name).to_owned())
        .collect();
    let of = |name: &str, items: &[String]| {
        let items = items.iter().map(String::as_str).chain(["unheard-of"]);
        let items: ArrayRef = Arc::new(StringArray::from_iter_values(items));
        Artifact::Dataset(table(&fixture, name, vec![("item", items)]))
    };
    let excluded = [ports.clone(), vec![("exclude", of("out", &best[..2]))]].concat();
    assert_eq!(
        names(&run(&fixture, json!({ "k": 1 }), &excluded).unwrap().lists[7]),
        [&best[2]]
    );
    let only = [ports.clone(), vec![("only", of("in", &best[1..3]))]].concat();
    let found = run(&fixture, json!({ "k": 5 }), &only).unwrap();
    assert_eq!(names(&found.lists[7]), [&best[1], &best[2]]);
    assert_eq!(found.metrics["short_lists"], USERS as f64);

    // The second user has seen the two best items; a user without history gets all items.
    let users: ArrayRef = Arc::new(Int32Array::from(vec![all.users[1] as i32, all.users[1] as i32, 3]));
    let met = [&best[0], &best[1], &best[0]].map(String::as_str);
    let items: ArrayRef = Arc::new(StringArray::from_iter_values(met));
    let pairs = table(&fixture, "pairs", vec![("user", users), ("item", items)]);
    let seen = [ports, vec![("seen", Artifact::Dataset(pairs))]].concat();
    let found = run(&fixture, json!({ "k": 2, "exclude_seen": true }), &seen).unwrap();
    assert_eq!(names(&found.lists[1]), [&best[2], &best[3]]);
    assert_eq!(names(&found.lists[0]), [&best[0], &best[1]]);
    // Unknown in `seen`: the most popular items, with their relative frequency as score.
    let found = run(&fixture, json!({ "k": 1, "cold_start": "overall" }), &seen).unwrap();
    assert_eq!(found.metrics["cold_start_users"], USERS as f64 - 1.0);
    assert!(found.lists[0][0].1 < 1.0 && found.lists[1][0].1 > 1.0);
}

#[test]
fn listed_users_are_served_in_order_and_unknown_users_get_the_list_of_their_segment() {
    let fixture = Fixture::new();
    let ports = vec![
        ("model", Artifact::Model(trained::<Popularity>(&fixture, json!({})))),
        ("queries", Artifact::Dataset(fixture.dataset.clone())),
    ];
    let all = run(&fixture, json!({ "k": 3 }), &ports).unwrap();
    let (first, last) = (all.users[0], all.users[USERS as usize - 1]);
    let found = run(&fixture, json!({ "k": 3, "users": [last, 7, first, 7, last] }), &ports).unwrap();
    assert_eq!(found.users, [first, last]);
    assert_eq!(found.metrics["unknown_users"], 1.0);
    let config = json!({ "k": 3, "users": [last, 7, first], "cold_start": "overall" });
    let found = run(&fixture, config, &ports).unwrap();
    assert_eq!(found.users, [7, first, last]);
    assert_eq!(names(&found.lists[0]), names(&all.lists[0]));

    let ids: ArrayRef = Arc::new(Int64Array::from(vec![Some(9), Some(first), Some(8), None]));
    let country: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), Some("a"), None, Some("a")]));
    let users = table(&fixture, "users-table", vec![("user", ids), ("country", country)]);
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![first, first, last]));
    let country: ArrayRef = Arc::new(StringArray::from(vec!["b", "b", "a"]));
    let rare = names(&run(&fixture, json!({ "k": 40 }), &ports).unwrap().lists[0])[39].to_owned();
    let items: ArrayRef = Arc::new(StringArray::from(vec![rare.as_str(), rare.as_str(), "item-880"]));
    let seen = table(
        &fixture,
        "history",
        vec![("user", ids), ("item", items), ("country", country)],
    );
    let ports = [
        ports,
        vec![("users", Artifact::Dataset(users)), ("seen", Artifact::Dataset(seen))],
    ]
    .concat();
    let config = json!({ "k": 2, "cold_start": { "segment": "country" } });
    let found = run(&fixture, config, &ports).unwrap();
    assert_eq!(found.users, [8, 9, first]);
    assert_eq!(names(&found.lists[0]), names(&all.lists[0])[..2], "no segment: overall");
    assert_eq!(names(&found.lists[1]), [rare.as_str(), names(&all.lists[0])[0]]);
    assert_eq!(found.lists[1][0].1, 1.0);
    assert_eq!(names(&found.lists[2]), names(&all.lists[0])[..2]);
    assert_eq!(found.metrics["rows_without_known_user"], 1.0);
}

#[test]
fn a_limit_of_memory_changes_no_byte_and_one_that_is_too_low_is_told() {
    let fixture = Fixture::new();
    let ports = [
        (
            "model",
            Artifact::Model(trained::<Als>(&fixture, json!({ "factors": 4 }))),
        ),
        ("queries", Artifact::Dataset(fixture.dataset.clone())),
    ];
    let free = run(&fixture, json!({ "k": 10 }), &ports).unwrap();
    let bound = run(&fixture, json!({ "k": 10, "memory_limit": "80kB" }), &ports).unwrap();
    assert_eq!(free.bytes, bound.bytes);
    let error = run(&fixture, json!({ "k": 10, "memory_limit": "5kB" }), &ports)
        .err()
        .unwrap();
    assert!(error.to_string().contains("memory_limit"), "{error}");
}

#[test]
fn lists_of_many_segments_keep_to_the_limit_of_memory_and_stay_the_same() {
    const SEGMENTS: i64 = 200;
    let fixture = Fixture::new();
    let ports = vec![
        ("model", Artifact::Model(trained::<Popularity>(&fixture, json!({})))),
        ("queries", Artifact::Dataset(fixture.dataset.clone())),
    ];
    let all = run(&fixture, json!({ "k": 20 }), &ports).unwrap();
    let items = names(&all.lists[0]);
    let countries = || -> ArrayRef { Arc::new(StringArray::from_iter_values((0..SEGMENTS).map(|i| format!("c{i}")))) };
    let unknown_users = |from: i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(from..from + SEGMENTS)) };
    let users = table(
        &fixture,
        "unknown",
        vec![("user", unknown_users(1000)), ("country", countries())],
    );
    let liked: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..SEGMENTS as usize).map(|i| items[i % items.len()]),
    ));
    let history = vec![("user", unknown_users(5000)), ("item", liked), ("country", countries())];
    let seen = table(&fixture, "past", history);
    let more = vec![("users", Artifact::Dataset(users)), ("seen", Artifact::Dataset(seen))];
    let ports = [ports, more].concat();
    let config = |limit: Option<usize>| {
        let mut config = json!({ "k": 2, "cold_start": { "segment": "country" } });
        if let Some(limit) = limit {
            config["memory_limit"] = json!(limit.to_string());
        }
        config
    };
    let free = run(&fixture, config(None), &ports).unwrap();
    for (place, list) in free.lists.iter().enumerate() {
        assert_eq!(names(list)[0], items[place % items.len()]);
    }
    // From too little memory for the counts of one segment to enough for a part of them.
    let (mut told, mut least) = (0, None);
    for limit in (500..80_000).step_by(500) {
        match run(&fixture, config(Some(limit)), &ports) {
            Ok(bound) => {
                assert_eq!(bound.bytes, free.bytes, "{limit}");
                least = least.or(Some(limit));
            }
            Err(error) => {
                assert_eq!(least, None, "{limit}: {error}");
                assert!(error.to_string().contains("memory_limit"), "{error}");
                told += usize::from(error.to_string().contains("counts of one segment"));
            }
        }
        if least.is_some_and(|least| limit > least + 2000) {
            break;
        }
    }
    let all_counts = SEGMENTS as usize * ITEMS as usize * 8;
    assert!(
        told > 0 && least.is_some_and(|least| least < all_counts),
        "{told} {least:?} {all_counts}"
    );
}

#[test]
fn slips_are_found_without_data() {
    let fixture = Fixture::new();
    let ports = vec![
        ("model", Artifact::Model(trained::<Popularity>(&fixture, json!({})))),
        ("queries", Artifact::Dataset(fixture.dataset.clone())),
    ];
    let users: ArrayRef = Arc::new(StringArray::from(vec!["five"]));
    let users = table(&fixture, "texts", vec![("user", users)]);
    let table = [ports.clone(), vec![("users", Artifact::Dataset(users))]].concat();
    for (config, ports, expected) in [
        (json!({ "max_per": { "brnd": 2 } }), &ports, "unknown-column"),
        (json!({ "max_per": { "item": 0 } }), &ports, "out-of-range"),
        (json!({ "exclude": "itm = 'x'" }), &ports, "unknown-column"),
        (json!({ "only": "item" }), &ports, "bad-sql"),
        (json!({ "users": ["x"] }), &ports, "wrong-type"),
        (json!({ "cold_start": { "segment": "x" } }), &ports, "unknown-column"),
        (json!({ "cold_start": { "segment": "tastes" } }), &ports, "bad-input"),
        (json!({ "memory_limit": "much" }), &ports, "bad-config"),
        (json!({}), &table, "bad-input"),
    ] {
        assert_eq!(
            problems::<TopKEncode>(&fixture, config.clone(), ports),
            [expected],
            "{config}"
        );
    }
    let both = problems::<TopKEncode>(&fixture, json!({ "users": [1] }), &table);
    assert!(both.contains(&"conflict"), "{both:?}");
}

#[test]
fn an_approximate_index_finds_what_exact_search_finds_and_is_the_same_every_time() {
    let fixture = Fixture::new();
    for model in [
        trained::<Als>(&fixture, json!({ "factors": 4 })),
        trained::<TwoTowerTrain>(
            &fixture,
            json!({ "layers": [8], "batch_size": 200, "epochs": 1, "normalize": "l2" }),
        ),
    ] {
        let own = RetrievalType::of(&model.model_type).unwrap().score.unwrap();
        let ports = vec![
            ("model", Artifact::Model(model)),
            ("queries", Artifact::Dataset(fixture.dataset.clone())),
        ];
        let mut written = Vec::new();
        for name in ["one", "two"] {
            let path = fixture.folder.path().join(format!("{own:?}-{name}"));
            let operator: AnnIndex = parse(&json!({ "path": path, "k": 5, "sample": 50 })).unwrap();
            let output = operator.run(&inputs(ports.clone()), &fixture.context("ann")).unwrap();
            assert!(output.metrics["recall_at_5"] > 0.95, "{:?}", output.metrics);
            written.push(["items.usearch", "items.parquet"].map(|file| std::fs::read(path.join(file)).unwrap()));
            assert_eq!(std::fs::read_dir(&path).unwrap().count(), 2);
        }
        assert_eq!(written[0], written[1]);
        for (metric, score) in [("dot", Score::Dot), ("cosine", Score::Cosine)] {
            let found = problems::<AnnIndex>(&fixture, json!({ "path": "x", "metric": metric }), &ports);
            assert_eq!(found.is_empty(), score == own, "{metric} {found:?}");
            assert!(found.iter().all(|code| *code == "index-metric"));
        }
    }
    let ports = vec![
        ("model", Artifact::Model(trained::<Ease>(&fixture, json!({})))),
        ("queries", Artifact::Dataset(fixture.dataset.clone())),
    ];
    assert_eq!(
        problems::<AnnIndex>(&fixture, json!({ "path": "x" }), &ports),
        ["bad-input"]
    );
}
