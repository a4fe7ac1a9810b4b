//! Operators that make features: they change columns and keep rows.

mod add_tags;
mod byte_size;
mod categorify;
mod fit_split;
mod per_column;
mod tag_as;
mod tagging;

pub use add_tags::AddTags;
pub use categorify::Categorify;
pub use per_column::PerColumn;
pub use tag_as::{TagAsItemFeatures, TagAsItemID, TagAsUserFeatures, TagAsUserID};
