//! Key pattern: `USER:{user_id}`.

/// Parsed pattern: literal text and fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyPattern {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(String),
}

impl KeyPattern {
    /// Parses a pattern; `{{` and `}}` are literal braces. The error is a sentence for the user.
    pub(crate) fn parse(pattern: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut chars = pattern.chars().peekable();
        while let Some(char) = chars.next() {
            match char {
                '{' | '}' if chars.peek() == Some(&char) => {
                    chars.next();
                    text.push(char);
                }
                '{' => {
                    let mut field = String::new();
                    loop {
                        match chars.next() {
                            Some('}') => break,
                            Some(char) => field.push(char),
                            None => return Err("a `{` is never closed".to_owned()),
                        }
                    }
                    if field.is_empty() {
                        return Err("`{}` names no column".to_owned());
                    }
                    if !text.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut text)));
                    }
                    parts.push(Part::Field(field));
                }
                '}' => return Err("a `}` is unmatched; write `}}` for a literal brace".to_owned()),
                other => text.push(other),
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        let pattern = KeyPattern { parts };
        if pattern.fields().next().is_none() {
            return Err("it names no column, so all users would have the same key".to_owned());
        }
        Ok(pattern)
    }

    /// Columns that it names, in order.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// Appends the key of a row: `value` appends the text of the field with that index in [`KeyPattern::fields`].
    pub(crate) fn render(&self, out: &mut Vec<u8>, mut value: impl FnMut(usize, &mut Vec<u8>)) {
        let mut field = 0;
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Field(_) => {
                    value(field, out);
                    field += 1;
                }
            }
        }
    }

    /// Whether a key may come from this pattern.
    pub(crate) fn matches(&self, key: &[u8]) -> bool {
        let mut rest = key;
        let mut open = false;
        for part in &self.parts {
            match part {
                Part::Field(_) => open = true,
                Part::Text(text) => {
                    let text = text.as_bytes();
                    let found = if open {
                        rest.windows(text.len()).position(|window| window == text)
                    } else {
                        rest.starts_with(text).then_some(0)
                    };
                    let Some(at) = found else { return false };
                    rest = &rest[at + text.len()..];
                    open = false;
                }
            }
        }
        // Text at the end may also occur within the field before it.
        open || rest.is_empty() || self.ends_with_text(key)
    }

    fn ends_with_text(&self, key: &[u8]) -> bool {
        matches!(self.parts.last(), Some(Part::Text(text)) if key.ends_with(text.as_bytes()))
    }

    /// Whether the keys contain literal braces.
    pub(crate) fn has_braces(&self) -> bool {
        let brace = |part: &Part| matches!(part, Part::Text(text) if text.contains(['{', '}']));
        self.parts.iter().any(brace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_fields() {
        let pattern = KeyPattern::parse("a:{{{x}}}:{y}").unwrap();
        assert_eq!(pattern.fields().collect::<Vec<_>>(), ["x", "y"]);
        let mut key = Vec::new();
        pattern.render(&mut key, |field, out| {
            out.extend_from_slice(["1", "two"][field].as_bytes());
        });
        assert_eq!(key, b"a:{1}:two");
        assert!(pattern.has_braces());
    }

    #[test]
    fn tells_its_keys_from_others() {
        let fits = |pattern: &str, key: &str| KeyPattern::parse(pattern).unwrap().matches(key.as_bytes());
        assert!(fits("USER:{u}", "USER:42"));
        assert!(!fits("USER:{u}", "ITEM:42"));
        assert!(fits("{u}:recs", "a:recs:b:recs"));
        assert!(!fits("{u}:recs", "a:recs:b"));
        assert!(fits("x:{a}:{b}", "x:1:2"));
        assert!(!fits("x:{a}:{b}", "x:1"));
    }

    #[test]
    fn refuses_what_is_no_pattern() {
        for (pattern, part) in [
            ("USER", "names no column"),
            ("{{x}}", "names no column"),
            ("USER:{x", "never closed"),
            ("USER:x}", "unmatched"),
            ("{}", "names no column"),
        ] {
            let message = KeyPattern::parse(pattern).unwrap_err();
            assert!(message.contains(part), "{pattern}: {message}");
        }
    }
}
