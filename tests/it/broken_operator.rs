//! An operator that panics takes down nothing but its node.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use towline::pipeline::{LoadOptions, load_text};
use towline::run::{NodeStatus, Progress, ProgressMode, RunOptions};
use towline_operators::contract::{
    Artifact, Cancel, Context, Describe, Device, Form, Inputs, NodeType, Operator, Output, Port, Problem, Purity,
    Result, Task, TypeContext,
};

/// Always panics.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Breaks {}

impl Describe for Breaks {
    const NAME: &'static str = "Breaks";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[Port::dataset("input", "Anything.")];
    const EXAMPLE: &'static str = "op: Breaks\ninput: rows\n";
}

impl Operator for Breaks {
    fn output_type(&self, _: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        Ok(NodeType::Metrics(Vec::new()))
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }
}

impl Task for Breaks {
    fn run(&self, _: &Inputs<Artifact>, _: &Context) -> Result<Output> {
        panic!("a wheel came off")
    }
}

#[test]
fn a_panic_fails_its_node_by_name_and_the_others_finish() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let registry = towline_operators::builtin().with::<Breaks>();
    let env = |_: &str| None;
    let options = LoadOptions {
        operators: towline::pipeline::ChainOperators {
            concat: towline_operators::CONCAT,
            select: towline_operators::SELECT,
        },
        overrides: &[],
        env: &env,
    };
    let text = "version: 1\nnodes:\n  rows: { op: SyntheticAliCcp, with: { rows: 100 } }\n  broken: { op: Breaks, input: rows }\n  few: { op: Filter, input: rows, with: { where: click = 1 } }\n";
    let loaded = load_text("p.yaml", text.as_bytes(), &options);
    let pipeline = loaded.pipeline.expect("valid");
    let context = TypeContext {
        session: datafusion::prelude::SessionContext::new(),
        offline: false,
    };
    let typed = towline::plan::propagate(pipeline, &loaded.sources, &registry, &context);
    let nodes = typed.nodes.into_iter().collect::<Option<Vec<_>>>().expect("typed");
    let store = towline::store::Store::open(folder.path()).expect("a store");
    let options = RunOptions {
        jobs: 1,
        threads: 1,
        device: Device::Cpu,
        cancel: Cancel::default(),
        progress: Progress::new(ProgressMode::Quiet),
    };
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let record = runtime.block_on(towline::run::run(typed.pipeline, nodes, store, options));
    let ended: Vec<_> = record
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.status))
        .collect();
    assert_eq!(
        ended,
        [
            ("rows", NodeStatus::Ran),
            ("broken", NodeStatus::Failed),
            ("few", NodeStatus::Ran)
        ]
    );
    assert!(
        record.nodes[1].reason.contains("a wheel came off"),
        "{}",
        record.nodes[1].reason
    );
}
