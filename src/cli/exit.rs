//! Exit codes: constants, in one place, documented.

use std::process::{ExitCode, Termination};

/// The exit code of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: success.
    Success,
    /// 1: a node failed.
    Failed,
    /// 2: the pipeline or the command line is invalid; nothing ran.
    Invalid,
    /// 3: a check failed (`plan --check` found something to run, a test failed, the cache was damaged).
    CheckFailed,
    /// 4: an expectation failed; dependent nodes did not run.
    ExpectationFailed,
    /// 130: interrupted.
    Interrupted,
    /// 141: standard output was closed before its end, as `head` does.
    BrokenPipe,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Failed => 1,
            Exit::Invalid => 2,
            Exit::CheckFailed => 3,
            Exit::ExpectationFailed => 4,
            Exit::Interrupted => 130,
            Exit::BrokenPipe => 141,
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code())
    }
}
