//! `towline show FILE NODE`

use arrow::util::display::{ArrayFormatter, FormatOptions};
use towline_operators::contract::{NodeType, Registry, TableFile, suggest};

use super::{Exit, PipelineArguments, load, tables};
use crate::plan::grouped;
use crate::store::{Content, Entry, Store};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
    /// The node.
    node: String,
    /// How many rows to show of each split.
    #[arg(long, default_value_t = 10)]
    rows: usize,
}

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> Exit {
    let (pipeline, nodes) = match load::pipeline(&arguments.pipeline, registry) {
        Ok(valid) => valid,
        Err(exit) => return exit,
    };
    let Some(index) = pipeline.nodes.iter().position(|node| node.name == arguments.node) else {
        let names: Vec<&str> = pipeline.nodes.iter().map(|node| node.name.as_str()).collect();
        let help = suggest::sentence(&arguments.node, &names, "nodes");
        eprintln!("error: there is no node `{}`: {help}", arguments.node);
        return Exit::Invalid;
    };
    let store = match load::store(&arguments.pipeline) {
        Ok(store) => store,
        Err(exit) => return exit,
    };
    let node = &pipeline.nodes[index];
    let works = ["task", "rows", "fit"].map(|role| format!("{}#{role}", node.name));
    let own = matches!(&nodes[index].output, NodeType::Dataset(_));
    println!("{} ({})", node.name, node.op.value);
    let last = works.iter().find_map(|work| store.last_of_node(&pipeline.name, work));
    if let NodeType::Dataset(dataset) = &nodes[index].output {
        let stored = last.as_ref().and_then(|entry| match &entry.content {
            Content::Dataset { schema, .. } if schema.names().eq(dataset.schema.names()) => Some(schema),
            _ => None,
        });
        print!("{}", tables::schema(stored.unwrap_or(&dataset.schema)));
    }
    match last {
        Some(entry) => {
            if let Err(error) = print_entry(&store, &entry, arguments.rows) {
                eprintln!("error: {error}");
                return Exit::Failed;
            }
        }
        None if own => println!("\nno rows of its own are stored: it was not run, or stays part of what reads it"),
        None => println!("\nit was not run"),
    }
    Exit::Fine
}

fn print_entry(store: &Store, entry: &Entry, rows: usize) -> Result<(), towline_operators::contract::OperatorError> {
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
