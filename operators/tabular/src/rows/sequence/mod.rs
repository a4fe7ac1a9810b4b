//! Sequence operators: histories, lags, sessions.

pub(crate) mod history;
pub(crate) mod lag_diff;
pub(crate) mod session;

pub use history::History;
pub use lag_diff::LagDiff;
pub use session::Session;
