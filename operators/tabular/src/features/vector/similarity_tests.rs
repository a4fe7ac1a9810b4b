use arrow::array::ListArray;
use arrow::datatypes::Float64Type;
use serde_json::json;

use super::*;
use crate::harness::{Data, codes, run};

fn values(config: Value, data: Data) -> Vec<Option<f64>> {
    run::<Similarity>(config, &[("input", data)])
        .column("similarity")
        .as_primitive::<Float64Type>()
        .iter()
        .collect()
}

#[test]
fn vectors() {
    let list = |rows: Vec<Option<Vec<Option<f64>>>>| {
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(rows)) as ArrayRef
    };
    let a = list(vec![
        Some(vec![Some(1.0), Some(0.0)]),
        Some(vec![Some(3.0), Some(4.0)]),
        None,
        Some(vec![Some(0.0), Some(0.0)]),
    ]);
    let b = list(vec![
        Some(vec![Some(0.0), Some(2.0)]),
        Some(vec![Some(6.0), Some(8.0)]),
        Some(vec![]),
        Some(vec![Some(1.0), Some(1.0)]),
    ]);
    let data = Data::of([("a", a), ("b", b)]);
    let config = |metric: &str| json!({"left": "a", "right": "b", "metric": metric});
    assert_eq!(
        values(config("cosine"), data.clone()),
        [Some(0.0), Some(1.0), None, Some(0.0)]
    );
    assert_eq!(
        values(config("inner"), data.clone()),
        [Some(0.0), Some(50.0), None, Some(0.0)]
    );
    assert_eq!(codes::<Similarity>(config("tf_idf"), &[("input", data)]), ["conflict"]);
}

#[test]
fn bags_of_words_with_and_without_weights() {
    let list = |rows: Vec<Option<Vec<Option<i64>>>>| {
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(rows)) as ArrayRef
    };
    let a = list(vec![Some(vec![Some(1), Some(2)]), Some(vec![Some(1), Some(1)])]);
    let b = list(vec![Some(vec![Some(1), Some(3)]), Some(vec![Some(1)])]);
    let data = Data::of([("a", a), ("b", b)]);
    let config = |metric: &str| json!({"left": "a", "right": "b", "metric": metric});
    let cosine = values(config("cosine"), data.clone());
    assert!((cosine[0].unwrap() - 0.5).abs() < 1e-12 && (cosine[1].unwrap() - 1.0).abs() < 1e-12);
    assert_eq!(values(config("inner"), data.clone()), [Some(1.0), Some(2.0)]);
    // Word 1 is in all four lists and weighs nothing; 2 and 3 are in one each.
    assert_eq!(values(config("tf_idf"), data), [Some(0.0), Some(0.0)]);
}

#[test]
fn a_missing_word_is_no_word_and_a_missing_number_none() {
    let words = |rows: Vec<Option<Vec<Option<i64>>>>| {
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(rows)) as ArrayRef
    };
    let a = words(vec![Some(vec![Some(0), None]), Some(vec![None])]);
    let b = words(vec![Some(vec![Some(0), None, None]), Some(vec![Some(0)])]);
    let data = Data::of([("a", a), ("b", b)]);
    for metric in ["cosine", "inner"] {
        let config = json!({"left": "a", "right": "b", "metric": metric});
        assert_eq!(values(config, data.clone()), [Some(1.0), Some(0.0)], "{metric}");
    }
    let numbers = |number| {
        let rows = vec![Some(vec![Some(1.0), number])];
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(rows)) as ArrayRef
    };
    for missing in [None, Some(f64::NAN)] {
        let data = Data::of([("a", numbers(missing)), ("b", numbers(Some(1.0)))]);
        let cosine = values(json!({"left": "a", "right": "b"}), data);
        assert!(cosine[0].unwrap().is_nan(), "{missing:?}");
    }
}
