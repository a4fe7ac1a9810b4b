//! `RedisSink` at work.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::batch::changes::Changes;
use crate::batch::entries::{Census, Entries};
use crate::embedded_store;
use crate::key_pattern::KeyPattern;
use crate::redis::client::commands::{Style, style_of};
use crate::redis::client::connection::{Failure, Security};
use crate::redis::client::server::Server;
use crate::redis::config::address;
use crate::redis::config::checks::user_column;
use crate::redis::config::settings::{Encoding, Publish, Stored};
use crate::redis::keyspace::metadata_keys::Names;
use crate::redis::keyspace::ownership::Own;
use crate::redis::publish::publisher::{Manner, Outcome, Publisher};
use crate::redis::publish::resume::Journal;
use crate::redis::publish::{gates, pointer, resp_file, swap};
use crate::redis::redis_sink::{INPUT, MODEL, RedisSink};
use crate::redis::verify::receipt_check::Claim;
use towline_api::{
    Artifact, Cancel, Context, Inputs, OperatorError, Output, Receipt, Report, Result, Schema, TaskResult,
};

/// How soon an interrupted run stops waiting for the server.
const CANCEL_POLL: Duration = Duration::from_millis(100);
/// How often a batch is begun anew because the server was.
const RESTARTS: usize = 2;

impl RedisSink {
    /// Publishes one batch: to a server, or into a file.
    pub(crate) fn publish(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let dataset = INPUT.files(inputs)?;
        let pattern = KeyPattern::parse(&self.key).map_err(OperatorError::invalid)?;
        let user = self.user(&dataset.schema, &pattern)?;
        let form = self.document.form(self.encoding);
        let entries = Entries::new(dataset, pattern.clone(), &user, form, None)?;
        if self.is_file() {
            return self.write_file(&entries, context);
        }
        let model = MODEL.files(inputs)?.map(|model| model.digest.clone());
        let target = self.target()?;
        let manner = Manner {
            key: self.key.clone(),
            pattern,
            publish: self.publish,
            stale: self.stale,
            keep: self.keep.unwrap_or(u64::from(self.publish == Publish::Pointer)),
            gates: self.gates.clone(),
            chunk: self.chunk.max(1),
            in_flight: self.in_flight,
            rate: self.rate_limit,
            allow_empty: self.allow_empty,
        };
        let outcome = target.publish(&manner, &entries, (self.encoding, self.ttl), model, context)?;
        let (receipt, report) = receipt(&address::redacted(&self.url), &outcome, entries.dropped());
        Ok(Output {
            result: TaskResult::Receipt(receipt),
            metrics: BTreeMap::new(),
            report,
        })
    }
}

impl RedisSink {
    /// The column that a row must have a value in.
    fn user(&self, schema: &Schema, pattern: &KeyPattern) -> Result<String> {
        if self.encoding == Encoding::Hash {
            // Its value stands in the key; that every column there has one is asked for anyway.
            return Ok(pattern.fields().next().unwrap_or_default().to_owned());
        }
        let user = user_column(schema).map_err(|problem| OperatorError::invalid(problem.message))?;
        Ok(user.name.clone())
    }

    fn write_file(&self, entries: &Entries<'_>, context: &Context) -> Result<Output> {
        let coverage = self.gates.min_coverage.is_some();
        let (census, rows) = entries.census(context, false, coverage)?;
        let none = Changes::find(&rows.finish()?, census.keys, None, false, &context.temp_file("stale"))?;
        none.map_err(|row| entries.duplicate(row))?;
        gates::check_counts(&self.gates, &census)?;
        context.progress.begin("keys", Some(census.keys));
        let chunks = entries.chunks(self.chunk.max(1));
        let (path, (written, size)) = match &self.resp {
            Some(path) => {
                let style = Style {
                    stored: match self.encoding {
                        Encoding::Json => Stored::Json,
                        Encoding::Hash => Stored::Hash,
                        Encoding::Auto | Encoding::String => Stored::String,
                    },
                    ttl: self.ttl,
                    persist: false,
                    many: false,
                };
                (path, resp_file::write(path, style, chunks, context)?)
            }
            None => {
                gates::check_empty(self.allow_empty, embedded_store::size(&self.path), &census)?;
                (&self.path, embedded_store::publish(&self.path, chunks, context)?)
            }
        };
        let mut report = Report::default();
        let mut details = BTreeMap::from([("key".to_owned(), json!(self.key))]);
        counts(&census, entries.dropped(), &mut details, &mut report);
        report.facts.push(("keys".to_owned(), written.to_string()));
        Ok(Output {
            result: TaskResult::Receipt(Receipt {
                target: path.display().to_string(),
                records: written,
                files: BTreeMap::from([(path.clone(), size)]),
                details,
            }),
            metrics: BTreeMap::new(),
            report,
        })
    }

    /// The server, as the parameters describe it.
    fn target(&self) -> Result<Target> {
        let mut target = self.reach().target()?;
        target.staging = self.second(target.address.database);
        Ok(target)
    }

    /// Whether the server still holds what a receipt says; `true` where it cannot be asked.
    pub(crate) fn stands(&self, receipt: &Receipt) -> bool {
        match (self.target(), Claim::of(receipt, &self.key, self.publish, self.ttl)) {
            (Ok(target), Some(claim)) => claim.stands(target),
            (Err(_), _) => true,
            (_, None) => false,
        }
    }

    /// Puts the generation before the present one back in its place.
    pub(crate) fn go_back(&self) -> Result<String> {
        let target = self.target()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| OperatorError::invalid(format!("no thread to wait on: {error}")))?;
        let names = Names(target.namespace.clone());
        let pattern = KeyPattern::parse(&self.key).map_err(OperatorError::invalid)?;
        let temp = tempfile::tempdir().map_err(OperatorError::io("a temporary folder"))?;
        let cancel = Cancel::default();
        let back = async {
            let server = target.open(target.address.database, target.patience).await?;
            match target.staging {
                Some(staging) => {
                    let staging = target.open(staging, target.patience).await?;
                    let own = Own {
                        names: &names,
                        pattern: &pattern,
                        temp: temp.path(),
                        cancel: &cancel,
                    };
                    swap::roll_back(&server, &staging, &own, &self.key).await
                }
                None => pointer::roll_back(&server, &names, &self.key).await,
            }
        };
        let (from, to) = runtime.block_on(back).map_err(|failure| target.told(failure))?;
        Ok(format!(
            "{}: generation {to} counts again, in place of {from}",
            target.shown
        ))
    }
}

/// A server to publish to.
pub(crate) struct Target {
    pub(crate) address: address::Address,
    security: Security,
    /// The address for people.
    shown: String,
    pub(crate) namespace: String,
    pub(crate) connections: usize,
    pub(crate) patience: Duration,
    /// The second database.
    pub(crate) staging: Option<i64>,
}

impl Target {
    /// The server at an address, whose secrets are read now.
    pub(crate) fn read(url: &str, security: Security) -> Result<Self> {
        let shown = address::redacted(url);
        let address = address::read(&address::revealed(url)?)
            .map_err(|reason| OperatorError::Server(format!("{shown}: {reason}")))?;
        Ok(Target {
            address,
            security,
            shown,
            namespace: crate::redis::redis_sink::default_namespace(),
            connections: 1,
            patience: Duration::ZERO,
            staging: None,
        })
    }

    pub(crate) async fn open(&self, database: i64, patience: Duration) -> Result<Server, Failure> {
        Server::open(
            self.address.clone(),
            self.security.clone(),
            database,
            self.connections,
            patience,
        )
        .await
    }

    /// An error that names the server.
    pub(crate) fn told(&self, failure: Failure) -> OperatorError {
        match failure.into_error() {
            error @ (OperatorError::Server(_) | OperatorError::Transient(_)) => {
                error.reworded(|text| format!("{}: {text}", self.shown))
            }
            other => other,
        }
    }

    /// Publishes entries. A batch whose server was started anew meanwhile is begun anew.
    pub(crate) fn publish(
        &self,
        manner: &Manner,
        entries: &Entries<'_>,
        (encoding, ttl): (Encoding, Option<u64>),
        model: Option<String>,
        context: &Context,
    ) -> Result<Outcome> {
        let names = Names(self.namespace.clone());
        let once = async || {
            let server = self.open(self.address.database, self.patience).await?;
            let staging = match self.staging {
                Some(database) => Some(self.open(database, self.patience).await?),
                None => None,
            };
            let style = style_of(&server, encoding, ttl).await?;
            let publisher = Publisher {
                manner,
                entries,
                context,
                server: &server,
                style,
                names: &names,
                model: model.clone(),
            };
            publisher.publish(staging.as_ref()).await
        };
        let result = context.runtime.block_on(async {
            let mut restarts = 0;
            loop {
                let result = tokio::select! {
                    result = once() => result,
                    () = interrupted(&context.cancel) => Err(OperatorError::Cancelled.into()),
                };
                match result {
                    Err(Failure::Restarted(why)) if restarts < RESTARTS => {
                        restarts += 1;
                        Journal::discard(context);
                        context.progress.note(&format!("{why}; the batch is written again"));
                    }
                    result => return result,
                }
            }
        });
        result.map_err(|failure| self.told(failure))
    }
}

async fn interrupted(cancel: &Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(CANCEL_POLL).await;
    }
}

/// What is said of a publication.
pub(crate) fn receipt(target: &str, outcome: &Outcome, dropped: u64) -> (Receipt, Report) {
    let mut report = Report::default();
    let Outcome {
        census, written, meta, ..
    } = outcome;
    let mut details = BTreeMap::from([
        ("key".to_owned(), json!(meta.key)),
        ("generation".to_owned(), json!(meta.generation)),
        ("encoding".to_owned(), json!(meta.encoding)),
        ("checksum".to_owned(), json!(meta.checksum)),
        ("written".to_owned(), json!(written.keys)),
        ("written_bytes".to_owned(), json!(written.bytes)),
        ("unchanged".to_owned(), json!(outcome.unchanged)),
        ("unchanged_bytes".to_owned(), json!(written.unchanged_bytes)),
        ("resumed".to_owned(), json!(written.resumed)),
        ("removed".to_owned(), json!(outcome.removed)),
    ]);
    if let Some(changed) = outcome.changed {
        details.insert("lists_compared".to_owned(), json!(changed.users));
        details.insert("lists_changed".to_owned(), json!(changed.beyond));
        details.insert("lists_gone".to_owned(), json!(changed.gone));
    }
    report.facts.push(("keys".to_owned(), census.keys.to_string()));
    report
        .facts
        .push(("generation".to_owned(), meta.generation.to_string()));
    for (name, count) in [
        ("written", written.keys),
        ("unchanged, not written", outcome.unchanged),
        ("bytes not written", written.unchanged_bytes),
        ("acknowledged before", written.resumed),
        ("removed", outcome.removed),
    ] {
        if count > 0 {
            report.facts.push((name.to_owned(), count.to_string()));
        }
    }
    counts(census, dropped, &mut details, &mut report);
    let receipt = Receipt {
        target: target.to_owned(),
        records: census.keys,
        files: BTreeMap::new(),
        details,
    };
    (receipt, report)
}

/// Rows that were left out, in the receipt and as warnings.
fn counts(census: &Census, dropped: u64, details: &mut BTreeMap<String, serde_json::Value>, report: &mut Report) {
    for (name, count, what) in [
        (
            "null_users",
            census.null_users,
            "rows have no user (missing or out of vocabulary) and were not written",
        ),
        (
            "null_key_fields",
            census.null_fields,
            "rows lack a value in a column of the key and were not written",
        ),
        (
            "null_recommendations",
            dropped,
            "recommendations have no value and were left out of their lists",
        ),
    ] {
        details.insert(name.to_owned(), json!(count));
        if count > 0 {
            report.warnings.push(format!("{count} {what}"));
        }
    }
}
