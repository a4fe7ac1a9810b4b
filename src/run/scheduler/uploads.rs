//! Uploads to the shared store, beside the run.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::run::lookup::Lookups;
use crate::run::work::WorkItem;
use crate::store::{Entry, SharedError};

/// How many entries are uploaded at once.
const AT_ONCE: usize = 4;

/// The uploads of a run.
pub(super) struct Uploads {
    turns: Arc<Semaphore>,
    running: Mutex<JoinSet<()>>,
}

impl Default for Uploads {
    fn default() -> Self {
        Uploads {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            running: Mutex::default(),
        }
    }
}

impl Uploads {
    /// Gives an entry that was reused, unless the shared store is known to have it.
    pub(super) fn offer(&self, lookups: &Lookups, item: &WorkItem, entry: &Entry, fetched: bool) {
        let shared = lookups.shared(item);
        let known = shared.is_none_or(|shared| entry.shared.contains(&shared.id()));
        if !known && !fetched {
            self.start(lookups, item, entry, false);
        }
    }

    /// Gives an entry that was made now.
    pub(super) fn give(&self, lookups: &Lookups, item: &WorkItem, entry: &Entry) {
        self.start(lookups, item, entry, true);
    }

    fn start(&self, lookups: &Lookups, item: &WorkItem, entry: &Entry, made_now: bool) {
        let Some(shared) = lookups.shared(item).filter(|shared| shared.is_writable()) else {
            return;
        };
        let (shared, store, entry) = (Arc::clone(shared), lookups.store.clone(), entry.clone());
        let (cancel, turns) = (lookups.cancel.clone(), Arc::clone(&self.turns));
        let (runtime, events) = (lookups.runtime.clone(), lookups.events.clone());
        let upload = async move {
            let Ok(_turn) = turns.acquire_owned().await else { return };
            // Files are read between requests: that is no work for the threads that wait for others.
            let own = Arc::clone(&shared);
            let given = tokio::task::spawn_blocking(move || {
                if !own.is_writable() {
                    return Ok(());
                }
                runtime.block_on(own.upload(&store, &entry, made_now, &cancel))
            });
            let given = given.await.unwrap_or(Err(SharedError::Interrupted));
            if let Err(error) = given
                && !matches!(error, SharedError::Interrupted)
                && shared.disable_writes()
            {
                let shown = shared.address();
                events.warn(format!("nothing more is given to the shared store {shown}: {error}"));
            }
        };
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.spawn_on(upload, &lookups.runtime);
    }

    /// Waits until all uploads have ended. Each reported its own error.
    pub(super) async fn finished(&self) {
        loop {
            let mut running = std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
            if running.is_empty() {
                return;
            }
            while running.join_next().await.is_some() {}
        }
    }
}
