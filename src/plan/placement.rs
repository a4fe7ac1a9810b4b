//! Where the output of each node lives: in the store, or as a part of the plans of what reads it.

use std::collections::BTreeMap;

use towline_api::Form;

use crate::config::CacheMode;
use crate::typing::{GraphNode, NodeId, TypedGraph};

/// Where the output of a node lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// In the store; the text says why.
    Stored(String),
    /// Nowhere of its own: the step is a part of the plans of what reads it. The text says of what.
    Fused(String),
    /// In the files of the source.
    InPlace,
}

impl Placement {
    /// Whether the output is written to the store.
    pub fn is_stored(&self) -> bool {
        matches!(self, Placement::Stored(_))
    }
}

impl std::fmt::Display for Placement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Placement::Stored(why) => write!(f, "stored: {why}"),
            Placement::Fused(into) => write!(f, "fused into {into}"),
            Placement::InPlace => f.write_str("read in place"),
        }
    }
}

/// The placement of every node.
///
/// Rows that an operator makes are stored, so that all that descends from them reads the same rows, unless their only
/// reader makes new rows itself and nothing is expected of them: then the two are one plan. `cache: always` stores in
/// any case. A step that keeps the rows of its input stays a projection
/// of them, whatever reads it; it is stored as well where a task reads all of it, or where nothing does, since then it
/// is a result.
pub fn placements(graph: &TypedGraph) -> BTreeMap<NodeId, Placement> {
    let mut readers: BTreeMap<NodeId, Vec<Reader<'_>>> = BTreeMap::new();
    for id in graph.ids() {
        let node = &graph[id];
        for connection in &node.connections {
            let selection = &connection.selection;
            readers.entry(connection.from).or_default().push(Reader {
                name: &node.name,
                form: node.form(),
                whole: selection.columns.is_none() && selection.split.is_none(),
            });
        }
    }
    let placed = |id| {
        let readers = readers.get(&id).map_or(&[][..], Vec::as_slice);
        (id, placement(&graph[id], readers))
    };
    graph.ids().map(placed).collect()
}

/// A reader of a node's output.
struct Reader<'a> {
    name: &'a str,
    form: Form<'a>,
    /// Whether it reads all columns and splits.
    whole: bool,
}

fn placement(node: &GraphNode, readers: &[Reader<'_>]) -> Placement {
    let names = |wanted: &dyn Fn(&Reader<'_>) -> bool| {
        let mut names: Vec<&str> = readers.iter().filter(|r| wanted(r)).map(|r| r.name).collect();
        names.dedup();
        shorten(&names)
    };
    let all = names(&|_| true);
    match node.form() {
        Form::Task(_) | Form::Sink(_) => Placement::Stored("the work of a task".to_owned()),
        _ if node.settings.cache == CacheMode::Always => Placement::Stored("`cache: always`".to_owned()),
        Form::Source(source) if source.in_place() => Placement::InPlace,
        Form::Source(_) | Form::Table(_) => match readers {
            [] => Placement::Stored("nothing reads it, it is a result".to_owned()),
            [only] if matches!(only.form, Form::Table(_)) => {
                if node.expectations.is_empty() {
                    Placement::Fused(all)
                } else {
                    // As a part of a plan it would be computed twice: to be checked, and to be read.
                    Placement::Stored("new rows that have expectations".to_owned())
                }
            }
            _ => Placement::Stored(format!("new rows that {all} {}", reads(readers))),
        },
        Form::Columns(_) | Form::Stateful(_) => {
            let task = |reader: &Reader<'_>| reader.whole && matches!(reader.form, Form::Task(_) | Form::Sink(_));
            if readers.is_empty() {
                Placement::Stored("nothing reads it, it is a result".to_owned())
            } else if readers.iter().any(task) {
                let count = readers.iter().filter(|r| task(r)).count();
                let verb = if count == 1 { "reads" } else { "read" };
                Placement::Stored(format!(
                    "the {} {} {verb} it",
                    if count == 1 { "task" } else { "tasks" },
                    names(&task)
                ))
            } else {
                Placement::Fused(all)
            }
        }
    }
}

fn reads(readers: &[Reader<'_>]) -> &'static str {
    if readers.len() == 1 { "reads" } else { "read" }
}

fn shorten(names: &[&str]) -> String {
    match names {
        [first, second, third, rest @ ..] if rest.len() > 1 => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        _ => names.join(", "),
    }
}
