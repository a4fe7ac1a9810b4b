//! Subscribers that show a run on standard error: bars on a terminal, plain lines elsewhere, JSON for machines.

mod bars;
mod lines;

use crate::run::events::Events;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressMode {
    /// A bar for each running node.
    Bars,
    /// A line for what begins, ends, or has a state to report.
    Lines,
    /// Nothing.
    Quiet,
    /// An event in JSON on each line, for machines.
    Json,
}

/// Shows the events of a run on standard error.
pub fn show(events: &Events, mode: ProgressMode) {
    match mode {
        ProgressMode::Bars => events.subscribe(bars::Bars::default()),
        ProgressMode::Lines => events.subscribe(lines::Lines::text()),
        ProgressMode::Json => events.subscribe(lines::Lines::json()),
        ProgressMode::Quiet => {}
    }
}
