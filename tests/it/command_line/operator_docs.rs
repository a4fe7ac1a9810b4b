//! What operators must say of themselves.

use serde_json::Value;

/// A parameter: where it is, and its schema with references followed.
fn parameters(root: &Value, schema: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    let follow = |schema: &Value| match schema["$ref"].as_str() {
        Some(reference) => root
            .pointer(&reference[1..])
            .expect("the reference leads somewhere")
            .clone(),
        None => schema.clone(),
    };
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let mut whole = follow(property);
        if let Some(description) = property.get("description") {
            whole["description"] = description.clone();
        }
        let options = whole["anyOf"].as_array().cloned().unwrap_or_default();
        for inner in options.iter().chain([&whole]).map(follow) {
            parameters(root, &inner, &path, found);
        }
        found.push((path, whole));
    }
}

/// The example of a parameter: in the operator's own, in its documentation, or by its type.
fn has_example(path: &str, schema: &Value, example: &str) -> bool {
    let name = path.rsplit('.').next().unwrap_or_default();
    let documented = schema["description"].as_str().is_some_and(|text| text.contains('`'));
    let words = ["enum", "oneOf", "anyOf"].iter().any(|key| schema.get(key).is_some());
    let given = schema.get("default").is_some_and(|value| !value.is_null()) || schema.get("examples").is_some();
    example.contains(&format!("{name}:")) || documented || words || given || schema["type"] == "boolean"
}

/// Whether a number has a bound on the side that matters, or is of a type that is one.
fn has_range(schema: &Value) -> bool {
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        kind => vec![kind.clone()],
    };
    let number = kinds.iter().any(|kind| kind == "integer" || kind == "number");
    let bound = ["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"];
    !number || bound.iter().any(|key| schema.get(key).is_some())
}

#[test]
fn every_parameter_has_a_documentation_an_example_and_a_range_where_one_is_due() {
    let mut lacking = Vec::new();
    for operator in towline_operators::builtin().iter() {
        let mut found = Vec::new();
        parameters(operator.schema(), operator.schema(), operator.name, &mut found);
        for (path, schema) in found {
            if schema["description"].as_str().is_none_or(|text| text.len() < 10) {
                lacking.push(format!("{path}: documentation"));
            }
            if !has_example(&path, &schema, operator.example) {
                lacking.push(format!("{path}: an example"));
            }
            if !has_range(&schema) {
                lacking.push(format!("{path}: a range"));
            }
        }
    }
    assert_eq!(lacking, Vec::<String>::new());
}

/// The operator of its own example.
fn example(operator: &towline_api::Descriptor) -> towline_api::Built {
    let mut sources = towline::config::yaml::SourceMap::default();
    let node = towline::config::yaml::load(&mut sources, "example", operator.example.as_bytes()).expect("it is YAML");
    let with = node
        .to_json()
        .get("with")
        .cloned()
        .unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    operator.build(&with).expect("it is valid")
}

#[test]
fn sinks_are_the_effects() {
    for operator in towline_operators::builtin().iter() {
        let sink = matches!(example(operator).operator.form(), towline_api::Form::Sink(_));
        assert_eq!(
            sink,
            operator.purity == towline_api::Purity::Effect,
            "{}",
            operator.name
        );
    }
}

#[test]
fn marked_parameters_stay_out_of_cache_keys() {
    /// Where `key` stands in a schema, at any depth.
    fn count(schema: &Value, key: &str) -> usize {
        match schema {
            Value::Object(map) => {
                usize::from(map.contains_key(key)) + map.values().map(|v| count(v, key)).sum::<usize>()
            }
            Value::Array(items) => items.iter().map(|item| count(item, key)).sum(),
            _ => 0,
        }
    }
    let mut ignored = Vec::new();
    for operator in towline_operators::builtin().iter() {
        let key = towline_api::CACHE_IGNORED;
        let properties = operator.schema()["properties"].as_object().cloned().unwrap_or_default();
        let marked: Vec<&String> = properties
            .iter()
            .filter(|(_, p)| p.get(key).is_some())
            .map(|(name, _)| name)
            .collect();
        assert_eq!(
            marked.len(),
            count(operator.schema(), key),
            "{}: a mark inside a parameter has no effect",
            operator.name
        );
        let built = example(operator);
        for name in marked {
            assert!(built.cache_config.get(name).is_none(), "{}.{name}", operator.name);
            ignored.push(format!("{}.{name}", operator.name));
        }
    }
    insta::assert_snapshot!(ignored.join("\n"));
}
