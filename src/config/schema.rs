//! The JSON Schema of pipeline files: the operators' own schemas, and the keys around them.

use serde_json::{Map, Value, json};
use towline_api::{CACHE_IGNORED, Descriptor, Registry, renamed};

use crate::config::nodes::settings;
use crate::config::{load, nodes, sweep};

/// The schema of pipeline files with these operators, for editors. It lets `${...}` stand for any value, as pipelines do.
pub fn json_schema(registry: &Registry) -> Value {
    let mut definitions = Map::new();
    let names: Vec<Value> = registry
        .iter()
        .map(|operator| json!({ "const": operator.name, "description": operator.doc() }))
        .collect();
    let mut conditions = Vec::new();
    for operator in registry.iter() {
        // Defaults may give what `with` lacks: only the parser, which knows them, asks for what is required.
        let mut parameters = parameters(operator, &mut definitions);
        parameters
            .as_object_mut()
            .and_then(|parameters| parameters.remove("required"));
        definitions.insert(operator.name.to_owned(), parameters);
        let then = json!({ "properties": { "with": { "$ref": format!("#/$defs/{}", operator.name) } } });
        conditions.push(json!({ "if": { "properties": { "op": { "const": operator.name } } }, "then": then }));
    }
    let mut node = described(&nodes::KEYS);
    node["properties"]["op"] = json!({ "oneOf": names, "description": nodes::KEYS[0].1 });
    for (key, doc, _, schema) in settings::READERS {
        node["properties"][key] = schema();
        node["properties"][key]["description"] = json!(doc);
    }
    node["properties"]["sweep"] = sweep_schema();
    node["required"] = json!(["op"]);
    node["allOf"] = json!(conditions);
    definitions.insert("node".to_owned(), node);

    let mut top = described(&load::KEYS);
    let properties = &mut top["properties"];
    properties["version"] = json!({ "const": 1, "description": load::KEYS[0].1 });
    properties["vars"]["type"] = json!(["object", "null"]);
    properties["nodes"]["additionalProperties"] = json!({
        "anyOf": [{ "type": "string", "description": "A chain: `clicks[user_id] >> Categorify >> TagAsUserID`, `a + b`." },
                  { "$ref": "#/$defs/node" }],
    });
    properties["nodes"]["minProperties"] = json!(1);
    let defaults: Map<String, Value> = registry
        .names()
        .into_iter()
        .map(|name| (name.to_owned(), json!({ "$ref": format!("#/$defs/{name}") })))
        .collect();
    properties["defaults"]["properties"] = Value::Object(defaults);
    properties["defaults"]["additionalProperties"] = json!(false);
    top["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    top["title"] = json!("Towline pipeline");
    top["required"] = json!(["version"]);
    top["$defs"] = Value::Object(definitions);
    top
}

/// The schema of `sweep`.
fn sweep_schema() -> Value {
    let number = json!({ "type": "number" });
    let values = json!({ "anyOf": [
        { "type": "array", "minItems": 1 },
        {
            "type": "object",
            "properties": { "min": number, "max": number, "scale": { "enum": ["linear", "log"] } },
            "required": ["min", "max"],
            "additionalProperties": false,
        },
        { "type": "string", "pattern": "\\$\\{" },
    ] });
    let mut sweep = described(&sweep::KEYS);
    sweep["description"] = json!(nodes::KEYS[6].1);
    sweep["properties"]["parameters"]["additionalProperties"] = values;
    sweep["properties"]["parameters"]["minProperties"] = json!(1);
    sweep["properties"]["direction"]["enum"] = json!(["max", "min"]);
    sweep["properties"]["evaluate"] =
        json!({ "$ref": "#/$defs/node", "description": sweep["properties"]["evaluate"]["description"] });
    sweep["properties"]["trials"]["minimum"] = json!(1);
    for (old, present) in sweep::DEPRECATED_KEYS {
        sweep["properties"][old] = deprecated(present);
    }
    sweep["required"] = json!(["metric"]);
    sweep
}

/// The schema of a deprecated name, which editors strike out.
fn deprecated(present: &str) -> Value {
    let message = format!("Deprecated: use `{present}`.");
    json!({ "deprecated": true, "deprecationMessage": message, "description": message })
}

/// A closed mapping with these keys.
fn described(keys: &[(&str, &str, &str)]) -> Value {
    let properties: Map<String, Value> = keys
        .iter()
        .map(|(key, doc, kind)| {
            let mut property = json!({ "description": doc });
            match *kind {
                "texts" => property["items"] = json!({ "type": "string" }),
                "" => {}
                kind => property["type"] = json!(kind),
            }
            if *kind == "texts" {
                property["type"] = json!("array");
            }
            ((*key).to_owned(), property)
        })
        .collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// The schema of an operator's parameters; what it refers to goes to the definitions, under names of its own.
fn parameters(operator: &Descriptor, definitions: &mut Map<String, Value>) -> Value {
    let mut schema = operator.schema().clone();
    let inner = schema.as_object_mut().and_then(|schema| {
        schema.remove("$schema");
        schema.remove("$defs")
    });
    for (name, mut definition) in inner.as_ref().and_then(Value::as_object).cloned().into_iter().flatten() {
        adapt(&mut definition, operator.name);
        definitions.insert(format!("{}.{name}", operator.name), definition);
    }
    adapt(&mut schema, operator.name);
    schema
}

/// Turns references to the operator's definitions into those of the pipeline's, and lets an interpolation stand for every value inside.
fn adapt(schema: &mut Value, operator: &str) {
    let Some(object) = schema.as_object_mut() else { return };
    // Of interest to the cache alone, not to editors.
    object.remove(CACHE_IGNORED);
    if let Some(Value::String(reference)) = object.get_mut("$ref")
        && let Some(name) = reference.strip_prefix("#/$defs/")
    {
        *reference = format!("#/$defs/{operator}.{name}");
    }
    for (key, inner) in object.iter_mut() {
        match (key.as_str(), inner) {
            ("properties", Value::Object(properties)) => {
                let deprecated = take_deprecated_names(properties);
                for property in properties.values_mut() {
                    adapt(property, operator);
                    or_interpolation(property);
                }
                properties.extend(deprecated);
            }
            ("items" | "additionalProperties", inner @ Value::Object(_)) => {
                adapt(inner, operator);
                or_interpolation(inner);
            }
            ("anyOf" | "oneOf" | "allOf", Value::Array(options)) => {
                for option in options {
                    adapt(option, operator);
                }
            }
            _ => {}
        }
    }
}

/// The deprecated names of properties as properties; the attributes that only the engine reads are removed.
fn take_deprecated_names(properties: &mut Map<String, Value>) -> Vec<(String, Value)> {
    let mut added = Vec::new();
    for (name, property) in properties.iter_mut() {
        let Some(attributes) = property.as_object_mut() else {
            continue;
        };
        attributes.remove(renamed::CACHE_NAME);
        let names = match attributes.remove(renamed::RENAMED_FROM) {
            Some(Value::Array(names)) => names,
            Some(one) => vec![one],
            None => Vec::new(),
        };
        added.extend(
            names
                .iter()
                .filter_map(|old| Some((old.as_str()?.to_owned(), deprecated(name)))),
        );
    }
    added
}

fn or_interpolation(schema: &mut Value) {
    let mut outer = Map::new();
    if let Some(inner) = schema.as_object_mut() {
        for key in ["description", "default", "examples"] {
            if let Some(value) = inner.remove(key) {
                outer.insert(key.to_owned(), value);
            }
        }
    }
    let interpolation = json!({ "type": "string", "pattern": "\\$\\{" });
    outer.insert("anyOf".to_owned(), json!([schema.take(), interpolation]));
    *schema = Value::Object(outer);
}
