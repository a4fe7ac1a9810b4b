//! Tables that are not computed yet: columns as expressions over shared rows.
//!
//! Row-preserving operators only change the list of expressions, so a chain of them, and a `+` of several, stay one
//! projection over one scan: joining columns by position costs nothing because they are columns of the same rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Column as ColumnRef;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::Expr;

use super::error::Result;
use super::schema::Schema;
use super::vocabulary::Vocabulary;

/// A named expression over the rows of a table.
#[derive(Debug, Clone)]
pub struct NamedExpr {
    /// The name of the resulting column.
    pub name: String,
    /// Its value, over the base table of the [`LazyTable`] that holds it.
    pub expr: Expr,
}

impl NamedExpr {
    /// A reference to the base column `name` under its own name. Case is kept.
    pub fn column(name: &str) -> Self {
        NamedExpr {
            name: name.to_owned(),
            expr: Expr::Column(ColumnRef::new_unqualified(name)),
        }
    }
}

/// One split of a dataset, not computed yet.
#[derive(Debug, Clone)]
pub struct LazyTable {
    /// The rows.
    pub base: DataFrame,
    /// The columns, over `base`.
    pub columns: Vec<NamedExpr>,
}

impl LazyTable {
    /// All columns of a data frame, as they are.
    pub fn from_frame(base: DataFrame) -> Self {
        let columns = base
            .schema()
            .fields()
            .iter()
            .map(|field| NamedExpr::column(field.name()))
            .collect();
        LazyTable { base, columns }
    }

    /// The table as one data frame: a projection over the rows.
    pub fn to_frame(&self) -> Result<DataFrame> {
        let exprs = self
            .columns
            .iter()
            .map(|column| column.expr.clone().alias(&column.name))
            .collect::<Vec<_>>();
        Ok(self.base.clone().select(exprs)?)
    }

    /// The Arrow schema that [`LazyTable::to_frame`] has.
    pub fn arrow_schema(&self) -> Result<SchemaRef> {
        Ok(Arc::clone(self.to_frame()?.schema().inner()))
    }
}

/// A dataset that is not computed yet.
#[derive(Debug, Clone)]
pub struct LazyDataset {
    /// Columns with tags and domains; domains are filled in as far as fits have run.
    pub schema: Schema,
    /// The splits, in order.
    pub splits: Vec<(String, LazyTable)>,
    /// The vocabularies that the domains of `schema` name, by content digest.
    pub vocabularies: BTreeMap<String, Vocabulary>,
}

impl LazyDataset {
    /// The split of that name.
    pub fn split(&self, name: &str) -> Option<&LazyTable> {
        self.splits
            .iter()
            .find(|(split, _)| split == name)
            .map(|(_, table)| table)
    }

    /// The names of the splits, in order.
    pub fn split_names(&self) -> Vec<String> {
        self.splits.iter().map(|(name, _)| name.clone()).collect()
    }
}
