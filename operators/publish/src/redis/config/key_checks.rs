//! Checks of keys, namespaces and columns, without data.

use crate::batch::field_values::ColumnValues;
use crate::batch::key_pattern::KeyPattern;
use towline_api::{Code, Column, Problem, Result, Schema, Tag};

/// Checks the characters of a namespace.
pub(crate) fn check_namespace(namespace: &str) -> Option<Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let right = namespace.starts_with(|c: char| c.is_ascii_alphabetic()) && namespace.chars().all(plain);
    (!right).then(|| {
        bad_config(
            "namespace",
            "a namespace is a word of letters, digits and `_`",
            Some("write `RECS`"),
        )
    })
}

/// Checks that no key can collide with a metadata key.
pub(crate) fn check_key(key: &str, namespace: &str) -> Option<Problem> {
    key.starts_with(&format!("{namespace}:")).then(|| {
        let message = format!(
            "keys that begin with `{namespace}:` are reserved for the sink's metadata keys (`{namespace}:META`)"
        );
        bad_config(
            "key",
            &message,
            Some("begin the key with another word, or choose another `namespace`"),
        )
    })
}

/// Error about a parameter.
pub(crate) fn bad_config(at: &str, message: &str, help: Option<&str>) -> Problem {
    let problem = Problem::new(Code::BadConfig, message).at(at);
    match help {
        Some(help) => problem.help(help),
        None => problem,
    }
}

/// Checks the pattern of the keys. With `has_user` the user column is checked elsewhere.
pub(crate) fn key_problems(key: &str, schema: &Schema, has_user: bool) -> Vec<Problem> {
    let pattern = match KeyPattern::parse(key) {
        Ok(pattern) => pattern,
        Err(reason) => {
            let message = format!("`{key}` is not a pattern for keys: {reason}");
            let help = "name the user's id column in braces, as in `USER:{user_id}`";
            return vec![Problem::new(Code::BadConfig, message).at("key").help(help)];
        }
    };
    let mut problems = Vec::new();
    for field in pattern.fields() {
        match schema.get(field) {
            None => {
                let problem = Problem::unknown_column(field, schema);
                let place = key.find(&format!("{{{field}}}")).map(|at| at + 1..at + 1 + field.len());
                problems.push(match place {
                    Some(place) => problem.at_text("key", place),
                    None => problem.at("key"),
                });
            }
            Some(column) if column.is_list() => {
                let message = format!("`{field}` holds lists, which are not allowed in a key");
                problems.push(Problem::new(Code::BadConfig, message).at("key"));
            }
            Some(column) if has_user && column.has(&[Tag::User, Tag::Id]) => {}
            Some(column) => problems.extend(check_id_type(column).map(|problem| problem.at("key"))),
        }
    }
    problems
}

/// Column with the user's id.
pub(crate) fn user_column(schema: &Schema) -> Result<&Column, Problem> {
    let users: Vec<&Column> = schema.tagged(&[Tag::User, Tag::Id]).collect();
    match users.as_slice() {
        [user] => Ok(user),
        [] => Err(Problem::new(Code::BadInput, "no column has the tags user and id")
            .help("tag the user's id column with TagAsUserID")),
        several => {
            let names: Vec<String> = several.iter().map(|column| format!("`{}`", column.name)).collect();
            Err(Problem::new(
                Code::BadInput,
                format!("several columns have the tags user and id: {}", names.join(", ")),
            ))
        }
    }
}

/// Checks that a column holds ids: integers or text.
pub(crate) fn check_id_type(column: &Column) -> Option<Problem> {
    let data_type = column.element_type();
    (!ColumnValues::takes(data_type)).then(|| {
        Problem::new(
            Code::BadInput,
            format!("`{}` holds {data_type}; it must hold integers or text", column.name),
        )
        .help("Cast the column to int64 or to a string")
    })
}
