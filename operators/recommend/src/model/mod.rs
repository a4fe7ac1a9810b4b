//! Stored retrieval models and what their application needs.

pub(crate) mod distinct_users;
pub(crate) mod embedding_model;
pub(crate) mod id_reader;
pub(crate) mod interaction_history;
pub(crate) mod interactions;
pub(crate) mod item_weights;
pub(crate) mod ranker;
pub(crate) mod retrieval_type;
pub(crate) mod stored_model;
