//! Paths of a source: one path, or one per split.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema as ArrowSchema, SchemaRef};
use datafusion::dataframe::DataFrame;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::prelude::SessionContext;

use crate::rows::sampling::split::Split;
use towline_api::{
    Code, DEFAULT_SPLIT, DatasetType, Describe, OperatorError, PathSegment, Problem, Result, Schema, Site,
    TableContext, TypeContext,
};

/// The files of a split, in order.
pub(crate) struct SplitFiles {
    pub(crate) name: String,
    pub(crate) files: Vec<PathBuf>,
    site: Site,
}

/// Checks paths and division: exactly one of `path` and `splits` must be set, and `split` applies to `path` only.
pub(crate) fn check(
    path: Option<&String>,
    splits: Option<&BTreeMap<String, String>>,
    split: Option<&Split>,
) -> Vec<Problem> {
    let mut problems = check_place(path, splits);
    if let Some(split) = split {
        if splits.is_some() {
            let message = "`split` cannot divide a source with `splits`";
            problems.push(
                Problem::new(Code::Conflict, message)
                    .at("split")
                    .help("set `path` with `split`"),
            );
        }
        problems.extend(split.check().into_iter().map(|problem| problem.within("split")));
    }
    problems
}

fn check_place(path: Option<&String>, splits: Option<&BTreeMap<String, String>>) -> Vec<Problem> {
    match (path, splits) {
        (Some(_), Some(_)) => vec![Problem::new(Code::Conflict, "set `path` or `splits`, not both").at("splits")],
        (None, None) => vec![Problem::new(
            Code::MissingKey,
            "set `path`, or `splits` with a path for each split",
        )],
        (None, Some(splits)) if splits.is_empty() => {
            vec![Problem::new(Code::BadConfig, "`splits` is empty").at("splits")]
        }
        _ => Vec::new(),
    }
}

/// The splits of a source without looking at files, in the order of [`locate`].
pub(crate) fn without_files(splits: Option<&BTreeMap<String, String>>) -> Vec<SplitFiles> {
    let mut names: Vec<&str> = splits.map_or_else(
        || vec![DEFAULT_SPLIT],
        |splits| splits.keys().map(String::as_str).collect(),
    );
    names.sort_by_key(|name| *name != DEFAULT_SPLIT);
    let split = |name: &str| SplitFiles {
        name: name.to_owned(),
        files: Vec::new(),
        site: Site::Node,
    };
    names.into_iter().map(split).collect()
}

/// The files of every split: `train` first, the others by name.
pub(crate) fn locate(
    path: Option<&String>,
    splits: Option<&BTreeMap<String, String>>,
    extension: &str,
) -> Result<Vec<SplitFiles>, Vec<Problem>> {
    let key = |name: &str| PathSegment::Key(name.to_owned());
    let mut wanted: Vec<(&str, &str, Site)> = path
        .iter()
        .map(|path| (DEFAULT_SPLIT, path.as_str(), Site::Config(vec![key("path")])))
        .collect();
    for (name, path) in splits.into_iter().flatten() {
        wanted.push((name, path, Site::Config(vec![key("splits"), key(name)])));
    }
    wanted.sort_by_key(|(name, ..)| *name != DEFAULT_SPLIT);
    let mut found = Vec::new();
    let mut problems = Vec::new();
    for (name, pattern, site) in wanted {
        match resolve(pattern, extension) {
            Ok(files) => found.push(SplitFiles {
                name: name.to_owned(),
                files,
                site,
            }),
            Err(message) => problems.push(Problem {
                site,
                ..Problem::new(Code::BadSource, message)
            }),
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}

/// Resolves a path: a file, the files in a folder with this extension, or the matches of a glob; sorted by path.
fn resolve(pattern: &str, extension: &str) -> Result<Vec<PathBuf>, String> {
    let path = Path::new(pattern);
    let mut files: Vec<PathBuf> = if path.is_dir() {
        let entries = fs::read_dir(path).map_err(|error| format!("{pattern}: {error}"))?;
        let has_extension = |path: &PathBuf| {
            path.extension()
                .is_some_and(|found| found.eq_ignore_ascii_case(extension))
        };
        entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(has_extension)
            .collect()
    } else if path.exists() {
        vec![path.to_owned()]
    } else if pattern.contains(['*', '?', '[']) {
        let matches = glob::glob(pattern).map_err(|error| format!("{pattern}: {error}"))?;
        matches
            .filter_map(|entry| entry.ok().filter(|path| path.is_file()))
            .collect()
    } else {
        return Err(format!("there is no file {pattern}"));
    };
    files.sort();
    if files.is_empty() {
        Err(format!("there is no .{extension} file at {pattern}"))
    } else {
        Ok(files)
    }
}

/// All files of a source, in order.
pub(crate) fn all_files(splits: Result<Vec<SplitFiles>, Vec<Problem>>) -> Result<Vec<(String, PathBuf)>> {
    let named = |split: SplitFiles| split.files.into_iter().map(move |file| (split.name.clone(), file));
    Ok(run_time(splits)?.into_iter().flat_map(named).collect())
}

/// Converts problems into a runtime error: files can disappear between validation and run.
pub(crate) fn run_time<T>(found: Result<T, Vec<Problem>>) -> Result<T> {
    found.map_err(|problems| {
        let messages: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
        OperatorError::invalid(messages.join("; "))
    })
}

/// The common schema of all files: names and types must be equal; a column is nullable if it is nullable in any file.
pub(crate) fn common_schema(
    splits: &[SplitFiles],
    schema_of: impl Fn(&Path) -> Result<ArrowSchema>,
) -> Result<SchemaRef, Vec<Problem>> {
    let mut common: Option<(PathBuf, Vec<Field>)> = None;
    let mut problems = Vec::new();
    for split in splits {
        for file in &split.files {
            let complain = |message: String| Problem {
                site: split.site.clone(),
                ..Problem::new(Code::BadSource, message)
            };
            let schema = match schema_of(file) {
                Ok(schema) => schema,
                Err(error) => {
                    problems.push(complain(error.to_string()));
                    continue;
                }
            };
            let fields: Vec<Field> = schema
                .fields()
                .iter()
                .map(|f| Field::new(f.name(), f.data_type().clone(), f.is_nullable()))
                .collect();
            match &mut common {
                None => common = Some((file.clone(), fields)),
                Some((first, known)) => match difference(known, &fields) {
                    Some(what) => {
                        problems.push(complain(format!(
                            "{} and {} differ: {what}",
                            first.display(),
                            file.display()
                        )));
                    }
                    None => {
                        for (known, field) in known.iter_mut().zip(fields) {
                            known.set_nullable(known.is_nullable() || field.is_nullable());
                        }
                    }
                },
            }
        }
    }
    match common {
        Some((_, fields)) if problems.is_empty() => Ok(Arc::new(ArrowSchema::new(fields))),
        _ => Err(problems),
    }
}

fn difference(known: &[Field], other: &[Field]) -> Option<String> {
    if known.len() != other.len() {
        return Some(format!("{} columns and {}", known.len(), other.len()));
    }
    let differ = |(a, b): &(&Field, &Field)| a.name() != b.name() || a.data_type() != b.data_type();
    let (a, b) = known.iter().zip(other).find(differ)?;
    Some(format!(
        "`{}` ({}) and `{}` ({})",
        a.name(),
        a.data_type(),
        b.name(),
        b.data_type()
    ))
}

/// The output type of a source with these files, divided by `split` if set.
pub(crate) fn dataset_type(
    files: Vec<SplitFiles>,
    schema: Schema,
    split: Option<&Split>,
    context: &TypeContext,
) -> Result<DatasetType, Vec<Problem>> {
    let splits = match split {
        Some(split) => split.names_of_splits(&schema, context).map_err(|problems| {
            problems
                .into_iter()
                .map(|problem| problem.within("split"))
                .collect::<Vec<_>>()
        })?,
        None => files.into_iter().map(|split| split.name).collect(),
    };
    Ok(DatasetType { schema, splits })
}

/// The splits of the files, or the divisions of the single split.
pub(crate) fn divided(
    mut frames: Vec<(String, DataFrame)>,
    split: Option<&Split>,
    context: &TableContext,
) -> Result<Vec<(String, DataFrame)>> {
    match (split, frames.pop()) {
        (Some(split), Some((_, frame))) => {
            let schema = Schema::from_arrow(frame.schema().as_arrow());
            split.divide(&schema, &frame, context)
        }
        (_, last) => Ok(frames.into_iter().chain(last).collect()),
    }
}

/// The files as one table with this schema.
pub(crate) fn table(
    session: &SessionContext,
    files: &[PathBuf],
    schema: SchemaRef,
    options: ListingOptions,
) -> Result<DataFrame> {
    let urls = files
        .iter()
        .map(|file| {
            let absolute = fs::canonicalize(file).map_err(OperatorError::io(file))?;
            Ok(ListingTableUrl::parse(absolute.to_string_lossy())?)
        })
        .collect::<Result<Vec<_>>>()?;
    let config = ListingTableConfig::new_with_multi_paths(urls)
        .with_listing_options(options)
        .with_schema(schema);
    Ok(session.read_table(Arc::new(ListingTable::try_new(config)?))?)
}
