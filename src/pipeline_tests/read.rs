//! The parser of `tests`.

use std::path::Path;

use crate::config::yaml::{Code, Diagnostic, Key, SourceMap, Value, ValueKind};
use crate::config::{Pipeline, read_expectations, unknown_key, wrong_type, yaml};
use crate::pipeline_tests::case::{Expected, ExpectedOutput, Given, TestCase};
use crate::pipeline_tests::compare::Order;
use crate::pipeline_tests::rows::Rows;

/// Maximum size of a file of rows in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The tests of a pipeline, and everything that is wrong with them. Files of rows are read, and added to `sources`.
pub fn read(pipeline: &Pipeline, sources: &mut SourceMap) -> (Vec<TestCase>, Vec<Diagnostic>) {
    let mut reader = Reader {
        pipeline,
        sources,
        diagnostics: Vec::new(),
    };
    let cases = match &pipeline.tests {
        None => Vec::new(),
        Some(value) => match &value.kind {
            ValueKind::Mapping(mapping) => {
                let entries = mapping.entries.iter();
                entries.filter_map(|(key, value)| reader.case(key, value)).collect()
            }
            _ => {
                let diagnostic = wrong_type("`tests` must be a mapping from names to tests", value);
                reader.diagnostics.push(diagnostic);
                Vec::new()
            }
        },
    };
    (cases, reader.diagnostics)
}

struct Reader<'a> {
    pipeline: &'a Pipeline,
    sources: &'a mut SourceMap,
    diagnostics: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn case(&mut self, name: &Key, value: &Value) -> Option<TestCase> {
        let Some(mapping) = value.as_mapping() else {
            let what = format!("the test `{}` must be a mapping with `given` and `expect`", name.value);
            self.diagnostics.push(wrong_type(&what, value));
            return None;
        };
        let before = self.diagnostics.len();
        self.known_keys(value, "a test", &["given", "expect"]);
        let given = self.entries(mapping.get("given"), "given", Self::given);
        let expected = self.entries(mapping.get("expect"), "expect", Self::expected);
        if expected.is_empty() && self.diagnostics.len() == before {
            let message = format!("the test `{}` has no expectations", name.value);
            let help = "add `expect:` with a node, and its rows or expectations";
            self.diagnostics
                .push(Diagnostic::error(Code::MissingKey, message).at(name.span).help(help));
        }
        Some(TestCase {
            name: name.clone(),
            given,
            expected,
            incomplete: self.diagnostics.len() > before,
        })
    }

    fn known_keys(&mut self, value: &Value, whose: &str, known: &[&str]) {
        for (key, _) in value.as_mapping().into_iter().flat_map(|mapping| &mapping.entries) {
            if !known.contains(&key.value.as_str()) {
                self.diagnostics.push(unknown_key(key, whose, known));
            }
        }
    }

    fn entries<T>(
        &mut self,
        value: Option<&Value>,
        what: &str,
        read: fn(&mut Self, &Key, &Value) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = value else { return Vec::new() };
        match value.as_mapping() {
            Some(mapping) => {
                let entries = mapping.entries.iter();
                entries.filter_map(|(key, value)| read(self, key, value)).collect()
            }
            None => {
                let expected = format!("`{what}` must be a mapping from nodes to their output");
                self.diagnostics.push(wrong_type(&expected, value));
                Vec::new()
            }
        }
    }

    fn given(&mut self, key: &Key, value: &Value) -> Option<Given> {
        let reference = self.reference(key);
        let rows = self.rows(value);
        let (reference, rows) = (reference?, rows?);
        if reference.columns.is_some() {
            let message = "rows are given for a node or one of its splits, not for some of its columns";
            let help = "leave the brackets out: a column that no row names is null";
            self.diagnostics
                .push(Diagnostic::error(Code::BadInput, message).at(reference.span).help(help));
        }
        Some(Given {
            node: reference.node,
            split: reference.split,
            rows,
            span: reference.span,
        })
    }

    fn expected(&mut self, key: &Key, value: &Value) -> Option<Expected> {
        let reference = self.reference(key);
        let output = self.output(value);
        Some(Expected {
            reference: reference?,
            text: key.value.clone(),
            output: output?,
        })
    }

    fn reference(&mut self, key: &Key) -> Option<crate::config::Reference> {
        match self.pipeline.reference(self.sources, key) {
            Ok(reference) => Some(reference),
            Err(diagnostic) => {
                self.diagnostics.push(*diagnostic);
                None
            }
        }
    }

    fn output(&mut self, value: &Value) -> Option<ExpectedOutput> {
        if value.as_str().is_some() || is_list_of_texts(value) {
            let (facts, diagnostics) = read_expectations(self.sources, value);
            self.diagnostics.extend(diagnostics);
            return Some(ExpectedOutput::Expectations(facts));
        }
        let order = match value.as_mapping().and_then(|mapping| mapping.get("order")) {
            Some(value) => self.order(value),
            None => Order::Exact,
        };
        let rows = match value.as_mapping().map(|mapping| mapping.get("rows")) {
            Some(Some(rows)) => {
                self.known_keys(value, "what is expected", &["rows", "order"]);
                self.rows(rows)
            }
            _ => self.rows(value),
        };
        Some(ExpectedOutput::Rows { rows: rows?, order })
    }

    fn order(&mut self, value: &Value) -> Order {
        match value.as_str() {
            Some("exact") => Order::Exact,
            Some("any") => Order::Any,
            _ => {
                let diagnostic = Diagnostic::error(Code::OutOfRange, "`order` is `exact` or `any`").at(value.span);
                self.diagnostics.push(diagnostic);
                Order::Exact
            }
        }
    }

    /// Rows that stand here, or in a file that is named here.
    fn rows(&mut self, value: &Value) -> Option<Rows> {
        let file = value.as_mapping().and_then(|mapping| mapping.get("file"));
        let rows = match file {
            Some(path) => {
                self.known_keys(value, "rows in a file", &["file", "order"]);
                let rows = self.file(path)?;
                Rows::read(&rows)
            }
            None => Rows::read(value),
        };
        match rows {
            Ok(rows) => Some(rows),
            Err(diagnostics) => {
                self.diagnostics.extend(diagnostics);
                None
            }
        }
    }

    fn file(&mut self, path: &Value) -> Option<Value> {
        let Some(name) = path.as_str() else {
            self.diagnostics.push(wrong_type("`file` must be a path", path));
            return None;
        };
        let bytes = match std::fs::metadata(Path::new(name)) {
            Ok(meta) if !meta.is_file() => Err("it is not a regular file".to_owned()),
            Ok(meta) if meta.len() > MAX_FILE_BYTES => Err("it is larger than 1 MiB".to_owned()),
            Ok(_) => std::fs::read(name).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match bytes {
            Ok(bytes) => {
                let parsed = yaml::parse(self.sources, name, &bytes);
                self.diagnostics.extend(parsed.diagnostics);
                parsed.value
            }
            Err(error) => {
                let message = format!("the rows in {name} cannot be read: {error}");
                let help = "a file of rows is a list of mappings, in YAML or JSON, of at most 1 MiB";
                self.diagnostics
                    .push(Diagnostic::error(Code::BadSource, message).at(path.span).help(help));
                None
            }
        }
    }
}

fn is_list_of_texts(value: &Value) -> bool {
    value
        .as_sequence()
        .is_some_and(|items| !items.is_empty() && items.iter().all(|item| item.as_str().is_some()))
}
