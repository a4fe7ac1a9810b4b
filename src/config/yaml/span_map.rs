//! Spans of the parts of a string.

use std::ops::Range;

use crate::config::yaml::{SourceMap, Span};

/// A map from byte offsets in a scalar's string to byte offsets in the file.
///
/// Plain and quoted scalars without escapes hold their string as it is, on one line or on several; block scalars hold its
/// lines. Where no byte of the file corresponds to a byte of the string, the place of each part is the whole scalar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanMap {
    scalar: Span,
    /// Ranges of the string, each with the offset in the file of its first byte; in order.
    pieces: Vec<(Range<usize>, usize)>,
}

impl SourceMap {
    /// The span map of `text`, the string of the scalar at `scalar`.
    pub fn span_map(&self, scalar: Span, text: &str) -> SpanMap {
        let written = self.slice(scalar).unwrap_or("");
        let pieces = if written == text {
            vec![(0..text.len(), scalar.start)]
        } else if written.len() == text.len() + 2 && written.get(1..=text.len()) == Some(text) {
            vec![(0..text.len(), scalar.start + 1)]
        } else {
            lines(written, text, scalar.start)
        };
        SpanMap { scalar, pieces }
    }
}

/// The lines of a scalar, each where the string has it; nothing if the string does not consist of them.
fn lines(written: &str, text: &str, start: usize) -> Vec<(Range<usize>, usize)> {
    let block = written.starts_with(['|', '>']);
    let quoted = written.len() >= 2 && written.starts_with(['"', '\'']);
    let mut pieces = Vec::new();
    let (mut offset, mut read) = (0, 0);
    for (number, line) in written.split_inclusive('\n').enumerate() {
        let begin = offset;
        offset += line.len();
        if block && number == 0 {
            continue;
        }
        let mut bare = line.trim();
        let mut lead = line.len() - line.trim_start().len();
        if quoted && number == 0 {
            bare = &bare[1..];
            lead += 1;
        }
        if quoted && offset == written.len() {
            bare = bare.strip_suffix(['"', '\'']).unwrap_or(bare).trim_end();
        }
        if bare.is_empty() {
            continue;
        }
        // Only white space may stand between two lines of the string.
        let Some(found) = text[read..].find(bare) else {
            return Vec::new();
        };
        if !text[read..read + found].trim().is_empty() {
            return Vec::new();
        }
        pieces.push((read + found..read + found + bare.len(), start + begin + lead));
        read += found + bare.len();
    }
    if text[read..].trim().is_empty() {
        pieces
    } else {
        Vec::new()
    }
}

impl SpanMap {
    /// The span of a range of bytes of the string.
    pub fn range(&self, range: Range<usize>) -> Span {
        let (Some(start), Some(end)) = (self.offset(range.start), self.offset(range.end)) else {
            return self.scalar;
        };
        // What ends where a line ends must not reach into the next one.
        let end = if range.is_empty() {
            start
        } else {
            self.offset(range.end - 1).map_or(end, |last| last + 1)
        };
        Span {
            file: self.scalar.file,
            start,
            end,
        }
    }

    fn offset(&self, at: usize) -> Option<usize> {
        let piece = self
            .pieces
            .iter()
            .find(|(range, _)| range.start <= at && at <= range.end);
        piece.map(|(range, start)| start + at - range.start)
    }
}
