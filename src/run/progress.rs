//! Progress: bars on a terminal, plain lines elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use towline_operators::contract::ProgressSink;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgressMode {
    /// Bars that move.
    Bars,
    /// A line for what begins, ends, or has a state to tell.
    Lines,
    /// Nothing.
    Quiet,
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

    /// A line that stays.
    pub fn line(&self, text: &str) {
        match self.mode {
            ProgressMode::Quiet => {}
            ProgressMode::Lines => eprintln!("{text}"),
            // A terminal that went away is no reason to stop a run.
            ProgressMode::Bars => drop(self.bars.println(text)),
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
            ProgressMode::Lines => Arc::new(Lines {
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
            eprintln!("  {}: {done} {unit}", self.name);
        }
    }

    fn note(&self, text: &str) {
        eprintln!("  {}: {text}", self.name);
    }
}

struct Quiet;

impl ProgressSink for Quiet {
    fn begin(&self, _unit: &str, _total: Option<u64>) {}
    fn advance(&self, _n: u64) {}
    fn note(&self, _text: &str) {}
}
