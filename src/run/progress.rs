//! Progress: bars on a terminal, plain lines elsewhere, JSON for machines.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::json;
use towline_api::ProgressSink;

use crate::run::record::NodeStatus;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressMode {
    /// Bars that move.
    Bars,
    /// A line for what begins, ends, or has a state to tell.
    Lines,
    /// Nothing.
    Quiet,
    /// An event in JSON on each line, for machines.
    Json,
}

/// Something that happened in a run. With [`ProgressMode::Json`] it is a line like
/// `{"event":"node_ended","node":"clicks","status":"ran",...}`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'a> {
    /// A run began.
    RunStarted {
        /// Its id.
        run: &'a str,
        /// The name of the pipeline.
        pipeline: &'a str,
        /// How many nodes there are.
        nodes: usize,
    },
    /// Somebody looks whether a node has to run, and runs it.
    NodeStarted {
        /// The node.
        node: &'a str,
    },
    /// Another run does the work of a node; it is waited for.
    Waiting {
        /// The node.
        node: &'a str,
    },
    /// A node has reached this point of a phase.
    Progress {
        /// The node.
        node: &'a str,
        /// How many are done.
        done: u64,
        /// What is counted.
        unit: &'a str,
    },
    /// A node says how it stands.
    Note {
        /// The node.
        node: &'a str,
        /// What it says.
        text: &'a str,
    },
    /// A node ended.
    NodeEnded {
        /// The node.
        node: &'a str,
        /// How.
        status: NodeStatus,
        /// Why it ran, was skipped, or failed.
        reason: &'a str,
        /// How long it took.
        seconds: f64,
        /// Rows of its output, where they were counted.
        rows: Option<u64>,
    },
    /// Something that a person should know though nothing failed.
    Warning {
        /// What.
        text: &'a str,
    },
    /// A run ended.
    RunEnded {
        /// Its id.
        run: &'a str,
        /// How long it took.
        seconds: f64,
        /// Whether somebody interrupted it.
        interrupted: bool,
        /// How many nodes ran.
        ran: usize,
        /// How many were reused.
        reused: usize,
        /// How many failed.
        failed: usize,
    },
}

impl Event<'_> {
    /// The line for a person, if it is worth one.
    fn line(&self) -> Option<String> {
        Some(match self {
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
            Event::RunStarted { .. } | Event::NodeStarted { .. } | Event::RunEnded { .. } => return None,
        })
    }
}

/// Shows the progress of a run on standard error.
#[derive(Clone)]
pub struct Progress {
    mode: ProgressMode,
    bars: MultiProgress,
}

impl Progress {
    /// Progress in this mode.
    pub fn new(mode: ProgressMode) -> Self {
        Progress {
            mode,
            bars: MultiProgress::new(),
        }
    }

    /// Shows an event, in the way of the mode.
    pub fn tell(&self, event: &Event<'_>) {
        match self.mode {
            ProgressMode::Quiet => {}
            ProgressMode::Json => eprintln!("{}", json!(event)),
            ProgressMode::Lines => event.line().into_iter().for_each(|line| eprintln!("{line}")),
            // A terminal that went away is no reason to stop a run.
            ProgressMode::Bars => event.line().into_iter().for_each(|line| drop(self.bars.println(line))),
        }
    }

    /// Progress for one node.
    pub(super) fn node(&self, name: &str) -> Arc<dyn ProgressSink> {
        match self.mode {
            ProgressMode::Bars => {
                let bar = self.bars.add(ProgressBar::new_spinner());
                bar.set_prefix(name.to_owned());
                bar.enable_steady_tick(Duration::from_millis(120));
                Arc::new(Bar(bar))
            }
            ProgressMode::Lines | ProgressMode::Json => Arc::new(Lines {
                shown: self.clone(),
                name: name.to_owned(),
                unit: Mutex::new(String::new()),
                done: AtomicU64::new(0),
                last: Mutex::new(Instant::now()),
            }),
            ProgressMode::Quiet => Arc::new(Quiet),
        }
    }
}

struct Bar(ProgressBar);

impl ProgressSink for Bar {
    fn begin(&self, unit: &str, total: Option<u64>) {
        let template = if total.is_some() {
            format!("  {{prefix:24}} {{bar:24}} {{human_pos}}/{{human_len}} {unit} {{per_sec}} {{msg}}")
        } else {
            format!("  {{prefix:24}} {{spinner}} {{human_pos}} {unit} {{per_sec}} {{msg}}")
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            self.0.set_style(style);
        }
        self.0.set_position(0);
        match total {
            Some(total) => self.0.set_length(total),
            None => self.0.unset_length(),
        }
    }

    fn advance(&self, n: u64) {
        self.0.inc(n);
    }

    fn note(&self, text: &str) {
        self.0.set_message(text.to_owned());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

struct Lines {
    shown: Progress,
    name: String,
    unit: Mutex<String>,
    done: AtomicU64,
    last: Mutex<Instant>,
}

impl ProgressSink for Lines {
    fn begin(&self, unit: &str, _total: Option<u64>) {
        unit.clone_into(&mut self.unit.lock().unwrap_or_else(PoisonError::into_inner));
        self.done.store(0, Ordering::Relaxed);
    }

    fn advance(&self, n: u64) {
        let done = self.done.fetch_add(n, Ordering::Relaxed) + n;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Logs want to see that something moves, not how.
        if last.elapsed() > Duration::from_secs(5) {
            *last = Instant::now();
            let unit = self.unit.lock().unwrap_or_else(PoisonError::into_inner);
            self.shown.tell(&Event::Progress {
                node: &self.name,
                done,
                unit: &unit,
            });
        }
    }

    fn note(&self, text: &str) {
        self.shown.tell(&Event::Note { node: &self.name, text });
    }
}

struct Quiet;

impl ProgressSink for Quiet {
    fn begin(&self, _unit: &str, _total: Option<u64>) {}
    fn advance(&self, _n: u64) {}
    fn note(&self, _text: &str) {}
}
