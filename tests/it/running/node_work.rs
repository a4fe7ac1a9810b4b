//! How the engine treats operators that fail, take too long, come to something else each time, or leave work unfinished.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use towline::run::{Clock, NodeStatus};
use towline_api::{
    Artifact, Context, DatasetPort, Describe, Form, Inputs, NodeType, Operator, OperatorError, Optional, Output, Port,
    Problem, Purity, Registry, Result, Task, TaskResult, TypeContext,
};

use crate::running::engine::{node, options, run};

const INPUT: DatasetPort<Optional> = DatasetPort::optional("input", "Anything.");

macro_rules! probe {
    ($name:ident, $version:literal) => {
        /// Does what a test asks for.
        #[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        struct $name {
            /// What to do.
            act: Act,
            /// A file that counts how often it was done.
            counter: PathBuf,
        }

        impl Describe for $name {
            const NAME: &'static str = "Probe";
            const CODE_VERSION: u32 = $version;
            const PURITY: Purity = Purity::Pure;
            const PORTS: &'static [Port] = &[INPUT.port()];
            const EXAMPLE: &'static str = "op: Probe\nwith: { act: nothing, counter: count }\n";
        }

        impl Operator for $name {
            fn output_type(&self, _: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
                Ok(NodeType::Metrics(Vec::new()))
            }

            fn form(&self) -> Form<'_> {
                Form::Task(self)
            }
        }

        impl Task for $name {
            fn run(&self, _: &Inputs<Artifact>, context: &Context) -> Result<Output> {
                self.act.perform(&self.counter, context)
            }
        }
    };
}

probe!(Probe, 1);
probe!(NewerProbe, 2);

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Act {
    Nothing,
    Panic,
    FailTwice,
    RefuseTheData,
    BreakThePromise,
    WaitForCancel,
    IgnoreCancel,
    CountInMetrics,
    ContinueFromScratch,
}

fn count(file: &Path) -> u32 {
    std::fs::read_to_string(file).map_or(0, |text| text.parse().expect("a number"))
}

impl Act {
    fn perform(self, counter: &Path, context: &Context) -> Result<Output> {
        let before = count(counter);
        std::fs::write(counter, (before + 1).to_string()).map_err(OperatorError::io(counter))?;
        let mut output = Output::new(TaskResult::Metrics);
        match self {
            Act::Panic => panic!("a wheel came off"),
            Act::FailTwice if before < 2 => return Err(OperatorError::transient("not now")),
            Act::RefuseTheData => return Err(OperatorError::invalid("column `x` has a null")),
            Act::BreakThePromise => return Err(OperatorError::internal("there is no column `x`")),
            Act::Nothing | Act::FailTwice => {}
            Act::WaitForCancel => loop {
                context.cancel.check()?;
                std::thread::sleep(Duration::from_millis(20));
            },
            Act::IgnoreCancel => std::thread::sleep(Duration::from_secs(20)),
            Act::CountInMetrics => drop(output.metrics.insert("count".to_owned(), f64::from(before))),
            Act::ContinueFromScratch => {
                let state = context.scratch()?.join("state");
                let steps = count(&state);
                std::fs::write(&state, (steps + 1).to_string()).map_err(OperatorError::io(&state))?;
                if steps == 0 {
                    return Err(OperatorError::invalid("stopped in the middle"));
                }
                output.metrics.insert("steps".to_owned(), f64::from(steps + 1));
            }
        }
        Ok(output)
    }
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().expect("a temporary folder"))
    }

    fn store(&self) -> PathBuf {
        self.0.path().join("store")
    }

    fn probe(&self, act: &str, more: &str) -> String {
        let counter = self.0.path().join(act);
        format!(
            "  {act}: {{ op: Probe, with: {{ act: {act}, counter: \"{}\" }}{more} }}\n",
            counter.display()
        )
    }

    fn count(&self, act: &str) -> u32 {
        count(&self.0.path().join(act))
    }
}

/// A clock that only takes down what is waited for.
#[derive(Default)]
struct Pauses(Mutex<Vec<Duration>>);

impl Clock for Pauses {
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.0.lock().expect("no panic").push(time);
        Box::pin(std::future::ready(()))
    }
}

fn registry() -> Registry {
    towline_operators::builtin().with::<Probe>()
}

#[test]
fn a_panic_fails_its_node_by_name_and_the_others_finish() {
    let place = Place::new();
    let nodes = format!(
        "{}  rows: {{ op: SyntheticAliCcp, with: {{ rows: 100 }} }}\n  few: {{ op: Filter, input: rows, with: {{ where: click = 1 }} }}\n",
        place.probe("panic", "")
    );
    let record = run(&registry(), &nodes, &place.store(), options());
    assert_eq!(node(&record, "panic").status, NodeStatus::Failed);
    assert!(node(&record, "panic").reason.contains("a wheel came off"));
    assert_eq!(node(&record, "few").status, NodeStatus::Ran);
}

#[test]
fn what_may_pass_is_tried_again_as_often_as_the_node_says() {
    let place = Place::new();
    let mut quick = options();
    quick.clock = Arc::new(Pauses::default());
    let once = run(
        &registry(),
        &place.probe("fail_twice", ", retries: 1"),
        &place.store(),
        quick,
    );
    assert_eq!(node(&once, "fail_twice").status, NodeStatus::Failed);
    assert_eq!(place.count("fail_twice"), 2);
    let place = Place::new();
    let pauses = Arc::new(Pauses::default());
    let mut options = options();
    options.clock = Arc::clone(&pauses) as Arc<dyn Clock>;
    let twice = run(
        &registry(),
        &place.probe("fail_twice", ", retries: 2"),
        &place.store(),
        options,
    );
    assert_eq!(node(&twice, "fail_twice").status, NodeStatus::Ran);
    assert_eq!(place.count("fail_twice"), 3);
    let pauses = pauses.0.lock().expect("no panic").clone();
    assert_eq!(
        pauses,
        [1, 2].map(Duration::from_secs),
        "each twice as long as the last"
    );
}

#[test]
fn bad_data_and_defects_are_not_tried_again() {
    let place = Place::new();
    let nodes = ["refuse_the_data", "break_the_promise"].map(|act| place.probe(act, ", retries: 2"));
    let record = run(&registry(), &nodes.concat(), &place.store(), options());
    for act in ["refuse_the_data", "break_the_promise"] {
        assert_eq!(node(&record, act).status, NodeStatus::Failed);
        assert_eq!(place.count(act), 1, "{act}");
    }
}

#[test]
fn work_that_takes_too_long_fails_whether_it_listens_or_not() {
    let place = Place::new();
    let nodes = format!(
        "{}{}{}",
        place.probe("wait_for_cancel", ", timeout: 0.3s"),
        place.probe("ignore_cancel", ", timeout: 0.3s"),
        place.probe("nothing", ", timeout: 1h")
    );
    let start = Instant::now();
    let record = run(&registry(), &nodes, &place.store(), options());
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "nobody waits for what does not end"
    );
    for name in ["wait_for_cancel", "ignore_cancel"] {
        let node = node(&record, name);
        assert_eq!(node.status, NodeStatus::Failed);
        assert!(node.reason.contains("longer than the 0.3 s"), "{}", node.reason);
    }
    assert_eq!(node(&record, "nothing").status, NodeStatus::Ran);
}

#[test]
fn an_interruption_does_not_wait_for_work_that_does_not_listen() {
    let place = Place::new();
    let nodes = format!(
        "{}{}",
        place.probe("ignore_cancel", ""),
        place.probe("wait_for_cancel", "")
    );
    let options = options();
    let cancel = options.cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        cancel.cancel();
    });
    let start = Instant::now();
    let record = run(&registry(), &nodes, &place.store(), options);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(record.interrupted);
    assert_eq!(node(&record, "ignore_cancel").status, NodeStatus::Skipped);
    assert_eq!(node(&record, "wait_for_cancel").reason, "interrupted");
}

#[test]
fn another_code_version_runs_the_node_again_and_says_so() {
    let place = Place::new();
    let nodes = place.probe("nothing", "");
    run(&registry(), &nodes, &place.store(), options());
    let again = run(&registry(), &nodes, &place.store(), options());
    assert_eq!(node(&again, "nothing").status, NodeStatus::Reused);
    let newer = towline_operators::builtin().with::<NewerProbe>();
    let record = run(&newer, &nodes, &place.store(), options());
    assert_eq!(node(&record, "nothing").reason, "Probe code 1 -> 2");
    assert_eq!(place.count("nothing"), 2);
}

#[test]
fn a_node_that_is_never_cached_runs_every_time_and_no_other_level_defeats_that() {
    let place = Place::new();
    let nodes = place.probe("count_in_metrics", ", cache: never");
    for expected in [0.0, 1.0, 2.0] {
        let record = run(&registry(), &nodes, &place.store(), options());
        let node = node(&record, "count_in_metrics");
        assert_eq!((node.status, node.metrics["count"]), (NodeStatus::Ran, expected));
    }
}

#[test]
fn work_that_comes_to_something_else_each_time_is_found() {
    let place = Place::new();
    let nodes = format!("{}{}", place.probe("count_in_metrics", ""), place.probe("nothing", ""));
    let mut options = options();
    options.verify_determinism = true;
    let record = run(&registry(), &nodes, &place.store(), options);
    let found = node(&record, "count_in_metrics");
    assert_eq!(found.status, NodeStatus::Failed);
    assert!(
        found.reason.contains("not deterministic") && found.reason.contains("metrics.count: 0.0 -> 1.0"),
        "{}",
        found.reason
    );
    assert_eq!(node(&record, "nothing").status, NodeStatus::Ran);
    assert_eq!(place.count("nothing"), 2);
}

#[test]
fn unfinished_work_is_taken_up_where_somebody_asks_for_it_and_is_gone_when_it_is_finished() {
    let place = Place::new();
    let nodes = place.probe("continue_from_scratch", "");
    let resuming = || {
        let mut options = options();
        options.resume = true;
        options
    };
    for _ in 0..2 {
        let anew = run(&registry(), &nodes, &place.store(), options());
        assert_eq!(
            node(&anew, "continue_from_scratch").status,
            NodeStatus::Failed,
            "it begins anew"
        );
    }
    let resumed = run(&registry(), &nodes, &place.store(), resuming());
    assert_eq!(node(&resumed, "continue_from_scratch").metrics["steps"], 2.0);
    let left = std::fs::read_dir(place.store().join("scratch"))
        .expect("a folder")
        .count();
    assert_eq!(left, 0, "published work leaves nothing unfinished");
}
