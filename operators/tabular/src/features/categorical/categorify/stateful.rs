//! `Categorify` as a stateful operator: fit and apply.

use datafusion::logical_expr::ScalarUDF;

use crate::features::categorical::categorify::Categorify;
use crate::features::categorical::categorify::encode::EncodeFunction;
use crate::features::categorical::categorify::fit::Fit;
use crate::features::categorical::categorify::units::VocabularySpec;
use towline_api::byte_size::byte_size;
use towline_api::{
    Domain, FitContext, Fitter, NamedExpr, OperatorError, Problem, Result, Schema, State, StateTable, Stateful,
};

impl Stateful for Categorify {
    fn fit_on(&self) -> &str {
        &self.fit_on
    }

    fn fit_columns(&self, input: &Schema) -> Vec<String> {
        input.names().map(str::to_owned).collect()
    }

    fn fitter(&self, input: &Schema, context: &FitContext<'_>) -> Result<Box<dyn Fitter>> {
        let units = self.units(input).map_err(|problems| invalid(&problems))?;
        let limit = self.memory_limit.as_deref().and_then(byte_size);
        let share = limit.map(|limit| limit / units.len().max(1));
        let counting = units
            .iter()
            .map(|unit| self.counting(unit, input, context, share))
            .collect::<Result<_>>()?;
        Ok(Box::new(Fit::start(counting, context.threads, context.temp)))
    }

    fn project(&self, state: &State, input: &Schema, _: &str, columns: &[NamedExpr]) -> Result<Vec<NamedExpr>> {
        let units = self.units(input).map_err(|problems| invalid(&problems))?;
        let expr = |name: &String| {
            let column = columns.iter().find(|column| column.name == *name);
            let column = column.ok_or_else(|| OperatorError::internal(format!("there is no column `{name}`")))?;
            Ok(column.expr.clone())
        };
        let encoded = |name: &str, unit: &VocabularySpec, columns: &[String]| -> Result<NamedExpr> {
            let table = table(state, &unit.name)?;
            let encode = EncodeFunction::new(columns, &table.digest, &table.vocabulary)?;
            let types: Vec<_> = columns
                .iter()
                .filter_map(|name| Some(input.get(name)?.element_type()))
                .collect();
            encode.accept(&types)?;
            let arguments = columns.iter().map(expr).collect::<Result<Vec<_>>>()?;
            Ok(NamedExpr {
                name: name.to_owned(),
                expr: ScalarUDF::new_from_impl(encode).call(arguments),
            })
        };
        let mut out = Vec::new();
        for column in columns {
            let unit = units
                .iter()
                .find(|unit| !unit.combo && unit.columns.contains(&column.name));
            if let Some(unit) = unit {
                out.push(encoded(&column.name, unit, std::slice::from_ref(&column.name))?);
            }
        }
        for unit in units.iter().filter(|unit| unit.combo) {
            out.push(encoded(&unit.name, unit, &unit.columns)?);
        }
        Ok(out)
    }

    fn refine(&self, state: &State, output: &Schema) -> Result<Schema> {
        let mut schema = output.clone();
        for column in &mut schema.columns {
            let joint = self.joint.iter().find(|(_, columns)| columns.contains(&column.name));
            let combo = self.combo.contains_key(&column.name);
            let unit = joint.filter(|_| !combo).map_or(&column.name, |(name, _)| name);
            let table = table(state, unit)?;
            let known = column.domain.take();
            column.domain = Some(Domain {
                name: known.as_ref().map_or(unit, |domain| &domain.name).clone(),
                size: Some(table.vocabulary.size()?),
                vocabulary: Some(table.digest.clone()),
                ..known.unwrap_or_default()
            });
        }
        Ok(schema)
    }
}

fn table<'a>(state: &'a State, name: &str) -> Result<&'a StateTable> {
    state.tables.get(name).ok_or_else(|| {
        OperatorError::internal(format!(
            "column `{name}` has no vocabulary: it did not exist in the fit"
        ))
    })
}

fn invalid(problems: &[Problem]) -> OperatorError {
    let messages: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    OperatorError::invalid(messages.join("; "))
}
