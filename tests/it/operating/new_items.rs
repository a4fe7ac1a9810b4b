//! Training that begins where another ended, that weighs its rows, and that knows items by their features alone.

use std::fmt::Write as _;

use crate::fixture::workspace::{Workspace, stderr, stdout};

const TASTES: usize = 8;

/// 160 users, each of a taste, and 320 films, each of a genre. Only the first half of the films occurs in `train`; `valid`
/// is of the other half, again by taste.
fn data(workspace: &Workspace) {
    let mut films = String::from("film,genre\n");
    for film in 0..320 {
        let _ = writeln!(films, "f{film},g{}", film % TASTES);
    }
    workspace.write("films.csv", &films);
    for (name, first) in [("train.csv", 0), ("valid.csv", 160)] {
        let mut rows = String::from("user,taste,film,stars\n");
        for user in 0..160 {
            for step in 0..10 {
                let film = first + (user * 7 + step * 3) % 20 * TASTES + user % TASTES;
                let _ = writeln!(rows, "u{user},t{},f{film},{}", user % TASTES, 1 + step % 5);
            }
        }
        workspace.write(name, &rows);
    }
}

/// Films have ids by the list of all films, and the model is trained with these parameters.
fn pipeline(with: &str, more: &str) -> String {
    // What was learnt by heart shows on `train`.
    let (split, exclude) = if more.is_empty() {
        ("valid", true)
    } else {
        ("train", false)
    };
    format!(
        "version: 1
nodes:
  films: {{ op: CsvSource, with: {{ path: films.csv }} }}
  film_id: films[film] >> Categorify >> TagAsItemID
  film_genre: films[genre] >> Categorify >> TagAsItemFeatures
  catalogue: film_id + film_genre
  watched: {{ op: CsvSource, with: {{ splits: {{ train: train.csv, valid: valid.csv }} }} }}
  with_genre: {{ op: Sql, inputs: {{ watched: watched, films: films }}, with: {{ query: \"SELECT w.*, f.genre FROM watched w JOIN films f ON w.film = f.film ORDER BY w.\\\"user\\\", w.film\" }} }}
  user: with_genre[user] >> Categorify >> TagAsUserID
  taste: with_genre[taste] >> Categorify >> TagAsUserFeatures
  film: {{ op: Categorify, inputs: {{ input: 'with_genre[film]', vocabulary: film_id }} }}
  item: film >> TagAsItemID
  genre: {{ op: Categorify, inputs: {{ input: 'with_genre[genre]', vocabulary: film_genre }} }}
  item_genre: genre >> TagAsItemFeatures
  features: user + taste + item + item_genre
  model: {{ op: TwoTowerTrain, inputs: {{ input: features, items: catalogue }}, with: {{ layers: [16], batch_size: 200, epochs: 8, learning_rate: 0.01, {with} }} }}
  quality: {{ op: Evaluate, inputs: {{ model: model, data: features }}, with: {{ split: {split}, exclude_seen: {exclude} }} }}
{more}"
    )
}

fn metric(workspace: &Workspace, node: &str, name: &str) -> f64 {
    let records = workspace.records();
    let nodes = &records.last().expect("there was a run").nodes;
    let node = nodes.iter().find(|found| found.name == node).expect("the node ran");
    node.metrics[name]
}

#[test]
fn items_that_training_never_saw_are_found_by_their_features() {
    let workspace = Workspace::new();
    data(&workspace);
    workspace.write("p.yaml", &pipeline("id_embedding: features_only", ""));
    let run = workspace.towline(&["run", "p.yaml"]);
    assert!(run.status.success(), "{}", stderr(&run));
    let (model, chance) = (
        metric(&workspace, "quality", "recall_at_10"),
        metric(&workspace, "quality", "random.recall_at_10"),
    );
    assert!(
        model > 5.0 * chance && chance > 0.0,
        "{model} {chance}\n{}",
        stdout(&run)
    );
    // Every relevant item is one that training never saw.
    for name in ["cold.recall_at_10", "tail.recall_at_10"] {
        assert_eq!(metric(&workspace, "quality", name), model, "{name}");
    }
    assert_eq!(metric(&workspace, "quality", "head.recall_at_10"), 0.0);
    assert!(stdout(&run).contains("model, cold items"), "{}", stdout(&run));
}

#[test]
fn pairs_teach_what_users_prefer() {
    let workspace = Workspace::new();
    data(&workspace);
    workspace.write("p.yaml", &pipeline("id_embedding: features_only, loss: bpr", ""));
    let run = workspace.towline(&["run", "p.yaml"]);
    assert!(run.status.success(), "{}", stderr(&run));
    let (model, chance) = (
        metric(&workspace, "quality", "recall_at_10"),
        metric(&workspace, "quality", "random.recall_at_10"),
    );
    assert!(model > 5.0 * chance, "{model} {chance}");
}

#[test]
fn an_earlier_model_is_where_training_begins() {
    let workspace = Workspace::new();
    data(&workspace);
    let later = "  next: { op: TwoTowerTrain, inputs: { input: features, items: catalogue, warm_start: model }, with: { layers: [16], batch_size: 200, epochs: 1, learning_rate: 1.0e-9 } }
  again: { op: Evaluate, inputs: { model: next, data: features }, with: { split: train } }
";
    workspace.write("p.yaml", &pipeline("id_embedding: both", later));
    let run = workspace.towline(&["run", "p.yaml"]);
    assert!(run.status.success(), "{}", stderr(&run));
    for name in ["recall_at_10", "ndcg_at_10"] {
        assert_eq!(
            metric(&workspace, "quality", name),
            metric(&workspace, "again", name),
            "{name}"
        );
    }
    assert!(metric(&workspace, "quality", "recall_at_10") > 0.5);
    let (before, after) = (metric(&workspace, "model", "loss"), metric(&workspace, "next", "loss"));
    assert!(after < before, "{before} {after}");
    assert!(stdout(&run).contains("new embeddings 0"), "{}", stdout(&run));
}

#[test]
fn rows_of_weight_0_might_as_well_not_be_there() {
    let workspace = Workspace::new();
    data(&workspace);
    let weighted = pipeline("id_embedding: features_only, sample_weight: weight", "")
        .replace(
            "SELECT w.*,",
            "SELECT w.*, CASE WHEN stars > 2 THEN 2 ELSE 0 END AS weight,",
        )
        .replace("features: user +", "features: with_genre[weight] + user +");
    workspace.write("p.yaml", &weighted);
    let run = workspace.towline(&["run", "p.yaml"]);
    assert!(run.status.success(), "{}", stderr(&run));
    assert!(metric(&workspace, "quality", "recall_at_10") > 0.1);

    workspace.write("none.yaml", &weighted.replace("THEN 2", "THEN 0"));
    let none = workspace.towline(&["run", "none.yaml"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(
        stderr(&none).contains("all weights of `sample_weight` are 0"),
        "{}",
        stderr(&none)
    );
    workspace.write("negative.yaml", &weighted.replace("ELSE 0", "ELSE -1"));
    let negative = workspace.towline(&["run", "negative.yaml"]);
    assert_eq!(negative.status.code(), Some(1));
    assert!(
        stderr(&negative).contains("`weight` is not a valid sample weight in row"),
        "{}",
        stderr(&negative)
    );
}

#[test]
fn choices_that_make_no_tower_are_told_before_a_run() {
    let workspace = Workspace::new();
    data(&workspace);
    for (with, told) in [
        (
            "embedding_dims: { gnre: 4 }",
            "no tower has a column with embeddings `gnre`",
        ),
        ("sample_weight: star", "there is no column `star`"),
        (
            "sample_weight: user",
            "`user` is a feature of a tower; a sample weight must not be one",
        ),
        (
            "loss: bpr, uniform_negatives: 5",
            "only `loss: sampled_softmax` takes additional negatives",
        ),
        ("embedding_dims: { user: 0 }", "embedding width must be at least 1"),
    ] {
        workspace.write("p.yaml", &pipeline(with, ""));
        let output = workspace.towline(&["validate", "p.yaml"]);
        assert_eq!(output.status.code(), Some(2), "{with}");
        assert!(stderr(&output).contains(told), "{with}: {}", stderr(&output));
    }
    let later =
        "  next: { op: TwoTowerTrain, inputs: { input: features, warm_start: model }, with: { layers: [32] } }\n";
    workspace.write("p.yaml", &pipeline("id_embedding: both", later));
    let output = workspace.towline(&["validate", "p.yaml"]);
    let told = "the embedding width of `warm_start` is 16, that of this model 32";
    assert!(stderr(&output).contains(told), "{}", stderr(&output));
}
