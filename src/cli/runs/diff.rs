//! `towline diff RUN RUN`

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::cli::{Exit, runs};
use crate::plan::{compare, grouped};
use crate::run::{NodeRecord, RunRecord};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The run to compare with: `last~1`, or (a part of) an id that `towline history` lists.
    #[arg(default_value = "last~1")]
    old: String,
    /// The run that is compared.
    #[arg(default_value = "last")]
    new: String,
    /// Where artifacts are kept.
    #[arg(long, value_name = "FOLDER", default_value = ".towline")]
    store: PathBuf,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Exit {
    let records = runs::existing_store(&arguments.store)
        .and_then(|store| Ok((runs::find(&store, &arguments.old)?, runs::find(&store, &arguments.new)?)));
    match records {
        Ok((old, new)) => {
            print!("{}", difference(&old, &new));
            Exit::Success
        }
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Failed
        }
    }
}

/// What changed from one run to another, a paragraph for each node in which anything did.
fn difference(old: &RunRecord, new: &RunRecord) -> String {
    let mut out = format!(
        "{} ({}) -> {} ({})\n",
        old.id,
        runs::date(old.started),
        new.id,
        runs::date(new.started)
    );
    let mut run = Vec::new();
    if old.pipeline != new.pipeline {
        run.push(format!("pipeline: {} -> {}", old.pipeline, new.pipeline));
    }
    if old.commit != new.commit {
        let short = |commit: &Option<String>| {
            commit
                .as_deref()
                .map_or("none", |c| c.get(..12).unwrap_or(c))
                .to_owned()
        };
        run.push(format!("commit: {} -> {}", short(&old.commit), short(&new.commit)));
    }
    paragraph(&mut out, "run", &run);
    let before: BTreeMap<&str, &NodeRecord> = old.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    let names: BTreeSet<&str> = new.nodes.iter().map(|node| node.name.as_str()).collect();
    for node in &new.nodes {
        let changes = match before.get(node.name.as_str()) {
            Some(old) => node_changes(old, node),
            None => vec![format!("is new ({})", node.operator)],
        };
        paragraph(&mut out, &node.name, &changes);
    }
    for node in old.nodes.iter().filter(|node| !names.contains(node.name.as_str())) {
        paragraph(&mut out, &node.name, &[format!("is gone ({})", node.operator)]);
    }
    if out.lines().count() == 1 {
        out.push_str("nothing changed\n");
    }
    out
}

fn paragraph(out: &mut String, head: &str, lines: &[String]) {
    if !lines.is_empty() {
        out.push_str(&format!("\n{head}\n"));
        out.extend(lines.iter().map(|line| format!("  {line}\n")));
    }
}

fn node_changes(old: &NodeRecord, new: &NodeRecord) -> Vec<String> {
    let mut out = Vec::new();
    if old.operator != new.operator {
        out.push(format!("operator: {} -> {}", old.operator, new.operator));
    }
    if old.code != new.code {
        out.push(format!("code: {} -> {}", old.code, new.code));
    }
    compare("with", &old.with, &new.with, &mut out);
    let was: BTreeMap<&String, &String> = old.inputs.iter().map(|(name, digest)| (name, digest)).collect();
    let is: BTreeMap<&String, &String> = new.inputs.iter().map(|(name, digest)| (name, digest)).collect();
    for (name, digest) in &is {
        match was.get(name) {
            None => out.push(format!("input: {name} is new")),
            Some(before) if before != digest => out.push(format!("input: {name} changed")),
            Some(_) => {}
        }
    }
    let gone = was.keys().filter(|name| !is.contains_key(*name));
    out.extend(gone.map(|name| format!("input: {name} is gone")));
    for (name, value) in &new.metrics {
        match old.metrics.get(name) {
            None => out.push(format!("metric: {name} is new: {value}")),
            Some(before) if before != value => {
                out.push(format!("metric: {name}: {before} -> {value} ({:+.6})", value - before));
            }
            Some(_) => {}
        }
    }
    let gone = old.metrics.keys().filter(|name| !new.metrics.contains_key(*name));
    out.extend(gone.map(|name| format!("metric: {name} is gone")));
    if old.rows != new.rows {
        let rows = |rows: Option<u64>| rows.map_or_else(|| "not counted".to_owned(), grouped);
        out.push(format!("rows: {} -> {}", rows(old.rows), rows(new.rows)));
    }
    match (&old.output, &new.output) {
        (Some(before), Some(after)) if before != after => out.push("output: other content".to_owned()),
        (Some(_), None) => out.push(format!("output: none ({}: {})", new.status.word(), new.reason)),
        (None, Some(_)) => out.push(format!(
            "output: there is one now (it was {}: {})",
            old.status.word(),
            old.reason
        )),
        _ => {}
    }
    let records = [old, new].map(|node| node.receipt.as_ref().map(|receipt| receipt.records));
    if let [Some(before), Some(after)] = records
        && before != after
    {
        out.push(format!("published: {} -> {} records", grouped(before), grouped(after)));
    }
    out
}
