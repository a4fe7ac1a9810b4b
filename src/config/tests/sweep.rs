//! Sweeps, up to the nodes that they stand for.

use crate::config::tests::*;

/// The nodes as `name: config <- inputs`, without the source.
fn expanded(node: &str) -> Vec<String> {
    let (pipeline, _) = sound(&nodes("", &format!("  a: {{op: A}}\n{node}")));
    let line = |node: &Node| {
        let inputs = node.inputs.references().into_iter();
        let inputs: Vec<&str> = inputs.map(|input| pipeline.nodes[input.node].name.as_str()).collect();
        format!("{}: {} <- {}", node.name, node.config.to_json(), inputs.join(", "))
    };
    pipeline.nodes.iter().skip(1).map(line).collect()
}

/// The trials of a sweep.
fn trials(sweep: &str) -> Vec<String> {
    let lines = expanded(&format!("  m: {{op: M, input: a, sweep: {{metric: r, {sweep}}}}}\n"));
    let config = |line: &String| line.split_once(": ").unwrap().1.split_once(" <-").unwrap().0.to_owned();
    lines[..lines.len() - 1].iter().map(config).collect()
}

#[test]
fn every_combination_is_a_node_and_the_last_takes_the_best() {
    let node = "  m:\n    op: M\n    input: a\n    with: {z: 1}\n    sweep: {parameters: {x: [1, 2], y.k: [p, q]}, metric: r, direction: min}\n  s: {op: S, input: m}\n";
    assert_eq!(
        expanded(node),
        [
            r#"m.1:M: {"x":1,"y":{"k":"p"},"z":1} <- a"#,
            r#"m.2:M: {"x":1,"y":{"k":"q"},"z":1} <- a"#,
            r#"m.3:M: {"x":2,"y":{"k":"p"},"z":1} <- a"#,
            r#"m.4:M: {"x":2,"y":{"k":"q"},"z":1} <- a"#,
            r#"m: {"direction":"min","metric":"r","trials":[{"x":1,"y.k":"p"},{"x":1,"y.k":"q"},{"x":2,"y.k":"p"},{"x":2,"y.k":"q"}]} <- m.1:M, m.2:M, m.3:M, m.4:M"#,
            "s: {} <- m",
        ]
    );
}

#[test]
fn the_evaluation_is_run_for_every_trial() {
    let node = "  m:\n    op: M\n    input: a\n    sweep:\n      parameters: {x: [1, 2]}\n      metric: r\n      evaluate: {op: E, inputs: {model: m, data: a.valid}, with: {k: [3]}}\n";
    assert_eq!(
        expanded(node),
        [
            r#"m.1:M: {"x":1} <- a"#,
            r#"m.2:E: {"k":[3]} <- m.1:M, a"#,
            r#"m.3:M: {"x":2} <- a"#,
            r#"m.4:E: {"k":[3]} <- m.3:M, a"#,
            r#"m: {"metric":"r","trials":[{"x":1},{"x":2}]} <- m.1:M, m.3:M, m.2:E, m.4:E"#,
        ]
    );
}

#[test]
fn what_is_drawn_depends_on_the_seed_and_the_parameter_alone() {
    let range = "trials: 6, parameters: {x: {min: 0.001, max: 1.0, scale: log}}";
    let drawn = trials(range);
    assert_eq!(drawn.len(), 6);
    assert_eq!(drawn, trials(range));
    assert_ne!(drawn, trials(&format!("seed: 1, {range}")));
    let value = |config: &String| {
        serde_json::from_str::<serde_json::Value>(config).unwrap()["x"]
            .as_f64()
            .unwrap()
    };
    assert!(drawn.iter().map(value).all(|x| (0.001..=1.0).contains(&x)), "{drawn:?}");
    assert!(
        drawn.iter().map(value).any(|x| x < 0.03),
        "half of them on a log scale: {drawn:?}"
    );

    let both = trials("trials: 6, parameters: {n: {min: 1, max: 3}, x: {min: 0.001, max: 1.0, scale: log}}");
    assert!(
        both.iter().zip(&drawn).all(|(both, alone)| both.ends_with(&alone[1..])),
        "{both:?}"
    );

    let mut whole = trials("trials: 3, parameters: {n: {min: 1, max: 3}}");
    whole.sort();
    assert_eq!(whole, [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#], "each is drawn once");
    assert_eq!(
        trials("trials: 9, parameters: {n: [1, 2]}"),
        [r#"{"n":1}"#, r#"{"n":2}"#],
        "there are no more"
    );
    assert_eq!(trials("trials: 2, parameters: {n: [1, 2, 3]}").len(), 2);
}

#[test]
fn defaults_may_be_swept_and_expectations_are_of_the_best() {
    let text = "version: 1\ndefaults: {M: {x: 7, y: 8}}\nnodes:\n  a: {op: A}\n  m: {op: M, input: a, retries: 2, expect: r > 0, sweep: {parameters: {x: [1]}, metric: r}}\n";
    let (pipeline, _) = sound(text);
    let [_, trial, best] = pipeline.nodes.as_slice() else {
        panic!("three nodes")
    };
    assert_eq!(trial.config.to_json().to_string(), r#"{"x":1,"y":8}"#);
    assert_eq!((trial.settings.retries, trial.settings.expect.len()), (2, 0));
    assert_eq!((best.settings.retries, best.settings.expect.len()), (0, 1));
}

#[test]
fn mistakes_are_marked_where_they_are() {
    let of = |sweep: &str| {
        found(&nodes(
            "",
            &format!("  a: {{op: A}}\n  m: {{op: M, input: a, with: {{z: 1}}, sweep: {sweep}}}\n"),
        ))
    };
    for (sweep, expected) in [
        ("7", vec!["wrong-type @ 7"]),
        ("{}", vec!["missing-key @ {}", "missing-key @ {}"]),
        (
            "{parameters: {x: [1]}, metrik: r}",
            vec![
                "missing-key @ {parameters: {x: [1]}, metrik: r}",
                "unknown-key @ metrik",
            ],
        ),
        ("{parameters: {}, metric: r}", vec!["wrong-type @ {}"]),
        ("{parameters: {x: []}, metric: r}", vec!["wrong-type @ []"]),
        ("{parameters: {x: 1}, metric: r}", vec!["wrong-type @ 1"]),
        ("{parameters: {z: [1, 2]}, metric: r}", vec!["conflict @ z"]),
        (
            "{parameters: {x: {min: 0, max: 1}}, metric: r}",
            vec!["missing-key @ {x: {min: 0, max: 1}}"],
        ),
        ("{trials: 0, parameters: {x: [1]}, metric: r}", vec!["out-of-range @ 0"]),
        (
            "{trials: 1001, parameters: {x: {min: 0, max: 1}}, metric: r}",
            vec!["out-of-range @ {x: {min: 0, max: 1}}"],
        ),
        (
            "{trials: 2, parameters: {x: {min: 2, max: 1}}, metric: r}",
            vec!["out-of-range @ {min: 2, max: 1}"],
        ),
        (
            "{trials: 2, parameters: {x: {min: 0, max: 1, scale: log}}, metric: r}",
            vec!["out-of-range @ {min: 0, max: 1, scale: log}"],
        ),
        (
            "{trials: 2, parameters: {x: {min: 1, max: 2, scale: cube}}, metric: r}",
            vec!["out-of-range @ cube"],
        ),
        (
            "{trials: 2, parameters: {x: {min: 1}}, metric: r}",
            vec!["missing-key @ {min: 1}"],
        ),
        ("{parameters: {x: [1]}, metric: r, evaluate: E}", vec!["wrong-type @ E"]),
        (
            "{parameters: {x: [1]}, metric: r, evaluate: {op: E, input: a}}",
            vec!["bad-input @ {op: E, input: a}"],
        ),
        (
            "{parameters: {x: [1]}, metric: r, evaluate: {op: E, input: n}}",
            vec!["bad-input @ {op: E, input: n}"],
        ),
    ] {
        assert_eq!(of(sweep), expected, "{sweep}");
    }
}
