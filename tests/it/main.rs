//! The behaviour of the whole, in one binary.

mod documents;
