//! The keys of a node that say how it is run, not what it computes.

use towline_operators::contract::suggest;

use super::expand::{Drafter, Owner};
use crate::document::{Code, Diagnostic, Mapping, Value};

/// How a node is run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// When its result is taken from the store.
    pub cache: CacheMode,
}

/// When the result of a node is taken from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// When nothing has changed that could change it.
    #[default]
    Auto,
    /// Never: the node runs each time.
    Never,
}

/// Reads the value of a key, interpolated, into the settings; what is wrong with it goes to the drafter.
type Reader = fn(&mut Drafter<'_>, &Value, &mut Settings);

/// Every such key, with its documentation. A new one takes a line here, its field in [`Settings`], its reader and its
/// JSON Schema.
pub(super) const READERS: [(&str, &str, Reader, fn() -> serde_json::Value); 1] = [(
    "cache",
    "When the result is taken from the store: `auto`, if nothing has changed that could change it, or `never`.",
    read_cache,
    || serde_json::json!({ "enum": ["auto", "never"] }),
)];

/// The names of these keys.
pub(super) fn keys() -> impl Iterator<Item = &'static str> {
    READERS.into_iter().map(|(key, ..)| key)
}

impl Drafter<'_> {
    /// The settings of a node that is a mapping.
    pub(super) fn settings(&mut self, mapping: &Mapping, owner: &Owner<'_>) -> Settings {
        let mut settings = Settings::default();
        for (key, _, read, _) in READERS {
            if let Some(value) = mapping.get(key).and_then(|value| self.interpolate(value, owner)) {
                read(self, &value, &mut settings);
            }
        }
        settings
    }
}

fn read_cache(drafter: &mut Drafter<'_>, value: &Value, settings: &mut Settings) {
    match value.as_str() {
        Some("auto") => settings.cache = CacheMode::Auto,
        Some("never") => settings.cache = CacheMode::Never,
        Some(other) => {
            let diagnostic = Diagnostic::error(Code::OutOfRange, format!("`cache` can't be `{other}`")).at(value.span);
            drafter.report(diagnostic.help(suggest::sentence(other, &["auto", "never"], "modes")));
        }
        None => drafter.wrong_type("`cache` must be `auto` or `never`", value),
    }
}
