//! Which rows of an embedding table a batch names.

/// The ids of one column in a batch: those of row `r` are `ids[offsets[r]..offsets[r + 1]]`.
#[derive(Debug, Clone, Default)]
pub struct Bag {
    /// The ids of all rows.
    pub ids: Vec<u32>,
    /// Where each row begins, and the end of the last one.
    pub offsets: Vec<u32>,
}

impl Bag {
    /// Makes it hold these rows of a column that has one id a row; `skip` is none.
    ///
    /// # Panics
    /// If a row is outside of the column.
    pub fn fill(&mut self, rows: &[usize], ids: &[i64], skip: i64) {
        self.clear();
        for &row in rows {
            self.push(&ids[row..=row], skip);
        }
    }

    /// The same for a column of lists: row `r` has `values[offsets[r]..offsets[r + 1]]`.
    ///
    /// # Panics
    /// If a row is outside of the column.
    pub fn fill_lists(&mut self, rows: &[usize], offsets: &[usize], values: &[i64], skip: i64) {
        self.clear();
        for &row in rows {
            self.push(&values[offsets[row]..offsets[row + 1]], skip);
        }
    }

    fn clear(&mut self) {
        self.ids.clear();
        self.offsets.clear();
        self.offsets.push(0);
    }

    fn push(&mut self, ids: &[i64], skip: i64) {
        self.ids
            .extend(ids.iter().filter(|&&id| id != skip).map(|&id| id as u32));
        self.offsets.push(self.ids.len() as u32);
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn row(&self, row: usize) -> std::ops::Range<usize> {
        self.offsets[row] as usize..self.offsets[row + 1] as usize
    }
}

#[cfg(test)]
impl Bag {
    /// These rows, without the zeros in them.
    pub(crate) fn of(rows: &[&[i64]]) -> Self {
        let mut offsets = vec![0];
        for row in rows {
            offsets.push(offsets[offsets.len() - 1] + row.len());
        }
        let mut bag = Bag::default();
        bag.fill_lists(&(0..rows.len()).collect::<Vec<_>>(), &offsets, &rows.concat(), 0);
        bag
    }
}
