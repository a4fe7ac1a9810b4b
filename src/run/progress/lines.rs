//! Lines: text for a person, or an event in JSON on each line.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::run::events::{Event, Subscriber};
use crate::run::record::NodeStatus;

/// Logs want to see that something moves, not how: at most one line about the progress of a job in this time.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Writes lines on standard error.
pub(super) struct Lines {
    format: fn(&Event) -> Option<String>,
    /// When each job last had a line about its progress.
    reported: Mutex<HashMap<String, Instant>>,
}

impl Lines {
    /// Lines for a person.
    pub(super) fn text() -> Self {
        Lines {
            format: text,
            reported: Mutex::default(),
        }
    }

    /// Lines for machines.
    pub(super) fn json() -> Self {
        Lines {
            format: |event| Some(json!(event).to_string()),
            reported: Mutex::default(),
        }
    }

    /// Whether a line about the progress of a job is due.
    fn is_due(&self, job: &str) -> bool {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        match reported.get_mut(job) {
            Some(last) if last.elapsed() < PROGRESS_EVERY => false,
            Some(last) => {
                *last = Instant::now();
                true
            }
            None => false,
        }
    }
}

impl Subscriber for Lines {
    fn on(&self, event: &Event) {
        let reported = || self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::JobStarted { job } => drop(reported().insert(job.clone(), Instant::now())),
            Event::JobEnded { job } => drop(reported().remove(job)),
            Event::Phase { .. } => {}
            Event::Progress { node, .. } if !self.is_due(node) => {}
            event => (self.format)(event).into_iter().for_each(|line| eprintln!("{line}")),
        }
    }
}

/// The line for a person, if an event is worth one.
pub(super) fn text(event: &Event) -> Option<String> {
    Some(match event {
        Event::Waiting { node } => format!("  {node}: another run is doing this; waiting"),
        Event::Progress { node, done, unit } => format!("  {node}: {done} {unit}"),
        Event::Note { node, text } => format!("  {node}: {text}"),
        Event::NodeEnded {
            node,
            status,
            reason,
            seconds,
            ..
        } => match status {
            NodeStatus::Ran => format!("  ran     {node} ({seconds:.1} s)"),
            NodeStatus::Failed => format!("  FAILED  {node}: {reason}"),
            NodeStatus::Skipped => format!("  skipped {node}: {reason}"),
            NodeStatus::Reused | NodeStatus::Fused => return None,
        },
        Event::Warning { text } => format!("warning: {text}"),
        Event::RunStarted { .. }
        | Event::NodeStarted { .. }
        | Event::JobStarted { .. }
        | Event::Phase { .. }
        | Event::JobEnded { .. }
        | Event::RunEnded { .. } => return None,
    })
}
