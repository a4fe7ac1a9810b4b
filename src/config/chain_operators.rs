//! The operators behind the signs of the chain notation and behind sweeps.

/// The operators behind chain notation and sweeps: only the registry of operators knows their names.
#[derive(Debug, Clone, Copy)]
pub struct ChainOperators<'a> {
    /// The operator of `a + b`.
    pub concat: &'a str,
    /// The operator of a chain without a step.
    pub select: &'a str,
    /// The operator that ends a sweep: it takes `models` and their `evaluations`, and outputs the best model.
    pub best: &'a str,
}
