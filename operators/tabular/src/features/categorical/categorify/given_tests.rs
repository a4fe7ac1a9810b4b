//! `Categorify` with given vocabularies, compared with NVTabular's.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::concat;
use arrow::datatypes::Int64Type;
use serde_json::json;

use crate::features::categorical::categorify::Categorify;
use crate::features::categorical::categorify::encoded_columns::{categorify, ids, ints};
use crate::harness::{Data, codes, run, try_run};
use towline_api::TableFile;

fn write(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_string_lossy().into_owned()
}

#[test]
fn a_given_vocabulary_is_closed_unless_it_grows() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, "items.csv", "value\n30\n10\n");
    let data = Data::of([("item", ints(&[10, 20, 20, 40, 10, 10]))]);
    let ran = categorify(json!({"vocabulary": {"item": file}}), data.clone());
    assert_eq!(ids(&ran, "item"), [4, 2, 2, 2, 4, 4]);
    let config = json!({"vocabulary": {"item": file}, "grow": true});
    let ran = categorify(config.clone(), data.clone());
    assert_eq!(
        ids(&ran, "item"),
        [4, 5, 5, 6, 4, 4],
        "given ids stay, new values append"
    );
    let table = ran.vocabulary("item").load().unwrap();
    assert_eq!(
        table.counts(),
        [0, 0, 0, 0, 3, 2, 1],
        "counts are those of the rows of this fit"
    );

    // The next day starts from the vocabulary that was written today.
    let today = ran.vocabulary("item").path().to_string_lossy().into_owned();
    let next = Data::of([("item", ints(&[50, 50, 50, 40]))]);
    let ran = categorify(json!({"vocabulary": {"item": today}, "grow": true}), next);
    assert_eq!(ids(&ran, "item"), [7, 7, 7, 6]);
    assert_eq!(ran.schema.get("item").unwrap().domain.clone().unwrap().size, Some(8));

    let missing = json!({"vocabulary": {"item": "nowhere.parquet"}, "grow": true});
    assert_eq!(codes::<Categorify>(missing, &[("input", data.clone())]), ["bad-source"]);
    let first_day = json!({"vocabulary": {"item": "nowhere.parquet"}, "grow": true, "optional": true});
    assert_eq!(ids(&categorify(first_day, data.clone()), "item"), [3, 4, 4, 5, 3, 3]);
    let buckets = json!({"vocabulary": {"item": today}, "oov_buckets": 4});
    let error = try_run::<Categorify>(buckets, &[("input", data)]).err().unwrap();
    assert!(error.contains("set it to 1"), "{error}");
}

#[test]
fn a_given_vocabulary_that_cannot_be_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = Data::of([("item", ints(&[10]))]);
    for (text, complaint) in [
        ("value\n1\n2\n1\n", "occurs twice"),
        ("value\nx\n", "Int64"),
        ("a,b\n1,2\n", "no column `value`"),
    ] {
        let file = write(&folder, "v.csv", text);
        let error = try_run::<Categorify>(json!({"vocabulary": {"item": file}}), &[("input", data.clone())])
            .err()
            .unwrap();
        assert!(error.contains(complaint) && error.contains("v.csv"), "{error}");
    }
}

#[test]
fn a_frame_of_pandas_is_a_list_of_values_unless_its_index_says_the_ids() {
    let folder = tempfile::tempdir().unwrap();
    let file = |start: i64| {
        let path = folder.path().join(format!("from-{start}.parquet"));
        let batch = RecordBatch::try_from_iter([("value", ints(&[30, 10]))]).unwrap();
        let index =
            json!({"index_columns": [{"kind": "range", "name": null, "start": start, "stop": start + 2, "step": 1}]});
        let entry = parquet::file::metadata::KeyValue::new("pandas".to_owned(), index.to_string());
        let properties = parquet::file::properties::WriterProperties::builder();
        let properties = properties.set_key_value_metadata(Some(vec![entry])).build();
        let to = std::fs::File::create(&path).unwrap();
        let mut writer = parquet::arrow::ArrowWriter::try_new(to, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        path.to_string_lossy().into_owned()
    };
    let encoded = |start| {
        let config = json!({"vocabulary": {"item": file(start)}});
        try_run::<Categorify>(config, &[("input", Data::of([("item", ints(&[10, 30, 20]))]))])
    };
    for start in [0, 3] {
        assert_eq!(
            ids(&encoded(start).unwrap(), "item"),
            [4, 3, 2],
            "an index from {start}"
        );
    }
    let error = encoded(5).err().unwrap();
    assert!(error.contains("set it to 3"), "{error}");
}

#[test]
fn another_nodes_vocabulary_is_the_same_vocabulary() {
    let catalogue = categorify(json!({}), Data::of([("item", ints(&[1, 2, 3, 3]))]));
    let clicks = Data::of([("item", ints(&[3, 9, 1])), ("user", ints(&[5, 5, 6]))]);
    let inputs = [("input", clicks.clone()), ("vocabulary", catalogue.data())];
    let ran = run::<Categorify>(json!({}), &inputs);
    assert_eq!((ids(&ran, "item"), ids(&ran, "user")), (vec![3, 2, 4], vec![3, 3, 4]));
    assert_eq!(
        ran.schema.get("item").unwrap().domain,
        catalogue.schema.get("item").unwrap().domain
    );
    let grown = run::<Categorify>(json!({"grow": true}), &inputs);
    assert_eq!(ids(&grown, "item"), [3, 6, 4]);
    let unrelated = [("input", clicks), ("vocabulary", Data::of([("item", ints(&[1]))]))];
    assert_eq!(codes::<Categorify>(json!({}), &unrelated), ["bad-input"]);
}

/// The folder with reference data, if present.
fn reference(what: &str) -> Option<PathBuf> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("TOWLINE_DATA")
        .map_or_else(default, PathBuf::from)
        .join(what);
    if folder.exists() {
        return Some(folder);
    }
    eprintln!(
        "NOTHING WAS CHECKED: there is no {}; set TOWLINE_DATA to the folder with it",
        folder.display()
    );
    None
}

fn read(path: PathBuf, columns: Option<&[&str]>) -> Vec<RecordBatch> {
    TableFile { path, rows: 0 }
        .batches(columns)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

#[test]
fn it_equals_nvtabular_up_to_the_order_of_equal_counts() {
    let (Some(input), Some(expected)) = (
        reference("aliccp_1m"),
        reference("merlin_reference/processed_train.parquet"),
    ) else {
        return;
    };
    let expected = read(expected, None);
    let names: Vec<String> = expected[0]
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let rows: Vec<RecordBatch> = read(input.join("train.parquet"), None)
        .iter()
        .map(|batch| {
            let click = arrow::compute::cast(
                batch.column_by_name("click").unwrap(),
                &arrow::datatypes::DataType::Int64,
            )
            .unwrap();
            let clicked = arrow::array::BooleanArray::from_unary(click.as_primitive::<Int64Type>(), |click| click == 1);
            arrow::compute::filter_record_batch(batch, &clicked).unwrap()
        })
        .collect();
    let encoded = |name: &&String| rows[0].schema().column_with_name(name).is_some() && *name != "click";
    let names: Vec<&String> = names.iter().filter(encoded).collect();
    assert!(names.len() >= 16, "{names:?}");
    let places: Vec<usize> = names
        .iter()
        .map(|name| rows[0].schema().index_of(name).unwrap())
        .collect();
    let rows = rows.iter().map(|batch| batch.project(&places).unwrap()).collect();
    let ran = categorify(json!({}), Data::batches("train", rows));
    for name in names {
        let parts: Vec<ArrayRef> = expected
            .iter()
            .map(|batch| batch.column_by_name(name).unwrap().clone())
            .collect();
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        let theirs = arrow::compute::cast(&concat(&parts).unwrap(), &arrow::datatypes::DataType::Int64).unwrap();
        let theirs = theirs.as_primitive::<Int64Type>().values().to_vec();
        let ours = ids(&ran, name);
        assert_eq!(ours.len(), theirs.len(), "{name}");
        let counts = |ids: &[i64]| {
            let mut counts = BTreeMap::new();
            for id in ids {
                *counts.entry(*id).or_insert(0_u64) += 1;
            }
            counts
        };
        assert_eq!(counts(&ours), counts(&theirs), "{name}: every id occurs as often");
        let mut pairs = HashMap::new();
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(
                pairs.entry(*ours).or_insert(*theirs),
                theirs,
                "{name}: one id for one id"
            );
        }
    }
}
