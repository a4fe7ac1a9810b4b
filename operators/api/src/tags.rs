//! Tags: what a column means, so that operators find columns by role instead of by name.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The role of a column. The words are those of the field (NVTabular, Merlin Models).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tag {
    /// Belongs to the user (query) side.
    User,
    /// Belongs to the item (candidate) side.
    Item,
    /// Identifies the entity of its side; with `user` or `item` it is that side's id column.
    Id,
    /// An encoded category: a small integer with a domain.
    Categorical,
    /// A real number.
    Continuous,
    /// Several values in one row.
    List,
    /// What a model predicts; never a feature.
    Target,
    /// A point in time.
    Time,
    /// A vector learnt elsewhere.
    Embedding,
    /// Free text.
    Text,
    /// Circumstances of the interaction: neither of the user nor of the item.
    Context,
    /// Groups interactions that belong together in time.
    Session,
}

impl Tag {
    /// Every tag there is, in the order of the documentation.
    pub const ALL: [Tag; 12] = [
        Tag::User,
        Tag::Item,
        Tag::Id,
        Tag::Categorical,
        Tag::Continuous,
        Tag::List,
        Tag::Target,
        Tag::Time,
        Tag::Embedding,
        Tag::Text,
        Tag::Context,
        Tag::Session,
    ];

    /// The tag as it is written in a pipeline.
    pub fn as_str(self) -> &'static str {
        match self {
            Tag::User => "user",
            Tag::Item => "item",
            Tag::Id => "id",
            Tag::Categorical => "categorical",
            Tag::Continuous => "continuous",
            Tag::List => "list",
            Tag::Target => "target",
            Tag::Time => "time",
            Tag::Embedding => "embedding",
            Tag::Text => "text",
            Tag::Context => "context",
            Tag::Session => "session",
        }
    }

    /// Whether it says whose column it is, and nothing about the column's values.
    pub fn is_side(self) -> bool {
        matches!(self, Tag::User | Tag::Item | Tag::Context)
    }

    /// Whether no column can carry both tags at once.
    pub fn contradicts(self, other: Tag) -> bool {
        const PAIRS: [(Tag, Tag); 6] = [
            (Tag::User, Tag::Item),
            (Tag::Continuous, Tag::Id),
            (Tag::Continuous, Tag::Categorical),
            (Tag::Target, Tag::Id),
            (Tag::Embedding, Tag::Id),
            (Tag::Embedding, Tag::Categorical),
        ];
        PAIRS
            .iter()
            .any(|&(a, b)| (self, other) == (a, b) || (self, other) == (b, a))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word is not a tag.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a tag")]
pub struct UnknownTag(pub String);

impl FromStr for Tag {
    type Err = UnknownTag;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Tag::ALL
            .into_iter()
            .find(|tag| tag.as_str() == word)
            .ok_or_else(|| UnknownTag(word.to_owned()))
    }
}

/// The first pair of tags of `tags` that contradict each other, if any.
pub fn contradiction(tags: &BTreeSet<Tag>) -> Option<(Tag, Tag)> {
    tags.iter()
        .find_map(|&a| tags.iter().find(|&&b| a < b && a.contradicts(b)).map(|&b| (a, b)))
}
