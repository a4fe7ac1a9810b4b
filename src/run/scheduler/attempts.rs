//! Attempts at a job: each in its time, again after a transient failure, and alone with its panics.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use towline_api::{Cancel, OperatorError, ProgressSink};

use crate::config::Settings;
use crate::run::events::Events;
use crate::run::execute::Stop;
use crate::run::failure::Failure;
use crate::run::panics::guarded;

/// How long work that was asked to stop is waited for before it is left to itself.
pub(super) const GRACE: Duration = Duration::from_millis(1_500);
/// The pause before the second attempt; it doubles from attempt to attempt.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_mins(1);

/// What the scheduler waits by: pauses between attempts, and the time that a node may take.
pub trait Clock: Send + Sync {
    /// Ends after this time.
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()>;
}

/// The clock of the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }
}

/// What a job gets besides its work.
pub(super) struct JobControl {
    pub(super) progress: Arc<dyn ProgressSink>,
    pub(super) stop: Stop,
}

/// Makes attempts at jobs.
#[derive(Clone)]
pub(super) struct Attempts {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) token: CancellationToken,
    /// What operators ask about the same token.
    pub(super) cancel: Cancel,
    pub(super) events: Events,
}

impl Attempts {
    /// Does the work for a node, as often as its settings allow.
    pub(super) async fn at<T: Send + 'static>(
        &self,
        node: &str,
        settings: &Settings,
        work: impl Fn(&JobControl) -> Result<T, Failure> + Send + Sync + 'static,
    ) -> Result<T, Failure> {
        let work = Arc::new(work);
        let mut failed = 0;
        loop {
            let own = Arc::clone(&work);
            match self.once(node, settings.timeout, move |control| own(control)).await {
                Err(failure) if failed < settings.retries && failure.is_transient() => {
                    failed += 1;
                    let (next, of) = (failed + 1, settings.retries + 1);
                    let seconds = backoff(failed).as_secs();
                    self.events
                        .warn(format!("{node}: {failure}; attempt {next} of {of} in {seconds} s"));
                    self.back_off(failed).await?;
                }
                result => return result,
            }
        }
    }

    /// Does work once, on a thread of its own. Work that does not end in time, or when it is asked to, is left to itself:
    /// it can still finish, but nothing waits for it.
    pub(super) async fn once<T: Send + 'static>(
        &self,
        job: &str,
        limit: Option<Duration>,
        work: impl FnOnce(&JobControl) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let control = JobControl {
            progress: self.events.job(job),
            stop: Stop::new(self.token.clone(), &self.cancel, limit),
        };
        let handle = tokio::task::spawn_blocking(move || guarded(|| work(&control)));
        let ended = match limit {
            Some(limit) => tokio::select! {
                ended = handle => ended,
                () = self.clock.sleep(limit + GRACE) => return Err(OperatorError::TimedOut(limit).into()),
            },
            None => handle.await,
        };
        match ended {
            // An operator that stops because its time is over may call it an interruption.
            Ok(Err(Failure::Operator(OperatorError::Cancelled))) if !self.token.is_cancelled() => {
                Err(OperatorError::TimedOut(limit.unwrap_or_default()).into())
            }
            Ok(result) => result,
            Err(lost) => Err(Failure::Panic(lost.to_string())),
        }
    }

    /// Waits before the attempt after this many failures, unless the run is interrupted meanwhile.
    pub(super) async fn back_off(&self, failed: u32) -> Result<(), OperatorError> {
        tokio::select! {
            biased;
            () = self.token.cancelled() => Err(OperatorError::Cancelled),
            () = self.clock.sleep(backoff(failed)) => Ok(()),
        }
    }

    /// Ends some time after the run was interrupted.
    pub(super) async fn grace_is_over(&self) {
        self.token.cancelled().await;
        self.clock.sleep(GRACE).await;
    }
}

/// The pause after this many failures; none before the first.
fn backoff(failed: u32) -> Duration {
    match failed {
        0 => Duration::ZERO,
        failed => FIRST_BACKOFF
            .saturating_mul(2_u32.saturating_pow(failed - 1))
            .min(LONGEST_BACKOFF),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::run::events::Event;

    /// A clock on which all waiting is over at once, unless it never ends.
    #[derive(Default)]
    struct Instantly {
        slept: Mutex<Vec<Duration>>,
        never: bool,
    }

    impl Clock for Instantly {
        fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
            self.slept.lock().unwrap().push(time);
            if self.never {
                Box::pin(std::future::pending())
            } else {
                Box::pin(std::future::ready(()))
            }
        }
    }

    fn attempts(clock: &Arc<Instantly>) -> Attempts {
        Attempts {
            clock: Arc::clone(clock) as Arc<dyn Clock>,
            token: CancellationToken::new(),
            cancel: Cancel::default(),
            events: Events::default(),
        }
    }

    fn settings(retries: u32, timeout: Option<Duration>) -> Settings {
        Settings {
            retries,
            timeout,
            ..Settings::default()
        }
    }

    /// Work that succeeds in its nth attempt, and counts.
    fn succeeds_in(nth: u32, count: &Arc<AtomicU32>) -> impl Fn(&JobControl) -> Result<u32, Failure> + use<> {
        let count = Arc::clone(count);
        move |_| match count.fetch_add(1, Ordering::Relaxed) + 1 {
            n if n < nth => Err(OperatorError::Transient("not now".to_owned()).into()),
            n => Ok(n),
        }
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let seconds = [0, 1, 2, 3, 7, 40].map(|failed| backoff(failed).as_secs());
        assert_eq!(seconds, [0, 1, 2, 4, 60, 60]);
    }

    #[tokio::test]
    async fn a_transient_failure_is_tried_again_after_a_pause_that_doubles_and_a_warning() {
        let clock = Arc::new(Instantly::default());
        let attempts = attempts(&clock);
        let events = attempts.events.receiver();
        let count = Arc::new(AtomicU32::new(0));
        let done = attempts.at("clicks", &settings(2, None), succeeds_in(3, &count)).await;
        assert_eq!(done.unwrap(), 3);
        assert_eq!(*clock.slept.lock().unwrap(), [1, 2].map(Duration::from_secs));
        let warnings: Vec<Event> = events
            .try_iter()
            .filter(|event| matches!(event, Event::Warning { .. }))
            .collect();
        let text = |n: u32, pause: u32| Event::Warning {
            text: format!("clicks: not now; attempt {n} of 3 in {pause} s"),
        };
        assert_eq!(warnings, [text(2, 1), text(3, 2)]);
    }

    #[tokio::test]
    async fn attempts_end_with_the_retries_and_a_defect_is_not_tried_again() {
        let clock = Arc::new(Instantly::default());
        let count = Arc::new(AtomicU32::new(0));
        let failed = attempts(&clock)
            .at("clicks", &settings(1, None), succeeds_in(3, &count))
            .await;
        assert!(matches!(failed, Err(Failure::Operator(OperatorError::Transient(_)))));
        assert_eq!(count.load(Ordering::Relaxed), 2);
        let own = Arc::clone(&count);
        let panics = move |_: &JobControl| -> Result<(), Failure> {
            own.fetch_add(1, Ordering::Relaxed);
            panic!("a wheel came off")
        };
        let failed = attempts(&clock).at("clicks", &settings(3, None), panics).await;
        assert!(matches!(failed, Err(Failure::Panic(text)) if text == "a wheel came off"));
        assert_eq!(count.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn work_that_ignores_its_limit_is_left_to_itself() {
        let clock = Arc::new(Instantly::default());
        let limit = Duration::from_hours(1);
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Mutex::new(held);
        let stuck = move |_: &JobControl| {
            let _ = held.lock().unwrap().recv();
            Ok(())
        };
        let failed = attempts(&clock).at("clicks", &settings(0, Some(limit)), stuck).await;
        drop(release);
        assert!(matches!(failed, Err(Failure::Operator(OperatorError::TimedOut(time))) if time == limit));
        assert_eq!(*clock.slept.lock().unwrap(), [limit + GRACE]);
    }

    #[tokio::test]
    async fn an_interruption_ends_a_pause() {
        let clock = Arc::new(Instantly {
            never: true,
            ..Instantly::default()
        });
        let attempts = attempts(&clock);
        let token = attempts.token.clone();
        let count = Arc::new(AtomicU32::new(0));
        let settings = settings(1, None);
        let (failed, ()) = tokio::join!(attempts.at("clicks", &settings, succeeds_in(2, &count)), async {
            token.cancel();
        });
        assert!(matches!(failed, Err(Failure::Operator(OperatorError::Cancelled))));
    }
}
