//! Checks that dense features are scaled for training.

use crate::data::feature_column::{FeatureColumn, FeatureKind};
use crate::data::feature_table::FeatureTable;
use towline_api::{Column, OperatorError, Result};

/// Maximum absolute mean of a column.
const FARTHEST_MEAN: f64 = 3.0;
/// Maximum standard deviation: columns with outliers are still wide after `Normalize` with `robust`.
const LARGEST_DEVIATION: f64 = 10.0;
/// Minimum standard deviation: a column below it hardly distinguishes rows.
const SMALLEST_DEVIATION: f64 = 0.01;

/// Mean and standard deviation of dense columns; vectors over all components.
#[derive(Debug, Clone)]
pub(crate) struct FeatureScales(Vec<(String, Moments)>);

/// Welford's algorithm: numerically stable for large numbers with a small spread.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
    }

    fn deviation(&self) -> f64 {
        (self.squares / self.count.max(1) as f64).sqrt()
    }
}

impl FeatureScales {
    /// Starts with the dense columns among `columns`.
    pub(crate) fn of<'a>(columns: impl IntoIterator<Item = &'a Column>) -> Self {
        let numbers =
            |column: &&Column| matches!(FeatureKind::of(column), Some(FeatureKind::Number | FeatureKind::Vector));
        let columns = columns.into_iter().filter(numbers);
        FeatureScales(columns.map(|c| (c.name.clone(), Moments::default())).collect())
    }

    /// Adds rows.
    pub(crate) fn add(&mut self, table: &FeatureTable) -> Result<()> {
        for (name, moments) in &mut self.0 {
            if let FeatureColumn::Dense(numbers) = table.cells(name)? {
                numbers.values.iter().for_each(|x| moments.add(f64::from(*x)));
            }
        }
        Ok(())
    }

    /// Warnings about scales that training tolerates; an error for a scale that it does not.
    pub(crate) fn judge(&self) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        for (name, moments) in &self.0 {
            let (mean, deviation) = (moments.mean, moments.deviation());
            if mean.abs() > FARTHEST_MEAN || deviation > LARGEST_DEVIATION {
                return Err(OperatorError::invalid(format!(
                    "`{name}` is not normalised: its mean is {mean:.4} and its standard deviation {deviation:.4}, \
                     but training needs numbers around 0 (an absolute mean of at most {FARTHEST_MEAN}, a standard \
                     deviation of at most {LARGEST_DEVIATION}): put Normalize before it"
                )));
            }
            if deviation > 0.0 && deviation < SMALLEST_DEVIATION {
                warnings.push(format!(
                    "`{name}` has a standard deviation of only {deviation:.2e}: it hardly distinguishes rows"
                ));
            }
        }
        Ok(warnings)
    }
}
