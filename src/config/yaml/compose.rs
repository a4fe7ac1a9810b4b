//! Composition of parser events into a tree: aliases expanded, merge keys applied, duplicate keys found.

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, StructureStyle, Tag};

use crate::config::yaml::open_mapping::OpenMapping;
use crate::config::yaml::{Code, Diagnostic, FileId, MAX_DEPTH, MAX_EXPANSION, Span, Value, ValueKind, scalar};

/// The tree of the only document of `text`, unless its structure itself is broken, and everything found.
pub(super) fn compose(file: FileId, text: &str) -> (Option<Value>, Vec<Diagnostic>) {
    let mut options = granit_parser::Options::default();
    // The parser limits how many comments in a row it keeps; none are needed here.
    options.set_emit_comments(false);
    options.emit_unresolved_aliases = true;
    let mut composer = Composer {
        file,
        text,
        stack: Vec::new(),
        anchors: HashMap::new(),
        expanded: 0,
        root: None,
        documents: 0,
        broken: false,
        stopped: false,
        diagnostics: Vec::new(),
    };
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((event, span)) => {
                let span = composer.span(span);
                composer.event(event, span);
            }
            Err(error) => {
                composer.scan_error(&error);
                break;
            }
        }
        if composer.stopped {
            break;
        }
    }
    composer.finish()
}

struct Composer<'a> {
    file: FileId,
    text: &'a str,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Anchor>,
    /// The size that aliases have added so far.
    expanded: usize,
    root: Option<Value>,
    documents: usize,
    /// A part is missing from the tree, so that further checks would report false errors.
    broken: bool,
    /// Parsing stopped, as what follows would be misread.
    stopped: bool,
    diagnostics: Vec<Diagnostic>,
}

struct Anchor {
    value: Value,
    weight: usize,
    depth: usize,
}

/// A collection that is not complete yet.
struct Frame {
    span: Span,
    flow: bool,
    anchor: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<Value>),
    Mapping(OpenMapping),
}

impl Composer<'_> {
    fn span(&self, span: granit_parser::Span) -> Span {
        let start = self.boundary(span.start.byte_offset());
        Span {
            file: self.file,
            start,
            end: self.boundary(span.end.byte_offset()).max(start),
        }
    }

    /// A parser position as an offset at which the text can be cut, whatever the parser says.
    fn boundary(&self, offset: Option<usize>) -> usize {
        self.text.floor_char_boundary(offset.unwrap_or(self.text.len()))
    }

    fn error(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(code, message).at(span));
        self.broken = true;
    }

    fn stop(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.error(code, span, message);
        self.stopped = true;
    }

    fn event(&mut self, event: Event<'_>, span: Span) {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let message = "a second document begins here; a pipeline is one document";
                    self.stop(Code::BadYaml, span, message);
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                // The parser sees the end of a block scalar only at the token that follows it, lines later.
                let written = self.text[span.start..span.end].trim_end().len();
                let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let end = if block { span.start + written } else { span.end };
                self.scalar(&text, style, anchor, tag.as_deref(), Span { end, ..span });
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.check_collection_tag(tag.as_deref(), "seq", span);
                self.open(style, anchor, span, Content::Sequence(Vec::new()));
            }
            Event::MappingStart(style, anchor, tag) => {
                self.check_collection_tag(tag.as_deref(), "map", span);
                self.open(style, anchor, span, Content::Mapping(OpenMapping::default()));
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(id) => self.alias(id, span),
            Event::UnresolvedAlias(name) => {
                self.error(
                    Code::BadYaml,
                    span,
                    format!("no anchor `&{name}` is defined before this alias"),
                );
                self.push(null(span), 0);
            }
            _ => {}
        }
    }

    fn open(&mut self, style: StructureStyle, anchor: usize, span: Span, content: Content) {
        if self.stack.len() >= MAX_DEPTH {
            let message = format!("collections nest more than {MAX_DEPTH} deep");
            self.stop(Code::TooDeep, span, message);
            return;
        }
        self.stack.push(Frame {
            span,
            flow: style == StructureStyle::Flow,
            anchor,
            content,
        });
    }

    fn close(&mut self, end: Span) {
        let Some(frame) = self.stack.pop() else { return };
        let mut span = frame.span;
        let kind = match frame.content {
            Content::Sequence(items) => {
                span.end = items.last().map_or(span.start, |item| item.span.end);
                ValueKind::Sequence(items)
            }
            Content::Mapping(open) => {
                span.end = open.end().unwrap_or(span.start);
                ValueKind::Mapping(open.finish())
            }
        };
        // The parser sees the end of a block only at the token that follows it, lines later.
        if frame.flow {
            span.end = end.end;
        }
        span.end = span.end.max(span.start);
        self.push(Value { kind, span }, frame.anchor);
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, tag: Option<&Tag>, span: Span) {
        if let Some(Frame {
            content: Content::Mapping(open),
            ..
        }) = self.stack.last_mut()
            && open.needs_key()
        {
            let result = open.key(text, style == ScalarStyle::Plain && tag.is_none(), span);
            self.record(result);
            if anchor != 0 {
                let kind = ValueKind::String(text.to_owned());
                self.remember(anchor, &Value { kind, span });
            }
            return;
        }
        let kind = match scalar::tagged(text, style == ScalarStyle::Plain, tag) {
            Ok(kind) => kind,
            Err((code, message)) => {
                self.error(code, span, message);
                ValueKind::Null
            }
        };
        self.push(Value { kind, span }, anchor);
    }

    fn record(&mut self, result: Result<(), Box<Diagnostic>>) {
        if let Err(diagnostic) = result {
            // The first of two equal keys is in the tree: what follows from it is as it should be.
            self.broken |= diagnostic.code != Code::DuplicateKey;
            self.diagnostics.push(*diagnostic);
        }
    }

    fn check_collection_tag(&mut self, tag: Option<&Tag>, own: &str, span: Span) {
        if let Some(tag) = tag
            && tag.core_suffix() != Some(own)
            && tag.original() != "!"
        {
            self.error(
                Code::BadYaml,
                span,
                format!("the tag `{}` is not supported here", tag.original()),
            );
        }
    }

    fn alias(&mut self, id: usize, span: Span) {
        let Some(anchor) = self.anchors.get(&id) else {
            self.error(Code::BadYaml, span, "this alias is inside the value of its own anchor");
            self.push(null(span), 0);
            return;
        };
        if self.stack.len() + anchor.depth > MAX_DEPTH {
            let message = format!("with this alias, collections nest more than {MAX_DEPTH} deep");
            self.error(Code::TooDeep, span, message);
            self.push(null(span), 0);
            return;
        }
        self.expanded += anchor.weight;
        if self.expanded > MAX_EXPANSION {
            let message = format!("aliases add more than {MAX_EXPANSION} values to this file");
            self.stop(Code::AliasBomb, span, message);
            return;
        }
        let kind = anchor.value.kind.clone();
        self.push(Value { kind, span }, 0);
    }

    fn remember(&mut self, anchor: usize, value: &Value) {
        let (weight, depth) = (value.weight(), value.depth());
        // Anchors inside anchors copy the inner values once for each level: that counts as expansion, too.
        self.expanded += weight;
        if self.expanded > MAX_EXPANSION {
            let message = format!("anchors have more than {MAX_EXPANSION} values in this file");
            self.stop(Code::AliasBomb, value.span, message);
            return;
        }
        let value = value.clone();
        self.anchors.insert(anchor, Anchor { value, weight, depth });
    }

    /// Puts a complete value where it belongs: into the innermost open collection, or at the root.
    fn push(&mut self, value: Value, anchor: usize) {
        if anchor != 0 {
            self.remember(anchor, &value);
        }
        match self.stack.last_mut().map(|frame| &mut frame.content) {
            None => self.root = Some(value),
            Some(Content::Sequence(items)) => items.push(value),
            Some(Content::Mapping(open)) => {
                let result = open.value(value);
                self.record(result);
            }
        }
    }

    fn scan_error(&mut self, error: &ScanError) {
        let start = self.boundary(error.marker().byte_offset());
        let line = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let mut span = Span {
            file: self.file,
            start,
            end: start,
        };
        let diagnostic = if let Some(tab) = tab_indent(&self.text[line..]) {
            (span.start, span.end) = (line + tab.start, line + tab.end);
            Diagnostic::error(Code::BadYaml, "a tab in the indentation").help("YAML is indented with spaces only")
        } else if *error.kind() == ErrorKind::RecursionLimitExceeded {
            Diagnostic::error(Code::TooDeep, format!("collections nest more than {MAX_DEPTH} deep"))
        } else {
            let diagnostic = Diagnostic::error(Code::BadYaml, format!("this is not valid YAML: {}", error.info()));
            if self.text[line..].lines().next().is_some_and(|line| line.contains("${")) {
                diagnostic.help("inside `{ }` and `[ ]`, put text with `${...}` in quotes")
            } else {
                diagnostic
            }
        };
        self.diagnostics.push(diagnostic.at(span));
        self.broken = true;
    }

    fn finish(mut self) -> (Option<Value>, Vec<Diagnostic>) {
        let whole = Span {
            file: self.file,
            start: 0,
            end: 0,
        };
        let empty = self.root.as_ref().is_none_or(|root| root.kind == ValueKind::Null);
        if empty && !self.broken {
            self.error(Code::BadYaml, whole, "the file is empty");
        }
        let root = self.root.filter(|_| !self.broken);
        (root, self.diagnostics)
    }
}

fn null(span: Span) -> Value {
    Value {
        kind: ValueKind::Null,
        span,
    }
}

/// The tabs that indent the first line of a text, or the second: a scalar of several lines fails where it begins.
fn tab_indent(text: &str) -> Option<std::ops::Range<usize>> {
    let mut start = 0;
    for line in text.split_inclusive('\n').take(2) {
        let indent = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
        if let Some(tab) = indent.find('\t') {
            return Some(start + tab..start + indent.len());
        }
        start += line.len();
    }
    None
}
