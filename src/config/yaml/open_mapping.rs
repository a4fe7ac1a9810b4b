//! A mapping while its entries come in: keys and values in turn, merges at the end.

use std::collections::HashMap;

use crate::config::yaml::scalar::shorten;
use crate::config::yaml::{Code, Diagnostic, Key, Mapping, Span, Value, ValueKind};

/// The entries so far, and the key that waits for its value.
#[derive(Default)]
pub(super) struct OpenMapping {
    mapping: Mapping,
    /// The key of each entry, so that a mapping with very many of them is still read in linear time.
    places: HashMap<String, Span>,
    key: Option<PendingKey>,
    merges: Vec<Value>,
}

enum PendingKey {
    Named(Key),
    Merge(Span),
    /// Reported already; its value is dropped.
    Unusable,
}

impl OpenMapping {
    /// Whether the next item is a key.
    pub(super) fn needs_key(&self) -> bool {
        self.key.is_none()
    }

    /// Takes a scalar as the next key; `plain` says that it has neither quotes nor a tag.
    pub(super) fn key(&mut self, text: &str, plain: bool, span: Span) -> Result<(), Box<Diagnostic>> {
        // The parser writes `~` for a scalar that isn't there.
        if plain && span.start == span.end {
            self.key = Some(PendingKey::Unusable);
            return Err(Diagnostic::error(Code::BadYaml, "a mapping entry without a key")
                .at(span)
                .into());
        }
        self.key = Some(if plain && text == "<<" {
            PendingKey::Merge(span)
        } else {
            PendingKey::Named(Key::new(text.to_owned(), span))
        });
        Ok(())
    }

    /// Takes the value of the pending key. What is no scalar and stands where a key belongs is refused.
    pub(super) fn value(&mut self, mut value: Value) -> Result<(), Box<Diagnostic>> {
        match self.key.take() {
            None => {
                self.key = Some(PendingKey::Unusable);
                let found = match value.kind {
                    ValueKind::Sequence(_) | ValueKind::Mapping(_) => value.kind_name(),
                    _ => "an alias",
                };
                let message = format!("a mapping key must be text, not {found}");
                return Err(Diagnostic::error(Code::BadYaml, message).at(value.span).into());
            }
            Some(PendingKey::Unusable) => {}
            Some(PendingKey::Merge(_)) if is_mergeable(&value) => self.merges.push(value),
            Some(PendingKey::Merge(span)) => {
                let message = "`<<` needs a mapping or a list of mappings";
                return Err(Diagnostic::error(Code::BadYaml, message).at(span).into());
            }
            Some(PendingKey::Named(key)) => {
                if value.kind == ValueKind::Null && value.span.start == value.span.end {
                    // The parser puts an absent value at the next token; the key is what a reader looks at.
                    value.span = key.span;
                }
                if let Some(&first) = self.places.get(&key.value) {
                    return Err(duplicate_key(&key, first).into());
                }
                self.places.insert(key.value.clone(), key.span);
                self.mapping.entries.push((key, value));
            }
        }
        Ok(())
    }

    /// The end of the last value, if there is one.
    pub(super) fn end(&self) -> Option<usize> {
        let (key, value) = self.mapping.entries.last()?;
        Some(value.span.end.max(key.span.end))
    }

    /// The complete mapping, with the entries of merged ones added; a key that is there already stays as it is.
    pub(super) fn finish(self) -> Mapping {
        let Self {
            mut mapping,
            mut places,
            merges,
            ..
        } = self;
        let sources = merges.into_iter().flat_map(|value| match value.kind {
            ValueKind::Sequence(items) => items,
            _ => vec![value],
        });
        for source in sources {
            let ValueKind::Mapping(source) = source.kind else {
                continue;
            };
            for (key, value) in source.entries {
                if !places.contains_key(&key.value) {
                    places.insert(key.value.clone(), key.span);
                    mapping.entries.push((key, value));
                }
            }
        }
        mapping
    }
}

fn duplicate_key(key: &Key, first: Span) -> Diagnostic {
    let message = format!("the key `{}` is used twice in one mapping", shorten(&key.value));
    Diagnostic::error(Code::DuplicateKey, message)
        .at(key.span)
        .label("again")
        .related(first, "first here")
        .help("remove or rename one of them")
}

fn is_mergeable(value: &Value) -> bool {
    match &value.kind {
        ValueKind::Mapping(_) => true,
        ValueKind::Sequence(items) => items.iter().all(|item| item.as_mapping().is_some()),
        _ => false,
    }
}
