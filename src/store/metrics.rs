//! Metrics as JSON, for `serde(with)`. JSON has neither infinities nor NaN, and a metric may be any of them: the mean of
//! nothing, a greatest value. They are the texts `inf`, `-inf` and `NaN`.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The metrics as JSON.
pub(crate) fn json(metrics: &BTreeMap<String, f64>) -> BTreeMap<&str, Value> {
    let number = |number: f64| match serde_json::Number::from_f64(number) {
        Some(number) => Value::Number(number),
        None => Value::String(number.to_string()),
    };
    metrics
        .iter()
        .map(|(name, value)| (name.as_str(), number(*value)))
        .collect()
}

pub(crate) fn serialize<S: Serializer>(metrics: &BTreeMap<String, f64>, serializer: S) -> Result<S::Ok, S::Error> {
    json(metrics).serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let number = |(name, value): (String, Value)| {
        let number = match &value {
            Value::String(text) => text.parse().ok(),
            other => other.as_f64(),
        };
        let number = number.ok_or_else(|| Error::custom(format!("the metric `{name}` is not a number: {value}")))?;
        Ok((name, number))
    };
    BTreeMap::<String, Value>::deserialize(deserializer)?
        .into_iter()
        .map(number)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Holder {
        #[serde(with = "super")]
        metrics: BTreeMap<String, f64>,
    }

    #[test]
    fn every_number_comes_back() {
        let numbers = [
            0.1,
            -0.0,
            1e300,
            f64::MIN_POSITIVE,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
        ];
        let metrics = (0..).map(|place: u32| place.to_string()).zip(numbers).collect();
        let text = serde_json::to_string(&Holder { metrics }).unwrap();
        let back: Holder = serde_json::from_str(&text).unwrap();
        let bits = |number: &f64| number.to_bits();
        assert_eq!(
            back.metrics.values().map(bits).collect::<Vec<_>>(),
            numbers.map(|n| bits(&n))
        );
        let error = serde_json::from_str::<Holder>(r#"{"metrics": {"a": "much"}}"#)
            .err()
            .unwrap();
        assert!(error.to_string().contains("`a` is not a number"), "{error}");
    }
}
