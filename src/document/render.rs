//! Diagnostics for a person.

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report, Severity as Level,
};

use super::diagnostic::{Diagnostic, Severity};
use super::source_map::{SourceMap, Span};

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether escape sequences may be used.
    pub color: bool,
}

/// The diagnostics, in order of their places, as text.
pub fn render(sources: &SourceMap, diagnostics: &[Diagnostic], style: Style) -> String {
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().collect();
    sorted.sort_by_key(|d| (d.span, d.severity, d.code));
    sorted
        .into_iter()
        .map(|diagnostic| one(sources, diagnostic, style))
        .collect()
}

fn one(sources: &SourceMap, diagnostic: &Diagnostic, style: Style) -> String {
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = diagnostic.span.map_or_else(String::new, |span| {
        let (line, column) = sources.line_col(span.file, span.start);
        format!(" {}:{line}:{column}", sources.name(span.file))
    });
    let mut out = format!("{level}[{}]{place}: {}\n", diagnostic.code, diagnostic.message);
    if let Some(span) = diagnostic.span {
        out.push_str(&snippet(sources, diagnostic, span, style));
    }
    if let Some(help) = &diagnostic.help {
        out.push_str(&format!("  help: {help}\n"));
    }
    out.push('\n');
    out
}

fn snippet(sources: &SourceMap, diagnostic: &Diagnostic, span: Span, style: Style) -> String {
    let theme = if style.color {
        GraphicalTheme::unicode()
    } else {
        GraphicalTheme::unicode_nocolor()
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(120)
        .with_context_lines(1);
    let places = std::iter::once((span, diagnostic.label.clone())).chain(diagnostic.related.iter().cloned());
    let labels: Vec<LabeledSpan> = places
        .filter(|(place, _)| place.file == span.file)
        .map(|(place, label)| LabeledSpan::new_with_span(Some(label), place.start..place.end))
        .collect();
    let severity = if diagnostic.is_error() {
        Level::Error
    } else {
        Level::Warning
    };
    let bare = MietteDiagnostic::new(String::new())
        .with_severity(severity)
        .with_labels(labels);
    let source = NamedSource::new(sources.name(span.file), sources.text(span.file).to_owned());
    let report = Report::new(bare).with_source_code(source);
    let mut text = String::new();
    // Writing to a string cannot fail, and a snippet that could not be drawn is not worth an error of its own.
    let _ = handler.render_report(&mut text, report.as_ref());
    text.lines()
        .filter(|line| line.contains(['│', '╭', '╰', '─', '·']))
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// `2 errors, 1 warning`.
pub fn summary(diagnostics: &[Diagnostic]) -> String {
    let errors = diagnostics.iter().filter(|d| d.is_error()).count();
    let warnings = diagnostics.len() - errors;
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    match (errors, warnings) {
        (_, 0) => plural(errors, "error"),
        (0, _) => plural(warnings, "warning"),
        _ => format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")),
    }
}
