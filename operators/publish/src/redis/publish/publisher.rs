//! Publisher: scans a batch, checks the gates, writes the batch, and has the publish mode commit it.

use crate::batch::changes::Changes;
use crate::batch::row_encoder::RowEncoder;
use crate::redis::client::client_error::ClientError;
use crate::redis::client::value_format::ValueFormat;
use crate::redis::config::settings::Publish;
use crate::redis::keyspace::generation_metadata::{GenerationMetadata, now};
use crate::redis::publish::journal::Journal;
use crate::redis::publish::list_changes::{ListChanges, compare};
use crate::redis::publish::mode::{Destination, PreviousKeys, PublishMode};
use crate::redis::publish::overwrite::Overwrite;
use crate::redis::publish::pointer::Pointer;
use crate::redis::publish::receipt::PublishOutcome;
use crate::redis::publish::session::{PublishSession, ScannedBatch};
use crate::redis::publish::swap::Swap;
use crate::redis::publish::writer::{ChunkWriter, Written};
use crate::redis::publish::{gates, leftover_check};
use towline_api::{OperatorError, Result};

/// Publishes a batch in the configured mode. `model` is the content digest of the model.
pub(crate) async fn publish(
    session: &PublishSession<'_>,
    encoder: &RowEncoder<'_>,
    model: Option<&str>,
) -> Result<PublishOutcome, ClientError> {
    leftover_check::check(session).await?;
    match session.options.publish {
        Publish::Overwrite => publish_in_mode::<Overwrite<'_>>(session, encoder, model).await,
        Publish::Pointer => publish_in_mode::<Pointer<'_>>(session, encoder, model).await,
        Publish::Swap => publish_in_mode::<Swap<'_>>(session, encoder, model).await,
    }
}

async fn publish_in_mode<'a, M: PublishMode<'a>>(
    session: &'a PublishSession<'a>,
    encoder: &'a RowEncoder<'a>,
    model: Option<&str>,
) -> Result<PublishOutcome, ClientError> {
    let mut mode = M::inspect(session).await?;
    let batch = scan(session, encoder, mode.take_previous_keys())?;
    let list_changes = check_changes(session, &mode, &batch).await?;
    let format = mode.format();
    let mut journal = mode.start(&batch).await?;
    let destination = mode.destination(journal.progress());
    let written = match write(session, &destination, format, &batch, &mut journal).await {
        Ok(written) => written,
        Err(error) => {
            mode.clean_up(&batch, journal.progress(), &error).await?;
            return Err(error);
        }
    };
    let metadata = GenerationMetadata {
        generation: journal.progress().generation,
        rows: batch.counts.keys,
        checksum: format!("{:032x}", written.checksum),
        model: model.map(str::to_owned),
        time: now(),
        key: session.options.key.clone(),
        encoding: format.value_type.name().to_owned(),
        publish: Some(session.options.publish),
        ttl: format.ttl,
    };
    let removed = mode.commit(&batch, journal.progress(), &metadata).await?;
    Ok(PublishOutcome {
        unchanged: batch.counts.keys - written.keys - written.resumed,
        counts: batch.counts,
        written,
        metadata,
        removed,
        list_changes,
    })
}

/// Counts the entries, refuses duplicate keys, and compares the batch with earlier generations.
fn scan<'a>(
    session: &PublishSession<'_>,
    encoder: &'a RowEncoder<'a>,
    previous: Option<PreviousKeys>,
) -> Result<ScannedBatch<'a>> {
    let PublishSession { options, context, .. } = session;
    let digests_valid = previous.as_ref().is_some_and(|previous| previous.digests_valid);
    let lists = options.gates.min_coverage.is_some();
    let (counts, rows) = encoder.count(context, digests_valid, lists)?;
    let rows = rows.finish()?;
    let previous = previous.map(|previous| previous.keys);
    let stale = context.temp_file("stale");
    let changes = Changes::detect(&rows, counts.keys, previous.as_ref(), digests_valid, &stale)?
        .map_err(|row| encoder.duplicate(row))?;
    gates::check_counts(&options.gates, &counts)?;
    context.progress.begin("keys", Some(counts.keys));
    Ok(ScannedBatch {
        encoder,
        counts,
        changes,
    })
}

/// Compares the batch with the published generation: it must not be empty, and `max_change` limits its changed lists.
async fn check_changes<'a, M: PublishMode<'a>>(
    session: &PublishSession<'_>,
    mode: &M,
    batch: &ScannedBatch<'_>,
) -> Result<Option<ListChanges>, ClientError> {
    let removed = mode.count_stale(&batch.changes)?;
    let (Some(published), version) = mode.published() else {
        return Ok(None);
    };
    gates::check_empty(session.options.allow_empty, published.rows, &batch.counts)?;
    let Some(limit) = session.options.gates.max_change else {
        return Ok(None);
    };
    if published.is_expired() {
        // Its keys have expired: readers see nothing that could change.
        return Ok(None);
    }
    let format = ValueFormat {
        value_type: published.value_type(),
        ..session.format
    };
    let mut changes = compare(session, format, version, batch, limit.by).await?;
    changes.removed = removed.unwrap_or_else(|| published.rows.saturating_sub(changes.compared));
    gates::check_change(limit, changes)?;
    Ok(Some(changes))
}

/// Writes all keys and reads a sample of them back. No key may have been evicted meanwhile.
async fn write(
    session: &PublishSession<'_>,
    destination: &Destination<'_>,
    format: ValueFormat,
    batch: &ScannedBatch<'_>,
    journal: &mut Journal,
) -> Result<Written, ClientError> {
    let server = destination.namespace.server;
    let writer = ChunkWriter {
        session,
        destination,
        format,
        generation: journal.progress().generation,
        changes: &batch.changes,
    };
    let evicted_before = server.info("stats", "evicted_keys").await?;
    let mut result = writer.write(batch.encoder, batch.counts.keys, journal).await;
    if let Ok(written) = &result
        && let Err(error) = writer.verify(written).await
    {
        result = Err(error);
    }
    if !matches!(&result, Ok(_) | Err(ClientError::Permanent(_))) {
        return result;
    }
    // Checked also after an error: an evicted metadata key looks like another run.
    let evicted = server
        .info("stats", "evicted_keys")
        .await?
        .saturating_sub(evicted_before);
    if evicted > 0 {
        return Err(OperatorError::Server(format!(
            "the server evicted {evicted} keys while the batch was written, so the batch is incomplete; raise `maxmemory`"
        ))
        .into());
    }
    result
}
