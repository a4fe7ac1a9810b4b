//! Tables that are not computed yet: columns as expressions over shared rows.
//!
//! Row-preserving operators only change the list of expressions, so a chain of them, and a `+` of several, stay one
//! projection over one scan: joining columns by position costs nothing because they are columns of the same rows.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Column as ColumnRef;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::Expr;

use crate::{OperatorError, Result, Schema, Vocabulary};

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

/// Makes the plans of several splits at once, by split.
type Planner = dyn Fn() -> Result<Vec<(String, DataFrame)>> + Send + Sync;

/// The plans of the splits of a dataset: made when the rows of one of them are first asked for. A rerun in which nothing
/// changed asks for none, and planning is most of what it would otherwise do.
struct Plans {
    make: Box<Planner>,
    made: OnceLock<Vec<(String, DataFrame)>>,
}

/// Rows that nobody has asked for yet.
#[derive(Clone)]
pub struct Rows {
    plans: Arc<Plans>,
    split: String,
}

impl Rows {
    /// The rows of these splits, all of them planned by `make`. It is called where no asynchronous work is going on, and
    /// once more after an error.
    pub fn of_splits<'a>(
        splits: impl IntoIterator<Item = &'a String>,
        make: impl Fn() -> Result<Vec<(String, DataFrame)>> + Send + Sync + 'static,
    ) -> Vec<(String, Rows)> {
        let plans = Arc::new(Plans {
            make: Box::new(make),
            made: OnceLock::new(),
        });
        let rows = |split: &String| Rows {
            plans: Arc::clone(&plans),
            split: split.clone(),
        };
        splits.into_iter().map(|split| (split.clone(), rows(split))).collect()
    }

    /// The plan that makes the rows.
    ///
    /// # Errors
    /// What planning says, or that there is no such split among the plans.
    pub fn plan(&self) -> Result<&DataFrame> {
        let made = match self.plans.made.get() {
            Some(made) => made,
            None => {
                let made = (self.plans.make)()?;
                self.plans.made.get_or_init(|| made)
            }
        };
        let plan = made.iter().find(|(split, _)| *split == self.split);
        plan.map(|(_, plan)| plan)
            .ok_or_else(|| OperatorError::internal(format!("the plan did not produce the split `{}`", self.split)))
    }
}

impl From<DataFrame> for Rows {
    fn from(frame: DataFrame) -> Self {
        let split = String::new();
        Rows {
            plans: Arc::new(Plans {
                make: Box::new(|| Ok(Vec::new())),
                made: OnceLock::from(vec![(split.clone(), frame)]),
            }),
            split,
        }
    }
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Rows").field(&self.split).finish()
    }
}

/// One split of a dataset, not computed yet.
#[derive(Debug, Clone)]
pub struct LazyTable {
    /// The rows.
    pub base: Rows,
    /// The columns, over `base`.
    pub columns: Vec<NamedExpr>,
}

impl LazyTable {
    /// All columns of a data frame, as they are.
    pub fn from_frame(frame: DataFrame) -> Self {
        let columns = frame
            .schema()
            .fields()
            .iter()
            .map(|field| NamedExpr::column(field.name()))
            .collect();
        let base = Rows::from(frame);
        LazyTable { base, columns }
    }

    /// The columns of a schema, of rows that are not planned yet.
    pub fn of_rows(base: Rows, schema: &Schema) -> Self {
        let columns = schema.names().map(NamedExpr::column).collect();
        LazyTable { base, columns }
    }

    /// The table as one data frame: a projection over the rows.
    pub fn to_frame(&self) -> Result<DataFrame> {
        let exprs = self
            .columns
            .iter()
            .map(|column| column.expr.clone().alias(&column.name))
            .collect::<Vec<_>>();
        Ok(self.base.plan()?.clone().select(exprs)?)
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
