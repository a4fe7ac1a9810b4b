//! The events of a run: one stream, to which all that observes the run subscribes.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use serde::Serialize;
use towline_api::ProgressSink;

use crate::run::record::NodeStatus;

/// Something that happened in a run. As JSON it is a line like `{"event":"node_ended","node":"clicks","status":"ran",...}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run began.
    RunStarted {
        /// Its id.
        run: String,
        /// The name of the pipeline.
        pipeline: String,
        /// The number of nodes.
        nodes: usize,
    },
    /// A node is looked up in the store, and run if it has to.
    NodeStarted {
        /// The node.
        node: String,
    },
    /// Another run does the work of a node; this one waits for it.
    Waiting {
        /// The node.
        node: String,
    },
    /// A job began: an attempt at a node, or a fit of one or several.
    #[serde(skip)]
    JobStarted {
        /// The node, or `fit` and the nodes that are fitted in one scan.
        job: String,
    },
    /// A phase of a job began.
    #[serde(skip)]
    Phase {
        /// The job.
        job: String,
        /// What is counted.
        unit: String,
        /// The total, if it is known.
        total: Option<u64>,
    },
    /// A job has reached this point of a phase.
    Progress {
        /// The job.
        node: String,
        /// The number that is done.
        done: u64,
        /// What is counted.
        unit: String,
    },
    /// A job reports its state.
    Note {
        /// The job.
        node: String,
        /// The state.
        text: String,
    },
    /// A job ended.
    #[serde(skip)]
    JobEnded {
        /// The job.
        job: String,
    },
    /// A node ended.
    NodeEnded {
        /// The node.
        node: String,
        /// How.
        status: NodeStatus,
        /// Why it ran, was skipped, or failed.
        reason: String,
        /// How long it took.
        seconds: f64,
        /// Rows of its output, where they were counted.
        rows: Option<u64>,
    },
    /// Something that a person should know though nothing failed.
    Warning {
        /// What.
        text: String,
    },
    /// A run ended.
    RunEnded {
        /// Its id.
        run: String,
        /// How long it took.
        seconds: f64,
        /// Whether it was interrupted.
        interrupted: bool,
        /// The number of nodes that ran.
        ran: usize,
        /// The number of nodes that were reused.
        reused: usize,
        /// The number of nodes that failed.
        failed: usize,
    },
}

/// Observes a run. It is called on the thread on which something happened, in the order of the events of each job, and
/// must return quickly.
pub trait Subscriber: Send + Sync {
    /// Takes an event.
    fn on(&self, event: &Event);
}

/// The stream of events of a run. Clones are the same stream.
#[derive(Clone, Default)]
pub struct Events {
    subscribers: Arc<Mutex<Vec<Arc<dyn Subscriber>>>>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// Passes all further events on to a subscriber.
    pub fn subscribe(&self, subscriber: impl Subscriber + 'static) {
        let mut subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.push(Arc::new(subscriber));
    }

    /// All further events, as a queue without a limit.
    pub fn receiver(&self) -> mpsc::Receiver<Event> {
        let (sender, receiver) = mpsc::channel();
        self.subscribe(Queue(sender));
        receiver
    }

    /// Passes an event on.
    pub(super) fn emit(&self, event: &Event) {
        let subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for subscriber in subscribers {
            subscriber.on(event);
        }
    }

    /// Reports something that a person should know though nothing failed.
    pub(super) fn warn(&self, text: impl Into<String>) {
        self.emit(&Event::Warning { text: text.into() });
    }

    /// The progress of a job, as events.
    pub(super) fn job(&self, job: &str) -> Arc<dyn ProgressSink> {
        self.emit(&Event::JobStarted { job: job.to_owned() });
        Arc::new(JobProgress {
            events: self.clone(),
            job: job.to_owned(),
            phase: Mutex::new(Phase {
                unit: String::new(),
                done: 0,
                emitted: Instant::now(),
            }),
        })
    }
}

/// A subscriber that keeps events for another thread.
struct Queue(mpsc::Sender<Event>);

impl Subscriber for Queue {
    fn on(&self, event: &Event) {
        // Without a receiver no one misses the event.
        let _ = self.0.send(event.clone());
    }
}

/// Turns what an operator reports into events.
struct JobProgress {
    events: Events,
    job: String,
    phase: Mutex<Phase>,
}

struct Phase {
    unit: String,
    done: u64,
    emitted: Instant,
}

impl ProgressSink for JobProgress {
    fn begin(&self, unit: &str, total: Option<u64>) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = Phase {
            unit: unit.to_owned(),
            done: 0,
            emitted: Instant::now(),
        };
        self.events.emit(&Event::Phase {
            job: self.job.clone(),
            unit: unit.to_owned(),
            total,
        });
    }

    fn advance(&self, n: u64) {
        /// Faster than a person sees.
        const EVERY: Duration = Duration::from_millis(50);
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        phase.done += n;
        if phase.emitted.elapsed() < EVERY {
            return;
        }
        phase.emitted = Instant::now();
        let (done, unit) = (phase.done, phase.unit.clone());
        drop(phase);
        self.events.emit(&Event::Progress {
            node: self.job.clone(),
            done,
            unit,
        });
    }

    fn note(&self, text: &str) {
        self.events.emit(&Event::Note {
            node: self.job.clone(),
            text: text.to_owned(),
        });
    }
}

impl Drop for JobProgress {
    fn drop(&mut self) {
        self.events.emit(&Event::JobEnded { job: self.job.clone() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subscriber_gets_every_event_in_order() {
        let events = Events::default();
        let [one, other] = [events.receiver(), events.receiver()];
        let job = events.job("clicks");
        job.begin("rows", Some(2));
        job.note("half");
        drop(job);
        let job = || "clicks".to_owned();
        let expected = vec![
            Event::JobStarted { job: job() },
            Event::Phase {
                job: job(),
                unit: "rows".into(),
                total: Some(2),
            },
            Event::Note {
                node: job(),
                text: "half".into(),
            },
            Event::JobEnded { job: job() },
        ];
        assert_eq!(one.try_iter().collect::<Vec<_>>(), expected);
        assert_eq!(other.try_iter().collect::<Vec<_>>(), expected);
    }
}
