//! Merlin's schema as JSON: `.merlin/schema.json`.

use serde_json::{Map, Value, json};

use crate::merlin::feature::{Feature, MerlinType};
use towline_api::{OperatorError, Result};

/// Writes the schema in Merlin's format.
pub(crate) fn write(features: &[Feature]) -> String {
    let features: Vec<Value> = features.iter().map(feature).collect();
    json!({ "feature": features }).to_string()
}

fn feature(feature: &Feature) -> Value {
    let mut out = Map::new();
    out.insert("name".to_owned(), json!(feature.name));
    // Protobuf's JSON mapping writes 64-bit integers as strings.
    if let Some((min, max)) = feature.value_count {
        let mut count = Map::new();
        count.insert("min".to_owned(), json!(min.to_string()));
        if max > 0 {
            count.insert("max".to_owned(), json!(max.to_string()));
        }
        out.insert("valueCount".to_owned(), Value::Object(count));
    }
    out.insert("type".to_owned(), json!(feature.kind.word()));
    if let Some((name, max)) = &feature.domain {
        out.insert(
            "intDomain".to_owned(),
            json!({ "name": name, "max": max.to_string(), "isCategorical": true }),
        );
    }
    out.insert(
        "annotation".to_owned(),
        json!({ "tag": feature.tags, "extraMetadata": [feature.metadata] }),
    );
    Value::Object(out)
}

/// Parses Merlin's JSON schema.
pub(crate) fn read(text: &str, place: &str) -> Result<Vec<Feature>> {
    let wrong = |what: &str| OperatorError::invalid(format!("{place}: not a schema of Merlin: {what}"));
    let schema: Value = serde_json::from_str(text).map_err(|error| wrong(&error.to_string()))?;
    let features = schema
        .get("feature")
        .and_then(Value::as_array)
        .ok_or_else(|| wrong("there is no list `feature`"))?;
    let number = |value: Option<&Value>| {
        value.and_then(|value| {
            value
                .as_u64()
                .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
        })
    };
    let read = |value: &Value| {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        let name = text("name").ok_or_else(|| wrong("a feature has no name"))?;
        let kind = text("type").and_then(MerlinType::of_word);
        let domain = value.get("intDomain").and_then(|domain| {
            let own = domain.get("name").and_then(Value::as_str).unwrap_or(name);
            let categorical = domain.get("isCategorical").and_then(Value::as_bool).unwrap_or(false);
            Some((own.to_owned(), number(domain.get("max"))?)).filter(|_| categorical)
        });
        let count = value.get("valueCount");
        let annotation = value.get("annotation");
        let tags = annotation
            .and_then(|annotation| annotation.get("tag"))
            .and_then(Value::as_array);
        let metadata = annotation
            .and_then(|a| a.get("extraMetadata"))
            .and_then(|all| all.get(0));
        Ok(Feature {
            name: name.to_owned(),
            kind: kind.ok_or_else(|| wrong(&format!("`{name}` has no known type")))?,
            tags: tags
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            domain,
            value_count: count.map(|c| (number(c.get("min")).unwrap_or(0), number(c.get("max")).unwrap_or(0))),
            metadata: metadata.cloned().unwrap_or_default(),
        })
    };
    features.iter().map(read).collect()
}
