//! `towline history`

use std::path::PathBuf;

use crate::cli::{Exit, runs, tables};
use crate::run::{NodeStatus, RunRecord};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Only runs of this pipeline (its name).
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// How many runs to show, the latest ones.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Print the records as JSON lines, whole.
    #[arg(long)]
    json: bool,
    /// Where artifacts are kept.
    #[arg(long, value_name = "FOLDER", default_value = ".towline")]
    store: PathBuf,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Exit {
    match records(arguments) {
        Ok(records) if arguments.json => {
            for record in records {
                println!("{}", serde_json::json!(record));
            }
            Exit::Success
        }
        Ok(records) => {
            let heads = [
                "run",
                "started (UTC)",
                "pipeline",
                "took",
                "ran",
                "reused",
                "failed",
                "end",
                "metrics",
            ];
            print!("{}", tables::table(&heads, records.iter().map(row).collect()));
            Exit::Success
        }
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Failed
        }
    }
}

/// The latest runs, the latest one last.
fn records(arguments: &Arguments) -> Result<Vec<RunRecord>, String> {
    let store = runs::existing_store(&arguments.store)?;
    let ids = store.runs().map_err(|error| error.to_string())?;
    let mut records = Vec::new();
    for id in ids.iter().rev() {
        if records.len() == arguments.limit {
            break;
        }
        // A record that cannot be read any more hides none of the others.
        let Some(record) = store.run::<RunRecord>(id) else {
            eprintln!("warning: the record of the run {id} is not readable");
            continue;
        };
        if arguments.pipeline.as_ref().is_none_or(|name| *name == record.pipeline) {
            records.push(record);
        }
    }
    records.reverse();
    Ok(records)
}

fn row(record: &RunRecord) -> Vec<String> {
    let failed = record.count(NodeStatus::Failed);
    let end = match (record.interrupted, failed) {
        (true, _) => "interrupted",
        (false, 0) => "fine",
        (false, _) => "failed",
    };
    vec![
        record.id.clone(),
        runs::date(record.started),
        record.pipeline.clone(),
        tables::seconds(record.seconds),
        record.count(NodeStatus::Ran).to_string(),
        record.count(NodeStatus::Reused).to_string(),
        failed.to_string(),
        end.to_owned(),
        metrics(record),
    ]
}

/// The first few metrics that are not those of a baseline.
fn metrics(record: &RunRecord) -> String {
    const SHOWN: usize = 3;
    let all: Vec<String> = record
        .nodes
        .iter()
        .flat_map(|node| node.metrics.iter().map(move |(name, value)| (&node.name, name, value)))
        .filter(|(_, name, _)| !name.contains('.'))
        .map(|(node, name, value)| format!("{node}.{name} {value:.4}"))
        .collect();
    let shown = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > SHOWN {
        format!("{shown} and {} more", all.len() - SHOWN)
    } else {
        shown
    }
}
