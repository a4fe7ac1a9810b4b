//! Why work has to be done again, with old and new value: `with.epochs: 2 -> 3`, `clicks: 349,630 rows -> 352,001 rows`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::plan::fingerprint::{Fingerprint, InputPart};
use crate::plan::provenance::{Explanation, OriginNote};

/// What differs between the work that was done and the work that is asked for. Changes in other nodes than `own` are
/// told with the node's name.
pub fn changes(own: &str, old: &Explanation, new: &Explanation) -> Vec<String> {
    let mut comparison = Comparison {
        own,
        old,
        new,
        seen: BTreeSet::new(),
        out: Vec::new(),
    };
    comparison.fingerprints(own, &old.fingerprint, &new.fingerprint);
    comparison.out
}

struct Comparison<'a> {
    own: &'a str,
    old: &'a Explanation,
    new: &'a Explanation,
    seen: BTreeSet<(&'a str, &'a str)>,
    out: Vec<String>,
}

impl<'a> Comparison<'a> {
    fn tell(&mut self, text: String) {
        if !self.out.contains(&text) {
            self.out.push(text);
        }
    }

    /// `of` names the node whose work or step it is.
    fn fingerprints(&mut self, of: &str, old: &'a Fingerprint, new: &'a Fingerprint) {
        let place = if of == self.own {
            String::new()
        } else {
            format!("{of}: ")
        };
        if old.operator != new.operator {
            self.tell(format!("{place}operator: {} -> {}", name(old), name(new)));
            return;
        }
        if old.code != new.code {
            self.tell(format!("{place}{} code {} -> {}", name(new), old.code, new.code));
        }
        let mut found = Vec::new();
        compare("with", &old.with, &new.with, &mut found);
        for change in found {
            self.tell(format!("{place}{change}"));
        }
        if old.engine != new.engine {
            self.tell(format!("engine: {} -> {}", old.engine, new.engine));
        }
        if old.version != new.version {
            self.tell(format!("fingerprint version {} -> {}", old.version, new.version));
        }
        self.inputs(&old.inputs, &new.inputs);
    }

    fn inputs(&mut self, old: &'a [InputPart], new: &'a [InputPart]) {
        if old.len() == new.len() && old.iter().zip(new).all(|(a, b)| a.port == b.port) {
            for (old, new) in old.iter().zip(new) {
                self.input(old, new);
            }
            return;
        }
        for part in new.iter().filter(|part| !old.iter().any(|p| p.digest == part.digest)) {
            let label = self
                .new
                .origins
                .get(&part.digest)
                .map_or(&part.port, |note| &note.label);
            self.tell(format!("{label} is new"));
        }
        for part in old.iter().filter(|part| !new.iter().any(|p| p.digest == part.digest)) {
            let label = self
                .old
                .origins
                .get(&part.digest)
                .map_or(&part.port, |note| &note.label);
            self.tell(format!("{label} is not used any more"));
        }
    }

    fn input(&mut self, old: &'a InputPart, new: &'a InputPart) {
        if old.name != new.name {
            let word = |name: &Option<String>| name.clone().unwrap_or_default();
            self.tell(format!(
                "the input `{}` is named `{}`",
                word(&old.name),
                word(&new.name)
            ));
        }
        if (&old.digest, &old.schema) == (&new.digest, &new.schema)
            || !self.seen.insert((old.digest.as_str(), new.digest.as_str()))
        {
            return;
        }
        let (Some(before), Some(after)) = (self.old.origins.get(&old.digest), self.new.origins.get(&new.digest)) else {
            self.tell(format!("{}: other content", new.port));
            return;
        };
        if let (Some(old), Some(new)) = (&before.step, &after.step) {
            let told = self.out.len();
            self.fingerprints(&after.label, old, new);
            if self.out.len() > told {
                return;
            }
        }
        self.tell(format!("{}: {}", after.label, content(before, after)));
    }
}

fn name(fingerprint: &Fingerprint) -> &str {
    if fingerprint.operator.is_empty() {
        &fingerprint.role
    } else {
        &fingerprint.operator
    }
}

/// What differs between two contents, as far as it is known without reading them.
fn content(old: &OriginNote, new: &OriginNote) -> String {
    let mut out = Vec::new();
    let sizes = [(old.rows, new.rows, "rows"), (old.bytes, new.bytes, "bytes")];
    for (old, new, unit) in sizes {
        if let (Some(old), Some(new)) = (old, new)
            && old != new
        {
            out.push(format!("{} {unit} -> {} {unit}", grouped(old), grouped(new)));
        }
    }
    for (column, data_type) in &new.columns {
        match old.columns.get(column) {
            None => out.push(format!("column {column} is new")),
            Some(before) if before != data_type => out.push(format!("column {column}: {before} -> {data_type}")),
            Some(_) => {}
        }
    }
    let gone = old.columns.keys().filter(|column| !new.columns.contains_key(*column));
    out.extend(gone.map(|column| format!("column {column} is gone")));
    if !out.is_empty() {
        return out.join(", ");
    }
    match (new.rows, new.bytes) {
        (Some(rows), _) => format!("other content in {} rows", grouped(rows)),
        (None, Some(bytes)) => format!("other content in {} bytes", grouped(bytes)),
        (None, None) => "other content".to_owned(),
    }
}

/// Adds what differs between two values of a configuration, each with its path.
pub(crate) fn compare(path: &str, old: &Value, new: &Value, out: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let [old, new] = [a, b].map(|map| map.get(key).unwrap_or(&Value::Null));
                compare(&format!("{path}.{key}"), old, new, out);
            }
        }
        _ if old == new => {}
        _ => out.push(format!("{path}: {old} -> {new}")),
    }
}

/// A whole number with separators: `1,000,000`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
