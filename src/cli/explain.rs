//! `towline explain [CODE]`

use towline_api::suggest;

use crate::cli::Exit;
use crate::config::yaml::Code;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The code in brackets behind `error` or `warning`; without one, all of them are listed.
    code: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let Some(name) = &arguments.code else {
        print!("{}", list());
        return Exit::Success;
    };
    if let Some(code) = Code::named(name) {
        print!("{}", code.explanation());
        return Exit::Success;
    }
    let known: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    eprintln!(
        "error: there is no code `{name}`: {}",
        suggest::sentence(name, &known, "codes")
    );
    Exit::Invalid
}

/// All codes as a page of Markdown; `docs/codes/README.md` is this text.
fn list() -> String {
    let rows: String = Code::ALL
        .iter()
        .map(|code| format!("| [{code}]({code}.md) | {} |\n", code.meaning()))
        .collect();
    format!(
        "# What `towline validate` finds\n\n`towline explain CODE` prints a page of this list.\n\n| code | what it means \
         |\n|---|---|\n{rows}"
    )
}
