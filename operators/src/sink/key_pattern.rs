//! Patterns for keys: `USER:{user_id}`.

/// A pattern, parsed: literal text and fields in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyPattern {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(String),
}

impl KeyPattern {
    /// Reads a pattern; `{{` and `}}` stand for the braces themselves. The error is a sentence for the user.
    pub(super) fn parse(pattern: &str) -> Result<Self, String> {
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
                '}' => return Err("a `}` closes nothing; write `}}` for the brace itself".to_owned()),
                other => text.push(other),
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        let pattern = KeyPattern { parts };
        if pattern.fields().next().is_none() {
            return Err("it names no column, so every user would get the same key".to_owned());
        }
        Ok(pattern)
    }

    /// The columns it names, in order.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The key for one row: `value` appends the text of the field with that place in [`KeyPattern::fields`].
    pub(super) fn render(&self, mut value: impl FnMut(usize, &mut String)) -> String {
        let mut key = String::new();
        let mut field = 0;
        for part in &self.parts {
            match part {
                Part::Text(text) => key.push_str(text),
                Part::Field(_) => {
                    value(field, &mut key);
                    field += 1;
                }
            }
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_fields() {
        let pattern = KeyPattern::parse("a:{{{x}}}:{y}").unwrap();
        assert_eq!(pattern.fields().collect::<Vec<_>>(), ["x", "y"]);
        let key = pattern.render(|field, out| out.push_str(["1", "two"][field]));
        assert_eq!(key, "a:{1}:two");
    }

    #[test]
    fn refuses_what_is_no_pattern() {
        for (pattern, part) in [
            ("USER", "names no column"),
            ("{{x}}", "names no column"),
            ("USER:{x", "never closed"),
            ("USER:x}", "closes nothing"),
            ("{}", "names no column"),
        ] {
            let message = KeyPattern::parse(pattern).unwrap_err();
            assert!(message.contains(part), "{pattern}: {message}");
        }
    }
}
