//! `towline recommend FILE --user ID`

use std::collections::{BTreeSet, HashMap};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::DataFrame;
use futures::StreamExt;
use towline_api::{
    Column, Form, ModelType, NodeType, OperatorError, Registry, Result, Schema, TableContext, TableFile, Tag, suggest,
};

use crate::cli::{Exit, PipelineArguments, load, tables};
use crate::config::Pipeline;
use crate::config::yaml::Diagnostic;
use crate::plan::grouped;
use crate::run::Role;
use crate::store::{Content, Entry, Store};
use crate::typing::{TypedNode, TypedPipeline};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
    /// The user, by original id.
    #[arg(long, value_name = "ID")]
    user: String,
    /// Maximum number of items to show.
    #[arg(long, default_value_t = 10)]
    k: usize,
    /// The node that makes the lists, where the pipeline has several.
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
}

/// The columns of lists.
const ITEMS: &str = "recommendations";
const SCORES: &str = "scores";
/// Names of columns that say what an item is called, the best first.
const TITLES: [&str; 4] = ["title", "name", "item_title", "item_name"];

pub(super) fn run(arguments: &Arguments, registry: &Registry) -> Exit {
    let file = arguments.pipeline.file.display().to_string();
    let checked = load::check(&arguments.pipeline.file, &arguments.pipeline.overrides, registry, false);
    let broken = checked.diagnostics.iter().any(Diagnostic::is_error);
    let invalid = || {
        checked.print_diagnostics(&file);
        Exit::Invalid
    };
    let Some(typed) = &checked.typed else {
        return invalid();
    };
    let store = match load::store(&arguments.pipeline) {
        Ok(store) => store,
        Err(exit) => return exit,
    };
    let nodes = known(typed, &store);
    let index = match lists_node(&typed.pipeline, &nodes, arguments.node.as_deref()) {
        Ok(index) => index,
        Err(_) if broken => return invalid(),
        Err(message) => {
            eprintln!("error: {message}");
            return invalid();
        }
    };
    if broken && nodes[index].stored.is_none() {
        return invalid();
    }
    if broken {
        let first = checked.diagnostics.iter().find(|diagnostic| diagnostic.is_error());
        let why = first.map_or("", |diagnostic| diagnostic.message.as_str());
        eprintln!("note: {file} could not run now ({why}); these are the results of the last run");
    } else {
        checked.print_diagnostics(&file);
    }
    let answer = Answer {
        pipeline: &typed.pipeline,
        nodes: &nodes,
        store: &store,
        index,
    };
    match answer.print(&arguments.user, arguments.k) {
        Ok(()) => Exit::Success,
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Failed
        }
    }
}

/// A node: from the pipeline, or, if the pipeline cannot be loaded now, from what the last run stored.
struct Known<'a> {
    typed: Option<&'a TypedNode>,
    stored: Option<Entry>,
}

fn known<'a>(typed: &'a TypedPipeline, store: &Store) -> Vec<Known<'a>> {
    let pipeline = &typed.pipeline;
    let nodes = pipeline.nodes.iter().zip(&typed.nodes);
    let known = nodes.map(|(node, typed)| {
        let mut works = [Role::Task, Role::Rows].iter();
        let stored = works.find_map(|role| store.last_of_node(&pipeline.name, &role.of_node(&node.name)));
        Known {
            typed: typed.as_ref(),
            stored,
        }
    });
    known.collect()
}

impl Known<'_> {
    /// The columns, if it makes rows.
    fn schema(&self) -> Option<&Schema> {
        match (self.typed.map(|typed| &typed.output), self.content()) {
            (Some(NodeType::Dataset(dataset)), _) => Some(&dataset.schema),
            (None, Some(Content::Dataset { schema, .. })) => Some(schema),
            _ => None,
        }
    }

    /// The column of items, if it makes a model.
    fn item_id(&self) -> Option<&str> {
        match (self.typed.map(|typed| &typed.output), self.content()) {
            (Some(NodeType::Model(model)), _) => item_column(model),
            (None, Some(Content::Model { model_type, .. })) => item_column(model_type),
            _ => None,
        }
    }

    fn content(&self) -> Option<&Content> {
        self.stored.as_ref().map(|entry| &entry.content)
    }
}

/// The column with the ids of items, if a model reads one.
fn item_column(model: &ModelType) -> Option<&str> {
    let column = model
        .inputs
        .values()
        .find_map(|schema| schema.tagged(&[Tag::Item, Tag::Id]).next());
    column.map(|column| column.name.as_str())
}

/// The column of users, if rows have lists of items for them.
fn user_column(schema: &Schema) -> Option<&str> {
    let is_list = |name: &str| schema.get(name).is_some_and(Column::is_list);
    let user = schema.tagged(&[Tag::User, Tag::Id]).next()?;
    (is_list(ITEMS) && is_list(SCORES)).then_some(user.name.as_str())
}

/// The node that makes lists, or why it is not clear which.
fn lists_node(pipeline: &Pipeline, nodes: &[Known<'_>], wanted: Option<&str>) -> Result<usize, String> {
    let makes_lists = |index: &usize| nodes[*index].schema().and_then(user_column).is_some();
    let all: Vec<usize> = (0..nodes.len()).filter(makes_lists).collect();
    let names: Vec<&str> = all.iter().map(|index| pipeline.nodes[*index].name.as_str()).collect();
    match (wanted, all.as_slice()) {
        (_, []) => Err("no node of this pipeline makes lists of recommendations; `TopKEncode` does".to_owned()),
        (Some(wanted), _) => match names.iter().position(|name| *name == wanted) {
            Some(place) => Ok(all[place]),
            None => Err(format!(
                "no node `{wanted}` makes lists: {}",
                suggest::sentence(wanted, &names, "nodes")
            )),
        },
        (None, [one]) => Ok(*one),
        (None, _) => Err(format!(
            "several nodes make lists: choose one with --node ({})",
            names.join(", ")
        )),
    }
}

/// The parts of an answer.
struct Answer<'a> {
    pipeline: &'a Pipeline,
    nodes: &'a [Known<'a>],
    store: &'a Store,
    index: usize,
}

impl Answer<'_> {
    fn print(&self, user: &str, k: usize) -> Result<()> {
        let name = &self.pipeline.nodes[self.index].name;
        let Known {
            stored: Some(entry), ..
        } = &self.nodes[self.index]
        else {
            return Err(OperatorError::invalid(format!(
                "`{name}` was not run yet: `towline run` first"
            )));
        };
        let column = self.nodes[self.index]
            .schema()
            .and_then(user_column)
            .unwrap_or_default();
        let files = self.files(entry);
        let Some((file, row)) = find(&files, column, user)? else {
            let users: u64 = files.iter().map(|file| file.rows).sum();
            return Err(OperatorError::invalid(format!(
                "`{name}` has no list for the user `{user}`: it has {} users, and leaves out those whom the model does \
                 not know",
                grouped(users)
            )));
        };
        let list = list_at(file, row, k)?;
        let ids: BTreeSet<String> = list.iter().map(|(id, _)| id.clone()).collect();
        let titles = self.titles(&ids)?;
        let rows = list.iter().enumerate().map(|(place, (id, score))| {
            let title = titles
                .as_ref()
                .map(|titles| titles.get(id).cloned().unwrap_or_default());
            let first = [(place + 1).to_string(), id.clone()];
            first.into_iter().chain(title).chain([score.clone()]).collect()
        });
        let heads: &[&str] = if titles.is_some() {
            &["", "item", "title", "score"]
        } else {
            &["", "item", "score"]
        };
        println!("{column} {user}, by `{name}`");
        print!("{}", tables::table(heads, rows.collect()));
        Ok(())
    }

    fn files(&self, entry: &Entry) -> Vec<TableFile> {
        let Content::Dataset { splits, .. } = &entry.content else {
            return Vec::new();
        };
        let file = |split: &crate::store::StoredSplit| TableFile {
            path: self.store.blob_path(&split.blob),
            rows: split.rows,
        };
        splits.iter().map(file).collect()
    }

    /// The titles of items, if a stored table or a source has the item's id beside a title or a name.
    fn titles(&self, ids: &BTreeSet<String>) -> Result<Option<HashMap<String, String>>> {
        let inputs = self.pipeline.nodes[self.index].inputs.references();
        let item_id = inputs.iter().find_map(|reference| self.nodes[reference.node].item_id());
        let Some(item_id) = item_id else {
            return Ok(None);
        };
        for node in self.nodes {
            let Some(schema) = node.schema() else { continue };
            let id = schema.get(item_id).filter(|column| column.domain.is_none());
            let title = TITLES.iter().find_map(|title| {
                let mut columns = schema.columns.iter();
                columns.find(|column| column.name.eq_ignore_ascii_case(title) && column.domain.is_none())
            });
            let (Some(_), Some(title)) = (id, title) else {
                continue;
            };
            let mut titles = Titles {
                ids,
                item_id,
                title: &title.name,
                found: HashMap::new(),
            };
            if let Some(entry) = &node.stored {
                for file in self.files(entry) {
                    for batch in file.batches(Some(&[item_id, &title.name]))? {
                        titles.add(&batch?)?;
                    }
                }
            } else if let Some(Form::Source(source)) = node.typed.map(|typed| typed.built.operator.form()) {
                let runtime = load::threads().map_err(|_| OperatorError::invalid("no threads to read titles on"))?;
                let context = TableContext {
                    session: crate::run::session(),
                    runtime: runtime.handle().clone(),
                };
                for (_, frame) in source.read(&context)? {
                    titles.read(frame, &runtime)?;
                }
            }
            if !titles.found.is_empty() {
                return Ok(Some(titles.found));
            }
        }
        Ok(None)
    }
}

/// Titles that are looked for.
struct Titles<'a> {
    ids: &'a BTreeSet<String>,
    item_id: &'a str,
    title: &'a str,
    found: HashMap<String, String>,
}

impl Titles<'_> {
    fn read(&mut self, frame: DataFrame, runtime: &tokio::runtime::Runtime) -> Result<()> {
        let frame = frame.select_columns(&[self.item_id, self.title])?;
        let mut batches = runtime.block_on(frame.execute_stream())?;
        while let Some(batch) = runtime.block_on(batches.next()) {
            self.add(&batch?)?;
        }
        Ok(())
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let [ids, titles] = [self.item_id, self.title].map(|name| batch.column_by_name(name));
        let (Some(ids), Some(titles)) = (ids, titles) else {
            return Ok(());
        };
        let options = FormatOptions::default();
        let names = ArrayFormatter::try_new(ids, &options)?;
        let texts = ArrayFormatter::try_new(titles, &options)?;
        for row in 0..batch.num_rows() {
            let id = names.value(row).to_string();
            if self.ids.contains(&id) {
                self.found.entry(id).or_insert_with(|| texts.value(row).to_string());
            }
        }
        Ok(())
    }
}

/// The file and the row of a user.
fn find<'a>(files: &'a [TableFile], column: &str, user: &str) -> Result<Option<(&'a TableFile, usize)>> {
    let options = FormatOptions::default();
    for file in files {
        let mut start = 0;
        for batch in file.batches(Some(&[column]))? {
            let batch = batch?;
            let names = ArrayFormatter::try_new(batch.column(0), &options)?;
            if let Some(row) = (0..batch.num_rows()).find(|row| names.value(*row).to_string() == user) {
                return Ok(Some((file, start + row)));
            }
            start += batch.num_rows();
        }
    }
    Ok(None)
}

/// The first `k` items of the list in a row, with their scores.
fn list_at(file: &TableFile, row: usize, k: usize) -> Result<Vec<(String, String)>> {
    let mut start = 0;
    for batch in file.batches(Some(&[ITEMS, SCORES]))? {
        let batch = batch?;
        if row < start + batch.num_rows() {
            let of = |name: &str| -> Option<ArrayRef> {
                let lists = batch.column_by_name(name)?.as_list_opt::<i32>()?;
                let list = lists.value(row - start);
                Some(list.slice(0, list.len().min(k)))
            };
            let (Some(items), Some(scores)) = (of(ITEMS), of(SCORES)) else {
                return Err(OperatorError::invalid("the lists are not lists"));
            };
            let options = FormatOptions::default();
            let names = ArrayFormatter::try_new(&items, &options)?;
            let values = ArrayFormatter::try_new(&scores, &options)?;
            return Ok((0..items.len())
                .map(|place| (names.value(place).to_string(), values.value(place).to_string()))
                .collect());
        }
        start += batch.num_rows();
    }
    Ok(Vec::new())
}
