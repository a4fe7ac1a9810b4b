//! How good models are, against figures that were computed elsewhere.

use std::collections::BTreeMap;

use crate::fixture::workspace::{Workspace, movielens, stderr, stdout};

const EXAMPLE: &str = include_str!("../../../examples/movielens/pipeline.yaml");

/// The metrics of a node of the last run.
fn metrics(workspace: &Workspace, node: &str) -> BTreeMap<String, f64> {
    let record = workspace.records().pop().expect("there was a run");
    let found = record.nodes.into_iter().find(|other| other.name == node);
    found.unwrap_or_else(|| panic!("there is no node `{node}`")).metrics
}

fn close(metrics: &BTreeMap<String, f64>, expected: &[(&str, f64)], tolerance: f64) {
    for (name, expected) in expected {
        let found = metrics[*name];
        assert!(
            (found - expected).abs() <= tolerance,
            "{name}: {found}, expected {expected}"
        );
    }
}

#[test]
#[cfg_attr(
    not(movielens),
    ignore = "MovieLens is neither at ../shared/data nor where TOWLINE_DATA says"
)]
fn baselines_on_movielens_have_the_known_figures() {
    let (data, _) = EXAMPLE
        .split_once("  popularity: {")
        .expect("the example trains `popularity` first");
    let models = "  popularity: { op: Popularity, input: features }
  ease: { op: Ease, input: features, with: { regularization: 100.0 } }
  item_knn: { op: ItemKNN, input: features, with: { neighbours: 200 } }
  popularity_quality: { op: Evaluate, inputs: { model: popularity, data: features }, with: &at { k: [10, 20], exclude_seen: true } }
  ease_quality: { op: Evaluate, inputs: { model: ease, data: features }, with: *at }
  item_knn_quality: { op: Evaluate, inputs: { model: item_knn, data: features }, with: *at }
";
    let workspace = Workspace::new();
    workspace.write("p.yaml", &format!("{data}{models}"));
    let data = format!("vars.data={}", movielens().display());
    let output = workspace.towline(&["run", "p.yaml", "--set", &data]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));

    let popularity = [
        ("recall_at_10", 0.063_638_158_414_277_9),
        ("ndcg_at_10", 0.060_695_599_151_920_576),
        ("recall_at_20", 0.084_107_518_544_466_99),
        ("ndcg_at_20", 0.067_391_354_436_768_27),
        ("mrr_at_10", 0.128_298_981_284_055_98),
        ("hit_rate_at_10", 0.285_240_464_344_941_95),
        ("coverage_at_10", 0.010_346_124_905_944_32),
        ("coverage_at_20", 0.018_623_024_830_699_775),
    ];
    let found = metrics(&workspace, "popularity_quality");
    close(&found, &popularity, 1e-9);
    let beside: Vec<(String, f64)> = popularity
        .iter()
        .map(|(name, x)| (format!("popularity.{name}"), *x))
        .collect();
    close(
        &found,
        &beside.iter().map(|(name, x)| (name.as_str(), *x)).collect::<Vec<_>>(),
        1e-9,
    );
    let random = [
        ("random.recall_at_10", 0.003_314_117_244_465_503_5),
        ("random.ndcg_at_10", 0.002_827_936_671_795_737_6),
        ("random.recall_at_20", 0.004_723_560_600_522_54),
        ("random.ndcg_at_20", 0.003_766_791_197_244_259),
        ("random.mrr_at_10", 0.006_750_638_342_678_144),
        ("random.hit_rate_at_10", 0.024_875_621_890_547_265),
        ("random.coverage_at_10", 0.680_210_684_725_357_4),
        ("random.coverage_at_20", 0.897_667_419_112_114_3),
    ];
    close(&found, &random, 1e-9);
    let ease = [
        ("recall_at_10", 0.110_899_207_665_377),
        ("ndcg_at_10", 0.097_483_350_075_529_62),
        ("recall_at_20", 0.153_156_911_525_671_5),
        ("ndcg_at_20", 0.113_362_229_306_355_48),
        ("mrr_at_10", 0.188_488_114_980_652_35),
    ];
    close(&metrics(&workspace, "ease_quality"), &ease, 1e-3);
    let item_knn = [
        ("recall_at_10", 0.097_577_588_249_230_21),
        ("ndcg_at_10", 0.086_595_936_444_777_98),
        ("recall_at_20", 0.132_127_413_425_836_28),
        ("mrr_at_10", 0.168_846_244_965_647_93),
    ];
    close(&metrics(&workspace, "item_knn_quality"), &item_knn, 1e-3);
}

#[test]
#[cfg_attr(
    not(movielens),
    ignore = "MovieLens is neither at ../shared/data nor where TOWLINE_DATA says"
)]
fn two_towers_that_know_the_last_films_are_far_above_ease() {
    let part = |from: &str, to: &str| {
        let (_, rest) = EXAMPLE.split_once(from).expect("the example has this part");
        let (part, _) = rest.split_once(to).expect("it ends");
        format!("{from}{part}")
    };
    let data = part("version: 1", "  popularity: {");
    let model = part("  two_tower_1:\n", "  two_tower_2: {");
    let quality = "  quality: { op: Evaluate, inputs: { model: two_tower_1, data: features_with_recent }, with: { exclude_seen: true } }\n";
    let workspace = Workspace::new();
    workspace.write("p.yaml", &format!("{data}{model}{quality}"));
    let data = format!("vars.data={}", movielens().display());
    let output = workspace.towline(&["run", "p.yaml", "--set", &data]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let found = metrics(&workspace, "quality");
    // EASE has 0.0975 and 0.1109.
    assert!(
        found["ndcg_at_10"] > 0.115 && found["recall_at_10"] > 0.125,
        "{found:?}"
    );
}

#[test]
fn planted_structure_is_found() {
    let workspace = Workspace::new();
    workspace.write(
        "p.yaml",
        "version: 1
nodes:
  interactions: { op: SyntheticAliCcp, with: { rows: 150000, seed: 3, structure: 0.8 } }
  user:     interactions[user_id] >> Categorify >> TagAsUserID
  item:     interactions[item_id] >> Categorify >> TagAsItemID
  features: user + item
  model:    { op: TwoTowerTrain, input: features, with: { mask_positives: false, learning_rate: 0.003, epochs: 4 } }
  optimum:  { op: PlantedOptimum, input: features, with: { structure: 0.8 } }
  quality:  { op: Evaluate, inputs: { model: model, data: features, optimal: optimum }, with: { per: interaction, bootstrap: 0 }, expect: [ 'recall_at_10 >= 0.9 * optimal.recall_at_10' ] }
",
    );
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let expected = metrics(&workspace, "interactions")["optimal_recall_at_10"];
    let found = metrics(&workspace, "quality");
    let (model, best) = (found["recall_at_10"], found["optimal.recall_at_10"]);
    let popularity = found["popularity.recall_at_10"];
    assert!(
        (best - expected).abs() < 0.01,
        "found {best}, the source says {expected}"
    );
    assert!(model > 0.9 * best && model <= best, "found {model} of {best}");
    assert!(found["ndcg_at_10"] <= found["optimal.ndcg_at_10"], "{found:?}");
    assert!(model > 1.5 * popularity, "found {model}, popularity has {popularity}");
    let table = stdout(&workspace.towline(&["show", "p.yaml", "quality"]));
    let line = table.lines().find(|line| line.trim_start().starts_with("optimal "));
    assert!(line.is_some_and(|line| line.contains(&format!("{best:.4}"))), "{table}");
}

/// Interactions with a planted structure of 0.6, and the model that knows it.
const PLANTED: &str = "version: 1
nodes:
  interactions: { op: SyntheticAliCcp, with: { rows: 40000, seed: 3, structure: 0.6 } }
  user:     interactions[user_id] >> Categorify >> TagAsUserID
  item:     interactions[item_id] >> Categorify >> TagAsItemID
  features: user + item
  optimum:  { op: PlantedOptimum, input: features, with: { structure: 0.6 } }
";

#[test]
fn the_optimal_line_is_that_of_the_optimum_measured_as_a_model() {
    let workspace = Workspace::new();
    let evaluations = "  itself:  { op: Evaluate, inputs: { model: optimum, data: features, optimal: optimum }, with: &at { k: [5, 20], exclude_seen: true, bootstrap: 0 } }
  knn:     { op: ItemKNN, input: features }
  quality: { op: Evaluate, inputs: { model: knn, data: features, optimal: optimum }, with: *at }
  alone:   { op: Evaluate, inputs: { model: knn, data: features }, with: *at }
";
    workspace.write("p.yaml", &format!("{PLANTED}{evaluations}"));
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let (itself, quality) = (metrics(&workspace, "itself"), metrics(&workspace, "quality"));
    let optimal: Vec<(&str, f64)> = quality
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix("optimal.")?, *value)))
        .collect();
    assert_eq!(optimal.len(), 18, "{quality:?}");
    close(&itself, &optimal, 0.0);
    for name in ["recall_at_5", "ndcg_at_5", "recall_at_20", "ndcg_at_20"] {
        let best = quality[&format!("optimal.{name}")];
        assert!(
            best > quality[name] && best > quality[&format!("popularity.{name}")],
            "{name}: {quality:?}"
        );
    }
    let alone: Vec<(String, f64)> = metrics(&workspace, "alone").into_iter().collect();
    let others = quality.into_iter().filter(|(name, _)| !name.starts_with("optimal."));
    assert_eq!(alone, others.collect::<Vec<_>>(), "the other lines do not depend on it");
}

#[test]
fn an_optimum_of_other_data_is_told() {
    let workspace = Workspace::new();
    workspace.write(
        "p.yaml",
        &format!("{PLANTED}  wrong: {{ op: PlantedOptimum, input: features, with: {{ structure: 0.8 }} }}\n"),
    );
    let output = workspace.towline(&["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let record = workspace.records().pop().expect("there was a run");
    let warnings = |name: &str| {
        let node = record.nodes.iter().find(|node| node.name == name);
        node.expect("it is in the record").report.warnings.clone()
    };
    assert!(warnings("optimum").is_empty(), "{:?}", warnings("optimum"));
    let told = warnings("wrong").join("\n");
    assert!(
        told.contains("`structure: 0.8`") && told.contains("not valid"),
        "{told}"
    );

    workspace.write(
        "p.yaml",
        &PLANTED.replace(
            "interactions[item_id] >> Categorify",
            "interactions[item_id] >> HashBucket(buckets=50)",
        ),
    );
    let output = workspace.towline(&["validate", "p.yaml"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let told = stdout(&output) + &stderr(&output);
    assert!(
        told.contains("the original ids of `item_id` are not integers"),
        "{told}"
    );
}
