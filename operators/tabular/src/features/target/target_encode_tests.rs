use arrow::array::{Int64Array, StringArray};

use super::*;
use crate::harness::{Data, codes, run};

fn data(rows: usize) -> (Data, Vec<i64>, Vec<i64>) {
    let keys: Vec<i64> = (0..rows as i64).map(|row| row % 3).collect();
    let clicks: Vec<i64> = (0..rows as i64).map(|row| i64::from(row * 7 % 5 < 2)).collect();
    let ints = |values: &[i64]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
    let data = Data::of([("k", ints(&keys)), ("click", ints(&clicks))]).tagged("k", &[Tag::Item]);
    (
        data.and("valid", [("k", ints(&[0, 9])), ("click", ints(&[1, 1]))]),
        keys,
        clicks,
    )
}

fn mean(rows: impl Iterator<Item = (i64, i64)> + Clone, key: i64, smoothing: f64) -> f64 {
    let (count, sum) = rows.clone().fold((0, 0), |(c, s), (_, y)| (c + 1, s + y));
    let all = sum as f64 / f64::from(count);
    let (count, sum) = rows
        .filter(|(k, _)| *k == key)
        .fold((0, 0), |(c, s), (_, y)| (c + 1, s + y));
    (sum as f64 + smoothing * all) / (f64::from(count) + smoothing)
}

#[test]
fn out_of_fold_on_train_and_of_the_whole_elsewhere() {
    let (data, keys, clicks) = data(50);
    let ran = run::<TargetEncode>(
        json!({"target": ["click"], "folds": 4, "smoothing": 2, "seed": 3}),
        &[("input", data)],
    );
    let rows = || keys.iter().copied().zip(clicks.iter().copied());
    for (place, value) in ran
        .column("TE_k_click")
        .as_primitive::<Float64Type>()
        .values()
        .iter()
        .enumerate()
    {
        let own = fold(place as u64, 3, 4);
        let others = rows()
            .enumerate()
            .filter(|(row, _)| fold(*row as u64, 3, 4) != own)
            .map(|(_, row)| row);
        let expected = mean(others, keys[place], 2.0);
        assert!((value - expected).abs() < 1e-12, "{place}: {value} {expected}");
    }
    let valid = ran.splits[1].1.column(0).as_primitive::<Float64Type>().clone();
    assert!((valid.value(0) - mean(rows(), 0, 2.0)).abs() < 1e-12);
    assert!(
        (valid.value(1) - mean(rows(), 9, 2.0)).abs() < 1e-12,
        "an unseen category has the mean of all"
    );
    assert_eq!(ran.tags("TE_k_click"), [Tag::Item, Tag::Continuous]);
}

#[test]
fn leave_one_out() {
    let (data, keys, clicks) = data(20);
    let config = json!({"target": ["click"], "leave_one_out": true, "smoothing": 1});
    let ran = run::<TargetEncode>(config, &[("input", data)]);
    for (place, value) in ran
        .column("TE_k_click")
        .as_primitive::<Float64Type>()
        .values()
        .iter()
        .enumerate()
    {
        let others = keys
            .iter()
            .copied()
            .zip(clicks.iter().copied())
            .enumerate()
            .filter(|(row, _)| *row != place);
        let expected = mean(others.map(|(_, row)| row), keys[place], 1.0);
        assert!((value - expected).abs() < 1e-12);
    }
}

#[test]
fn groups_and_gaps() {
    let ints = |values: &[Option<i64>]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
    let text: ArrayRef = Arc::new(StringArray::from(vec![None, Some("x"), None]));
    let data = Data::of([
        ("a", ints(&[None, Some(1), None])),
        ("b", text),
        ("y", ints(&[Some(4), None, Some(2)])),
    ]);
    let config = json!({"target": ["y"], "groups": {"ab": ["a", "b"]}, "smoothing": 0});
    let ran = run::<TargetEncode>(
        config,
        &[(
            "input",
            data.clone().and(
                "all",
                [
                    ("a", ints(&[None, Some(1)])),
                    ("b", Arc::new(StringArray::from(vec![None, Some("x")])) as ArrayRef),
                    ("y", ints(&[None, None])),
                ],
            ),
        )],
    );
    assert_eq!(
        ran.rows("all"),
        "3.0; 3.0",
        "rows without a category are one; one without targets has the mean of all"
    );
    assert_eq!(
        codes::<TargetEncode>(json!({"target": ["z"]}), &[("input", data)]),
        ["unknown-column"]
    );
}
