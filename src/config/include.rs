//! `include:`: the variables, defaults and nodes of other files, put before those of the file that names them.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::config::file::read;
use crate::config::key_errors::{unknown_key, wrong_type};
use crate::config::version::check_version;
use crate::config::yaml;
use crate::config::yaml::{Code, Diagnostic, Key, Mapping, SourceMap, Span, Value, ValueKind};

/// The keys of an included file.
const KEYS: [&str; 5] = ["version", "include", "vars", "defaults", "nodes"];
/// The sections that are put together.
const SECTIONS: [&str; 3] = ["vars", "defaults", "nodes"];
/// Maximum number of files of one pipeline.
const MAX_INCLUDED_FILES: usize = 100;

/// The file's own mapping with everything that it includes. A file that is reached on several ways is there once.
pub(crate) fn merge(sources: &mut SourceMap, name: &str, root: Mapping, diagnostics: &mut Vec<Diagnostic>) -> Mapping {
    if root.get("include").is_none() {
        return root;
    }
    let path = PathBuf::from(name);
    let known = path.canonicalize().unwrap_or_else(|_| path.clone());
    let mut includer = Includer {
        sources,
        diagnostics,
        seen: HashSet::from([known.clone()]),
        open: vec![(known, name.to_owned())],
    };
    includer.merged(&path, root)
}

struct Includer<'a> {
    sources: &'a mut SourceMap,
    diagnostics: &'a mut Vec<Diagnostic>,
    /// Every file so far, by the path that is the same for all its names.
    seen: HashSet<PathBuf>,
    /// The files whose includes are being read, from the first on, each with the name that was given.
    open: Vec<(PathBuf, String)>,
}

impl Includer<'_> {
    fn merged(&mut self, path: &Path, root: Mapping) -> Mapping {
        let mut parts = Vec::new();
        for (text, span) in self.names(&root) {
            parts.extend(self.file(path, &text, span));
        }
        parts.push(root);
        self.together(parts)
    }

    fn names(&mut self, root: &Mapping) -> Vec<(String, Span)> {
        let Some(value) = root.get("include") else {
            return Vec::new();
        };
        let items = match &value.kind {
            ValueKind::Sequence(items) => items.as_slice(),
            _ => std::slice::from_ref(value),
        };
        let mut names = Vec::new();
        for item in items {
            match item.as_str() {
                Some(text) => names.push((text.to_owned(), item.span)),
                None => self.diagnostics.push(wrong_type("`include` names files", item)),
            }
        }
        names
    }

    /// The content of a file that is named in `from`, with all that it includes.
    fn file(&mut self, from: &Path, text: &str, span: Span) -> Option<Mapping> {
        let path = from.parent().unwrap_or(Path::new("")).join(text);
        let shown = path.display().to_string();
        let known = match path.canonicalize() {
            Ok(known) => known,
            Err(error) => return self.refuse(span, &format!("cannot read {shown}: {error}")),
        };
        if let Some(first) = self.open.iter().position(|(open, _)| *open == known) {
            let mut names: Vec<&str> = self.open[first..].iter().map(|(_, name)| name.as_str()).collect();
            names.push(&self.open[first].1);
            let message = format!("files include each other in a cycle: {}", names.join(" -> "));
            let diagnostic = Diagnostic::error(Code::Cycle, message)
                .at(span)
                .label("back to an open file");
            self.diagnostics.push(diagnostic.help("remove one of these includes"));
            return None;
        }
        if !self.seen.insert(known.clone()) {
            return None;
        }
        if self.seen.len() > MAX_INCLUDED_FILES {
            return self.refuse(span, &format!("more than {MAX_INCLUDED_FILES} files are included"));
        }
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(problem) => return self.refuse(span, &format!("cannot read {shown}: {problem}")),
        };
        let parsed = yaml::parse(self.sources, &shown, &bytes);
        self.diagnostics.extend(parsed.diagnostics);
        let root = parsed.value?;
        let whole = root.span;
        let ValueKind::Mapping(root) = root.kind else {
            self.diagnostics
                .push(wrong_type("an included file must be a mapping", &root));
            return None;
        };
        for (key, _) in &root.entries {
            if !KEYS.contains(&key.value.as_str()) {
                self.diagnostics.push(unknown_key(key, "an included file", &KEYS));
            }
        }
        check_version(&root, whole, self.diagnostics);
        self.open.push((known, shown));
        let merged = self.merged(&path, root);
        self.open.pop();
        Some(merged)
    }

    fn refuse(&mut self, span: Span, message: &str) -> Option<Mapping> {
        let diagnostic = Diagnostic::error(Code::BadInclude, message.to_owned()).at(span);
        let help = "a path is relative to the file that names it";
        self.diagnostics.push(diagnostic.label("named here").help(help));
        None
    }

    /// The sections of all parts as one mapping; the rest is that of the last, which includes the others.
    fn together(&mut self, mut parts: Vec<Mapping>) -> Mapping {
        let mut whole = parts.pop().unwrap_or_default();
        for section in SECTIONS {
            let mut entries: Vec<(Key, Value)> = Vec::new();
            let mut place = None;
            for part in &parts {
                let Some((key, value)) = part.entry(section) else {
                    continue;
                };
                place.get_or_insert((key.clone(), value.span));
                if let ValueKind::Mapping(mapping) = &value.kind {
                    entries.extend(mapping.entries.iter().cloned());
                } else if value.kind != ValueKind::Null {
                    self.diagnostics
                        .push(wrong_type(&format!("`{section}` must be a mapping"), value));
                }
            }
            let Some((key, span)) = place else { continue };
            let own = whole.entries.iter_mut().find(|(key, _)| key.value == section);
            match own {
                Some((_, value)) => match &mut value.kind {
                    ValueKind::Mapping(mapping) => {
                        entries.append(&mut mapping.entries);
                        mapping.entries = self.unique(entries);
                    }
                    ValueKind::Null => {
                        let entries = self.unique(entries);
                        value.kind = ValueKind::Mapping(Mapping { entries });
                    }
                    // It is reported by whoever reads the section.
                    _ => {}
                },
                None => {
                    let kind = ValueKind::Mapping(Mapping {
                        entries: self.unique(entries),
                    });
                    whole.entries.push((key, Value { kind, span }));
                }
            }
        }
        whole
    }

    /// The entries whose name is not there yet.
    fn unique(&mut self, entries: Vec<(Key, Value)>) -> Vec<(Key, Value)> {
        let mut places: HashMap<String, Span> = HashMap::new();
        let mut unique = Vec::new();
        for (key, value) in entries {
            if let Some(&first) = places.get(&key.value) {
                let message = format!("`{}` is defined in two of these files", key.value);
                let diagnostic = Diagnostic::error(Code::DuplicateKey, message)
                    .at(key.span)
                    .label("again");
                self.diagnostics.push(
                    diagnostic
                        .related(first, "first here")
                        .help("remove or rename one of them"),
                );
                continue;
            }
            places.insert(key.value.clone(), key.span);
            unique.push((key, value));
        }
        unique
    }
}
