//! Run, receipt check and rollback of `RedisSink`.

use std::collections::BTreeMap;

use serde_json::json;

use super::RedisSink;
use super::{INPUT, MODEL};
use crate::batch::changes::Changes;
use crate::batch::key_pattern::KeyPattern;
use crate::batch::row_encoder::RowEncoder;
use crate::embedded_store;
use crate::redis::client::endpoint::Endpoint;
use crate::redis::client::value_format::ValueFormat;
use crate::redis::config::address;
use crate::redis::config::key_checks::user_column;
use crate::redis::config::settings::{Encoding, Publish, ValueType};
use crate::redis::keyspace::metadata_keys::MetadataKeys;
use crate::redis::keyspace::namespace::Namespace;
use crate::redis::keyspace::ownership::OwnershipCheck;
use crate::redis::publish::attempts::PublishJob;
use crate::redis::publish::options::PublishOptions;
use crate::redis::publish::receipt::{add_counts, receipt};
use crate::redis::publish::{gates, pointer, resp_file, swap};
use crate::redis::verify::receipt_check::ReceiptCheck;
use towline_api::{
    Artifact, Cancel, Context, Inputs, OperatorError, Output, Receipt, Report, Result, Schema, TaskResult,
};

impl RedisSink {
    /// Publishes a batch to a server or into a file.
    pub(super) fn publish(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let dataset = INPUT.files(inputs)?;
        let pattern = KeyPattern::parse(&self.key).map_err(OperatorError::invalid)?;
        let user = self.user(&dataset.schema, &pattern)?;
        let format = self.document.format(self.encoding);
        let encoder = RowEncoder::new(dataset, pattern.clone(), &user, format, None)?;
        if self.writes_file() {
            return self.write_file(&encoder, context);
        }
        let model = MODEL.files(inputs)?.map(|model| model.digest.clone());
        let options = PublishOptions {
            key: self.key.clone(),
            pattern,
            publish: self.publish,
            stale: self.stale,
            keep: self.keep.unwrap_or(u64::from(self.publish == Publish::Pointer)),
            gates: self.gates.clone(),
            chunk: self.chunk.max(1),
            in_flight: self.in_flight,
            rate_limit: self.rate_limit,
            allow_empty: self.allow_empty,
        };
        let endpoint = self.endpoint()?;
        let job = PublishJob {
            staging: self.staging_database(endpoint.database()),
            endpoint: &endpoint,
            options: &options,
            encoder: &encoder,
            encoding: self.encoding,
            ttl: self.ttl,
            model,
            context,
        };
        let (receipt, report) = receipt(&address::redacted(&self.url), &job.run()?, encoder.dropped());
        Ok(Output {
            result: TaskResult::Receipt(receipt),
            metrics: BTreeMap::new(),
            report,
        })
    }

    /// Column that a row must have a value in.
    fn user(&self, schema: &Schema, pattern: &KeyPattern) -> Result<String> {
        if self.encoding == Encoding::Hash {
            // The row encoder wants a value in every column of the key anyway.
            return Ok(pattern.fields().next().unwrap_or_default().to_owned());
        }
        let user = user_column(schema).map_err(|problem| OperatorError::invalid(problem.message))?;
        Ok(user.name.clone())
    }

    fn write_file(&self, encoder: &RowEncoder<'_>, context: &Context) -> Result<Output> {
        let coverage = self.gates.min_coverage.is_some();
        let (counts, rows) = encoder.count(context, false, coverage)?;
        Changes::detect(&rows.finish()?, counts.keys, None, false, &context.temp_file("stale"))?
            .map_err(|row| encoder.duplicate(row))?;
        gates::check_counts(&self.gates, &counts)?;
        context.progress.begin("keys", Some(counts.keys));
        let chunks = encoder.chunks(self.chunk.max(1));
        let (path, (written, size)) = if let Some(path) = &self.resp {
            let value_type = match self.encoding {
                Encoding::Json => ValueType::Json,
                Encoding::Hash => ValueType::Hash,
                Encoding::Auto | Encoding::String => ValueType::String,
            };
            let format = ValueFormat {
                ttl: self.ttl,
                ..ValueFormat::of(value_type)
            };
            (path, resp_file::write(path, format, chunks, context)?)
        } else {
            gates::check_empty(self.allow_empty, embedded_store::key_count(&self.path), &counts)?;
            (&self.path, embedded_store::publish(&self.path, chunks, context)?)
        };
        let mut report = Report::default();
        let mut details = BTreeMap::from([("key".to_owned(), json!(self.key))]);
        add_counts(&counts, encoder.dropped(), &mut details, &mut report);
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

    fn endpoint(&self) -> Result<Endpoint> {
        Endpoint::new(&self.connection_config())
    }

    /// Whether the server still holds the generation of a receipt; `true` if it cannot be reached.
    pub(super) fn holds_generation_of(&self, receipt: &Receipt) -> bool {
        let check = ReceiptCheck::new(receipt, &self.key, self.publish, self.ttl);
        match (self.endpoint(), check) {
            (Ok(endpoint), Some(check)) => {
                let staging = self.staging_database(endpoint.database());
                check.still_published(endpoint, staging)
            }
            (Err(_), _) => true,
            (_, None) => false,
        }
    }

    /// Publishes the previous generation again.
    pub(super) fn roll_back_generation(&self) -> Result<String> {
        let endpoint = self.endpoint()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| OperatorError::invalid(format!("cannot start a thread: {error}")))?;
        let keys = &MetadataKeys(endpoint.namespace.clone());
        let pattern = KeyPattern::parse(&self.key).map_err(OperatorError::invalid)?;
        let temp = tempfile::tempdir().map_err(OperatorError::io("a temporary folder"))?;
        let cancel = Cancel::default();
        let rollback = async {
            let server = endpoint.open(endpoint.database()).await?;
            let namespace = Namespace { server: &server, keys };
            match self.staging_database(endpoint.database()) {
                Some(staging) => {
                    let server = endpoint.open(staging).await?;
                    let staging = Namespace { server: &server, keys };
                    let ownership = OwnershipCheck {
                        pattern: &pattern,
                        temp: temp.path(),
                        cancel: &cancel,
                    };
                    swap::roll_back(namespace, staging, &ownership, &self.key).await
                }
                None => pointer::roll_back(namespace, &self.key).await,
            }
        };
        let (from, to) = runtime
            .block_on(rollback)
            .map_err(|error| endpoint.describe_error(error))?;
        Ok(format!(
            "{}: rolled back from generation {from} to generation {to}",
            address::redacted(&self.url)
        ))
    }
}
