//! `PlantedOptimum`: the optimal model of synthetic data.

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::id_mapping::IdMapping;
use crate::model::embedding_model;
use crate::model::interactions::{Interactions, interactions_type};
use crate::synthetic::planted_rule::{PlantedRule, TASTES, suits, taste};
use towline_api::{
    Artifact, Code, Column, Context, DatasetPort, Describe, Form, Inputs, NodeType, Operator, OperatorError, Output,
    Port, Problem, Purity, Result, Task, TypeContext, default_split,
};

/// The optimal model for interactions of `SyntheticAliCcp`: an item's score is the true probability that the user
/// chooses it. No model can be better except by chance on few interactions. Connect it to the port `optimal` of
/// `Evaluate` to see how close a model is to the optimum.
///
/// It is not trained: it reads only the ids and the catalogue from its input. A user whose id is out of vocabulary gets
/// the average over all tastes. It warns if the interactions do not match `structure`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlantedOptimum {
    /// The parameter `structure` of the source, for example `0.8`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub structure: f64,
    /// The split with the items to recommend.
    #[serde(default = "default_split")]
    pub fit_on: String,
}

/// Tolerated deviation of the fraction of suiting interactions, beyond sampling error: filters that do not depend on
/// tastes shift it by less.
const SHIFT: f64 = 0.02;
/// Tolerated sampling error in standard errors.
const ERRORS: f64 = 5.0;

const INPUT: DatasetPort = DatasetPort::required(
    "input",
    "Interactions of `SyntheticAliCcp`: encoded columns with their tags.",
);

impl Describe for PlantedOptimum {
    const NAME: &'static str = "PlantedOptimum";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: PlantedOptimum\ninput: features\nwith: { structure: 0.8 }\n";
}

impl Operator for PlantedOptimum {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let model = interactions_type(INPUT.input_type(inputs)?, &self.fit_on, &[], Some(TASTES as usize))?;
        let ids = [model.user_column(), model.item_column()];
        let problems: Vec<Problem> = ids.into_iter().flatten().filter_map(foreign).collect();
        if problems.is_empty() {
            Ok(NodeType::Model(model.into()))
        } else {
            Err(problems)
        }
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }
}

/// A problem if a column's ids cannot be traced back to the source's ids.
fn foreign(column: &Column) -> Option<Problem> {
    let values = column.domain.as_ref().and_then(|domain| domain.values.as_ref());
    if values.is_some_and(DataType::is_integer) {
        return None;
    }
    let text = format!(
        "the original ids of `{}` are not integers, as the ids of SyntheticAliCcp are",
        column.name
    );
    let help = "encode the unchanged ids of the source with Categorify";
    Some(Problem::new(Code::BadInput, text).help(help).at_port("input"))
}

impl Task for PlantedOptimum {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let dataset = INPUT.files(inputs)?;
        let dim = TASTES as usize;
        let interactions = Interactions::read(dataset, &self.fit_on, &[], Some(dim), context)?;
        let model_type = &interactions.model_type;
        let (Some(user), Some(item)) = (model_type.user_column(), model_type.item_column()) else {
            return Err(OperatorError::internal("there are no id columns"));
        };
        let (user, item) = (user.clone(), item.clone());
        let users = source_ids(&interactions.users, interactions.size(&user)?)?;
        let items = source_ids(interactions.catalogue.originals(), interactions.size(&item)?)?;
        context.cancel.check()?;
        let rule = PlantedRule::new(self.structure);
        let mut warnings = Vec::new();
        warnings.extend(self.doubt(&rule, &interactions, &users, &items)?);

        let mut tastes = Vec::with_capacity(users.len() * dim);
        for user in &users {
            let own = user.map(taste);
            let row = (0..TASTES).zip(&rule.tastes).map(|(taste, share)| match own {
                Some(own) => f32::from(u8::from(own == taste)),
                None => *share as f32,
            });
            tastes.extend(row);
        }
        let mut chances = Vec::with_capacity(items.len() * dim);
        for item in &items {
            let place = item.and_then(|item| usize::try_from(item).ok());
            let chance = |items: &Vec<f64>| place.and_then(|place| items.get(place)).map_or(0.0, |p| *p as f32);
            chances.extend(rule.items.iter().map(chance));
        }
        let mut output = embedding_model::stored(
            interactions,
            dim,
            vec![(user.name, tastes)],
            (item.name, chances),
            context,
        )?;
        output.report.warnings = warnings;
        Ok(output)
    }
}

impl PlantedOptimum {
    /// A warning if the interactions do not match this structure.
    fn doubt(
        &self,
        rule: &PlantedRule,
        interactions: &Interactions<'_>,
        users: &[Option<i64>],
        items: &[Option<i64>],
    ) -> Result<Option<String>> {
        let of = |ids: &[Option<i64>], id: i64| usize::try_from(id).ok().and_then(|id| *ids.get(id)?);
        let (table, model_type) = (&interactions.table, &interactions.model_type);
        let pairs = table
            .single(&model_type.user_id)?
            .iter()
            .zip(table.single(&model_type.item_id)?);
        let known = pairs.filter_map(|(&user, &item)| Some((of(users, user)?, of(items, item)?)));
        let (mut all, mut suiting) = (0_u64, 0_u64);
        for (user, item) in known {
            all += 1;
            suiting += u64::from(suits(item, taste(user)));
        }
        let (expected, found) = (rule.suiting, suiting as f64 / all.max(1) as f64);
        let chance = (expected * (1.0 - expected) / all.max(1) as f64).sqrt();
        Ok(((found - expected).abs() > SHIFT + ERRORS * chance).then(|| {
            format!(
                "the interactions do not match SyntheticAliCcp with `structure: {}`: the item suits the \
                 user's taste in {:.1} % of them, not in {:.1} %; the optimum is not valid for this data",
                self.structure,
                100.0 * found,
                100.0 * expected
            )
        }))
    }
}

/// The source's id by encoded id; `None` for reserved ids.
fn source_ids(originals: &IdMapping, size: usize) -> Result<Vec<Option<i64>>> {
    let ids: Vec<i64> = (0..size as i64).collect();
    let numbers = cast(&originals.decode(&ids)?, &DataType::Int64)?;
    let numbers = numbers.as_primitive_opt::<Int64Type>();
    let numbers = numbers.ok_or_else(|| OperatorError::invalid("the ids are not whole numbers"))?;
    Ok(numbers.iter().collect())
}
