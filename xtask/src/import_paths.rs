//! The paths that a Rust source file imports from its own crate.

use std::collections::BTreeMap;

/// A path from the root of a crate: `["run", "schedule", "Schedule"]`.
pub(crate) type ModulePath = Vec<String>;

/// The names that come before a path of the same crate.
const ANCHORS: [&str; 2] = ["crate", "super"];

/// Every path of the crate that the text of a module names, from the root.
pub(crate) fn imports(module: &ModulePath, text: &str) -> Vec<ModulePath> {
    let mut found = Vec::new();
    for anchor in ANCHORS {
        for (start, _) in text.match_indices(anchor) {
            let before = text[..start].chars().next_back();
            let inside = before.is_some_and(|before| is_name(before) || before == '$' || before == ':');
            let rest = &text[start + anchor.len()..];
            if !inside && rest.starts_with("::") {
                let mut reader = Reader { rest: &text[start..] };
                let mut paths = Vec::new();
                reader.tree(&ModulePath::new(), &mut |path, _| paths.push(path));
                found.extend(paths.into_iter().map(|path| absolute(module, path)));
            }
        }
    }
    found
}

/// What a module re-exports: the exported name, and the path behind it from the root of the crate.
pub(crate) fn re_exports(module: &ModulePath, text: &str) -> BTreeMap<String, ModulePath> {
    let mut found = BTreeMap::new();
    for line in text.match_indices("use ").map(|(start, _)| start) {
        let begin = text[..line].rfind(['\n', ';', '}']).map_or(0, |place| place + 1);
        if !text[begin..line].trim_start().starts_with("pub") {
            continue;
        }
        let mut reader = Reader {
            rest: &text[line + "use ".len()..],
        };
        reader.tree(&ModulePath::new(), &mut |path, name| {
            if let Some(name) = name.or_else(|| path.last().cloned()) {
                found.insert(name, absolute(module, path));
            }
        });
    }
    found
}

/// The path from the root of the crate; one that starts with another name is relative to the module.
fn absolute(module: &ModulePath, path: ModulePath) -> ModulePath {
    let mut base = module.clone();
    let mut rest = path.into_iter().peekable();
    match rest.peek().map(String::as_str) {
        Some("crate") => {
            base.clear();
            rest.next();
        }
        Some("self") => {
            rest.next();
        }
        _ => {
            while rest.next_if(|part| part == "super").is_some() {
                base.pop();
            }
        }
    }
    base.extend(rest);
    base
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Reads a tree of imports: `a::{b, c::D as E}`.
struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    /// Calls `leaf` with each path, and with the name after `as`.
    fn tree(&mut self, prefix: &ModulePath, leaf: &mut dyn FnMut(ModulePath, Option<String>)) {
        let mut path = prefix.clone();
        loop {
            self.rest = self.rest.trim_start();
            if self.take("{") {
                while !self.take("}") && !self.rest.is_empty() {
                    let before = self.rest.len();
                    self.tree(&path, leaf);
                    self.rest = self.rest.trim_start();
                    // What is no import tree at all must not be read for ever.
                    if !self.take(",") && self.rest.len() == before {
                        return;
                    }
                    self.rest = self.rest.trim_start();
                }
                return;
            }
            let name: String = self.rest.chars().take_while(|character| is_name(*character)).collect();
            if name.is_empty() {
                break;
            }
            self.rest = &self.rest[name.len()..];
            if name != "self" || path.is_empty() {
                path.push(name);
            }
            if !self.take("::") {
                break;
            }
        }
        self.take("*");
        self.rest = self.rest.trim_start();
        let renamed = self.take("as ").then(|| {
            let name: String = self.rest.chars().take_while(|character| is_name(*character)).collect();
            self.rest = &self.rest[name.len()..];
            name
        });
        leaf(path, renamed);
    }

    fn take(&mut self, token: &str) -> bool {
        let taken = self.rest.strip_prefix(token);
        self.rest = taken.unwrap_or(self.rest);
        taken.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::{ModulePath, imports, re_exports};

    fn path(text: &str) -> ModulePath {
        text.split('/').map(str::to_owned).collect()
    }

    #[test]
    fn trees_of_imports_are_read() {
        let text = "use crate::plan::{self, reasons::{Reason, Old as New}};\nuse super::value::*;\nlet x = crate::store::open();";
        let found = imports(&path("run/schedule"), text);
        let expected = [
            "plan",
            "plan/reasons/Reason",
            "plan/reasons/Old",
            "store/open",
            "run/value",
        ];
        assert_eq!(found, expected.map(path));
    }

    #[test]
    fn what_only_ends_like_an_anchor_is_no_import() {
        let found = imports(
            &path("run"),
            "$crate::a::b(); my_crate::c(); other::super::d(); crate_name();",
        );
        assert_eq!(found, Vec::<ModulePath>::new());
    }

    #[test]
    fn re_exports_lead_to_where_a_name_is_defined() {
        let text =
            "pub use schedule::Schedule;\npub(crate) use crate::plan::{Plan as P, Reason};\nuse private::Hidden;";
        let found = re_exports(&path("run"), text);
        let expected = [
            ("P", "plan/Plan"),
            ("Reason", "plan/Reason"),
            ("Schedule", "run/schedule/Schedule"),
        ];
        assert_eq!(
            found,
            expected.map(|(name, target)| (name.to_owned(), path(target))).into()
        );
    }
}
