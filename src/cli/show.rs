//! `towline show FILE NODE`

use arrow::util::display::{ArrayFormatter, FormatOptions};
use towline_api::{NodeType, Registry, TableFile, suggest};

use crate::cli::{Exit, PipelineArguments, load, runs, tables};
use crate::plan::grouped;
use crate::run::{NodeRecord, NodeStatus, Role, RunRecord};
use crate::store::{Content, Entry, Store};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
    /// The node.
    node: String,
    /// Maximum number of rows to show of each split.
    #[arg(long, default_value_t = 10)]
    rows: usize,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> Exit {
    let graph = match load::graph(&arguments.pipeline, registry) {
        Ok(graph) => graph,
        Err(exit) => return exit,
    };
    let Some(id) = graph.find(&arguments.node) else {
        let help = suggest::sentence(&arguments.node, &graph.names(), "nodes");
        eprintln!("error: there is no node `{}`: {help}", arguments.node);
        return Exit::Invalid;
    };
    let store = match load::store(&arguments.pipeline) {
        Ok(store) => store,
        Err(exit) => return exit,
    };
    let node = &graph[id];
    let works = [Role::Task, Role::Rows, Role::Fit].map(|role| role.of_node(&node.name));
    let own = matches!(&node.output, NodeType::Dataset(_));
    println!("{} ({})", node.name, node.descriptor.name);
    let last = works.iter().find_map(|work| store.last_of_node(graph.name(), work));
    if let NodeType::Dataset(dataset) = &node.output {
        let stored = last.as_ref().and_then(|entry| match &entry.content {
            Content::Dataset { schema, .. } if schema.names().eq(dataset.schema.names()) => Some(schema),
            _ => None,
        });
        print!("{}", tables::schema(stored.unwrap_or(&dataset.schema)));
    }
    match last {
        Some(entry) => {
            if let Some(note) = older(&store, graph.name(), &node.name, &entry.key) {
                println!("\n{note}");
            }
            if let Err(error) = print_entry(&store, &entry, arguments.rows) {
                eprintln!("error: {error}");
                return Exit::Failed;
            }
        }
        None => {
            let nothing = if own {
                "no rows of its own are stored: it was not run, or stays part of what reads it"
            } else {
                "it was not run"
            };
            let why = unfinished(&store, graph.name(), &node.name);
            println!("\n{}", why.as_deref().unwrap_or(nothing));
        }
    }
    Exit::Success
}

/// The records of a pipeline's runs, the latest first.
fn records(store: &Store, pipeline: &str) -> impl Iterator<Item = RunRecord> {
    let ids = store.runs().unwrap_or_default();
    let records = ids.into_iter().rev().filter_map(|id| store.run::<RunRecord>(&id));
    records.filter(move |record| record.pipeline == pipeline)
}

fn of_run<'a>(run: &'a RunRecord, node: &str) -> Option<&'a NodeRecord> {
    run.nodes.iter().find(|other| other.name == node)
}

fn named(run: &RunRecord) -> String {
    format!("{} of {}", run.id, runs::date(run.started))
}

/// The status of a node as text: `failed: reason`.
fn end(node: &NodeRecord) -> String {
    let end = match node.status {
        NodeStatus::Failed => "failed".to_owned(),
        other => format!("was {}", other.word()),
    };
    match node.reason.lines().next() {
        Some(reason) => format!("{end}: {reason}"),
        None => end,
    }
}

/// Two lines for a result that the last run did not come to: why not, and of which run it is.
fn older(store: &Store, pipeline: &str, node: &str, key: &str) -> Option<String> {
    let has_it = |node: &NodeRecord| node.keys.iter().any(|own| own == key);
    let mut records = records(store, pipeline);
    let last = records.next()?;
    let ended = of_run(&last, node).filter(|ended| !has_it(ended))?;
    let made = records.find(|run| of_run(run, node).is_some_and(has_it));
    let made = made.map_or_else(|| "an earlier run".to_owned(), |run| format!("the run {}", named(&run)));
    Some(format!(
        "not of the last run, {}, in which `{node}` {}\nwhat follows is of {made}",
        named(&last),
        end(ended)
    ))
}

/// Why there is nothing of a node, if it did not finish in the last run.
fn unfinished(store: &Store, pipeline: &str, node: &str) -> Option<String> {
    let last = records(store, pipeline).next()?;
    let ended = of_run(&last, node)?;
    let is_over = matches!(ended.status, NodeStatus::Failed | NodeStatus::Skipped);
    is_over.then(|| {
        format!(
            "nothing of it is stored: in the last run, {}, it {}",
            named(&last),
            end(ended)
        )
    })
}

fn print_entry(store: &Store, entry: &Entry, rows: usize) -> Result<(), towline_api::OperatorError> {
    if let Content::Dataset { splits, .. } = &entry.content {
        for split in splits {
            println!("\n{}: {} rows", split.name, grouped(split.rows));
            let file = TableFile {
                path: store.blob_path(&split.blob),
                rows: split.rows,
            };
            let mut heads: Vec<String> = Vec::new();
            let mut lines: Vec<Vec<String>> = Vec::new();
            for batch in file.batches(None)? {
                let batch = batch?;
                heads = batch
                    .schema()
                    .fields()
                    .iter()
                    .map(|field| field.name().clone())
                    .collect();
                let options = FormatOptions::default().with_null("null");
                let formatters = batch
                    .columns()
                    .iter()
                    .map(|c| ArrayFormatter::try_new(c, &options))
                    .collect::<Result<Vec<_>, _>>()?;
                for row in 0..batch.num_rows().min(rows - lines.len()) {
                    lines.push(
                        formatters
                            .iter()
                            .map(|formatter| short(&formatter.value(row).to_string()))
                            .collect(),
                    );
                }
                if lines.len() >= rows {
                    break;
                }
            }
            print!(
                "{}",
                tables::table(&heads.iter().map(String::as_str).collect::<Vec<_>>(), lines)
            );
        }
    }
    for (name, value) in &entry.metrics {
        println!("  {name}: {value}");
    }
    for (name, value) in &entry.report.facts {
        println!("  {name}: {value}");
    }
    print!("{}", tables::of_report(&entry.report));
    Ok(())
}

/// A cell is a look, not a dump.
fn short(text: &str) -> String {
    const WIDTH: usize = 160;
    if text.chars().count() <= WIDTH {
        return text.to_owned();
    }
    let cut: String = text.chars().take(WIDTH).collect();
    format!("{cut}...")
}
