//! The words of the sources and the documentation: the field's terms, not riddles.
//!
//! `vocabulary_not_yet.txt` has the words that remain, as counts per folder. Counts may only go down.
//! `TOWLINE_VOCABULARY=write cargo test --workspace --all-targets vocabulary` writes the file anew after words were removed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// How a banned word is found.
enum Form {
    /// As a word or phrase, in any case; an underscore ends a word, so that names are searched as well.
    Phrase,
    /// As the name of a type, where it is declared.
    Type,
}

/// A word that does not belong here.
struct Banned {
    word: &'static str,
    form: Form,
    /// The folder in which it is banned; elsewhere it is a term of the field.
    within: &'static str,
    /// Why, and what to write instead.
    reason: &'static str,
}

const fn phrase(word: &'static str, reason: &'static str) -> Banned {
    Banned {
        word,
        form: Form::Phrase,
        within: "",
        reason,
    }
}

const fn type_name(word: &'static str, reason: &'static str) -> Banned {
    Banned {
        word,
        form: Form::Type,
        within: "",
        reason,
    }
}

const BANNED: &[Banned] = &[
    // People and items.
    phrase(
        "stranger",
        "a user without training data is an unknown or cold-start user",
    ),
    phrase(
        "strangers",
        "users without training data are unknown or cold-start users",
    ),
    phrase("nameless", "say what is missing: without an id, unnamed"),
    phrase("the liked", "items with a positive interaction are positives"),
    phrase("audience", "the users that lists are made for are the target users"),
    phrase("nobody", "say which thing is missing: no user, no reader, no node"),
    phrase("somebody", "say who: another run, another process, another client"),
    phrase("whoever", "say who: a client, a reader, a caller"),
    // Training.
    phrase("weights follow", "the algorithm that updates weights is the optimizer"),
    phrase("passes nothing on", "say the rule: layer width must be at least 1"),
    phrase(
        "learnt along",
        "a parameter that is optimised with the weights is trainable",
    ),
    phrase("by chance", "a random choice is made at random"),
    phrase("makes up for", "say how: scaled by 1 / (1 - p), applied in closed form"),
    phrase("pupil", "a state that is being fitted is a fit or fitter"),
    phrase("lesson", "what is fitted in one scan is a fit request"),
    phrase("lessons", "what is fitted in one scan are fit requests"),
    phrase("survey", "a pass over the data that counts is a scan or statistics"),
    // Runs and messages.
    phrase(
        "told",
        "a message is reported or printed; a value is passed; things are distinguished",
    ),
    phrase(
        "tell",
        "a message is reported or printed; a value is passed; things are distinguished",
    ),
    phrase(
        "tells",
        "a message is reported or printed; a value is passed; things are distinguished",
    ),
    phrase("mend", "an error is fixed"),
    phrase("mends", "an error is fixed"),
    phrase("mended", "an error is fixed"),
    phrase("slip", "a wrong input is a mistake or an error"),
    phrase("slips", "wrong inputs are mistakes or errors"),
    phrase("broke down", "an operator that ends unexpectedly has panicked"),
    phrase("hands on", "a value is passed on or returned"),
    phrase("handed on", "a value is passed on or returned"),
    phrase("anew", "again"),
    phrase("made again", "results are computed again"),
    phrase("stands on", "a result depends on its inputs"),
    phrase("honest", "say the limit"),
    phrase("of one's own", "custom"),
    // Redis.
    phrase("beside the keys", "keys that describe a generation are metadata keys"),
    phrase("goes by itself", "a key with a time to live expires"),
    Banned {
        word: "patience",
        form: Form::Phrase,
        within: "operators/publish",
        reason: "the time for retries is the retry timeout (of early stopping, patience is the term)",
    },
    // Types.
    type_name("Half", "one of the two towers is a Tower"),
    type_name("Warmth", "TemperatureConfig"),
    type_name(
        "Manner",
        "options of a task are named after it: TrainingConfig, PublishOptions",
    ),
    type_name("Drafter", "what expands a file into nodes is an expander or builder"),
    type_name("Holes", "parts that could not be read are missing or invalid parts"),
    type_name("Lesson", "FitRequest"),
    type_name("Audience", "TargetUsers"),
    type_name("Survey", "DataScan or DataStatistics"),
    type_name("Liked", "Positives"),
    type_name("Piece", "WorkItem"),
    type_name("Making", "InProgress"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source and page that is searched. Generated pages repeat the sources, and are left out.
fn searched() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    let mut folders: Vec<PathBuf> = [
        "src",
        "operators",
        "kernels",
        "torch",
        "xtask",
        "docs",
        "examples",
        "pipelines",
    ]
    .iter()
    .map(|folder| root().join(folder))
    .filter(|folder| folder.is_dir())
    .collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("the folder can be read") {
            let path = entry.expect("the entry can be read").path();
            let kind = path.extension().and_then(|extension| extension.to_str());
            if path.is_dir() {
                folders.push(path);
            } else if matches!(kind, Some("rs" | "md" | "yaml" | "py")) && !path.ends_with("docs/operators.md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The folder that a file is counted in: a folder of the engine, of a crate of operators, or of the repository.
fn room(file: &str) -> String {
    let depth = match file.split('/').next() {
        Some("src" | "docs") => 2,
        Some("operators") => 4,
        _ => 1,
    };
    let folders: Vec<&str> = file.split('/').collect();
    let depth = depth.min(folders.len() - 1);
    if depth == 0 {
        file.to_owned()
    } else {
        folders[..depth].join("/")
    }
}

/// How often a text has the word, not as a part of a longer one.
fn count(text: &str, banned: &Banned) -> usize {
    let part = |character: char| match banned.form {
        Form::Phrase => character.is_alphanumeric(),
        Form::Type => character.is_alphanumeric() || character == '_',
    };
    let found = |start: usize| {
        let before = &text[..start];
        let after = text[start + banned.word.len()..].chars().next();
        let declared = match banned.form {
            Form::Phrase => true,
            Form::Type => ["struct ", "enum ", "trait ", "type "]
                .iter()
                .any(|keyword| before.ends_with(keyword)),
        };
        declared && !before.chars().next_back().is_some_and(part) && !after.is_some_and(part)
    };
    text.match_indices(banned.word)
        .filter(|(start, _)| found(*start))
        .count()
}

/// The counts by folder and word, and the places by word.
fn counted() -> (BTreeMap<(String, String), usize>, BTreeMap<String, Vec<String>>) {
    let (mut counts, mut places) = (BTreeMap::new(), BTreeMap::<String, Vec<String>>::new());
    let files = searched();
    assert!(files.len() > 400, "{}", files.len());
    for path in files {
        let text = std::fs::read_to_string(&path).expect("it is text");
        let lower = text.to_lowercase();
        let file = path
            .strip_prefix(root())
            .expect("it is below the root")
            .display()
            .to_string();
        for banned in BANNED.iter().filter(|banned| file.starts_with(banned.within)) {
            let number = match banned.form {
                Form::Phrase => count(&lower, banned),
                Form::Type => count(&text, banned),
            };
            if number > 0 {
                *counts.entry((room(&file), banned.word.to_owned())).or_default() += number;
                places.entry(banned.word.to_owned()).or_default().push(file.clone());
            }
        }
    }
    (counts, places)
}

/// A line per folder and word: folder, count, word.
fn known(text: &str) -> BTreeMap<(String, String), usize> {
    let line = |line: &str| {
        let mut parts = line.splitn(3, ' ');
        let (room, number, word) = (parts.next()?, parts.next()?, parts.next()?);
        Some(((room.to_owned(), word.to_owned()), number.parse().ok()?))
    };
    text.lines()
        .map(|text| line(text).expect("folder, count, word"))
        .collect()
}

#[test]
fn sources_and_documentation_use_the_terms_of_the_field() {
    let list = root().join("tests/it/project/vocabulary_not_yet.txt");
    let (counts, places) = counted();
    if std::env::var_os("TOWLINE_VOCABULARY").is_some_and(|value| value == "write") {
        let mut text = String::new();
        for ((room, word), number) in &counts {
            writeln!(text, "{room} {number} {word}").expect("a text can be extended");
        }
        std::fs::write(&list, text).expect("the list can be written");
    }
    let known = known(&std::fs::read_to_string(&list).expect("the list is there"));
    let mut wrong = Vec::new();
    for ((room, word), number) in &counts {
        let allowed = known.get(&(room.clone(), word.clone())).copied().unwrap_or(0);
        if *number > allowed {
            let reason = BANNED
                .iter()
                .find(|banned| banned.word == word)
                .map_or("", |banned| banned.reason);
            let files: Vec<&String> = places[word]
                .iter()
                .filter(|file| file.starts_with(room.as_str()))
                .collect();
            wrong.push(format!(
                "{room}: `{word}` {number} times, {allowed} allowed: {reason}. In {files:?}"
            ));
        }
    }
    for ((room, word), allowed) in &known {
        let number = counts.get(&(room.clone(), word.clone())).copied().unwrap_or(0);
        if number < *allowed {
            wrong.push(format!(
                "{room}: `{word}` {number} times, {allowed} listed: write the list with TOWLINE_VOCABULARY=write"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
