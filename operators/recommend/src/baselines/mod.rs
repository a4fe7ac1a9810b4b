//! Baseline models: popularity, neighbourhoods, linear and matrix-factorisation models.

pub(crate) mod als;
pub(crate) mod ease;
pub(crate) mod item_knn;
pub(crate) mod planted_optimum;
pub(crate) mod popularity;

pub use als::Als;
pub use ease::Ease;
pub use item_knn::ItemKNN;
pub use planted_optimum::PlantedOptimum;
pub use popularity::Popularity;
