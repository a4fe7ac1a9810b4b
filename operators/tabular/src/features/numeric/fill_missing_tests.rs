use arrow::array::{Float64Array, Int64Array, StringArray};

use super::*;
use crate::harness::{Data, codes, run, try_run};

fn fill(config: Value, column: ArrayRef) -> String {
    run::<FillMissing>(config, &[("input", Data::of([("x", column)]))]).rows("train")
}

fn ints(values: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

#[test]
fn constants_of_every_kind() {
    assert_eq!(fill(json!({"value": 7}), ints(&[Some(1), None])), "1; 7");
    assert_eq!(
        fill(
            json!({"value": "?"}),
            Arc::new(StringArray::from(vec![Some("a"), None]))
        ),
        "a; ?"
    );
    assert_eq!(
        fill(
            json!({"value": true}),
            Arc::new(BooleanArray::from(vec![Some(false), None]))
        ),
        "false; true"
    );
    assert_eq!(
        fill(json!({"value": 0.5}), Arc::new(Float64Array::from(vec![f64::NAN, 2.0]))),
        "0.5; 2.0"
    );
    let input = [("input", Data::of([("x", ints(&[None]))]))];
    assert_eq!(codes::<FillMissing>(json!({"value": 0.5}), &input), ["wrong-type"]);
    assert_eq!(codes::<FillMissing>(json!({}), &input), ["missing-key"]);
    assert_eq!(
        codes::<FillMissing>(json!({"with": "mean", "value": 1}), &input),
        ["conflict"]
    );
}

#[test]
fn the_median_of_0_to_999_over_seven_parts_is_exact() {
    let values: Vec<Option<i64>> = (0..1000).map(Some).chain([None]).collect();
    let parts = values
        .chunks(143)
        .map(|part| RecordBatch::try_from_iter_with_nullable([("x", ints(part), true)]).unwrap());
    let data = Data::batches("train", parts.collect());
    assert_eq!(data.splits[0].1.len(), 7);
    let ran = run::<FillMissing>(json!({"with": "median"}), &[("input", data.clone())]);
    assert!(ran.rows("train").ends_with("; 499.5"));
    let ran = run::<FillMissing>(json!({"with": "approximate_median"}), &[("input", data)]);
    let last = ran.column("x").as_primitive::<Float64Type>().value(1000);
    assert!((last - 499.5).abs() < 1.0, "{last}");
}

#[test]
fn mean_mode_and_where_they_were_put() {
    let rows = fill(
        json!({"with": "mean", "indicator": true}),
        ints(&[Some(1), None, Some(2)]),
    );
    assert_eq!(rows, "1.0 false; 1.5 true; 2.0 false");
    assert_eq!(
        fill(json!({"with": "mode"}), ints(&[Some(10), Some(9), None])),
        "10; 9; 9"
    );
    let text: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), Some("a"), Some("b"), None]));
    assert_eq!(fill(json!({"with": "mode"}), text), "b; a; b; b");
    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)]));
    assert_eq!(fill(json!({"with": "mode"}), flags), "true; true; false; true");
}

#[test]
fn a_column_without_any_value_stays_as_it_is() {
    for with in ["mean", "median", "approximate_median", "mode"] {
        assert_eq!(fill(json!({"with": with}), ints(&[None, None])), "; ");
        let config = json!({"with": with, "indicator": true});
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(f64::NAN), None]));
        assert_eq!(fill(config, floats), "NaN false;  false", "nothing was put anywhere");
    }
}

#[test]
fn an_infinite_mean_is_told() {
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(f64::INFINITY), Some(1.0), None]));
    let ran = try_run::<FillMissing>(json!({"with": "mean"}), &[("input", Data::of([("x", floats)]))]);
    let error = ran.err().unwrap();
    assert!(error.contains("column `x`: its mean or median is infinite"), "{error}");
    assert!(error.contains("Clip"), "{error}");
}

#[test]
fn what_is_learnt_on_train_is_put_everywhere() {
    let data = Data::of([("x", ints(&[Some(1), Some(3)]))]).and("valid", [("x", ints(&[None, Some(100)]))]);
    let ran = run::<FillMissing>(json!({"with": "mean"}), &[("input", data)]);
    assert_eq!(ran.rows("valid"), "2.0; 100.0");
}
