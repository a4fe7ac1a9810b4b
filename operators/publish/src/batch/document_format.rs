//! Document format, and the columns that documents are made of.

/// Column with the lists of recommendations.
pub(crate) const RECOMMENDATIONS: &str = "recommendations";
/// Column with the lists of scores.
pub(crate) const SCORES: &str = "scores";

/// Format of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DocumentFormat {
    /// JSON with the list of ids.
    Ids,
    /// JSON with the list of ids and the list of scores.
    IdsAndScores,
    /// JSON with a list of objects with id and score.
    Items,
    /// Hash with a field per column.
    Fields,
    /// Hash with the id and the bytes of a float32 vector.
    Vector,
}
