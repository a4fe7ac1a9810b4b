//! From text to a tree. Nothing here recurses over the input: depth and size are bounded.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, options};

use super::diagnostic::Diagnostic;
use super::scalar::resolve_plain;
use super::source_map::{FileId, SourceMap, Span};
use super::value::{Key, Mapping, Value, ValueKind};

/// The deepest nesting that is read; pipelines need less than ten.
const MAX_DEPTH: usize = 100;
/// Values that aliases may expand to; far more than any pipeline, far less than an alias bomb.
const MAX_VALUES: usize = 200_000;
/// The largest file that is read.
const MAX_BYTES: usize = 16 << 20;

/// The document in `bytes`, or everything that is wrong with it. The text is kept in `sources` in either case.
pub fn load(sources: &mut SourceMap, name: &str, bytes: &[u8]) -> (FileId, Result<Value, Vec<Diagnostic>>) {
    let text = String::from_utf8_lossy(bytes);
    let file = sources.add(name, text.as_ref());
    if let Some(problem) = unreadable(file, bytes, &text) {
        return (file, Err(vec![problem]));
    }
    let mut builder = Builder::new(file, text.len());
    builder.read(&text);
    (file, builder.finish())
}

/// What no parser needs to see: the cause is plain, and its own message would not say it.
fn unreadable(file: FileId, bytes: &[u8], text: &str) -> Option<Diagnostic> {
    let at = |start: usize, end: usize| Span {
        file,
        start,
        end: end.min(text.len()),
    };
    if bytes.len() > MAX_BYTES {
        return Some(Diagnostic::error(
            "bad-yaml",
            None,
            "the file is larger than 16 MiB: this is not a pipeline",
        ));
    }
    if let Err(error) = std::str::from_utf8(bytes) {
        let offset = error.valid_up_to();
        return Some(
            Diagnostic::error("bad-yaml", at(offset, offset + 1), "the file is not UTF-8 text")
                .help("save it as UTF-8; a pipeline is a YAML text file"),
        );
    }
    if let Some(offset) = text.find('\0') {
        let message = "the file has a NUL byte: it is not a text file";
        return Some(Diagnostic::error("bad-yaml", at(offset, offset + 1), message));
    }
    if text.trim().is_empty() {
        return Some(
            Diagnostic::error("bad-yaml", None, "the file is empty")
                .help("`towline init` writes a pipeline to start from"),
        );
    }
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with("<<<<<<< ") || line.starts_with(">>>>>>> ") {
            return Some(
                Diagnostic::error(
                    "bad-yaml",
                    at(start, start + line.trim_end().len()),
                    "a merge conflict is not resolved",
                )
                .help("choose one side and delete the lines with <<<<<<<, ======= and >>>>>>>"),
            );
        }
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(tab) = line[..indent]
            .find('\t')
            .filter(|_| !line.trim().is_empty() && !line.trim().starts_with('#'))
        {
            return Some(
                Diagnostic::error("bad-yaml", at(start + tab, start + tab + 1), "a tab indents this line")
                    .help("YAML is indented with spaces"),
            );
        }
        start += line.len();
    }
    None
}

enum Frame {
    Sequence {
        start: Span,
        anchor: usize,
        items: Vec<Value>,
    },
    Mapping {
        start: Span,
        anchor: usize,
        entries: Vec<(Key, Value)>,
        merges: Vec<Value>,
        key: Option<Key>,
    },
}

struct Builder {
    file: FileId,
    length: usize,
    stack: Vec<Frame>,
    anchors: HashMap<usize, (Value, usize)>,
    values: usize,
    documents: usize,
    root: Option<Value>,
    diagnostics: Vec<Diagnostic>,
}

impl Builder {
    fn new(file: FileId, length: usize) -> Self {
        Builder {
            file,
            length,
            stack: Vec::new(),
            anchors: HashMap::new(),
            values: 0,
            documents: 0,
            root: None,
            diagnostics: Vec::new(),
        }
    }

    fn read(&mut self, text: &str) {
        // Nobody reads the comments here, and the parser refuses more than a few dozen in a row while it collects them.
        let options = options! { emit_comments: false };
        for next in Parser::new_from_str_with_options(text, options) {
            match next {
                Ok((event, span)) => {
                    let range = span.byte_range().unwrap_or(0..0);
                    let span = Span {
                        file: self.file,
                        start: range.start.min(self.length),
                        end: range.end.min(self.length),
                    };
                    if !self.event(event, span, text) {
                        return;
                    }
                }
                Err(error) => {
                    let offset = error.marker().byte_offset().unwrap_or(self.length).min(self.length);
                    let span = Span {
                        file: self.file,
                        start: offset,
                        end: offset,
                    };
                    self.diagnostics.push(
                        Diagnostic::error("bad-yaml", span, format!("this is not valid YAML: {}", error.info())).help(
                            "look at the indentation, the quotes and the colons of this line and the one before it",
                        ),
                    );
                    return;
                }
            }
        }
    }

    /// Takes one event; false if there is no use in going on.
    fn event(&mut self, event: Event<'_>, span: Span, text: &str) -> bool {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let message = "a second document begins here: a pipeline is one document";
                    self.diagnostics.push(Diagnostic::error("bad-yaml", span, message));
                    return false;
                }
            }
            Event::Scalar(content, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let kind = match tag.as_ref().and_then(|tag| tag.core_suffix()) {
                    Some("str") => ValueKind::String(content.into_owned()),
                    Some(_) => resolve_plain(&content),
                    None if plain => resolve_plain(&content),
                    None => ValueKind::String(content.into_owned()),
                };
                // The parser ends a scalar of several lines after its final line break.
                let trimmed = text
                    .get(span.start..span.end)
                    .map_or(span.end, |t| span.start + t.trim_end().len());
                return self.value(
                    Value {
                        kind,
                        span: Span { end: trimmed, ..span },
                    },
                    anchor,
                    1,
                );
            }
            Event::Alias(anchor) => {
                let Some((value, size)) = self.anchors.get(&anchor).cloned() else {
                    let message = "an alias refers to a value that it is part of";
                    self.diagnostics.push(Diagnostic::error("bad-yaml", span, message));
                    return false;
                };
                return self.value(value, 0, size);
            }
            Event::SequenceStart(_, anchor, _) => {
                self.stack.push(Frame::Sequence {
                    start: span,
                    anchor,
                    items: Vec::new(),
                });
                return self.depth_is_fine(span);
            }
            Event::MappingStart(_, anchor, _) => {
                let (entries, merges) = (Vec::new(), Vec::new());
                self.stack.push(Frame::Mapping {
                    start: span,
                    anchor,
                    entries,
                    merges,
                    key: None,
                });
                return self.depth_is_fine(span);
            }
            Event::SequenceEnd | Event::MappingEnd => return self.close(span, text),
            _ => {}
        }
        true
    }

    fn depth_is_fine(&mut self, span: Span) -> bool {
        if self.stack.len() > MAX_DEPTH {
            let message = format!("values are nested more than {MAX_DEPTH} deep here");
            self.diagnostics.push(Diagnostic::error("too-deep", span, message));
            return false;
        }
        true
    }

    fn close(&mut self, end: Span, text: &str) -> bool {
        let Some(frame) = self.stack.pop() else { return true };
        let (kind, start, anchor) = match frame {
            Frame::Sequence { start, anchor, items } => (ValueKind::Sequence(items), start, anchor),
            Frame::Mapping {
                start,
                anchor,
                mut entries,
                merges,
                ..
            } => {
                for (key, value) in merges
                    .iter()
                    .filter_map(Value::as_mapping)
                    .flat_map(|mapping| &mapping.0)
                {
                    if !entries.iter().any(|(k, _)| k.text == key.text) {
                        entries.push((key.clone(), value.clone()));
                    }
                }
                (ValueKind::Mapping(Mapping(entries)), start, anchor)
            }
        };
        let inner = text
            .get(start.start..end.end.max(start.start))
            .map_or(0, |t| t.trim_end().len());
        let span = Span {
            end: start.start + inner,
            ..start
        };
        let value = Value { kind, span };
        let size = if anchor > 0 { count(&value) } else { 1 };
        self.value(value, anchor, size)
    }

    /// Puts a finished value where it belongs. `size` is what it adds to the budget of values.
    fn value(&mut self, value: Value, anchor: usize, size: usize) -> bool {
        self.values += size;
        if self.values > MAX_VALUES {
            let message = "the aliases of this file expand to more values than any pipeline has";
            self.diagnostics
                .push(Diagnostic::error("alias-bomb", value.span, message));
            return false;
        }
        if anchor > 0 {
            self.anchors.insert(anchor, (value.clone(), count(&value)));
        }
        match self.stack.last_mut() {
            None => self.root = Some(value),
            Some(Frame::Sequence { items, .. }) => items.push(value),
            Some(Frame::Mapping {
                entries, merges, key, ..
            }) => match key.take() {
                None => match key_text(&value) {
                    Some(text) => *key = Some(Key { text, span: value.span }),
                    None => {
                        let message = format!("a key must be a text, not {}", value.describe());
                        self.diagnostics
                            .push(Diagnostic::error("bad-yaml", value.span, message));
                        return false;
                    }
                },
                Some(name) if name.text == "<<" => match value.kind {
                    ValueKind::Sequence(items) => merges.extend(items),
                    _ => merges.push(value),
                },
                Some(name) => match entries.iter().find(|(k, _)| k.text == name.text) {
                    Some((first, _)) => self.diagnostics.push(
                        Diagnostic::error(
                            "duplicate-key",
                            name.span,
                            format!("the key `{}` is here twice", name.text),
                        )
                        .label("again here")
                        .related(first.span, "first here")
                        .help("delete one of them, or rename it"),
                    ),
                    None => entries.push((name, value)),
                },
            },
        }
        true
    }

    fn finish(self) -> Result<Value, Vec<Diagnostic>> {
        match self.root {
            Some(root) if self.diagnostics.is_empty() => Ok(root),
            None if self.diagnostics.is_empty() => Err(vec![Diagnostic::error(
                "bad-yaml",
                None,
                "the file has no content but comments",
            )]),
            _ => Err(self.diagnostics),
        }
    }
}

fn key_text(value: &Value) -> Option<String> {
    match &value.kind {
        ValueKind::String(text) => Some(text.clone()),
        ValueKind::Bool(flag) => Some(flag.to_string()),
        ValueKind::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Values in a tree; depth is bounded by [`MAX_DEPTH`] times the aliases that nest, which the budget bounds.
fn count(value: &Value) -> usize {
    let mut total = 0;
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        total += 1;
        match &value.kind {
            ValueKind::Sequence(items) => open.extend(items),
            ValueKind::Mapping(mapping) => open.extend(mapping.0.iter().map(|(_, v)| v)),
            _ => {}
        }
    }
    total
}
