//! Any bytes as a pipeline: no panic, and every place that is spoken of is in its text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use towline::CHAIN_OPERATORS;
use towline::config::yaml::{Style, render};
use towline::config::{LoadOptions, load_text};

fuzz_target!(|bytes: &[u8]| {
    let env = |name: &str| (name.len() % 2 == 0).then(|| name.to_lowercase());
    let options = LoadOptions {
        env: &env,
        overrides: &[],
        operators: CHAIN_OPERATORS,
    };
    let loaded = load_text("fuzz.yaml", bytes, &options);
    for diagnostic in &loaded.diagnostics {
        let related = diagnostic.related.iter().map(|(span, _)| span);
        for span in diagnostic.span.iter().chain(related) {
            assert!(loaded.sources.slice(*span).is_some(), "{diagnostic:?}");
        }
    }
    render(&loaded.sources, &loaded.diagnostics, Style::default());
});
