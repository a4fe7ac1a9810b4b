//! Output formats of `validate` and `test`.

use crate::report::MachineFormat;

/// An output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people, with snippets.
    Text,
    /// One JSON object, with the types of all nodes.
    Json,
    /// Annotations of GitHub Actions.
    Github,
    /// SARIF 2.1.0.
    Sarif,
    /// JUnit XML.
    Junit,
}

impl Format {
    pub(super) fn machine(self) -> Option<MachineFormat> {
        match self {
            Format::Text => None,
            Format::Json => Some(MachineFormat::Json),
            Format::Github => Some(MachineFormat::Github),
            Format::Sarif => Some(MachineFormat::Sarif),
            Format::Junit => Some(MachineFormat::Junit),
        }
    }
}
