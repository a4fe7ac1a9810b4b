//! Group statistics of one column.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use hashbrown::HashSet;

use crate::features::categorical::categorify::keys::{Keys, Values, value_type};
use crate::features::target::group_statistic::Stat;
use towline_api::{OperatorError, Result};

/// Running statistics of one column in one group.
#[derive(Default)]
pub(crate) struct Summary {
    count: u64,
    whole: i128,
    sum: f64,
    carry: f64,
    mean: f64,
    squares: f64,
    whole_range: Option<(i128, i128)>,
    range: Option<(f64, f64)>,
    distinct: HashSet<Box<[u8]>>,
}

impl Summary {
    fn add(&mut self, value: f64, whole: i128) {
        self.count += 1;
        self.whole += whole;
        let next = self.sum + value;
        self.carry += if self.sum.abs() >= value.abs() {
            (self.sum - next) + value
        } else {
            (value - next) + self.sum
        };
        self.sum = next;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
        let (low, high) = self.range.unwrap_or((value, value));
        self.range = Some((low.min(value), high.max(value)));
        let (low, high) = self.whole_range.unwrap_or((whole, whole));
        self.whole_range = Some((low.min(whole), high.max(whole)));
    }

    /// The compensated sum; the compensation is ignored if the sum is infinite.
    fn total(&self) -> f64 {
        if self.sum.is_finite() {
            self.sum + self.carry
        } else {
            self.sum
        }
    }

    fn real(&self, stat: Stat) -> Option<f64> {
        let variance = (self.count > 1).then(|| self.squares / (self.count - 1) as f64);
        match stat {
            Stat::Sum => (self.count > 0).then_some(self.total()),
            Stat::Mean => (self.count > 0).then(|| self.total() / self.count as f64),
            Stat::Var => variance,
            Stat::Std => variance.map(f64::sqrt),
            Stat::Min => self.range.map(|range| range.0),
            Stat::Max => self.range.map(|range| range.1),
            Stat::Count | Stat::Nunique => None,
        }
    }

    fn integer<T: TryFrom<i128>>(&self, stat: Stat) -> Result<Option<T>> {
        let whole = match stat {
            Stat::Count => Some(i128::from(self.count)),
            Stat::Nunique => Some(self.distinct.len() as i128),
            Stat::Sum => (self.count > 0).then_some(self.whole),
            Stat::Min => self.whole_range.map(|range| range.0),
            Stat::Max => self.whole_range.map(|range| range.1),
            Stat::Mean | Stat::Std | Stat::Var => None,
        };
        let too_large = |_| OperatorError::invalid("an integer sum overflows 64 bits");
        whole.map(|whole| T::try_from(whole).map_err(too_large)).transpose()
    }
}

/// A column's values as integers, or none if it holds other numbers.
enum Whole {
    Unsigned(UInt64Array),
    Signed(Int64Array),
    None,
}

impl Whole {
    fn of(array: &ArrayRef) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::UInt64 => Whole::Unsigned(array.as_primitive::<UInt64Type>().clone()),
            whole if whole.is_integer() => {
                Whole::Signed(cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
            }
            _ => Whole::None,
        })
    }

    fn at(&self, row: usize) -> i128 {
        match self {
            Whole::Unsigned(numbers) => numbers.value(row).into(),
            Whole::Signed(numbers) => numbers.value(row).into(),
            Whole::None => 0,
        }
    }
}

/// Running statistics of one column in all groups.
pub(crate) struct Summaries {
    pub(crate) name: String,
    pub(crate) data_type: DataType,
    pub(crate) groups: Vec<Summary>,
}

impl Summaries {
    /// Adds rows; `groups` holds the group index of each row.
    pub(crate) fn update(&mut self, groups: &[u32], array: &ArrayRef, stats: &[Stat]) -> Result<()> {
        let most = groups.iter().max().map_or(0, |group| *group as usize + 1);
        if most > self.groups.len() {
            self.groups.resize_with(most, Summary::default);
        }
        if stats.contains(&Stat::Nunique) {
            self.distinct(groups, array)?;
        }
        if !array.data_type().is_numeric() {
            for (_, group) in groups.iter().enumerate().filter(|(row, _)| array.is_valid(*row)) {
                self.groups[*group as usize].count += 1;
            }
            return Ok(());
        }
        let floats = cast(array, &DataType::Float64)?;
        let floats = floats.as_primitive::<Float64Type>();
        let whole = Whole::of(array)?;
        for (row, group) in groups.iter().enumerate() {
            if floats.is_valid(row) && !floats.value(row).is_nan() {
                self.groups[*group as usize].add(floats.value(row), whole.at(row));
            }
        }
        Ok(())
    }

    fn distinct(&mut self, groups: &[u32], array: &ArrayRef) -> Result<()> {
        let found = array.data_type();
        let kept = value_type(found).ok_or_else(|| {
            OperatorError::internal(format!("values of type {found} cannot be compared for equality"))
        })?;
        let keys = Values::of(&kept).keys(std::slice::from_ref(array))?;
        for (row, group) in groups.iter().enumerate() {
            let distinct = &mut self.groups[*group as usize].distinct;
            match &keys {
                Keys::Numbers(keys) if keys.is_valid(row) => distinct.insert(Box::from(keys.value(row).to_le_bytes())),
                Keys::Bytes(keys) if keys.is_valid(row) => distinct.insert(Box::from(keys.value(row))),
                _ => continue,
            };
        }
        Ok(())
    }

    /// One statistic as a column with a row per group.
    pub(crate) fn column(&self, stat: Stat) -> Result<ArrayRef> {
        let groups = self.groups.iter();
        let named = |error: OperatorError| error.reworded(|text| format!("column `{}`: {text}", self.name));
        Ok(match stat.data_type(&self.data_type) {
            DataType::Float64 => Arc::new(groups.map(|group| group.real(stat)).collect::<Float64Array>()),
            DataType::UInt64 => {
                let whole = groups.map(|group| group.integer(stat));
                Arc::new(whole.collect::<Result<UInt64Array>>().map_err(named)?)
            }
            _ => {
                let whole = groups.map(|group| group.integer(stat));
                Arc::new(whole.collect::<Result<Int64Array>>().map_err(named)?)
            }
        })
    }
}
