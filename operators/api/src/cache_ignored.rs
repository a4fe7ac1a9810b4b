//! Parameters that stay out of cache keys because they cannot change the output: parallelism, memory limits, places of
//! files whose content counts.

use serde_json::Value;

/// The keyword of a parameter's JSON Schema that keeps it out of cache keys.
pub const CACHE_IGNORED: &str = "x-cache-ignored";

/// Keeps a parameter out of cache keys: `#[schemars(transform = towline_api::cache_ignored)]` on a field of an operator.
pub fn cache_ignored(schema: &mut schemars::Schema) {
    schema.insert(CACHE_IGNORED.to_owned(), Value::Bool(true));
}

/// Whether the parameter `key` is marked so in the JSON Schema of an operator.
pub(crate) fn is_cache_ignored(schema: &Value, key: &str) -> bool {
    let property = schema.get("properties").and_then(|properties| properties.get(key));
    property.and_then(|property| property.get(CACHE_IGNORED)) == Some(&Value::Bool(true))
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;

    use super::*;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is of interest")]
    struct Parameters {
        /// A reference in the schema.
        #[schemars(transform = cache_ignored)]
        nested: Nested,
        /// Optional.
        #[schemars(transform = cache_ignored)]
        limit: Option<String>,
        /// Counts.
        other: Nested,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is of interest")]
    struct Nested {
        /// Anything.
        inner: u32,
    }

    #[test]
    fn the_mark_is_of_the_field_and_not_of_its_type() {
        let schema = schemars::schema_for!(Parameters).to_value();
        let ignored = ["nested", "limit", "other", "absent"].map(|key| is_cache_ignored(&schema, key));
        assert_eq!(ignored, [true, true, false, false]);
    }
}
