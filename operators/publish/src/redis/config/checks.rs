//! What is wrong with the parameters of sinks and with what they are given, known without data.

use crate::batch::documents::{RECOMMENDATIONS, SCORES};
use crate::batch::field_values::Cells;
use crate::key_pattern::KeyPattern;
use crate::redis::config::address;
use crate::redis::config::address::Shape;
use crate::redis::config::settings::{Document, Encoding, Publish, Stale};
use crate::redis::redis_sink::RedisSink;
use towline_api::{Code, Column, Problem, Result, Schema, Tag};

pub(crate) fn check_namespace(namespace: &str) -> Option<Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let right = namespace.starts_with(|c: char| c.is_ascii_alphabetic()) && namespace.chars().all(plain);
    (!right).then(|| {
        bad(
            "namespace",
            "a namespace is a word of letters, digits and `_`",
            Some("write `RECS`"),
        )
    })
}

/// A key must not look like one of those that are written beside the keys.
pub(crate) fn check_key(key: &str, namespace: &str) -> Option<Problem> {
    key.starts_with(&format!("{namespace}:")).then(|| {
        let message = format!(
            "keys that begin with `{namespace}:` are those that the sink writes beside the users' (`{namespace}:META`)"
        );
        bad(
            "key",
            &message,
            Some("begin the key with another word, or choose another `namespace`"),
        )
    })
}

pub(crate) fn bad(at: &str, message: &str, help: Option<&str>) -> Problem {
    let problem = Problem::new(Code::BadConfig, message).at(at);
    match help {
        Some(help) => problem.help(help),
        None => problem,
    }
}

impl RedisSink {
    /// What does not go together with the place that the keys go to.
    pub(crate) fn check_place(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.resp.is_some() {
            if self.url != address::EMBEDDED {
                let help = "leave one of the two out";
                problems.push(bad("resp", "`resp` writes a file, `url` names a server", Some(help)));
            }
            if self.encoding == Encoding::Auto {
                let help = "write `encoding: string`, `json` or `hash`";
                problems.push(bad(
                    "resp",
                    "with `resp` there is no server to ask what it can store",
                    Some(help),
                ));
            }
        } else if self.url == address::EMBEDDED && matches!(self.encoding, Encoding::Json | Encoding::Hash) {
            let help = "leave `encoding` out, or name a server in `url`";
            problems.push(bad("encoding", "the embedded store holds strings", Some(help)));
        }
        let needs_server = [
            ("publish", self.publish != Publish::Overwrite),
            ("keep", self.keep.is_some()),
            ("staging", self.staging.is_some()),
            ("rate_limit", self.rate_limit.is_some()),
            ("ttl", self.ttl.is_some() && self.resp.is_none()),
        ];
        for (name, given) in needs_server {
            if given && self.is_file() {
                let message = format!("`{name}` needs a server");
                problems.push(bad(name, &message, Some("name one in `url`")));
            }
        }
        if self.gates.max_change.is_some() && self.is_file() {
            let message = "`max_change` compares with what a server holds";
            problems.push(bad("gates", message, Some("name one in `url`")));
        }
        problems
    }

    /// What does not go together with the way of publishing.
    pub(crate) fn check_manner(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let shape = address::shape(&self.url);
        if self.publish == Publish::Swap && shape == Some(Shape::Cluster) {
            let help = "use `publish: pointer`";
            problems.push(bad(
                "publish",
                "a cluster has one database, so there is nothing to swap",
                Some(help),
            ));
        }
        if self.publish != Publish::Swap && self.staging.is_some() && !self.is_file() {
            problems.push(bad("staging", "only `publish: swap` has a second database", None));
        }
        if let (Publish::Swap, Some(staging), Ok(address)) = (self.publish, self.staging, address::read(&self.url))
            && address.database == staging
        {
            problems.push(bad(
                "staging",
                "the second database must be another than that of `url`",
                None,
            ));
        }
        match (self.publish, self.keep) {
            (Publish::Overwrite, Some(_)) if !self.is_file() => {
                let help = "use `publish: swap` or `pointer`";
                problems.push(bad(
                    "keep",
                    "`publish: overwrite` keeps no earlier generation",
                    Some(help),
                ));
            }
            (Publish::Swap, Some(keep)) if keep > 1 => {
                problems.push(bad("keep", "`publish: swap` has room for one earlier generation", None));
            }
            _ => {}
        }
        if self.publish != Publish::Overwrite && self.stale == Stale::Keep {
            let message = "a generation of its own has no keys of those before; `stale: keep` is for `overwrite`";
            problems.push(bad("stale", message, None));
        }
        if self.encoding == Encoding::Hash {
            if self.document != Document::Ids {
                problems.push(bad(
                    "document",
                    "`encoding: hash` writes the columns, not a document",
                    None,
                ));
            }
            if self.gates.max_change.is_some() {
                problems.push(bad(
                    "gates",
                    "`max_change` is about lists, which `encoding: hash` does not have",
                    None,
                ));
            }
        }
        if self.publish == Publish::Pointer && self.namespace.contains(|c: char| c.is_ascii_lowercase()) {
            let message = "with `publish: pointer` a namespace has no small letters: its reader function is named after it in \
                           small letters, and two namespaces must not share one";
            problems.push(bad("namespace", message, Some("write it in capitals")));
        }
        if let (Publish::Pointer, Ok(pattern)) = (self.publish, KeyPattern::parse(&self.key))
            && pattern.has_braces()
        {
            let message = "with `publish: pointer` keys stand in braces and must not have any of their own";
            problems.push(bad("key", message, None));
        }
        problems
    }
}

impl RedisSink {
    /// Everything that is wrong with the input or with the key, known from the schema alone.
    pub(crate) fn problems(&self, schema: &Schema) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.encoding == Encoding::Hash {
            let unfit = |column: &&Column| !fits_a_field(column);
            problems.extend(schema.columns.iter().filter(unfit).map(|column| {
                let message = format!("`{}` holds {}, which no field can hold", column.name, column.data_type);
                Problem::new(Code::BadInput, message)
                    .at_port("input")
                    .help("leave the column out with a selection")
            }));
        } else {
            match user_column(schema) {
                Ok(user) => problems.extend(unusable(user).map(|problem| problem.at_port("input"))),
                Err(problem) => problems.push(problem.at_port("input")),
            }
            problems.extend(list_problems(schema, RECOMMENDATIONS, false));
            if self.document != Document::Ids {
                problems.extend(list_problems(schema, SCORES, true));
            }
        }
        problems.extend(key_problems(&self.key, schema, self.encoding != Encoding::Hash));
        problems
    }
}

fn fits_a_field(column: &Column) -> bool {
    let data_type = column.element_type();
    Cells::takes(data_type) || data_type.is_floating() || *data_type == arrow::datatypes::DataType::Boolean
}

fn list_problems(schema: &Schema, name: &str, numbers: bool) -> Option<Problem> {
    let problem = match schema.get(name) {
        None => Problem::unknown_column(name, schema),
        Some(column) if !column.is_list() => Problem::new(
            Code::BadInput,
            format!("`{name}` holds {}, not lists", column.data_type),
        ),
        Some(column) if numbers && column.element_type().is_floating() => return None,
        Some(column) if numbers => Problem::new(
            Code::BadInput,
            format!("`{name}` holds {}, not scores", column.element_type()),
        ),
        Some(column) => unusable(column)?,
    };
    Some(problem.at_port("input"))
}

/// What is wrong with the pattern of keys. The column of the user is looked at elsewhere.
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
                let message = format!("`{field}` holds lists, which cannot stand in a key");
                problems.push(Problem::new(Code::BadConfig, message).at("key"));
            }
            Some(column) if has_user && column.has(&[Tag::User, Tag::Id]) => {}
            Some(column) => problems.extend(unusable(column).map(|problem| problem.at("key"))),
        }
    }
    problems
}

/// The one column with the user's id.
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

pub(crate) fn unusable(column: &Column) -> Option<Problem> {
    let data_type = column.element_type();
    (!Cells::takes(data_type)).then(|| {
        Problem::new(
            Code::BadInput,
            format!(
                "`{}` holds {data_type}; it must hold whole numbers or text",
                column.name
            ),
        )
        .help("Cast the column to int64 or to a string")
    })
}
