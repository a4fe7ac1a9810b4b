//! The decision on a job: a pure function of what is known about it.
//!
//! `towline plan` prints these decisions, and the scheduler carries them out. Both ask again when something that a job was
//! waiting for is known.

use crate::typing::NodeId;

/// A unit of work of the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobId {
    /// The fit of a stateful node.
    Fit(NodeId),
    /// All else of a node: its output, and the check of what is expected of it.
    Node(NodeId),
}

impl JobId {
    /// The node that the job belongs to.
    pub fn node(self) -> NodeId {
        match self {
            JobId::Fit(node) | JobId::Node(node) => node,
        }
    }
}

/// What is done about a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// All its work is in the store.
    Reuse {
        /// Whether any of it comes from the shared store.
        from_shared: bool,
    },
    /// It runs, for these reasons.
    Run(Vec<String>),
    /// It has no work of its own: the node is part of the plans of what reads it.
    Fuse,
    /// It does not run, for this reason.
    Skip(String),
    /// It cannot be decided before these are known.
    Pending(Vec<Awaited>),
    /// It has failed, or is certain to, for this reason.
    Fail(String),
}

impl Decision {
    /// Whether a run would do something for the job, as far as that is known.
    pub fn would_run(&self) -> bool {
        matches!(self, Decision::Run(_) | Decision::Pending(_) | Decision::Fail(_))
    }
}

/// What the decision on a job waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// The result of another job.
    Job(JobId),
    /// The lookup of its own work in the store: all that it needs is known.
    Lookup,
}

/// What is known about a job when it is decided on.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Why the node is not selected, if it is not.
    pub left_out: Option<&'a str>,
    /// The jobs that it needs.
    pub needs: &'a [Need<'a>],
    /// A port that does without failed inputs, and on which every input has failed.
    pub empty_port: Option<&'a str>,
    /// What the store has of its work items, in order; nothing before they were looked up.
    pub work: Option<&'a [CacheState]>,
}

/// A job that another one needs.
#[derive(Debug, Clone, Copy)]
pub struct Need<'a> {
    /// The job.
    pub job: JobId,
    /// The name of its node.
    pub name: &'a str,
    /// How far it is.
    pub state: NeedState<'a>,
}

/// How far a job is that another one needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeedState<'a> {
    /// Its result is known.
    Known,
    /// Its result is not known yet.
    Pending,
    /// It failed, and the job that needs it does without.
    Tolerated,
    /// It has no result and will have none: it failed, or was skipped.
    Broken,
    /// It is not selected, for this reason.
    LeftOut(&'a str),
}

/// What the store has of a work item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheState {
    /// Its entry, whole.
    Found {
        /// Whether it comes from the shared store.
        from_shared: bool,
    },
    /// Nothing may be reused, because the user asked for that.
    Refused(String),
    /// No entry; what has changed since the node last ran.
    Absent(Vec<String>),
    /// An entry that was there last time is gone.
    Gone(String),
    /// An entry that cannot be used.
    Damaged(String),
    /// A sink's entry, but what it published does not stand any more.
    Unpublished(String),
}

impl CacheState {
    /// Why the work has to be done; nothing if it is found.
    pub fn reasons(&self) -> Vec<String> {
        match self {
            CacheState::Found { .. } => Vec::new(),
            CacheState::Absent(changes) => changes.clone(),
            CacheState::Refused(reason)
            | CacheState::Gone(reason)
            | CacheState::Damaged(reason)
            | CacheState::Unpublished(reason) => vec![reason.clone()],
        }
    }

    /// Whether an entry was lost: that is reported even where another reason to run was known before.
    pub fn is_loss(&self) -> bool {
        matches!(self, CacheState::Gone(_) | CacheState::Damaged(_))
    }
}

/// The decision on a job.
pub fn decide(known: &Known<'_>) -> Decision {
    if let Some(reason) = known.left_out {
        return Decision::Skip(reason.to_owned());
    }
    for need in known.needs {
        match need.state {
            NeedState::LeftOut(why) => return Decision::Skip(format!("it needs `{}`, which is {why}", need.name)),
            NeedState::Broken => return Decision::Skip(format!("`{}` did not finish", need.name)),
            NeedState::Known | NeedState::Pending | NeedState::Tolerated => {}
        }
    }
    let pending = known.needs.iter().filter(|need| need.state == NeedState::Pending);
    let pending: Vec<Awaited> = pending.map(|need| Awaited::Job(need.job)).collect();
    if !pending.is_empty() {
        return Decision::Pending(pending);
    }
    if let Some(port) = known.empty_port {
        return Decision::Skip(format!("nothing of what is connected to `{port}` finished"));
    }
    known
        .work
        .map_or_else(|| Decision::Pending(vec![Awaited::Lookup]), decide_work)
}

/// The decision on a job that has all that it needs, by its work items as far as they are known: what has to run hides the
/// items behind it.
fn decide_work(work: &[CacheState]) -> Decision {
    let missing = work.iter().find(|state| !matches!(state, CacheState::Found { .. }));
    match missing {
        Some(state) => Decision::Run(state.reasons()),
        None if work.is_empty() => Decision::Fuse,
        None => Decision::Reuse {
            from_shared: work.contains(&CacheState::Found { from_shared: true }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: CacheState = CacheState::Found { from_shared: false };

    fn needs<'a>(states: &[NeedState<'a>]) -> Vec<Need<'a>> {
        let need = |(place, state): (usize, &NeedState<'a>)| Need {
            job: JobId::Node(NodeId::at(place)),
            name: ["first", "second", "third"][place],
            state: *state,
        };
        states.iter().enumerate().map(need).collect()
    }

    fn decided(states: &[NeedState<'_>], work: Option<&[CacheState]>) -> Decision {
        decide(&Known {
            left_out: None,
            needs: &needs(states),
            empty_port: None,
            work,
        })
    }

    #[test]
    fn work_that_is_all_found_is_reused_and_a_job_without_work_is_fused() {
        let ready = [NeedState::Known, NeedState::Tolerated];
        assert_eq!(decided(&ready, Some(&[])), Decision::Fuse);
        assert_eq!(
            decided(&ready, Some(&[FOUND, FOUND])),
            Decision::Reuse { from_shared: false }
        );
        let fetched = [FOUND, CacheState::Found { from_shared: true }];
        assert_eq!(decided(&ready, Some(&fetched)), Decision::Reuse { from_shared: true });
    }

    #[test]
    fn the_first_missing_work_item_says_why_a_job_runs() {
        let reason = || vec!["with.k: 1 -> 2".to_owned()];
        let missing = [
            FOUND,
            CacheState::Absent(reason()),
            CacheState::Damaged("artifact damaged".into()),
        ];
        assert_eq!(decided(&[], Some(&missing)), Decision::Run(reason()));
        for state in [
            CacheState::Refused("forced".into()),
            CacheState::Gone("forced".into()),
            CacheState::Damaged("forced".into()),
            CacheState::Unpublished("forced".into()),
        ] {
            assert_eq!(decided(&[], Some(&[state])), Decision::Run(vec!["forced".to_owned()]));
        }
    }

    #[test]
    fn a_job_waits_for_what_it_needs_and_then_for_its_own_lookup() {
        let one = JobId::Node(NodeId::at(1));
        let states = [NeedState::Known, NeedState::Pending];
        assert_eq!(
            decided(&states, Some(&[FOUND])),
            Decision::Pending(vec![Awaited::Job(one)])
        );
        assert_eq!(
            decided(&[NeedState::Known], None),
            Decision::Pending(vec![Awaited::Lookup])
        );
    }

    #[test]
    fn what_is_left_out_or_behind_a_failure_is_skipped_even_while_other_needs_are_pending() {
        let skip = |text: &str| Decision::Skip(text.to_owned());
        let left_out = Known {
            left_out: Some("excluded"),
            needs: &needs(&[NeedState::Broken]),
            empty_port: None,
            work: None,
        };
        assert_eq!(decide(&left_out), skip("excluded"));
        assert_eq!(
            decided(&[NeedState::Pending, NeedState::Broken], None),
            skip("`second` did not finish")
        );
        assert_eq!(
            decided(&[NeedState::LeftOut("not selected")], None),
            skip("it needs `first`, which is not selected")
        );
        let empty = Known {
            left_out: None,
            needs: &needs(&[NeedState::Tolerated]),
            empty_port: Some("models"),
            work: None,
        };
        assert_eq!(
            decide(&empty),
            skip("nothing of what is connected to `models` finished")
        );
    }
}
