//! Diagnostics: a problem in a file, its span, and its fix.

use crate::config::yaml::{Code, Span};

/// Maximum number of diagnostics of a file that get a did-you-mean hint: searching for names takes time.
pub const MAX_HINTS: usize = 500;

/// The severity of a diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The pipeline can't run.
    Error,
    /// The pipeline can run; this is probably a mistake.
    Warning,
}

impl Severity {
    /// The lower-case word that people and machine formats read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// An error or warning about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The kind of problem.
    pub code: Code,
    /// The severity.
    pub severity: Severity,
    /// The problem in one sentence, complete without the snippet.
    pub message: String,
    /// The span; absent for problems with the file as a whole or with the command line.
    pub span: Option<Span>,
    /// A short label beside the marked text.
    pub label: String,
    /// The fix.
    pub help: Option<String>,
    /// Related spans, each with a label.
    pub related: Vec<(Span, String)>,
}

impl Diagnostic {
    /// A problem that stops the pipeline.
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, message.into())
    }

    /// A probable mistake.
    pub fn warning(code: Code, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, message.into())
    }

    fn new(code: Code, severity: Severity, message: String) -> Self {
        Self {
            code,
            severity,
            message,
            span: None,
            label: String::new(),
            help: None,
            related: Vec::new(),
        }
    }

    /// Puts the diagnostic at a place.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// Sets the words beside the marked text.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Sets what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds another place that belongs to the problem.
    #[must_use]
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }

    /// The severity.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
