//! The operators behind the signs of the chain notation and behind sweeps.

/// The operators behind the signs of the chain notation: only the registry of operators knows their names.
#[derive(Debug, Clone, Copy)]
pub struct ChainOperators<'a> {
    /// What `a + b` means.
    pub concat: &'a str,
    /// What a chain without a step means.
    pub select: &'a str,
    /// What a sweep ends in: it takes `models`, and `evaluations` of them, and hands on the best.
    pub best: &'a str,
}
