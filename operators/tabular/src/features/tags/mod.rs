//! Operators that tag columns.

pub(crate) mod add_tags;
pub(crate) mod tag_as;
pub(crate) mod tagging;

pub use add_tags::AddTags;
pub use tag_as::{TagAsItemFeatures, TagAsItemID, TagAsUserFeatures, TagAsUserID};
