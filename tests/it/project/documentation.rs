//! README and book: pipelines are valid, commands and links exist, and no page, diagnostic or dependency is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::fixture::workspace::{Workspace, stderr, stdout};

const BOOK: &str = "docs/book/src";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Every Markdown page below a folder, in order.
fn pages_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder can be read") {
            let path = entry.expect("the entry can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// README, the book and the pages beside examples.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("CONTRIBUTING.md")];
    for folder in [BOOK, "docs/codes", "examples", "fuzz"] {
        pages.extend(pages_below(&root().join(folder)));
    }
    pages.push(root().join("docs/operators.md"));
    assert!(pages.len() > 60, "{}", pages.len());
    pages
}

fn name(page: &Path) -> String {
    page.strip_prefix(root()).unwrap_or(page).display().to_string()
}

/// The text with the files that mdBook includes.
fn with_includes(page: &Path) -> String {
    let line = |line: &str| {
        let included = line
            .strip_prefix("{{#include ")
            .and_then(|rest| rest.strip_suffix("}}"));
        match (included, page.parent()) {
            (Some(file), Some(folder)) => read(&folder.join(file)),
            _ => format!("{line}\n"),
        }
    };
    read(page).lines().map(line).collect()
}

/// The fenced blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut open: Option<bool> = None;
    for line in text.lines() {
        match (line.strip_prefix("```"), open) {
            (Some(info), None) => {
                let wanted = info.split(',').next() == Some(language);
                if wanted {
                    found.push(String::new());
                }
                open = Some(wanted);
            }
            (Some(_), Some(_)) => open = None,
            (None, Some(true)) => {
                if let Some(block) = found.last_mut() {
                    block.push_str(line);
                    block.push('\n');
                }
            }
            _ => {}
        }
    }
    found
}

#[test]
fn pipelines_of_readme_and_book_are_valid() {
    let mut pages = pages_below(&root().join(BOOK));
    pages.push(root().join("README.md"));
    // The pages of diagnostics have pipelines that fail on purpose, and a test of their own.
    pages.retain(|page| !page.ends_with("reference/diagnostics.md"));
    let workspace = Workspace::new();
    let mut seen = 0;
    for page in pages {
        for block in blocks(&with_includes(&page), "yaml") {
            // The operator is one of an example, whose own test runs it.
            if !block.lines().any(|line| line == "version: 1") || block.contains("op: TidyText") {
                continue;
            }
            seen += 1;
            workspace.write("pipeline.yaml", &block);
            let output = workspace.towline(&["validate", "--offline", "pipeline.yaml"]);
            let found = stderr(&output);
            assert_eq!(output.status.code(), Some(0), "{}:\n{block}\n{found}", name(&page));
            assert!(!found.contains("deprecated"), "{}:\n{block}\n{found}", name(&page));
        }
    }
    assert!(seen >= 12, "{seen}");
}

/// The commands of a console block or a shell block: the arguments of each line that calls `towline`.
fn commands(text: &str) -> Vec<Vec<String>> {
    let console = blocks(text, "console");
    let shell = blocks(text, "sh");
    let prompts = console
        .iter()
        .flat_map(|block| block.lines())
        .filter_map(|line| line.strip_prefix("$ "));
    let lines = prompts.chain(shell.iter().flat_map(|block| block.lines()));
    let calls = lines.filter_map(|line| line.strip_prefix("towline "));
    let arguments = |line: &str| {
        line.split(" && ")
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    calls.map(arguments).collect()
}

#[test]
fn commands_and_options_in_readme_and_book_exist() {
    let workspace = Workspace::new();
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    let mut seen = 0;
    for page in pages() {
        for arguments in commands(&read(&page)) {
            let Some(command) = arguments.first() else { continue };
            let help = helps
                .entry(command.clone())
                .or_insert_with(|| stdout(&workspace.towline(&[command, "--help"])));
            assert!(
                help.contains("Usage: "),
                "{}: there is no `towline {command}`",
                name(&page)
            );
            for option in arguments.iter().filter(|argument| argument.starts_with("--")) {
                assert!(
                    help.contains(option.as_str()),
                    "{}: `towline {command}` has no `{option}`",
                    name(&page)
                );
            }
            seen += 1;
        }
    }
    assert!(seen >= 15, "{seen}");
}

/// The targets of the links of a page, outside of code.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut code = false;
    for line in text.lines() {
        if line.starts_with("```") {
            code = !code;
        } else if !code {
            // In between backticks there is code.
            for prose in line.split('`').step_by(2) {
                let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
                found.extend(targets.map(str::to_owned));
            }
            // The text of a link may itself be code.
            let linked = line.split("`](").skip(1).filter_map(|rest| rest.split(')').next());
            found.extend(linked.map(str::to_owned));
        }
    }
    found
}

/// The anchors of a page, as mdBook and forges name them: lower case, words joined by hyphens.
fn anchors(text: &str) -> BTreeSet<String> {
    let slug = |heading: &str| {
        let kept = heading.trim().to_lowercase();
        let kept = kept
            .chars()
            .filter(|character| character.is_alphanumeric() || " -_".contains(*character));
        kept.map(|character| if character == ' ' { '-' } else { character })
            .collect()
    };
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| slug(line.trim_start_matches('#')))
        .collect()
}

#[test]
fn relative_links_resolve() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for page in pages() {
        let book = page.starts_with(root().join(BOOK));
        // The pages that are included link among themselves where they lie, and are pages here, too.
        for link in links(&read(&page)) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link.as_str(), ""));
            let folder = page.parent().expect("a page lies in a folder");
            let target = if file.is_empty() {
                page.clone()
            } else {
                folder.join(file)
            };
            let outside = || {
                !target
                    .canonicalize()
                    .is_ok_and(|path| path.starts_with(root().join(BOOK)))
            };
            if !target.exists() {
                broken.push(format!("{}: {link} is not there", name(&page)));
            } else if book && outside() {
                broken.push(format!("{}: {link} leads out of the book", name(&page)));
            } else if !anchor.is_empty() && !anchors(&with_includes(&target)).contains(anchor) {
                broken.push(format!("{}: {link} has no such heading", name(&page)));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(seen > 100, "{seen}");
}

#[test]
fn every_page_and_every_diagnostic_is_a_part_of_the_book() {
    let summary = read(&root().join(BOOK).join("SUMMARY.md"));
    for page in pages_below(&root().join(BOOK)) {
        let path = page
            .strip_prefix(root().join(BOOK))
            .expect("a page of the book")
            .display()
            .to_string();
        assert!(
            path == "SUMMARY.md" || summary.contains(&format!("({path})")),
            "{path} is not in SUMMARY.md"
        );
    }
    let diagnostics = read(&root().join(BOOK).join("reference/diagnostics.md"));
    for page in pages_below(&root().join("docs/codes")) {
        let file = page
            .file_name()
            .expect("a page has a name")
            .to_string_lossy()
            .into_owned();
        let included = diagnostics.contains(&format!("{{{{#include ../../../codes/{file}}}}}"));
        assert!(
            included || file == "README.md",
            "{file} is not in reference/diagnostics.md"
        );
    }
}

/// The names under the headings of dependencies in a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.trim_end_matches(']').ends_with("dependencies");
        } else if inside && line.starts_with(|first: char| first.is_ascii_alphabetic()) {
            let end = line.find(|character: char| !(character.is_alphanumeric() || "-_".contains(character)));
            found.push(line[..end.unwrap_or(line.len())].to_owned());
        }
    }
    found
}

#[test]
fn every_dependency_is_documented() {
    let page = read(&root().join(BOOK).join("dependencies.md"));
    let mut seen = 0;
    for folder in crate::source_tree::folders(root()).expect("the folders can be read") {
        let manifest = folder.join("Cargo.toml");
        if !manifest.is_file() {
            continue;
        }
        for dependency in dependencies(&read(&manifest)) {
            seen += 1;
            let documented = dependency.starts_with("towline") || page.contains(&format!("`{dependency}`"));
            assert!(
                documented,
                "{}: `{dependency}` is not in dependencies.md",
                name(&manifest)
            );
        }
    }
    assert!(seen > 60, "{seen}");
}
