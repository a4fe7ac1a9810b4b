//! The project itself: documentation, words, structure.

pub(crate) mod documentation;
pub(crate) mod structure;
pub(crate) mod vocabulary;
