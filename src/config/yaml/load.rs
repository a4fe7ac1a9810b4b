//! Loading of a YAML document: checks of the bytes, then the parser.

use crate::config::yaml::compose::compose;
use crate::config::yaml::{Code, Diagnostic, FileId, MAX_BYTES, SourceMap, Span, Value};

/// The result of [`parse`].
#[derive(Debug)]
pub struct Parsed {
    /// The text, in the source map.
    pub file: FileId,
    /// The tree, if enough of it is sound to look for more mistakes in it; it may exist beside errors.
    pub value: Option<Value>,
    /// The diagnostics.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a YAML document into a tree, or says everything that is wrong with it.
pub fn load(map: &mut SourceMap, name: &str, bytes: &[u8]) -> Result<Value, Vec<Diagnostic>> {
    let parsed = parse(map, name, bytes);
    match parsed.value {
        Some(value) if !parsed.diagnostics.iter().any(Diagnostic::is_error) => Ok(value),
        _ => Err(parsed.diagnostics),
    }
}

/// Reads a YAML document; unlike [`load`] it keeps a tree that has mistakes, such as duplicate keys, which don't keep
/// the rest from being checked.
pub fn parse(map: &mut SourceMap, name: &str, bytes: &[u8]) -> Parsed {
    let failed = |file, diagnostic| Parsed {
        file,
        value: None,
        diagnostics: vec![diagnostic],
    };
    if bytes.len() > MAX_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_BYTES} are read", bytes.len());
        let file = map.add(name.to_owned(), String::new());
        return failed(file, Diagnostic::error(Code::BadYaml, message));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            // Up to the first bad byte the lossy text is the file, so that byte's offset is right in it.
            let file = map.add(name.to_owned(), String::from_utf8_lossy(bytes).into_owned());
            return failed(file, not_utf8(file, bytes, error.valid_up_to()));
        }
    };
    let file = map.add(name.to_owned(), text.to_owned());
    let refused = refuse(file, text);
    if !refused.is_empty() {
        return Parsed {
            file,
            value: None,
            diagnostics: refused,
        };
    }
    let (value, diagnostics) = compose(file, text);
    Parsed {
        file,
        value,
        diagnostics,
    }
}

fn not_utf8(file: FileId, bytes: &[u8], valid: usize) -> Diagnostic {
    let help = if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        "the file looks like UTF-16; save it as UTF-8"
    } else {
        "save the file as UTF-8"
    };
    Diagnostic::error(Code::BadYaml, "the file is not UTF-8 text")
        .at(Span {
            file,
            start: valid,
            end: valid + char::REPLACEMENT_CHARACTER.len_utf8(),
        })
        .label("the first byte that is not")
        .help(help)
}

/// Mistakes that the parser would report as something else, or not at all.
fn refuse(file: FileId, text: &str) -> Vec<Diagnostic> {
    if let Some(at) = text.find('\0') {
        let span = Span {
            file,
            start: at,
            end: at + 1,
        };
        return vec![
            Diagnostic::error(
                Code::BadYaml,
                "the file holds a NUL character, so it is probably not text",
            )
            .at(span),
        ];
    }
    conflict_markers(file, text)
}

fn conflict_markers(file: FileId, text: &str) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        let marker = |sign: &str| {
            bare.strip_prefix(sign)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        };
        if marker("<<<<<<<") || marker(">>>>>>>") {
            let end = start + bare.len();
            found.push(
                Diagnostic::error(Code::BadYaml, "an unresolved git merge conflict")
                    .at(Span { file, start, end })
                    .label("left by the merge")
                    .help("choose one side and remove the lines with the markers"),
            );
        }
        start += line.len();
    }
    found
}
