//! Renamed parameters: a deprecated name is accepted in place of the present one.
//!
//! A field says its deprecated names in its JSON Schema, and the name that it keeps in the cache key, so that renaming it
//! changes no fingerprint:
//!
//! ```ignore
//! #[schemars(extend("x-renamed-from" = ["patience"], "x-cache-name" = "patience"))]
//! pub retry_timeout: f64,
//! ```

use serde_json::{Map, Value};

use crate::PathSegment;

/// The attribute with the deprecated names of a field: a name, or a list of names.
pub const RENAMED_FROM: &str = "x-renamed-from";
/// The attribute with the name of a field in the cache key.
pub const CACHE_NAME: &str = "x-cache-name";

/// A key of a configuration that is written under a deprecated name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeprecatedKey {
    /// The path of the key, as it is written.
    pub path: Vec<PathSegment>,
    /// The deprecated name: the last segment of the path.
    pub deprecated: String,
    /// The present name.
    pub present: String,
    /// Whether the present name is given too: then the key is not renamed.
    pub conflict: bool,
}

/// A parameter that has deprecated names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RenamedParameter {
    parents: Vec<Parent>,
    name: String,
    deprecated: Vec<String>,
    cache_name: Option<String>,
}

/// A step from a configuration to a mapping inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Parent {
    Key(String),
    /// Every item of a list, or every value of a mapping.
    Each,
}

/// The parameters of a configuration that have deprecated names, by its JSON Schema; outer ones come before inner ones.
pub(crate) fn renamed_parameters(schema: &Value) -> Vec<RenamedParameter> {
    let mut search = Search {
        root: schema,
        open: Vec::new(),
        parents: Vec::new(),
        found: Vec::new(),
    };
    search.visit(schema);
    search.found
}

struct Search<'a> {
    root: &'a Value,
    /// The references that are being followed: a type may contain itself.
    open: Vec<&'a str>,
    parents: Vec<Parent>,
    found: Vec<RenamedParameter>,
}

impl<'a> Search<'a> {
    fn visit(&mut self, schema: &'a Value) {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            if !self.open.contains(&reference)
                && let Some(target) = self.root.pointer(reference.trim_start_matches('#'))
            {
                self.open.push(reference);
                self.visit(target);
                self.open.pop();
            }
            return;
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            for option in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
                self.visit(option);
            }
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, property) in properties.into_iter().flatten() {
            self.property(name, property);
        }
        for (name, property) in properties.into_iter().flatten() {
            self.inside(Parent::Key(name.clone()), property);
        }
        for key in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(key).filter(|inner| inner.is_object()) {
                self.inside(Parent::Each, inner);
            }
        }
    }

    fn property(&mut self, name: &str, property: &Value) {
        let deprecated = match property.get(RENAMED_FROM) {
            Some(Value::String(name)) => vec![name.clone()],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => return,
        };
        let parameter = RenamedParameter {
            parents: self.parents.clone(),
            name: name.to_owned(),
            deprecated,
            cache_name: property.get(CACHE_NAME).and_then(Value::as_str).map(str::to_owned),
        };
        if !self.found.contains(&parameter) {
            self.found.push(parameter);
        }
    }

    fn inside(&mut self, parent: Parent, schema: &'a Value) {
        self.parents.push(parent);
        self.visit(schema);
        self.parents.pop();
    }
}

/// Renames deprecated keys in a configuration; returns each of them, outer ones first.
pub(crate) fn rename(parameters: &[RenamedParameter], config: &mut Value) -> Vec<DeprecatedKey> {
    let mut found = Vec::new();
    for parameter in parameters {
        each_mapping(&parameter.parents, config, &mut Vec::new(), &mut |mapping, path| {
            for old in &parameter.deprecated {
                let conflict = mapping.contains_key(&parameter.name);
                if !mapping.contains_key(old) {
                    continue;
                }
                if !conflict && let Some(value) = mapping.remove(old) {
                    mapping.insert(parameter.name.clone(), value);
                }
                let mut path = path.to_vec();
                path.push(PathSegment::Key(old.clone()));
                found.push(DeprecatedKey {
                    path,
                    deprecated: old.clone(),
                    present: parameter.name.clone(),
                    conflict,
                });
            }
        });
    }
    found
}

/// Renames parameters to the names that they keep in the cache key, inner ones first.
pub(crate) fn rename_for_cache(parameters: &[RenamedParameter], config: &mut Value) {
    for parameter in parameters.iter().rev() {
        let Some(cache_name) = &parameter.cache_name else {
            continue;
        };
        each_mapping(&parameter.parents, config, &mut Vec::new(), &mut |mapping, _| {
            if let Some(value) = mapping.remove(&parameter.name) {
                mapping.insert(cache_name.clone(), value);
            }
        });
    }
}

/// Calls `visit` with every mapping that the parents lead to, and its path.
fn each_mapping(
    parents: &[Parent],
    value: &mut Value,
    path: &mut Vec<PathSegment>,
    visit: &mut impl FnMut(&mut Map<String, Value>, &[PathSegment]),
) {
    let Some((first, rest)) = parents.split_first() else {
        if let Value::Object(mapping) = value {
            visit(mapping, path);
        }
        return;
    };
    let mut inside = |segment: PathSegment, inner: &mut Value| {
        path.push(segment);
        each_mapping(rest, inner, path, visit);
        path.pop();
    };
    match (first, value) {
        (Parent::Key(key), Value::Object(mapping)) => {
            if let Some(inner) = mapping.get_mut(key) {
                inside(PathSegment::Key(key.clone()), inner);
            }
        }
        (Parent::Each, Value::Array(items)) => {
            for (index, item) in items.iter_mut().enumerate() {
                inside(PathSegment::Index(index), item);
            }
        }
        (Parent::Each, Value::Object(mapping)) => {
            for (key, inner) in mapping.iter_mut() {
                inside(PathSegment::Key(key.clone()), inner);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde_json::json;

    use super::*;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Server {
        #[schemars(extend("x-renamed-from" = ["patience", "wait"], "x-cache-name" = "patience"))]
        retry_timeout: f64,
        mirrors: Vec<Server>,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is used")]
    struct Config {
        #[schemars(extend("x-renamed-from" = "host"))]
        server: Option<Server>,
        plain: u32,
    }

    fn parameters() -> Vec<RenamedParameter> {
        renamed_parameters(&schemars::schema_for!(Config).to_value())
    }

    fn paths(keys: &[DeprecatedKey]) -> Vec<String> {
        let segment = |segment: &PathSegment| match segment {
            PathSegment::Key(key) => key.clone(),
            PathSegment::Index(index) => index.to_string(),
        };
        let path = |key: &DeprecatedKey| key.path.iter().map(segment).collect::<Vec<_>>().join(".");
        keys.iter()
            .map(|key| format!("{} -> {}", path(key), key.present))
            .collect()
    }

    #[test]
    fn deprecated_keys_are_renamed_at_every_depth() {
        let mut config = json!({ "host": { "wait": 1.5, "mirrors": [] }, "plain": 1 });
        let found = rename(&parameters(), &mut config);
        assert_eq!(paths(&found), ["host -> server", "server.wait -> retry_timeout"]);
        assert_eq!(
            config,
            json!({ "server": { "retry_timeout": 1.5, "mirrors": [] }, "plain": 1 })
        );
        assert!(rename(&parameters(), &mut config).is_empty());
    }

    #[test]
    fn a_key_under_both_names_is_a_conflict_and_stays() {
        let written = json!({ "server": { "patience": 1.0, "retry_timeout": 2.0 } });
        let mut config = written.clone();
        let found = rename(&parameters(), &mut config);
        assert!(found[0].conflict, "{found:?}");
        assert_eq!(config, written);
    }

    #[test]
    fn the_cache_key_keeps_the_name() {
        let mut config = json!({ "server": { "retry_timeout": 1.5 }, "plain": 1 });
        rename_for_cache(&parameters(), &mut config);
        assert_eq!(config, json!({ "server": { "patience": 1.5 }, "plain": 1 }));
    }
}
