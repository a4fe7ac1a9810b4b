//! Source texts, and spans in them.

use std::borrow::Cow;

/// One text in a [`SourceMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(usize);

/// A range of bytes in one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The text that the range lies in.
    pub file: FileId,
    /// Offset of the first byte.
    pub start: usize,
    /// Offset after the last byte.
    pub end: usize,
}

impl Span {
    /// The empty range at the same start.
    #[must_use]
    pub fn head(self) -> Self {
        Self {
            end: self.start,
            ..self
        }
    }
}

/// A value with its span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// The span.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Ties `value` to its place.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

#[derive(Debug, Clone)]
struct SourceFile {
    name: String,
    text: String,
    hidden: Vec<std::ops::Range<usize>>,
    line_starts: Vec<usize>,
}

/// Every text that the spans of one document may point into: the file itself, and one for each command-line override.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// Adds a text under the name that diagnostics show for it.
    pub fn add(&mut self, name: String, text: String) -> FileId {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        self.files.push(SourceFile {
            name,
            text,
            hidden: Vec::new(),
            line_starts,
        });
        FileId(self.files.len() - 1)
    }

    /// Every text, in the order in which they were added.
    pub fn files(&self) -> impl Iterator<Item = FileId> + use<> {
        (0..self.files.len()).map(FileId)
    }

    /// The name that a text was added under; empty for the id of another map.
    pub fn name(&self, file: FileId) -> &str {
        self.files.get(file.0).map_or("", |file| &file.name)
    }

    /// The whole text; empty for the id of another map.
    pub fn text(&self, file: FileId) -> &str {
        self.files.get(file.0).map_or("", |file| &file.text)
    }

    /// Masks a secret in everything that is shown.
    pub fn hide(&mut self, span: Span) {
        if let Some(file) = self.files.get_mut(span.file.0) {
            file.hidden.push(span.start..span.end);
        }
    }

    /// The whole text as it may be shown: of the same length, with stars for what is hidden.
    pub fn shown(&self, file: FileId) -> Cow<'_, str> {
        let text = self.text(file);
        let hidden = self.files.get(file.0).map_or(&[][..], |file| &file.hidden);
        if hidden.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut shown = String::with_capacity(text.len());
        for (at, character) in text.char_indices() {
            if character != '\n' && hidden.iter().any(|range| range.contains(&at)) {
                shown.extend(std::iter::repeat_n('*', character.len_utf8()));
            } else {
                shown.push(character);
            }
        }
        Cow::Owned(shown)
    }

    /// The text inside a span, if the span fits its file.
    pub fn slice(&self, span: Span) -> Option<&str> {
        self.text(span.file).get(span.start..span.end)
    }

    /// Line and column of a byte offset, both from 1, the column in characters. An offset past the end is the end.
    pub fn line_col(&self, file: FileId, offset: usize) -> (usize, usize) {
        let Some(source) = self.files.get(file.0) else {
            return (1, 1);
        };
        let offset = offset.min(source.text.len());
        let line = source.line_starts.partition_point(|&start| start <= offset).max(1);
        let start = source.line_starts.get(line - 1).copied().unwrap_or(0);
        let before = source.text.as_bytes().get(start..offset).unwrap_or_default();
        // The bytes that begin a character; in this form the loop is fast enough for lines of many megabytes.
        let characters = before.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        (line, characters + 1)
    }

    /// `name:line:column` of the start of a span.
    pub fn location(&self, span: Span) -> String {
        let (line, column) = self.line_col(span.file, span.start);
        format!("{}:{line}:{column}", self.name(span.file))
    }
}
