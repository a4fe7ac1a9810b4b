//! The shared store in a run: what others have made is taken from it, and what is made here is given to it.

use std::sync::{Arc, PoisonError};

use crate::config::CacheMode;
use crate::run::reuse::Piece;
use crate::run::runner::Runner;
use crate::store::{Entry, FetchScope, SharedError, SharedStore};

/// Why a node was not made, where it was not made here.
pub(super) const FROM_SHARED: &str = "from the shared store";

impl Runner {
    /// The shared store, if this piece of work is one to share. What a sink has published is not: it is there or not,
    /// whoever published something under the same key elsewhere.
    fn shared_for(&self, piece: &Piece) -> Option<&Arc<SharedStore>> {
        let never = self.pipeline.nodes[piece.node].settings.cache == CacheMode::Never;
        self.store.shared().filter(|_| self.sink(piece).is_none() && !never)
    }

    /// The entry of a piece of work from the shared store, with what it needs in the local one; nothing, if there is
    /// none that can be used.
    pub(super) fn shared_entry(&self, piece: &Piece, key: &str) -> Option<Entry> {
        let shared = self.shared_for(piece).filter(|shared| shared.is_readable())?;
        if self.choices.fresh.contains_key(&piece.node) {
            return None;
        }
        let want = if self.plan_only {
            FetchScope::Metadata
        } else {
            FetchScope::Full
        };
        match self
            .runtime
            .block_on(shared.fetch(&self.store, key, want, &self.cancel))
        {
            Ok(Some(entry)) => {
                self.note(piece.node, |work| work.fetched = true);
                Some(entry)
            }
            Ok(None) | Err(SharedError::Interrupted) => None,
            Err(SharedError::Damaged(what)) => {
                let (name, shown) = (self.name(piece.node), shared.address());
                self.warn(&format!(
                    "{name}: in the shared store {shown}: {what}; it is made again"
                ));
                None
            }
            Err(error) => {
                if shared.disable_reads() {
                    let shown = shared.address();
                    self.warn(&format!("the run goes on without the shared store {shown}: {error}"));
                }
                None
            }
        }
    }

    /// Gives an entry to the shared store, beside the run: `made_now`, or reused from the local store and perhaps not
    /// there yet.
    pub(super) fn share(&self, piece: &Piece, entry: &Entry, made_now: bool) {
        let Some(shared) = self.shared_for(piece).filter(|shared| shared.is_writable()) else {
            return;
        };
        let known = entry.shared.contains(&shared.id()) || self.work_of(piece.node).fetched;
        if self.plan_only || (known && !made_now) {
            return;
        }
        let (shared, store, entry) = (Arc::clone(shared), self.store.clone(), entry.clone());
        let (cancel, turns) = (self.cancel.clone(), Arc::clone(&self.turns));
        let (runtime, progress) = (self.runtime.clone(), self.progress.clone());
        let upload = self.runtime.spawn(async move {
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
                let text = format!("nothing more is given to the shared store {shown}: {error}");
                progress.tell(&crate::run::progress::Event::Warning { text: &text });
            }
        });
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner).push(upload);
    }

    /// Waits until all that was given to the shared store is there.
    pub(super) async fn uploaded(&self) {
        loop {
            let next = self.uploads.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match next {
                // How it ended was told where it ended.
                Some(upload) => drop(upload.await),
                None => return,
            }
        }
    }
}
