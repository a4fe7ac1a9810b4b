//! Pipeline tests: given rows in, expected rows or facts out.
//!
//! ```yaml
//! tests:
//!   only clicks stay:
//!     given:
//!       interactions.train: [ { user_id: 1, click: 1 }, { user_id: 2, click: 0 } ]
//!     expect:
//!       clicks.train: [ { user_id: 1 } ]
//!       clicks: [ rows == 1, user_id is unique ]
//! ```
//!
//! A test runs the real engine over the nodes that its expectations need. What a node under `given` would have put out is
//! replaced by the rows there, so that nothing before it runs; sinks are never needed and so never run.

mod case;
mod compare;
mod given;
mod read;
mod rows;
mod test_pipeline;
mod test_run;
mod values;

pub use case::{Expected, ExpectedOutput, Given, TestCase};
pub use compare::Order;
pub use read::read;
pub use rows::Rows;
pub use test_pipeline::{TestPipeline, TestSetup, prepare};
pub use test_run::{TestFailure, TestOutcome, TestReport};
