//! Bars on a terminal: one line for each running job, with rate, percentage and time left.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use crate::run::events::{Event, Subscriber};
use crate::run::progress::lines;

/// The bars of a run.
#[derive(Default)]
pub(super) struct Bars {
    terminal: MultiProgress,
    jobs: Mutex<HashMap<String, ProgressBar>>,
}

impl Bars {
    fn with(&self, job: &str, change: impl FnOnce(&ProgressBar)) {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = jobs.get(job) {
            change(bar);
        }
    }

    fn start(&self, job: &str) {
        let bar = self.terminal.add(ProgressBar::new_spinner());
        bar.set_prefix(job.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = jobs.insert(job.to_owned(), bar) {
            before.finish_and_clear();
        }
    }

    fn end(&self, job: &str) {
        let bar = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).remove(job);
        if let Some(bar) = bar {
            bar.finish_and_clear();
            self.terminal.remove(&bar);
        }
    }
}

impl Subscriber for Bars {
    fn on(&self, event: &Event) {
        match event {
            Event::JobStarted { job } => self.start(job),
            Event::JobEnded { job } => self.end(job),
            Event::Phase { job, unit, total } => self.with(job, |bar| begin(bar, unit, *total)),
            Event::Progress { node, done, .. } => self.with(node, |bar| bar.set_position(*done)),
            Event::Note { node, text } => self.with(node, |bar| bar.set_message(text.clone())),
            event => {
                // A terminal that went away is no reason to stop a run.
                if let Some(line) = lines::text(event) {
                    let _ = self.terminal.println(line);
                }
            }
        }
    }
}

fn begin(bar: &ProgressBar, unit: &str, total: Option<u64>) {
    let template = if total.is_some() {
        "  {prefix:24} {bar:24} {percent:>3}% {human_pos}/{human_len} {unit} {rate} {left} {msg}"
    } else {
        "  {prefix:24} {spinner} {human_pos} {unit} {rate} {msg}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        let (own, rates) = (unit.to_owned(), unit.to_owned());
        let style = style
            .with_key("unit", move |_: &ProgressState, out: &mut dyn Write| {
                let _ = out.write_str(&own);
            })
            .with_key("rate", move |state: &ProgressState, out: &mut dyn Write| {
                let _ = out.write_str(&rate(state.per_sec(), &rates));
            })
            .with_key("left", |state: &ProgressState, out: &mut dyn Write| {
                let _ = out.write_str(&left(state.eta()));
            });
        bar.set_style(style);
    }
    bar.reset();
    match total {
        Some(total) => bar.set_length(total),
        None => bar.unset_length(),
    }
}

/// A rate in three figures: `23.9k rows/s`.
fn rate(per_second: f64, unit: &str) -> String {
    let (number, suffix) = match per_second {
        n if n >= 1e9 => (n / 1e9, "G"),
        n if n >= 1e6 => (n / 1e6, "M"),
        n if n >= 1e3 => (n / 1e3, "k"),
        n => (n, ""),
    };
    let decimals = match number {
        n if n >= 99.95 => 0,
        n if n >= 9.995 => 1,
        _ => 2,
    };
    format!("{number:.decimals$}{suffix} {unit}/s")
}

/// The time that is left: `12 s left`, `3 min left`.
fn left(time: Duration) -> String {
    match time.as_secs() {
        0 => String::new(),
        seconds @ 1..100 => format!("{seconds} s left"),
        seconds @ 100..6_000 => format!("{} min left", (seconds + 30) / 60),
        seconds => format!("{} h left", (seconds + 1_800) / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_three_figures() {
        let rates = [0.5, 9.996, 99.96, 23_851.767_6, 1_234_567.0].map(|per_second| rate(per_second, "rows"));
        assert_eq!(
            rates,
            [
                "0.50 rows/s",
                "10.0 rows/s",
                "100 rows/s",
                "23.9k rows/s",
                "1.23M rows/s"
            ]
        );
    }

    #[test]
    fn the_time_that_is_left_is_rounded_to_what_a_person_plans_with() {
        let times = [0, 12, 130, 7_300].map(|seconds| left(Duration::from_secs(seconds)));
        assert_eq!(times, ["", "12 s left", "2 min left", "2 h left"]);
    }
}
