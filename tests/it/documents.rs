//! YAML that people get wrong, and what they are told.

use proptest::prelude::*;
use towline::document::{SourceMap, Style, load, render};

fn complaints(bytes: &[u8]) -> String {
    let mut sources = SourceMap::default();
    let (_, result) = load(&mut sources, "p.yaml", bytes);
    render(
        &sources,
        &result.expect_err("the document is wrong"),
        Style { color: false },
    )
}

fn first_line(bytes: &[u8]) -> String {
    complaints(bytes).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn every_duplicate_key_is_found_with_both_places() {
    let text = complaints(b"a: 1\nb: 2\na: 3\nb: 4\n");
    assert!(
        text.contains("error[duplicate-key] p.yaml:3:1: the key `a` is here twice"),
        "{text}"
    );
    assert!(
        text.contains("error[duplicate-key] p.yaml:4:1: the key `b` is here twice"),
        "{text}"
    );
    assert!(text.contains("first here") && text.contains("again here"), "{text}");
}

#[test]
fn unreadable_texts_say_what_they_are() {
    assert_eq!(first_line(b""), "error[bad-yaml]: the file is empty");
    assert_eq!(
        first_line(b"a: \xff"),
        "error[bad-yaml] p.yaml:1:4: the file is not UTF-8 text"
    );
    assert_eq!(
        first_line(b"a: \0"),
        "error[bad-yaml] p.yaml:1:4: the file has a NUL byte: it is not a text file"
    );
    assert_eq!(
        first_line(b"a:\n\tb: 1"),
        "error[bad-yaml] p.yaml:2:1: a tab indents this line"
    );
    let conflict = b"a: 1\n<<<<<<< HEAD\nb: 2\n=======\nb: 3\n>>>>>>> x\n";
    assert_eq!(
        first_line(conflict),
        "error[bad-yaml] p.yaml:2:1: a merge conflict is not resolved"
    );
    assert!(first_line(b"a: 1\n---\nb: 2\n").contains("a second document begins here"));
    assert!(first_line(b"a: [1, 2").starts_with("error[bad-yaml] p.yaml:"));
}

#[test]
fn bombs_are_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    assert!(first_line(bomb.as_bytes()).contains("[alias-bomb]"));
    let deep: String = (0..150).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(
        first_line(deep.as_bytes()).contains("[too-deep]"),
        "{}",
        first_line(deep.as_bytes())
    );
    assert!(first_line("[".repeat(10_000).as_bytes()).starts_with("error["));
}

#[test]
fn merge_keys_give_way_to_explicit_ones() {
    let mut sources = SourceMap::default();
    let text = b"base: &b { x: 1, y: 2 }\nnode: { <<: *b, y: 3 }\n";
    let (_, value) = load(&mut sources, "p.yaml", text);
    let json = value.expect("valid").to_json();
    assert_eq!(json["node"], serde_json::json!({ "x": 1, "y": 3 }));
}

#[test]
fn columns_count_characters() {
    assert!(first_line("é: 1\n\"é\": 2\n".as_bytes()).contains("p.yaml:2:1"));
    assert!(first_line("{ ä: 1, ä: 2 }\n".as_bytes()).contains("p.yaml:1:9"));
}

#[test]
fn any_number_of_comments_may_stand_in_a_row() {
    let mut sources = SourceMap::default();
    let text = format!("{}a: 1\n", "# a comment\n".repeat(500));
    let (_, value) = load(&mut sources, "p.yaml", text.as_bytes());
    assert_eq!(value.expect("valid").to_json(), serde_json::json!({ "a": 1 }));
}

proptest! {
    #[test]
    fn no_input_panics_and_every_place_is_in_the_file(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut sources = SourceMap::default();
        let (file, result) = load(&mut sources, "p.yaml", &bytes);
        if let Err(diagnostics) = result {
            render(&sources, &diagnostics, Style { color: false });
            for span in diagnostics.iter().filter_map(|d| d.span) {
                prop_assert!(span.start <= span.end && span.end <= sources.text(file).len());
            }
        }
    }

    #[test]
    fn yaml_like_text_does_not_panic(text in "([a-c]: |- |\\[|\\]|\\{|\\}|\"|'|\n| |&a |\\*a|<<|#|é|\\|\n){0,40}") {
        let mut sources = SourceMap::default();
        let (_, result) = load(&mut sources, "p.yaml", text.as_bytes());
        if let Err(diagnostics) = result {
            render(&sources, &diagnostics, Style { color: false });
        }
    }
}
