//! Checks of the parameters and of the input of `RedisSink`, without data.

use super::RedisSink;
use crate::batch::document_format::{RECOMMENDATIONS, SCORES};
use crate::batch::field_values::ColumnValues;
use crate::batch::key_pattern::KeyPattern;
use crate::redis::config::address;
use crate::redis::config::address::Topology;
use crate::redis::config::key_checks::{bad_config, check_id_type, key_problems, user_column};
use crate::redis::config::settings::{Document, Encoding, Publish, StaleKeys};
use towline_api::{Code, Column, Problem, Schema};

impl RedisSink {
    /// Parameters that contradict the destination: server, embedded store or file of commands.
    pub(super) fn check_destination(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.resp.is_some() {
            if self.url != address::EMBEDDED {
                let help = "leave one of the two out";
                problems.push(bad_config(
                    "resp",
                    "`resp` writes a file, `url` names a server",
                    Some(help),
                ));
            }
            if self.encoding == Encoding::Auto {
                let help = "write `encoding: string`, `json` or `hash`";
                problems.push(bad_config(
                    "resp",
                    "with `resp` there is no server to ask what it can store",
                    Some(help),
                ));
            }
        } else if self.url == address::EMBEDDED && matches!(self.encoding, Encoding::Json | Encoding::Hash) {
            let help = "leave `encoding` out, or name a server in `url`";
            problems.push(bad_config("encoding", "the embedded store holds strings", Some(help)));
        }
        let needs_server = [
            ("publish", self.publish != Publish::Overwrite),
            ("keep", self.keep.is_some()),
            ("staging", self.staging.is_some()),
            ("rate_limit", self.rate_limit.is_some()),
            ("ttl", self.ttl.is_some() && self.resp.is_none()),
        ];
        for (name, given) in needs_server {
            if given && self.writes_file() {
                let message = format!("`{name}` needs a server");
                problems.push(bad_config(name, &message, Some("name one in `url`")));
            }
        }
        if self.gates.max_change.is_some() && self.writes_file() {
            let message = "`max_change` compares with what a server holds";
            problems.push(bad_config("gates", message, Some("name one in `url`")));
        }
        problems
    }

    /// Parameters that contradict the publish mode.
    pub(super) fn check_mode(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let topology = address::topology(&self.url);
        if self.publish == Publish::Swap && topology == Some(Topology::Cluster) {
            let help = "use `publish: pointer`";
            problems.push(bad_config(
                "publish",
                "a cluster has one database, so there is nothing to swap",
                Some(help),
            ));
        }
        if self.publish != Publish::Swap && self.staging.is_some() && !self.writes_file() {
            problems.push(bad_config(
                "staging",
                "only `publish: swap` has a second database",
                None,
            ));
        }
        if let (Publish::Swap, Some(staging), Ok(address)) = (self.publish, self.staging, address::parse(&self.url))
            && address.database == staging
        {
            problems.push(bad_config(
                "staging",
                "the second database must be another than that of `url`",
                None,
            ));
        }
        match (self.publish, self.keep) {
            (Publish::Overwrite, Some(_)) if !self.writes_file() => {
                let help = "use `publish: swap` or `pointer`";
                problems.push(bad_config(
                    "keep",
                    "`publish: overwrite` keeps no earlier generation",
                    Some(help),
                ));
            }
            (Publish::Swap, Some(keep)) if keep > 1 => {
                problems.push(bad_config(
                    "keep",
                    "`publish: swap` has room for one earlier generation",
                    None,
                ));
            }
            _ => {}
        }
        if self.publish != Publish::Overwrite && self.stale == StaleKeys::Keep {
            let message = "every generation starts empty; `stale: keep` is for `overwrite`";
            problems.push(bad_config("stale", message, None));
        }
        if self.encoding == Encoding::Hash {
            if self.document != Document::Ids {
                problems.push(bad_config(
                    "document",
                    "`encoding: hash` writes the columns, not a document",
                    None,
                ));
            }
            if self.gates.max_change.is_some() {
                problems.push(bad_config(
                    "gates",
                    "`max_change` is about lists, which `encoding: hash` does not have",
                    None,
                ));
            }
        }
        if self.publish == Publish::Pointer && self.namespace.contains(|c: char| c.is_ascii_lowercase()) {
            let message = "with `publish: pointer` a namespace has no small letters: its reader function is named after it in \
                           small letters, and two namespaces must not share one";
            problems.push(bad_config("namespace", message, Some("write it in capitals")));
        }
        if let (Publish::Pointer, Ok(pattern)) = (self.publish, KeyPattern::parse(&self.key))
            && pattern.has_braces()
        {
            let message = "with `publish: pointer` keys are put in braces and must not contain braces";
            problems.push(bad_config("key", message, None));
        }
        problems
    }

    /// Errors in the input and in the key.
    pub(crate) fn input_problems(&self, schema: &Schema) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.encoding == Encoding::Hash {
            let unfit = |column: &&Column| !fits_a_field(column);
            problems.extend(schema.columns.iter().filter(unfit).map(|column| {
                let message = format!(
                    "`{}` holds {}, which a hash field cannot hold",
                    column.name, column.data_type
                );
                Problem::new(Code::BadInput, message)
                    .at_port("input")
                    .help("leave the column out with a selection")
            }));
        } else {
            match user_column(schema) {
                Ok(user) => problems.extend(check_id_type(user).map(|problem| problem.at_port("input"))),
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
    ColumnValues::takes(data_type) || data_type.is_floating() || *data_type == arrow::datatypes::DataType::Boolean
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
        Some(column) => check_id_type(column)?,
    };
    Some(problem.at_port("input"))
}
