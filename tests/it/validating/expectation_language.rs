//! The language of expectations: what it accepts, what it says of the rest, and what its conditions mean.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use proptest::prelude::*;
use towline::checks::{Fact, Scope, check};
use towline::config::expression::{Binary, ColumnProperty, Expr, ExprKind, Name, Scalar, TextRange, Word, parse};
use towline_api::{Column, DatasetType, NodeType, Schema};

fn dataset() -> NodeType {
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
    let columns = [
        ("user_id", DataType::Int64),
        ("price", DataType::Float64),
        ("brand", DataType::Utf8),
        ("click", DataType::Boolean),
        ("day", DataType::Date32),
        ("at", DataType::Timestamp(TimeUnit::Millisecond, None)),
        ("genres", list),
        ("odd name", DataType::Int64),
    ];
    NodeType::Dataset(DatasetType {
        schema: Schema {
            columns: columns
                .into_iter()
                .map(|(name, data_type)| Column::new(name, data_type, true))
                .collect(),
        },
        splits: vec!["train".to_owned(), "valid".to_owned()],
    })
}

fn metrics() -> Vec<String> {
    ["recall_at_10", "ndcg_at_10", "popularity.recall_at_10"]
        .map(str::to_owned)
        .to_vec()
}

/// Everything that is said about an expression, each with the text that it points at.
fn errors(text: &str, output: &NodeType) -> String {
    let metrics = match output {
        NodeType::Metrics(names) => names.clone(),
        _ => Vec::new(),
    };
    let scope = Scope {
        node: "clicks",
        metrics: &metrics,
        output,
    };
    let found = match parse(text) {
        Err(error) => vec![error],
        Ok(expression) => check(text, &expression, &scope).err().unwrap_or_default(),
    };
    let mut out = format!("{text}\n");
    for error in found {
        let range = error.range;
        let pointed = text.get(range.start..range.end).expect("the range is in the text");
        out.push_str(&format!(
            "  {} at {}..{} `{pointed}`: {}\n",
            error.code, range.start, range.end, error.message
        ));
        if let Some(help) = error.help {
            out.push_str(&format!("    help: {help}\n"));
        }
    }
    out
}

#[test]
fn what_is_no_expression_is_reported_at_its_place() {
    let long = format!("rows > {}0", "1 + ".repeat(600));
    let deep = format!("{}rows > 0{}", "(".repeat(60), ")".repeat(60));
    let slips = [
        "",
        "rows >",
        "rows > 0 and",
        "> 0",
        "rows > 0)",
        "(rows > 0",
        "rows 0",
        "0 < rows < 10",
        "rows > 0 && rows < 5",
        "rows > 5%",
        "user_id is",
        "user_id is null",
        "user_id is not unique",
        "min(price) is not null",
        "min(price, train)",
        "min()",
        "1x > 2",
        "brand == 'shop",
        "not",
        "and > 1",
        "train. > 1",
        "rows > 1..2",
        "é > §",
    ];
    let mut out: String = slips.iter().map(|text| errors(text, &dataset())).collect();
    for text in [&long, &deep] {
        let said = errors(text, &dataset());
        out.push_str(&format!(
            "{}...\n{}",
            &text[..20],
            said.split_once('\n').expect("two lines").1
        ));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn what_means_nothing_for_the_node_is_reported_at_its_place() {
    let slips = [
        "rows",
        "rows + 1",
        "user_id > 0",
        "min(user_idd) > 0",
        "mim(user_id) > 0",
        "rows(train) > 0",
        "tran.rows > 0",
        "min(tran.price) > 0",
        "tran.user_id is unique",
        "row > 0",
        "recall_at_10 > 0",
        "mean(brand) > 0",
        "distinct(genres) > 0",
        "min(genres) > 0",
        "genres is unique",
        "max(click)",
        "min(brand) > 3",
        "rows > '3'",
        "max(day) > 20240501",
        "(rows > 0) > 1",
        "not rows",
        "rows and user_id is unique",
        "-brand > 0",
        "-min(brand) > 0",
        "a.b.c > 0 and min(a.b.c) > 0",
        "1 + (rows > 0) > 2",
    ];
    let mut out: String = slips.iter().map(|text| errors(text, &dataset())).collect();
    for text in [
        "recal_at_10 > 0",
        "rows > 0",
        "user_id is unique",
        "recall_at_10 >= 0.9 * popularity.recall_at_5",
    ] {
        out.push_str(&errors(text, &NodeType::Metrics(metrics())));
    }
    for text in ["record > 0", "min(a) > 0"] {
        out.push_str(&errors(text, &NodeType::Receipt));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn what_is_right_is_accepted() {
    let right = [
        "rows > 0",
        "train.rows > 100 AND valid.rows >= 1",
        "user_id is unique",
        "valid.user_id IS NOT NULL",
        "null_share(price) < 0.05 or not (nulls(price) = 0)",
        "min(price) >= -1_000.5e0 and max(train.price) - min(train.price) < 1e3",
        "mean(click) * 100 < 5",
        "distinct(brand) == values(brand)",
        "min(brand) >= 'a' and max(day) > '2024-05-01' and max(at) != 'it''s'",
        "genres is not null",
        "\"odd name\" is unique and max(\"odd name\") > 1",
    ];
    for text in right {
        assert_eq!(errors(text, &dataset()), format!("{text}\n"));
    }
    let text = "recall_at_10 >= 0.9 * popularity.recall_at_10";
    assert_eq!(errors(text, &NodeType::Metrics(metrics())), format!("{text}\n"));
    assert_eq!(errors("records > 0", &NodeType::Receipt), "records > 0\n");
}

/// Whether a condition on metrics holds, and the values of its parts.
fn outcome(text: &str, values: &[(&str, Scalar)]) -> (bool, Vec<String>) {
    let names: Vec<String> = values.iter().map(|(name, _)| (*name).to_owned()).collect();
    let output = NodeType::Metrics(names.clone());
    let scope = Scope {
        node: "property",
        metrics: &names,
        output: &output,
    };
    let expression = parse(text).expect("it is an expression");
    let condition = check(text, &expression, &scope).expect("it means something");
    let facts: BTreeMap<Fact, Scalar> = values
        .iter()
        .map(|(name, value)| (Fact::Metric((*name).to_owned()), value.clone()))
        .collect();
    let outcome = condition.evaluate(&facts);
    let parts = outcome
        .parts
        .iter()
        .map(|part| format!("{} = {}", part.text, part.value));
    (outcome.met, parts.collect())
}

#[test]
fn conditions_mean_what_they_say() {
    let number = |name, value| (name, Scalar::Number(value));
    let values = [
        number("a", 2.0),
        number("b", 4.0),
        number("zero", 0.0),
        ("none", Scalar::Missing),
    ];
    for (text, met) in [
        ("a < b", true),
        ("a > b", false),
        ("a + 2 == b and b - 2 = a", true),
        ("a + b * 2 == 10", true),
        ("(a + b) * 2 == 12", true),
        ("b - 1 - 1 == 2", true),
        ("b / a / 2 == 1", true),
        ("-a == 0 - 2", true),
        ("a <= 2 and a >= 2 and a != 3", true),
        ("not a == 2 or b == 4", true),
        ("not (a == 2 or b == 4)", false),
        ("a == 1 or b == 1 and a == 2", false),
        // What is undefined decides nothing, and neither does its opposite.
        ("none > 0", false),
        ("not none > 0", false),
        ("a / zero > 0 or a / zero <= 0", false),
        ("none > 0 or a == 2", true),
        ("not (none > 0 and a == 1)", true),
    ] {
        assert_eq!(outcome(text, &values).0, met, "{text}");
    }
}

#[test]
fn an_outcome_has_the_values_of_its_parts() {
    let values = [
        ("recall_at_10", Scalar::Number(0.125)),
        ("popularity.recall_at_10", Scalar::Number(0.5)),
        ("undefined", Scalar::Number(f64::INFINITY)),
    ];
    let (met, parts) = outcome(
        "recall_at_10 >= 0.5 * popularity.recall_at_10 and undefined < 1",
        &values,
    );
    assert!(!met);
    assert_eq!(
        parts,
        [
            "recall_at_10 = 0.125",
            "popularity.recall_at_10 = 0.5",
            "0.5 * popularity.recall_at_10 = 0.25",
            "undefined = inf",
        ]
    );
}

fn word() -> impl Strategy<Value = Word> {
    "[a-z_][a-z0-9_]{0,5}|and|IS|[a-z \"'.é0-9]{1,4}".prop_map(|text| Word {
        text,
        range: TextRange::default(),
    })
}

fn name() -> impl Strategy<Value = Name> {
    proptest::collection::vec(word(), 1..3).prop_map(|words| Name {
        words,
        range: TextRange::default(),
    })
}

fn expr(kind: ExprKind) -> Expr {
    Expr {
        kind,
        range: TextRange::default(),
    }
}

fn expression() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        (0.0..f64::MAX).prop_map(ExprKind::Number),
        (0..100_000_u32).prop_map(|number| ExprKind::Number(f64::from(number))),
        "[a-z' ]{0,4}".prop_map(ExprKind::Text),
        name().prop_map(ExprKind::Name),
        (word(), name()).prop_map(|(function, column)| ExprKind::Call { function, column }),
        (name(), any::<bool>()).prop_map(|(column, unique)| ExprKind::Is {
            column,
            property: if unique {
                ColumnProperty::Unique
            } else {
                ColumnProperty::NotNull
            },
        }),
    ]
    .prop_map(expr);
    leaf.prop_recursive(6, 40, 2, |inner| {
        let operators = [
            Binary::Or,
            Binary::And,
            Binary::Less,
            Binary::LessOrEqual,
            Binary::Greater,
            Binary::GreaterOrEqual,
            Binary::Equal,
            Binary::Unequal,
            Binary::Add,
            Binary::Subtract,
            Binary::Multiply,
            Binary::Divide,
        ];
        prop_oneof![
            inner.clone().prop_map(|inner| ExprKind::Negate(Box::new(inner))),
            inner.clone().prop_map(|inner| ExprKind::Not(Box::new(inner))),
            (proptest::sample::select(operators.to_vec()), inner.clone(), inner).prop_map(|(operator, left, right)| {
                ExprKind::Binary {
                    operator,
                    left: Box::new(left),
                    right: Box::new(right),
                }
            }),
        ]
        .prop_map(expr)
    })
}

proptest! {
    #[test]
    fn a_printed_expression_reads_back_as_the_same_tree(tree in expression()) {
        let text = tree.to_string();
        prop_assert_eq!(parse(&text), Ok(tree), "{}", text);
    }

    #[test]
    fn no_text_makes_the_parser_panic_and_every_place_is_in_it(text in "\\PC{0,40}") {
        if let Err(error) = parse(&text) {
            prop_assert!(text.get(error.range.start..error.range.end).is_some(), "{:?}", error);
        }
    }

    #[test]
    fn texts_of_the_language_do_not_panic(
        words in proptest::collection::vec("rows|min|\\(|\\)|-|not|is|unique|null|and|or|[<>=!+*/.,]|'|\"|1|1e|0\\.5|é| ", 0..30)
    ) {
        let text = words.concat();
        errors(&text, &dataset());
    }
}
