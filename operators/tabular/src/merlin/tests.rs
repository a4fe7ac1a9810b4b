//! Import and export, and files written by Merlin itself.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use serde_json::json;

use crate::features::categorical::categorify::Categorify;
use crate::harness::{Data, Ran, run, try_run};
use crate::merlin::feature::{Feature, MerlinType};
use crate::merlin::{MerlinExport, MerlinSource, schema_json, schema_text};
use towline_api::{Column, Schema, TableFile, Tag};

fn reference(name: &str) -> Option<PathBuf> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let path = std::env::var_os("TOWLINE_DATA")
        .map_or_else(default, PathBuf::from)
        .join("merlin_reference")
        .join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!(
        "NOTHING WAS CHECKED: there is no {}; set TOWLINE_DATA to the folder with it",
        path.display()
    );
    None
}

#[test]
fn what_merlin_wrote_says_the_same_in_both_forms() {
    let (Some(json), Some(text)) = (reference("schema.json"), reference("schema.pbtxt")) else {
        return;
    };
    let json = schema_json::read(&std::fs::read_to_string(json).unwrap(), "json").unwrap();
    let text = schema_text::read(&std::fs::read_to_string(text).unwrap(), "text").unwrap();
    assert_eq!(json.len(), 16);
    assert_eq!(json[0].domain, Some(("user_id".to_owned(), 666)));
    for (mut a, b) in json.into_iter().zip(text) {
        a.metadata = serde_json::Value::Null;
        assert_eq!(a, b);
    }
}

#[test]
fn what_is_written_is_read_again() {
    let feature = |name: &str, kind, domain, value_count| Feature {
        name: name.to_owned(),
        kind,
        tags: vec!["user".to_owned(), "id".to_owned()],
        domain,
        value_count,
        metadata: json!({ "is_list": true }),
    };
    let features = vec![
        feature("a", MerlinType::Int, Some(("a".to_owned(), 9)), None),
        feature("strange \"name\" \u{e4}\\", MerlinType::Bytes, None, Some((0, 0))),
        feature("v", MerlinType::Float, None, Some((8, 8))),
    ];
    assert_eq!(
        schema_json::read(&schema_json::write(&features), "x").unwrap(),
        features
    );
    let text = schema_text::read(&schema_text::write(&features), "x").unwrap();
    for (mut a, b) in features.into_iter().zip(text) {
        a.metadata = serde_json::Value::Null;
        assert_eq!(a, b);
    }
}

#[test]
fn the_greatest_domain_that_can_be_written_is_one() {
    let mut feature = Feature::of(&Column::new("a", DataType::Int64, false), false);
    feature.domain = Some(("a".to_owned(), u64::MAX));
    let mut schema = Schema {
        columns: vec![Column::new("a", DataType::Int64, false)],
    };
    Feature::describe(&[feature], &mut schema);
    assert_eq!(schema.columns[0].domain.clone().unwrap().size, Some(u64::MAX));
}

#[test]
fn text_that_is_no_schema_is_told_with_its_line() {
    for text in [
        "feature {\n name: \"x",
        "feature {",
        "feature { type: INT }",
        "}",
        "feature { name }",
    ] {
        let error = schema_text::read(text, "schema.pbtxt").unwrap_err().to_string();
        assert!(error.contains("schema.pbtxt"), "{error}");
    }
    let deep = "a {".repeat(10_000);
    assert!(
        schema_text::read(&deep, "x")
            .unwrap_err()
            .to_string()
            .contains("too deeply")
    );
}

fn encoded() -> Ran {
    let items: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), Some("a"), Some("b"), None]));
    let data = Data::of([("item", items)]).tagged("item", &[Tag::Item, Tag::Id]);
    run::<Categorify>(json!({ "oov_buckets": 2 }), &[("input", data)])
}

#[test]
fn a_dataset_goes_out_and_comes_back_with_its_meaning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true, false, true, true]));
    let ran = encoded();
    let mut data = ran.data();
    let flag = Data::of([("flag", flags)]);
    data.schema.columns.extend(flag.schema.columns);
    let both = [data.splits[0].1[0].columns(), flag.splits[0].1[0].columns()].concat();
    data.splits[0].1 = vec![arrow::array::RecordBatch::try_new(data.schema.to_arrow(), both).unwrap()];
    run::<MerlinExport>(json!({ "path": path }), &[("input", data.clone())]);
    let source = json!({ "splits": { "train": path.join("train") } });
    let back = run::<MerlinSource>(source.clone(), &[]);
    assert_eq!(back.rows("train"), "4 true; 5 false; 4 true; 1 true");
    assert_eq!(back.tags("item"), [Tag::Item, Tag::Id, Tag::Categorical]);
    assert_eq!(back.schema.get("item").unwrap().domain.as_ref().unwrap().size, Some(6));
    // Without Towline's schema, Merlin's gives the same information except for the value types of encoded columns.
    std::fs::remove_file(path.join("train/.merlin/towline.json")).unwrap();
    let merlins = run::<MerlinSource>(source, &[]);
    let mut back = back;
    for domain in back
        .schema
        .columns
        .iter_mut()
        .filter_map(|column| column.domain.as_mut())
    {
        domain.values = None;
    }
    assert_eq!(merlins.schema, back.schema);
}

#[test]
fn vocabularies_go_out_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let ran = encoded();
    run::<MerlinExport>(json!({ "path": path }), &[("input", ran.data())]);
    let unique = path.join("categories/unique.item.parquet");
    let again: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("new"), Some("b"), None]));
    let config = json!({ "vocabulary": { "item": unique }, "oov_buckets": 2 });
    let back = run::<Categorify>(config, &[("input", Data::of([("item", Arc::clone(&again))]))]);
    let ids = back.column("item").as_primitive::<Int64Type>().values().to_vec();
    assert_eq!((ids[0], ids[2], ids[3]), (5, 4, 1));
    assert!((2..4).contains(&ids[1]));
    let wrong = json!({ "vocabulary": { "item": unique } });
    let error = try_run::<Categorify>(wrong, &[("input", Data::of([("item", again)]))])
        .err()
        .unwrap();
    assert!(error.contains("set it to 2"), "{error}");
    let meta = TableFile {
        path: path.join("categories/meta.item.parquet"),
        rows: 0,
    };
    let meta = meta.batches(None).unwrap().next().unwrap().unwrap();
    assert_eq!(meta.column(3).as_ref(), &Int64Array::from(vec![0, 1, 0, 3]));
    assert_eq!(meta.column(1).as_ref(), &Int64Array::from(vec![0, 1, 2, 4]));
}

#[test]
fn nvtabulars_own_vocabulary_gives_its_ids() {
    let (Some(unique), Some(processed)) = (
        reference("categories/unique.user_group.parquet"),
        reference("processed_train.parquet"),
    ) else {
        return;
    };
    let values = TableFile {
        path: unique.clone(),
        rows: 0,
    }
    .batches(None)
    .unwrap()
    .next()
    .unwrap()
    .unwrap();
    let column = values.column_by_name("user_group").unwrap().clone();
    let ran = run::<Categorify>(
        json!({ "vocabulary": { "user_group": unique } }),
        &[("input", Data::of([("user_group", column)]))],
    );
    let ids: Vec<i64> = (3..3 + values.num_rows() as i64).collect();
    assert_eq!(
        ran.column("user_group").as_primitive::<Int64Type>().values(),
        ids.as_slice()
    );
    let source = json!({ "splits": { "train": processed }, "schema": reference("schema.pbtxt").unwrap() });
    let read = run::<MerlinSource>(source, &[]);
    assert_eq!(read.tags("user_id"), [Tag::User, Tag::Id, Tag::Categorical]);
    assert_eq!(
        read.schema.get("user_group").unwrap().domain.as_ref().unwrap().size,
        Some(14)
    );
}
