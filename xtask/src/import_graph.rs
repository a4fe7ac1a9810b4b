//! The import graph of a crate's source files, read from their `use` lines and paths.
//!
//! Test code is left out. A module that uses its own submodules is no edge: a folder's `mod.rs` stands for the folder,
//! and its files may use what it declares.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::import_paths::{ModulePath, imports, re_exports};
use crate::source_tree::{is_test, split_tests};

/// How many re-exports in a row are followed; more than that is a re-export of itself.
const MAX_RE_EXPORTS: usize = 8;

/// The files of a crate and what they import from each other.
pub(crate) struct ImportGraph {
    files: Vec<PathBuf>,
    edges: Vec<BTreeSet<usize>>,
}

impl ImportGraph {
    /// The graph of the crate whose root module lies in `source` (its `src` folder).
    pub(crate) fn of_crate(source: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        collect(source, source, &mut files)?;
        files.sort();
        let mut texts = Vec::new();
        for file in &files {
            texts.push(without_tests(&fs::read_to_string(source.join(file))?));
        }
        let modules = Modules::new(&files, &texts);
        let edges = modules
            .paths
            .iter()
            .zip(&texts)
            .map(|(module, text)| modules.edges(module, text))
            .collect();
        Ok(ImportGraph { files, edges })
    }

    /// The import cycles: groups of two or more files that all reach each other, in order.
    pub(crate) fn cycles(&self) -> Vec<Vec<&Path>> {
        let groups = strongly_connected(&self.edges);
        let named = |group: Vec<usize>| group.into_iter().map(|file| self.files[file].as_path()).collect();
        groups.into_iter().map(named).collect()
    }

    /// The cycles between top-level folders of the crate.
    pub(crate) fn folder_cycles(&self) -> Vec<Vec<&Path>> {
        let of_file: Vec<Option<&Path>> = self.files.iter().map(|file| top_level_folder(file)).collect();
        let folders: Vec<&Path> = of_file
            .iter()
            .flatten()
            .copied()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let index = |file: usize| folders.iter().position(|folder| Some(*folder) == of_file[file]);
        let mut edges = vec![BTreeSet::new(); folders.len()];
        for (from, targets) in self.edges.iter().enumerate() {
            for &to in targets {
                if let (Some(from), Some(to)) = (index(from), index(to))
                    && from != to
                {
                    edges[from].insert(to);
                }
            }
        }
        let named = |group: Vec<usize>| group.into_iter().map(|folder| folders[folder]).collect();
        strongly_connected(&edges).into_iter().map(named).collect()
    }
}

/// The modules of a crate, each at the index of its file.
struct Modules {
    paths: Vec<ModulePath>,
    by_path: BTreeMap<ModulePath, usize>,
    re_exports: Vec<BTreeMap<String, ModulePath>>,
}

impl Modules {
    fn new(files: &[PathBuf], texts: &[String]) -> Self {
        let paths: Vec<ModulePath> = files.iter().map(|file| module_of(file)).collect();
        let by_path: BTreeMap<ModulePath, usize> = paths.iter().cloned().zip(0..).collect();
        let re_exports = paths.iter().zip(texts).map(|(module, text)| re_exports(module, text));
        Modules {
            re_exports: re_exports.collect(),
            paths,
            by_path,
        }
    }

    fn edges(&self, module: &ModulePath, text: &str) -> BTreeSet<usize> {
        let own = self.by_path[module];
        imports(module, text)
            .iter()
            .filter_map(|path| self.file_of(path, 0))
            .filter(|&target| target != own && !self.paths[target].starts_with(module))
            .collect()
    }

    /// The file that defines what a path names, through re-exports.
    fn file_of(&self, path: &[String], followed: usize) -> Option<usize> {
        let known = (0..=path.len())
            .rev()
            .find(|&length| self.by_path.contains_key(&path[..length]))?;
        let file = self.by_path[&path[..known]];
        let exported = path.get(known).and_then(|name| self.re_exports[file].get(name));
        match exported {
            Some(target) if followed < MAX_RE_EXPORTS => self.file_of(target, followed + 1).or(Some(file)),
            _ => Some(file),
        }
    }
}

/// Every product source file below `folder`, relative to `root`.
fn collect(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_test(&name) {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "main.rs" {
            files.extend(path.strip_prefix(root).ok().map(Path::to_path_buf));
        }
    }
    Ok(())
}

/// The text without comments and without the test modules at its end.
fn without_tests(text: &str) -> String {
    let lines = split_tests(text)
        .0
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn module_of(file: &Path) -> ModulePath {
    let mut path: ModulePath = file
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if path.last().is_some_and(|last| last == "mod" || last == "lib") {
        path.pop();
    }
    path
}

/// The first folder of a path below the root; nothing for a file in the root itself.
fn top_level_folder(file: &Path) -> Option<&Path> {
    file.ancestors()
        .filter(|ancestor| *ancestor != file && !ancestor.as_os_str().is_empty())
        .last()
}

/// Groups of two or more nodes that all reach each other, by Kosaraju's algorithm.
fn strongly_connected(edges: &[BTreeSet<usize>]) -> Vec<Vec<usize>> {
    let mut reversed = vec![BTreeSet::new(); edges.len()];
    for (from, targets) in edges.iter().enumerate() {
        for &to in targets {
            reversed[to].insert(from);
        }
    }
    let mut visited = vec![false; edges.len()];
    let mut order = Vec::new();
    for node in 0..edges.len() {
        visit(node, edges, &mut visited, &mut order);
    }
    let mut assigned = vec![false; edges.len()];
    let mut groups = Vec::new();
    for &node in order.iter().rev() {
        let mut group = Vec::new();
        visit(node, &reversed, &mut assigned, &mut group);
        if group.len() > 1 {
            group.sort_unstable();
            groups.push(group);
        }
    }
    groups.sort();
    groups
}

/// Appends the nodes that can be reached from `node` and were not visited, each after those behind it.
fn visit(node: usize, edges: &[BTreeSet<usize>], visited: &mut [bool], order: &mut Vec<usize>) {
    if visited[node] {
        return;
    }
    visited[node] = true;
    for &next in &edges[node] {
        visit(next, edges, visited, order);
    }
    order.push(node);
}
