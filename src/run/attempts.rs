//! One job of a run: in time, again where it failed for a reason that may pass, and alone with its panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use towline_api::{Cancel, OperatorError, ProgressSink};

use crate::run::runner::{Failure, Runner};

/// How long work that was asked to stop is waited for before it is left to itself.
pub(super) const GRACE: Duration = Duration::from_millis(1_500);
/// The pause before the second attempt; it doubles from attempt to attempt.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What a job needs besides its work.
pub(super) struct Job {
    pub(super) progress: Arc<dyn ProgressSink>,
    pub(super) cancel: Cancel,
}

/// Does the work for a node, as often as the node's settings allow.
pub(super) async fn attempts<T: Send + 'static>(
    runner: &Arc<Runner>,
    node: usize,
    work: impl Fn(&Runner, &Job) -> Result<T, Failure> + Send + Sync + 'static,
) -> Result<T, Failure> {
    let settings = runner.pipeline.nodes[node].settings.clone();
    let work = Arc::new(work);
    let mut failed = 0;
    loop {
        let own = Arc::clone(&work);
        let result = in_time(runner, runner.name(node), settings.timeout, move |runner, job| {
            own(runner, job)
        })
        .await;
        match result {
            Err(failure) if failed < settings.retries && may_pass(&failure) => {
                failed += 1;
                let pause = pause(failed);
                runner.warn(&format!(
                    "{}: {failure}; attempt {} of {} in {} s",
                    runner.name(node),
                    failed + 1,
                    settings.retries + 1,
                    pause.as_secs()
                ));
                wait(&runner.cancel, pause).await?;
            }
            result => return result,
        }
    }
}

/// Does work on a thread of its own. Work that does not end in time, or when it is asked to, is left to itself: it can
/// still finish, but nobody waits for it.
pub(super) async fn in_time<T: Send + 'static>(
    runner: &Arc<Runner>,
    shown: &str,
    limit: Option<Duration>,
    work: impl FnOnce(&Runner, &Job) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let job = Job {
        progress: runner.progress_of(shown),
        cancel: limit.map_or_else(|| runner.cancel.clone(), |limit| runner.cancel.within(limit)),
    };
    let own = Arc::clone(runner);
    let handle = tokio::task::spawn_blocking(move || guarded(|| work(&own, &job)));
    let ended = match limit {
        Some(limit) => match tokio::time::timeout(limit + GRACE, handle).await {
            Ok(ended) => ended,
            Err(_) => return Err(OperatorError::TimedOut(limit).into()),
        },
        None => handle.await,
    };
    match ended {
        // An operator that stops because its time is over may call it an interruption.
        Ok(Err(Failure::Operator(OperatorError::Cancelled))) if !runner.cancel.is_cancelled() => {
            Err(OperatorError::TimedOut(limit.unwrap_or_default()).into())
        }
        Ok(result) => result,
        Err(lost) => Err(Failure::Panic(lost.to_string())),
    }
}

/// The pause after this many failures.
pub(super) fn pause(failed: u32) -> Duration {
    FIRST_PAUSE
        .saturating_mul(2_u32.saturating_pow(failed.saturating_sub(1)))
        .min(LONGEST_PAUSE)
}

/// Waits, unless the run is interrupted meanwhile.
pub(super) async fn wait(cancel: &Cancel, pause: Duration) -> Result<(), OperatorError> {
    const STEP: Duration = Duration::from_millis(50);
    let until = tokio::time::Instant::now() + pause;
    while tokio::time::Instant::now() < until {
        cancel.check()?;
        tokio::time::sleep(STEP.min(until - tokio::time::Instant::now())).await;
    }
    cancel.check()
}

/// Whether another attempt may succeed. Mistakes of the user, defects and a store that fails are not such reasons.
pub(super) fn may_pass(failure: &Failure) -> bool {
    match failure {
        Failure::Operator(error) => error.is_transient(),
        Failure::Store(_) | Failure::WouldRun(_) | Failure::Unmet { .. } | Failure::Panic(_) => false,
    }
}

/// The result of an operator's work; a panic in it is a failure of the node and of nothing else.
fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    // What the work shares with other nodes is behind locks whose poison is ignored, and every change under them is
    // complete on its own.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Failure::Panic(text.unwrap_or_else(|| "it did not say why".to_owned())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute() {
        let seconds = [1, 2, 3, 7, 40].map(|failed| pause(failed).as_secs());
        assert_eq!(seconds, [1, 2, 4, 60, 60]);
    }
}
