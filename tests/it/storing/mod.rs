//! The store: damage, sharing, collection.

pub(crate) mod collection;
pub(crate) mod damage;
pub(crate) mod sharing;
pub(crate) mod store_safety;
