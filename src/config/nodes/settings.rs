//! The parser of the keys of a node that say how it is run, not what it computes.

use std::time::Duration;

use towline_api::suggest;

use crate::config::expectation::read_expectations;
use crate::config::nodes::parser::{EntryContext, NodeParser};
use crate::config::settings::{CacheMode, Settings};
use crate::config::yaml::{Code, Diagnostic, Mapping, Value, ValueKind};

/// Reads the interpolated value of a key into the settings; errors are reported to the parser.
type Reader = fn(&mut NodeParser<'_>, &Value, &mut Settings);

/// Every such key, with its documentation. A new one takes a line here, its field in [`Settings`], its reader and its
/// JSON Schema.
pub(crate) const READERS: [(&str, &str, Reader, fn() -> serde_json::Value); 4] = [
    (
        "cache",
        "Cache mode: `auto` reuses the stored result while the fingerprint is unchanged; `always` also stores a result that \
         could be fused into the nodes that read it; `never` runs the node each time.",
        read_cache,
        || serde_json::json!({ "enum": ["auto", "always", "never"] }),
    ),
    (
        "expect",
        "Expectations on the output, such as `rows > 0`; if one fails, no dependent node runs.",
        read_expect,
        || serde_json::json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] }),
    ),
    (
        "retries",
        "Number of retries after a transient failure, with exponential backoff from one second on.",
        read_retries,
        || serde_json::json!({ "type": "integer", "minimum": 0, "maximum": MAX_RETRIES }),
    ),
    (
        "timeout",
        "Timeout of one attempt: `90` or `90s`, `10m`, `2h`.",
        read_timeout,
        || serde_json::json!({ "type": ["string", "number"] }),
    ),
];

/// The pauses between attempts have grown to a minute long before.
const MAX_RETRIES: u32 = 100;

/// The names of these keys.
pub(crate) fn keys() -> impl Iterator<Item = &'static str> {
    READERS.into_iter().map(|(key, ..)| key)
}

impl NodeParser<'_> {
    /// The settings of a node that is a mapping.
    pub(crate) fn settings(&mut self, mapping: &Mapping, entry_context: &EntryContext<'_>) -> Settings {
        let mut settings = Settings::default();
        for (key, _, read, _) in READERS {
            if let Some(value) = mapping
                .get(key)
                .and_then(|value| self.interpolate(value, entry_context))
            {
                read(self, &value, &mut settings);
            }
        }
        settings
    }
}

fn read_expect(parser: &mut NodeParser<'_>, value: &Value, settings: &mut Settings) {
    let (expectations, diagnostics) = read_expectations(parser.interpolator.sources, value);
    settings.expect = expectations;
    parser.interpolator.diagnostics.extend(diagnostics);
}

fn read_cache(parser: &mut NodeParser<'_>, value: &Value, settings: &mut Settings) {
    match value.as_str() {
        Some("auto") => settings.cache = CacheMode::Auto,
        Some("always") => settings.cache = CacheMode::Always,
        Some("never") => settings.cache = CacheMode::Never,
        Some(other) => {
            let diagnostic = Diagnostic::error(Code::OutOfRange, format!("`cache` can't be `{other}`")).at(value.span);
            parser.report(diagnostic.help(suggest::sentence(other, &["auto", "always", "never"], "modes")));
        }
        None => parser.wrong_type("`cache` must be `auto`, `always` or `never`", value),
    }
}

fn read_retries(parser: &mut NodeParser<'_>, value: &Value, settings: &mut Settings) {
    match value.kind {
        ValueKind::Int(number) => match u32::try_from(number) {
            Ok(retries) if retries <= MAX_RETRIES => settings.retries = retries,
            _ => {
                let message = format!("`retries` must be from 0 to {MAX_RETRIES}");
                parser.report(Diagnostic::error(Code::OutOfRange, message).at(value.span));
            }
        },
        _ => parser.wrong_type("`retries` must be a whole number", value),
    }
}

fn read_timeout(parser: &mut NodeParser<'_>, value: &Value, settings: &mut Settings) {
    match value.to_text().as_deref().map(duration) {
        Some(Some(limit)) => settings.timeout = Some(limit),
        Some(None) => {
            let message = "`timeout` must be more than 0 and less than a year";
            let diagnostic = Diagnostic::error(Code::OutOfRange, message).at(value.span);
            parser.report(diagnostic.help("for example `90` or `90s`, `10m`, `2h`"));
        }
        None => parser.wrong_type("`timeout` must be a duration", value),
    }
}

/// The duration that `90`, `90s`, `1.5m` or `2h` stands for.
fn duration(text: &str) -> Option<Duration> {
    const LONGEST: f64 = 366.0 * 24.0 * 3_600.0;
    let text = text.trim();
    let (number, unit) = match text.char_indices().next_back()? {
        (at, 's') => (&text[..at], 1.0),
        (at, 'm') => (&text[..at], 60.0),
        (at, 'h') => (&text[..at], 3_600.0),
        _ => (text, 1.0),
    };
    let seconds = number.trim_end().parse::<f64>().ok()? * unit;
    (seconds > 0.0 && seconds <= LONGEST).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let seconds = |text| duration(text).map(|limit| limit.as_secs_f64());
        assert_eq!(seconds("90"), Some(90.0));
        assert_eq!(seconds("1.5 m"), Some(90.0));
        assert_eq!(seconds("2h"), Some(7_200.0));
        for wrong in ["", "s", "0", "-1s", "nan", "9e99h", "5d"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
