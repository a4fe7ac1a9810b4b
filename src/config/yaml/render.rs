//! Diagnostics as text for a terminal.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode};
use miette::{SourceSpan, SpanContents};

use crate::config::yaml::{Diagnostic, Severity, SourceMap, Span};

/// Maximum length of a line in a snippet.
const MAX_LINE_LENGTH: usize = 500;
/// Maximum width of a snippet in columns.
const MAX_WIDTH: usize = 120;
/// Maximum number of rendered diagnostics; the last line counts the others.
const MAX_RENDERED: usize = 200;

/// Output style.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether to use colours.
    pub color: bool,
}

/// Every diagnostic with its snippet, in the order of the text. Nothing for none.
pub fn render(sources: &SourceMap, diagnostics: &[Diagnostic], style: Style) -> String {
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().collect();
    sorted.sort_by_key(|diagnostic| (diagnostic.span, diagnostic.severity));
    let mut output = String::new();
    for &diagnostic in sorted.iter().take(MAX_RENDERED) {
        header(&mut output, sources, diagnostic, style);
        if let Some(rendered) = RenderedDiagnostic::new(sources, diagnostic) {
            snippet(&mut output, &rendered, style);
        }
        for (span, text) in related_elsewhere(sources, diagnostic) {
            let _ = writeln!(output, "  see {}: {text}", sources.location(*span));
        }
        if let Some(help) = &diagnostic.help {
            let _ = writeln!(output, "  help: {help}");
        }
        output.push('\n');
    }
    if sorted.len() > MAX_RENDERED {
        let _ = writeln!(output, "and {} more, not shown\n", sorted.len() - MAX_RENDERED);
    }
    output
}

/// One line that is complete without the snippet, so that it can be searched for.
fn header(output: &mut String, sources: &SourceMap, diagnostic: &Diagnostic, style: Style) {
    let severity = diagnostic.severity.as_str();
    let (on, off) = match (style.color, diagnostic.severity) {
        (false, _) => ("", ""),
        (true, Severity::Error) => ("\u{1b}[1;31m", "\u{1b}[0m"),
        (true, Severity::Warning) => ("\u{1b}[1;33m", "\u{1b}[0m"),
    };
    let _ = write!(output, "{on}{severity}[{}]{off}", diagnostic.code);
    if let Some(span) = diagnostic.span {
        output.push(' ');
        output.push_str(&sources.location(span));
    }
    let _ = writeln!(output, ": {}", diagnostic.message);
}

fn snippet(output: &mut String, rendered: &RenderedDiagnostic<'_>, style: Style) {
    let theme = if style.color {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(MAX_WIDTH)
        .with_urls(false);
    let mut drawn = String::new();
    if handler.render_report(&mut drawn, rendered).is_err() {
        return;
    }
    // The first line is the message, which the header has said.
    for line in drawn.lines().skip(1) {
        output.push_str(line.trim_end());
        output.push('\n');
    }
}

/// `2 errors, 1 warning`; `no errors` for neither.
pub fn summary(diagnostics: &[Diagnostic]) -> String {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count();
    let warnings = diagnostics.len() - errors;
    let count = |number: usize, word: &str| {
        let plural = if number == 1 { "" } else { "s" };
        (number > 0).then(|| format!("{number} {word}{plural}"))
    };
    let counts: Vec<String> = [count(errors, "error"), count(warnings, "warning")]
        .into_iter()
        .flatten()
        .collect();
    if counts.is_empty() {
        "no errors".to_owned()
    } else {
        counts.join(", ")
    }
}

/// The related spans that the snippet does not show: those in other files.
fn related_elsewhere<'a>(
    sources: &'a SourceMap,
    diagnostic: &'a Diagnostic,
) -> impl Iterator<Item = &'a (Span, String)> {
    let shown = diagnostic.span.filter(|span| is_showable(sources, *span));
    let seen = move |span: Span| shown.is_some_and(|shown| shown.file == span.file) && is_showable(sources, span);
    diagnostic.related.iter().filter(move |(span, _)| !seen(*span))
}

/// A diagnostic in the form that miette draws.
#[derive(Debug)]
struct RenderedDiagnostic<'a> {
    severity: Severity,
    labels: Vec<LabeledSpan>,
    snippet: Snippet<'a>,
}

impl<'a> RenderedDiagnostic<'a> {
    fn new(sources: &'a SourceMap, diagnostic: &Diagnostic) -> Option<Self> {
        let primary = diagnostic.span.filter(|span| is_showable(sources, *span))?;
        let text = (!diagnostic.label.is_empty()).then(|| diagnostic.label.clone());
        let mut labels = vec![LabeledSpan::new_primary_with_span(text, first_line(sources, primary))];
        for (span, text) in &diagnostic.related {
            if primary.file == span.file && is_showable(sources, *span) {
                labels.push(LabeledSpan::new_with_span(
                    Some(text.clone()),
                    first_line(sources, *span),
                ));
            }
        }
        Some(Self {
            severity: diagnostic.severity,
            labels,
            snippet: Snippet {
                name: sources.name(primary.file),
                text: sources.shown(primary.file),
            },
        })
    }
}

/// Whether the line that a span starts on is short enough to be shown.
fn is_showable(sources: &SourceMap, span: Span) -> bool {
    let text = sources.text(span.file);
    let Some((before, after)) = text.split_at_checked(span.start) else {
        return false;
    };
    let length = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + after.find('\n').unwrap_or(after.len());
    length <= MAX_LINE_LENGTH && !text.is_empty()
}

/// The part of a span on its first line, which marks a block of many lines.
fn first_line(sources: &SourceMap, span: Span) -> SourceSpan {
    let text = sources.slice(span).unwrap_or("");
    let line = text.find('\n').map_or(text, |at| &text[..at]);
    (span.start, line.trim_end().len()).into()
}

impl fmt::Display for RenderedDiagnostic<'_> {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl std::error::Error for RenderedDiagnostic<'_> {}

impl miette::Diagnostic for RenderedDiagnostic<'_> {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.snippet)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}

/// A text under its name, mostly borrowed: miette's own type would copy the file for each diagnostic.
#[derive(Debug)]
struct Snippet<'a> {
    name: &'a str,
    text: Cow<'a, str>,
}

impl SourceCode for Snippet<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let contents = self.text.read_span(span, lines_before, lines_after)?;
        // miette counts bytes, and the header above the snippet counts characters: they should agree.
        let before = self.text.get(..contents.span().offset()).unwrap_or("");
        let line = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before[line..].chars().count();
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.to_owned(),
            contents.data(),
            *contents.span(),
            contents.line(),
            column,
            contents.line_count(),
        )))
    }
}
