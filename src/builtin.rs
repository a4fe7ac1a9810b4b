//! The operators that ship with Towline, as far as the engine itself needs one by name.

use towline_operators::{BEST, CONCAT, SELECT};

use crate::config::ChainOperators;

/// The operators that chains and sweeps stand for.
pub const CHAIN_OPERATORS: ChainOperators = ChainOperators {
    concat: CONCAT,
    select: SELECT,
    best: BEST,
};
