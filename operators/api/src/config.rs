//! From a JSON object to an operator's configuration, with every slip found at once.
//!
//! The JSON Schema that the parser's own types generate is walked beside the value, so that all unknown keys, missing
//! keys and wrong types are reported together, each at its place; serde has the last word.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{Code, PathSegment, Problem, Site, suggest};

/// The configuration in `value`, or everything that is wrong with it.
pub fn parse<T: DeserializeOwned + schemars::JsonSchema>(value: &Value) -> Result<T, Vec<Problem>> {
    parse_by_schema(&schemars::schema_for!(T).to_value(), value)
}

/// The same by the JSON Schema of `T`, for who has it at hand: to make it takes longer than to parse.
pub(crate) fn parse_by_schema<T: DeserializeOwned>(schema: &Value, value: &Value) -> Result<T, Vec<Problem>> {
    let mut walk = Walk {
        root: schema,
        problems: Vec::new(),
    };
    walk.value(schema, value, &mut Vec::new());
    if !walk.problems.is_empty() {
        return Err(walk.problems);
    }
    T::deserialize(value).map_err(|error| vec![Problem::new(Code::BadConfig, error.to_string())])
}

struct Walk<'a> {
    root: &'a Value,
    problems: Vec<Problem>,
}

impl<'a> Walk<'a> {
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                let pointer = reference.trim_start_matches('#');
                self.root.pointer(pointer).unwrap_or(schema)
            }
            None => schema,
        }
    }

    fn value(&mut self, schema: &'a Value, value: &Value, path: &mut Vec<PathSegment>) {
        let schema = self.resolve(schema);
        if let Some(options) = alternatives(schema) {
            self.alternative(options, value, path);
            return;
        }
        if let Some(words) = words(schema) {
            self.word(&words, value, path);
            return;
        }
        if !type_matches(schema, value) {
            self.report(
                path,
                Code::WrongType,
                format!("expected {}, found {}", describe(schema), found(value)),
                None,
            );
            return;
        }
        match value {
            Value::Object(map) => self.object(schema, map, path),
            Value::Array(items) => {
                if let Some(element) = schema.get("items") {
                    for (index, item) in items.iter().enumerate() {
                        path.push(PathSegment::Index(index));
                        self.value(element, item, path);
                        path.pop();
                    }
                }
            }
            Value::Number(_) => self.range(schema, value, path),
            _ => {}
        }
    }

    /// One of several shapes: the one that fits decides; if none fits, the one with the same JSON type is spoken of.
    fn alternative(&mut self, options: &'a [Value], value: &Value, path: &mut Vec<PathSegment>) {
        let mut best: Option<Vec<Problem>> = None;
        for option in options {
            let mut trial = Walk {
                root: self.root,
                problems: Vec::new(),
            };
            trial.value(option, value, path);
            if trial.problems.is_empty() {
                return;
            }
            let deeper = trial.problems.iter().any(|problem| problem.code != Code::WrongType);
            if deeper && best.is_none() {
                best = Some(trial.problems);
            }
        }
        if let Some(problems) = best {
            self.problems.extend(problems);
        } else {
            let shapes: Vec<String> = options.iter().map(|option| describe(self.resolve(option))).collect();
            let message = format!("expected {}, found {}", shapes.join(" or "), found(value));
            self.report(path, Code::WrongType, message, None);
        }
    }

    fn word(&mut self, words: &[String], value: &Value, path: &[PathSegment]) {
        let known: Vec<&str> = words.iter().map(String::as_str).collect();
        match value.as_str() {
            Some(word) if known.contains(&word) => {}
            Some(word) => {
                let help = suggest::sentence(word, &known, "choices");
                self.report(
                    path,
                    Code::BadConfig,
                    format!("`{word}` is not a choice here"),
                    Some(help),
                );
            }
            None => {
                let message = format!("expected one of {}, found {}", known.join(", "), found(value));
                self.report(path, Code::WrongType, message, None);
            }
        }
    }

    fn object(&mut self, schema: &'a Value, map: &Map<String, Value>, path: &mut Vec<PathSegment>) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let property = |key: &str| properties.and_then(|properties| properties.get(key));
        let known: Vec<&str> = properties.into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        let rest = schema.get("additionalProperties");
        let mut meant = Vec::new();
        for (key, value) in map {
            path.push(PathSegment::Key(key.clone()));
            if let Some(property) = property(key) {
                self.value(property, value, path);
            } else if let Some(rest) = rest.filter(|rest| rest.is_object()) {
                self.value(rest, value, path);
            } else if rest == Some(&Value::Bool(false)) {
                meant.extend(suggest::nearest(key, &known));
                let help = suggest::sentence(key, &known, "parameters");
                self.problems.push(Problem {
                    code: Code::UnknownKey,
                    site: Site::ConfigKey(path.clone()),
                    message: format!("there is no parameter `{key}`"),
                    help: Some(help),
                });
            }
            path.pop();
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        // A key that is only misspelt is not missing as well.
        let absent = |key: &&str| !map.contains_key(*key) && !meant.contains(key);
        for key in required.filter_map(Value::as_str).filter(absent) {
            let help = property(key).and_then(|p| p.get("description")).and_then(Value::as_str);
            let help = help.map(|doc| format!("`{key}`: {}", doc.replace('\n', " ")));
            self.report(
                path,
                Code::MissingKey,
                format!("the parameter `{key}` is missing"),
                help,
            );
        }
    }

    fn range(&mut self, schema: &Value, value: &Value, path: &[PathSegment]) {
        let Some(number) = value.as_f64() else { return };
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let complaint = match (
            bound("minimum"),
            bound("exclusiveMinimum"),
            bound("maximum"),
            bound("exclusiveMaximum"),
        ) {
            (Some(min), ..) if number < min => format!("must be at least {min}"),
            (_, Some(min), ..) if number <= min => format!("must be more than {min}"),
            (_, _, Some(max), _) if number > max => format!("must be at most {max}"),
            (_, _, _, Some(max)) if number >= max => format!("must be less than {max}"),
            _ => return,
        };
        self.report(
            path,
            Code::OutOfRange,
            format!("{value} is out of range: it {complaint}"),
            None,
        );
    }

    fn report(&mut self, path: &[PathSegment], code: Code, message: String, help: Option<String>) {
        let site = if path.is_empty() {
            Site::Node
        } else {
            Site::Config(path.to_vec())
        };
        self.problems.push(Problem {
            code,
            site,
            message,
            help,
        });
    }
}

fn alternatives(schema: &Value) -> Option<&[Value]> {
    let options = schema.get("anyOf").or_else(|| schema.get("oneOf"))?.as_array()?;
    if words(schema).is_some() { None } else { Some(options) }
}

/// The words of an enumeration: `enum: [...]`, or `oneOf` of `const`s (schemars' form for documented variants).
fn words(schema: &Value) -> Option<Vec<String>> {
    if let Some(list) = schema.get("enum").and_then(Value::as_array) {
        return list.iter().map(|word| word.as_str().map(str::to_owned)).collect();
    }
    let options = schema.get("oneOf")?.as_array()?;
    let mut words = Vec::new();
    for option in options {
        if let Some(word) = option.get("const").and_then(Value::as_str) {
            words.push(word.to_owned());
        } else if let Some(list) = option.get("enum").and_then(Value::as_array) {
            words.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
        } else {
            return None;
        }
    }
    Some(words)
}

fn type_matches(schema: &Value, value: &Value) -> bool {
    let matches = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    };
    match schema.get("type") {
        Some(Value::String(name)) => matches(name),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).any(matches),
        _ => true,
    }
}

fn describe(schema: &Value) -> String {
    let one = |name: &str| match name {
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "text",
        "array" => "a list",
        "object" => "a mapping",
        _ => "nothing",
    };
    match schema.get("type") {
        Some(Value::String(name)) => one(name).to_owned(),
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(Value::as_str)
            .filter(|n| *n != "null")
            .map(one)
            .collect::<Vec<_>>()
            .join(" or "),
        _ => words(schema).map_or_else(|| "another shape".to_owned(), |words| words.join(" or ")),
    }
}

fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(flag) => format!("{flag}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text `{text}`"),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}
