//! No text makes loading panic, and no diagnostic points outside its text.

use proptest::prelude::*;

use crate::config::tests::*;
use crate::config::yaml::Diagnostic;

fn check(loaded: &Loaded) -> Result<(), TestCaseError> {
    for diagnostic in &loaded.diagnostics {
        let spans = diagnostic
            .span
            .iter()
            .chain(diagnostic.related.iter().map(|(span, _)| span));
        for span in spans {
            prop_assert!(loaded.sources.slice(*span).is_some(), "{diagnostic:?}");
        }
    }
    shown(loaded);
    let errors = loaded.diagnostics.iter().any(Diagnostic::is_error);
    prop_assert!(loaded.pipeline.is_some() || errors);
    for node in loaded.pipeline.iter().flat_map(|pipeline| &pipeline.nodes) {
        prop_assert!(errors || node.invalid == InvalidParts::default(), "{}", node.name);
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_load_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&load_bytes(&bytes, &[]))?;
    }

    #[test]
    fn scrambled_pipelines_load_without_panic(cuts in prop::collection::vec((0..WHOLE.len(), 0..40_usize, "[ é\\[{$>:\"'\n*&-]{0,3}"), 1..6)) {
        let mut text = WHOLE.to_owned();
        for (at, length, insert) in cuts {
            let start = text.floor_char_boundary(at);
            let end = text.floor_char_boundary(start + length);
            text.replace_range(start.min(text.len())..end, &insert);
        }
        check(&with_overrides(&text, &["vars.rows=3"]))?;
    }

    #[test]
    fn generated_nodes_load_without_panic(values in prop::collection::vec("(a|b|c|>>|\\+|\\[x\\]|\\(|\\)|X|\\$\\{vars\\.v\\}|\\$\\{|\\}|é| ){0,8}", 1..5)) {
        let body: String = values
            .iter()
            .zip('a'..)
            .map(|(value, name)| format!("  {name}: '{value}'\n"))
            .collect();
        check(&with_overrides(&nodes("v: a", &body), &[]))?;
    }
}
