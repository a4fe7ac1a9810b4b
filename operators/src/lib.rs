//! What an operator of Towline is, and every operator that ships with it.

pub mod contract;
pub mod retrieval;
