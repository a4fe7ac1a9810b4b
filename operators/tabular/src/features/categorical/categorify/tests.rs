use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Date32Array, Float64Array, Int8Array, Int32Array, Int64Array, ListArray,
    StringArray, StringViewArray, Time32MillisecondArray, Time64MicrosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::prelude::SessionContext;
use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use crate::features::categorical::categorify::*;
use towline_api::{Code, LazyTable, State, StateTable, Stateful, Vocabulary};

fn batch(array: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([("x", array, true)]).unwrap()
}

/// Fits on `batches`: the state, the bytes of the vocabulary, and the folder that holds it.
fn fit(operator: &Categorify, batches: &[RecordBatch]) -> (State, Vec<u8>, tempfile::TempDir) {
    let schema = Schema::from_arrow(&batches[0].schema());
    let folder = tempfile::tempdir().unwrap();
    let context = FitContext {
        inputs: &Inputs(Vec::new()),
        temp: folder.path(),
        threads: 2,
    };
    let mut fitter = operator.fitter(&schema, &context).unwrap();
    for batch in batches {
        fitter.update(batch).unwrap();
    }
    let output = fitter.finish(folder.path()).unwrap();
    let path = &output.tables["x"];
    let bytes = std::fs::read(path).unwrap();
    let digest = blake3::hash(&bytes).to_hex().to_string();
    let mut state = State::default();
    state.tables.insert(
        "x".into(),
        StateTable {
            digest,
            vocabulary: Vocabulary::at(path),
        },
    );
    (state, bytes, folder)
}

fn apply(operator: &Categorify, state: &State, batch: &RecordBatch) -> Result<ArrayRef> {
    let schema = Schema::from_arrow(&batch.schema());
    let frame = SessionContext::new().read_batch(batch.clone())?;
    let mut table = LazyTable::from_frame(frame);
    table.columns = operator.project(state, &schema, "train", &table.columns)?;
    let frame = table.to_frame()?;
    let fields = frame.schema().fields().clone();
    let list = schema.columns[0].is_list();
    assert_eq!(fields[0].data_type(), &encoded_type(list));
    assert_eq!(fields[0].is_nullable(), list);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let batches = runtime.block_on(frame.collect())?;
    Ok(Arc::clone(batches[0].column(0)))
}

fn ids(operator: &Categorify, fitted: ArrayRef, applied: ArrayRef) -> Vec<i64> {
    let (state, _, _folder) = fit(operator, &[batch(fitted)]);
    apply(operator, &state, &batch(applied))
        .unwrap()
        .as_primitive::<Int64Type>()
        .values()
        .to_vec()
}

fn strings(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

#[test]
fn frequent_first_then_by_value_and_null_is_one() {
    let column = strings(&[Some("b"), Some("a"), None, Some("c"), Some("c"), Some("B")]);
    assert_eq!(ids(&Categorify::default(), column.clone(), column), [6, 5, 1, 3, 3, 4]);
}

#[test]
fn numbers_are_ordered_as_numbers() {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![10, 9, -1, i64::MAX, i64::MIN]));
    assert_eq!(ids(&Categorify::default(), column.clone(), column), [6, 5, 4, 7, 3]);
    let column: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX, 0, 1 << 63]));
    assert_eq!(ids(&Categorify::default(), column.clone(), column), [5, 3, 4]);
}

#[test]
fn every_kind_of_value() {
    let operator = Categorify::default();
    let columns: [ArrayRef; 7] = [
        Arc::new(Int8Array::from(vec![Some(1), None, Some(0)])),
        Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        Arc::new(Date32Array::from(vec![Some(9), None, Some(-9)])),
        Arc::new(Time32MillisecondArray::from(vec![Some(9), None, Some(1)])),
        Arc::new(Time64MicrosecondArray::from(vec![Some(86_399_999_999), None, Some(1)])),
        Arc::new(StringViewArray::from(vec![Some("z"), None, Some("y")])),
        Arc::new(Float64Array::from(vec![1.5, f64::NAN, -1.5])),
    ];
    for column in columns {
        assert_eq!(ids(&operator, column.clone(), column), [4, 1, 3]);
    }
}

#[test]
fn times_of_day_are_decoded_as_such() {
    let column: ArrayRef = Arc::new(Time32MillisecondArray::from(vec![Some(5), None, Some(7), Some(5)]));
    let (state, _, _folder) = fit(&Categorify::default(), &[batch(column)]);
    let table = state.tables["x"].vocabulary.load().unwrap();
    let decoded = table.decode(&[3, 1, 4]).unwrap();
    let expected: ArrayRef = Arc::new(Time32MillisecondArray::from(vec![Some(5), None, Some(7)]));
    assert_eq!(&decoded, &expected);
}

#[test]
fn min_count_and_max_size_send_values_to_the_buckets_and_count_them() {
    let column: ArrayRef = Arc::new(Int32Array::from(vec![7, 7, 7, 8, 8, 9, 9, 1]));
    let operator = Categorify {
        min_count: PerColumn::All(2),
        ..Categorify::default()
    };
    assert_eq!(ids(&operator, column.clone(), column.clone()), [3, 3, 3, 4, 4, 5, 5, 2]);
    let operator = Categorify {
        max_size: Some(PerColumn::All(5)),
        ..Categorify::default()
    };
    assert_eq!(ids(&operator, column.clone(), column.clone()), [3, 3, 3, 4, 4, 2, 2, 2]);
    let (state, _, _folder) = fit(&operator, &[batch(column)]);
    let table = state.tables["x"].vocabulary.load().unwrap();
    assert_eq!(table.counts(), [0, 0, 3, 3, 2]);
    assert_eq!((table.size(), table.first_value_id()), (5, 3));
    let decoded = table.decode(&[1, 2, 3, 4, 5]).unwrap();
    assert_eq!(
        decoded.as_primitive::<Int32Type>(),
        &Int32Array::from(vec![None, None, Some(7), Some(8), None])
    );
}

#[test]
fn the_bucket_is_the_published_hash() {
    let operator = Categorify {
        oov_buckets: PerColumn::All(5),
        ..Categorify::default()
    };
    let got = ids(
        &operator,
        strings(&[Some("known")]),
        strings(&[Some("known"), Some("new"), Some("")]),
    );
    assert_eq!(
        got,
        [7, 2 + (xxh3_64(b"new") % 5) as i64, 2 + (xxh3_64(b"") % 5) as i64]
    );
    let got = ids(
        &operator,
        Arc::new(Int32Array::from(vec![1])),
        Arc::new(Int32Array::from(vec![1, -2])),
    );
    assert_eq!(got, [7, 2 + (xxh3_64(&(-2_i64).to_le_bytes()) % 5) as i64]);
}

#[test]
fn lists_element_by_element() {
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(5), None, Some(5)]),
        None,
        Some(vec![]),
        Some(vec![Some(4)]),
    ]);
    let column: ArrayRef = Arc::new(lists);
    let operator = Categorify::default();
    // A slice must not include the rows before it, and its lists start in the middle of the elements.
    for (rows, expected) in [
        (
            column.clone(),
            vec![
                Some(vec![Some(3), Some(1), Some(3)]),
                None,
                Some(vec![]),
                Some(vec![Some(4)]),
            ],
        ),
        (column.slice(1, 3), vec![None, Some(vec![]), Some(vec![Some(3)])]),
    ] {
        let (state, _, _folder) = fit(&operator, &[batch(rows.clone())]);
        let out = apply(&operator, &state, &batch(rows)).unwrap();
        assert_eq!(
            out.as_list::<i32>(),
            &ListArray::from_iter_primitive::<Int64Type, _, _>(expected)
        );
    }
}

#[test]
fn another_type_at_apply_names_the_column() {
    let operator = Categorify::default();
    let (state, _, _folder) = fit(&operator, &[batch(strings(&[Some("1")]))]);
    let error = apply(&operator, &state, &batch(Arc::new(Int32Array::from(vec![1]))))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`x`") && error.contains("Int32") && error.contains("Utf8"),
        "{error}"
    );
}

#[test]
fn refine_fills_the_domain() {
    let operator = Categorify::default();
    let (state, _, _folder) = fit(&operator, &[batch(strings(&[Some("a"), Some("b")]))]);
    let schema = Schema {
        columns: vec![towline_api::Column::new("x", DataType::Int64, false)],
    };
    let domain = operator.refine(&state, &schema).unwrap().columns[0]
        .domain
        .clone()
        .unwrap();
    assert_eq!(
        (domain.size, domain.vocabulary),
        (Some(5), Some(state.tables["x"].digest.clone()))
    );
}

#[test]
fn too_small_a_size_is_refused() {
    let operator = Categorify {
        max_size: Some(PerColumn::All(6)),
        oov_buckets: PerColumn::All(4),
        ..Categorify::default()
    };
    assert_eq!(operator.check()[0].code, Code::OutOfRange);
}

#[test]
fn the_type_is_known_without_data() {
    let of = |operator: &Categorify, data_type: DataType, tag: Option<Tag>| {
        let mut column = towline_api::Column::new("x", data_type, true);
        column.tags.extend(tag);
        let schema = Schema { columns: vec![column] };
        let value = NodeType::Dataset(DatasetType {
            schema,
            splits: vec!["train".into()],
        });
        let inputs = Inputs(vec![towline_api::Input {
            port: "input",
            label: "x".into(),
            value,
        }]);
        operator.output_type(
            &inputs,
            &TypeContext {
                session: SessionContext::new(),
                offline: false,
            },
        )
    };
    let operator = Categorify::default();
    let Ok(NodeType::Dataset(output)) = of(&operator, DataType::Utf8, Some(Tag::User)) else {
        panic!("a dataset")
    };
    let column = &output.schema.columns[0];
    assert_eq!((&column.data_type, column.nullable), (&DataType::Int64, false));
    assert!(column.has(&[Tag::User, Tag::Categorical]));
    assert_eq!(
        column.domain,
        Some(Domain {
            name: "x".into(),
            values: Some(DataType::Utf8),
            ..Domain::default()
        })
    );
    let code = |result: Result<NodeType, Vec<Problem>>| result.unwrap_err()[0].code.as_str();
    assert_eq!(
        code(of(&operator, DataType::Float64, Some(Tag::Continuous))),
        "tag-conflict"
    );
    assert_eq!(code(of(&operator, DataType::Binary, None)), "wrong-type");
    let elsewhere = Categorify {
        fit_on: "valid".into(),
        ..operator
    };
    assert_eq!(code(of(&elsewhere, DataType::Utf8, None)), "unknown-split");
}

#[test]
fn twenty_values_of_equal_count_come_in_value_order_on_any_number_of_threads() {
    let names = ["a", "b", "c", "d", "e"];
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values((0..20).map(|i| (i * 7) % 20)));
    let rows = RecordBatch::try_from_iter(names.map(|name| (name, Arc::clone(&values)))).unwrap();
    let schema = Schema::from_arrow(&rows.schema());
    let mut found = Vec::new();
    for threads in [1, 2, 3, 5, 8] {
        let folder = tempfile::tempdir().unwrap();
        let context = FitContext {
            inputs: &Inputs(Vec::new()),
            temp: folder.path(),
            threads,
        };
        let mut fitter = Categorify::default().fitter(&schema, &context).unwrap();
        for part in [rows.slice(0, 3), rows.slice(3, 17)] {
            fitter.update(&part).unwrap();
        }
        let output = fitter.finish(folder.path()).unwrap();
        for name in names {
            let table = Vocabulary::at(&output.tables[name]).load().unwrap();
            let values = table.values().as_primitive::<Int64Type>().values()[2..].to_vec();
            assert_eq!(values, (0..20).collect::<Vec<i64>>());
            found.push(std::fs::read(&output.tables[name]).unwrap());
        }
    }
    assert!(found.windows(2).all(|two| two[0] == two[1]));
}

proptest! {
    #[test]
    fn the_vocabulary_does_not_depend_on_batches_or_order(
        mut values in prop::collection::vec(prop::option::of(-40_i64..40), 1..200),
        wide in any::<bool>(),
        size in 1_usize..50,
        limit in prop::option::of(6_u64..30),
    ) {
        if wide {
            for value in values.iter_mut().flatten() { *value = value.wrapping_mul(0x1234_5678_9abc_def1); }
        }
        let operator = Categorify { oov_buckets: PerColumn::All(3), max_size: limit.map(PerColumn::All), ..Categorify::default() };
        let whole = batch(Arc::new(Int64Array::from(values.clone())));
        let (state, bytes, _folder) = fit(&operator, std::slice::from_ref(&whole));
        let mut turned = values.clone();
        turned.reverse();
        let parts: Vec<RecordBatch> =
            turned.chunks(size).map(|part| batch(Arc::new(Int64Array::from(part.to_vec())))).collect();
        let (_, again, _other) = fit(&operator, &parts);
        prop_assert_eq!(&bytes, &again);
        let table = state.tables["x"].vocabulary.load().unwrap();
        prop_assert_eq!(table.counts().iter().sum::<u64>(), values.len() as u64);
        let encoded = apply(&operator, &state, &whole).unwrap();
        let encoded = encoded.as_primitive::<Int64Type>();
        let mut seen = vec![0_u64; table.size()];
        for id in encoded.values() { seen[*id as usize] += 1; }
        prop_assert_eq!(seen.as_slice(), table.counts());
        let decoded = table.decode(encoded.values()).unwrap();
        for ((value, id), back) in values.iter().zip(encoded.values()).zip(decoded.as_primitive::<Int64Type>()) {
            if *id >= table.first_value_id() { prop_assert_eq!(*value, back); }
            prop_assert_eq!(value.is_none(), *id == 1);
        }
    }
}
