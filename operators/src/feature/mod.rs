//! Operators that make features: they change columns and keep rows.

mod add_tags;
mod categorify;
mod count;
mod encode;
mod keys;
mod tag_as;
mod tagging;

pub use add_tags::AddTags;
pub use categorify::Categorify;
pub use tag_as::{TagAsItemFeatures, TagAsItemID, TagAsUserFeatures, TagAsUserID};
