//! `cargo xtask new-operator`: a file that compiles and has a test, its lines in the room and in the registry.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::workspace::{cargo, root};

/// Where the operator goes, and what it is like.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Its name in pipelines, in upper camel case: `Winsorize`.
    name: String,
    /// The crate under `operators/`.
    #[arg(long = "crate", default_value = "tabular")]
    package: String,
    /// The folder under the crate's `src/`: `features/numeric`, `rows`, `evaluate`.
    #[arg(long)]
    room: String,
    /// How it does its work.
    #[arg(long, value_enum, default_value_t = Form::Columns)]
    form: Form,
}

/// The forms that there are templates of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Changes columns, keeps rows.
    Columns,
    /// Makes new rows, lazily.
    Table,
    /// Learns from one split, then changes columns.
    Stateful,
    /// Anything else: training, measuring.
    Task,
}

impl Form {
    fn template(self) -> &'static str {
        match self {
            Form::Columns => include_str!("../templates/columns.rs.template"),
            Form::Table => include_str!("../templates/table.rs.template"),
            Form::Stateful => include_str!("../templates/stateful.rs.template"),
            Form::Task => include_str!("../templates/task.rs.template"),
        }
    }
}

/// Writes the file, and names it in its room and in the registry.
pub(crate) fn write(arguments: &Arguments) -> Result<()> {
    let Arguments {
        name,
        package,
        room,
        form,
    } = arguments;
    let file = snake_case(name)?;
    ensure!(
        package == "tabular" || *form == Form::Task,
        "only `--form task` has a template for crates other than tabular"
    );
    let folder = root().join("operators").join(package).join("src").join(room);
    let (path, module) = (folder.join(format!("{file}.rs")), folder.join("mod.rs"));
    ensure!(!path.exists(), "{} exists already", path.display());
    let registry = root().join("operators/src/lib.rs");
    edit(&module, |text| in_module(text, &file, name))?;
    let place = format!("{package}::{}", room.trim_matches('/').replace('/', "::"));
    edit(&registry, |text| in_registry(text, &place, name))?;
    fs::write(&path, filled(form.template(), name, &file)).with_context(|| path.display().to_string())?;
    cargo(&["fmt", "--all"], &[])?;
    println!(
        "written: operators/{package}/src/{room}/{file}.rs\n\
         next: write the operator and its test in that file; give it a node in tests/it/operating/golden/pipeline.yaml;\n\
         then `cargo xtask docs`, and `cargo test --workspace --all-targets`"
    );
    Ok(())
}

fn filled(template: &str, name: &str, file: &str) -> String {
    template.replace("{{Name}}", name).replace("{{name}}", file)
}

fn edit(path: &Path, change: impl FnOnce(&str) -> Result<String>) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let text = change(&text).with_context(|| path.display().to_string())?;
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

/// The name of the file of an operator.
fn snake_case(name: &str) -> Result<String> {
    let letters = name.chars().all(|c| c.is_ascii_alphanumeric());
    if !letters || !name.starts_with(|c: char| c.is_ascii_uppercase()) {
        bail!("`{name}` is not in upper camel case, as in `Winsorize`");
    }
    let letters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (place, letter) in letters.iter().enumerate() {
        let after_small = place > 0 && letters[place - 1].is_ascii_lowercase();
        let before_small = place > 0 && letters.get(place + 1).is_some_and(char::is_ascii_lowercase);
        if letter.is_ascii_uppercase() && (after_small || before_small) {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    Ok(out)
}

/// A room with one operator more; `cargo fmt` puts the lines into order.
fn in_module(text: &str, file: &str, name: &str) -> Result<String> {
    let modules = text.find("pub(crate) mod ").or_else(|| text.find("mod "));
    let first = modules.context("it has no modules")?;
    let start = text[..first].rfind('\n').map_or(0, |end| end + 1);
    let uses = text.find("pub use ").context("it hands no operators on")?;
    Ok(format!(
        "{}pub(crate) mod {file};\n{}pub use {file}::{name};\n{}",
        &text[..start],
        &text[start..uses],
        &text[uses..]
    ))
}

/// The registry with one operator more: behind the last of the same room, or at the end.
fn in_registry(text: &str, place: &str, name: &str) -> Result<String> {
    let same = format!("        .with::<{place}::");
    let last = text.rfind(&same).or_else(|| text.rfind("        .with::<"));
    let last = last.context("it lists no operators")?;
    let end = text[last..].find('\n').context("it ends in the list")? + last + 1;
    let line = format!("        .with::<{place}::{name}>()\n");
    Ok(format!("{}{line}{}", &text[..end], &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_after_their_operator() {
        for (name, file) in [
            ("Winsorize", "winsorize"),
            ("TagAsUserID", "tag_as_user_id"),
            ("KCore", "k_core"),
            ("TopKEncode", "top_k_encode"),
        ] {
            assert_eq!(snake_case(name).unwrap(), file);
        }
        assert!(snake_case("winsorize").is_err() && snake_case("Two-Tower").is_err());
    }

    #[test]
    fn the_lines_go_to_their_own_kind() {
        let room = "//! A room.\n\npub(crate) mod clip;\n\npub use clip::Clip;\n";
        let expected = "//! A room.\n\npub(crate) mod winsorize;\npub(crate) mod clip;\n\npub use winsorize::Winsorize;\n\
                        pub use clip::Clip;\n";
        assert_eq!(in_module(room, "winsorize", "Winsorize").unwrap(), expected);
        let registry = "    Registry::default()\n        .with::<a::x::One>()\n        .with::<a::y::Two>()\n}\n";
        let expected = "    Registry::default()\n        .with::<a::x::One>()\n        .with::<a::x::New>()\n        \
                        .with::<a::y::Two>()\n}\n";
        assert_eq!(in_registry(registry, "a::x", "New").unwrap(), expected);
    }

    #[test]
    fn templates_are_filled_as_a_whole() {
        for form in Form::value_variants() {
            let text = filled(form.template(), "Winsorize", "winsorize");
            assert!(
                !text.contains("{{") && text.contains("pub struct Winsorize"),
                "{form:?}"
            );
        }
    }
}
