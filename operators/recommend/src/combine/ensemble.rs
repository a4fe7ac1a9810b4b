//! `Ensemble`: sums models.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::catalogue::ITEMS;
use crate::model::retrieval_type::{RetrievalType, Score};
use crate::model::stored_model::LoadedModel;
use crate::towers::tower_shape::WEIGHTS;
use crate::towers::towers::Towers;
use towline_api::{
    Artifact, Code, Context, Describe, Form, Inputs, Many, ModelFiles, ModelPort, Named, NodeType, Operator,
    OperatorError, Output, Port, Problem, Purity, Report, Result, Task, TaskResult, TypeContext,
};

/// Ensembles models with the same columns, for example `TwoTowerTrain` with different seeds: its score is the sum of
/// the members' scores.
///
/// Averaging over random initialisations reduces variance and improves the lists (Lakshminarayanan et al. 2017, "Simple
/// and scalable predictive uncertainty estimation using deep ensembles"). Embedding tables and layers of the members
/// are concatenated, so the result is a two-tower model as wide as all members together, and works with `TopKEncode`,
/// `Encode`, `ModelExport` and as `warm_start`.
///
/// Members must score by dot products, have the same number of layers and no attention pooling, and be trained on the
/// same data.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ensemble {}

/// The metric: how many members there are.
const MEMBERS: &str = "members";

const MODELS: ModelPort<Many> = ModelPort::many("members", "The models, two at least.").named();

impl Describe for Ensemble {
    const NAME: &'static str = "Ensemble";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[MODELS.port()];
    const EXAMPLE: &'static str = "op: Ensemble\ninputs: { first: model_1, second: model_2 }\n";
}

/// The columns of a model with their tags and domains.
fn columns(model: &RetrievalType) -> impl PartialEq {
    (
        model.query.clone(),
        model.item.clone(),
        model.user_id.clone(),
        model.item_id.clone(),
    )
}

impl Operator for Ensemble {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let models: Result<Vec<RetrievalType>, Problem> = MODELS
            .input_types(inputs)?
            .iter()
            .map(|model| RetrievalType::of(model.value))
            .collect();
        let models = models.map_err(|problem| vec![problem.at_port(MODELS.name())])?;
        let problem = |text: &str| Problem::new(Code::BadInput, text).at_port(MODELS.name());
        let [first, others @ ..] = models.as_slice() else {
            return Err(vec![problem("no models are connected")]);
        };
        if others.is_empty() {
            return Err(vec![problem("an ensemble needs at least two members")]);
        }
        if others.iter().any(|model| columns(model) != columns(first)) {
            let help = "train the members on the same columns of the same dataset";
            return Err(vec![problem("the models have different columns").help(help)]);
        }
        if models
            .iter()
            .any(|model| model.score.is_some_and(|score| score != Score::Dot))
        {
            let text = "the members score by cosine: concatenated embeddings would not have length 1";
            return Err(vec![
                problem(text).help("train the members with `normalize: none`, the default"),
            ]);
        }
        let dims: Option<Vec<usize>> = models.iter().map(|model| model.dim).collect();
        let joined = RetrievalType {
            dim: dims.map(|dims| dims.iter().sum()),
            score: Some(Score::Dot),
            metrics: vec![MEMBERS.to_owned()],
            ..first.clone()
        };
        Ok(NodeType::Model(joined.into()))
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }
}

impl Task for Ensemble {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let members = MODELS.files(inputs)?;
        let Some(Named {
            label: first_name,
            value: first,
        }) = members.first().copied()
        else {
            return Err(OperatorError::internal("no models are connected"));
        };
        let mut towers: Vec<Towers> = Vec::with_capacity(members.len());
        let known = items_of(first)?;
        for Named {
            label: name,
            value: model,
        } in &members
        {
            context.cancel.check()?;
            if !first.vocabularies.keys().eq(model.vocabularies.keys()) || items_of(model)? != known {
                return Err(OperatorError::invalid(format!(
                    "`{name}` and `{first_name}` were trained on different data: their items or vocabularies differ"
                )));
            }
            towers.push(LoadedModel::load(model, &context.cancel)?.towers()?.clone());
        }
        let joined = Towers::side_by_side(&towers).map_err(|problem| OperatorError::invalid(problem.to_owned()))?;
        let (weights, items) = (context.temp_file(WEIGHTS), context.temp_file(ITEMS));
        joined.write(&weights)?;
        let catalogue = file(first, ITEMS)?;
        std::fs::copy(catalogue, &items).map_err(OperatorError::io(catalogue))?;
        let description = serde_json::to_value(joined.architecture());
        let description = description.map_err(|error| OperatorError::internal(error.to_string()))?;
        let own = RetrievalType::of(&first.model_type);
        let own = own.map_err(|problem| OperatorError::invalid(problem.message))?;
        let joined_type = RetrievalType {
            dim: Some(joined.dim()),
            score: Some(Score::Dot),
            metrics: vec![MEMBERS.to_owned()],
            ..own
        };
        let result = TaskResult::Model {
            model_type: joined_type.into(),
            description,
            files: [(WEIGHTS.to_owned(), weights), (ITEMS.to_owned(), items)].into(),
            vocabularies: first.vocabularies.clone(),
        };
        let facts = vec![
            (MEMBERS.to_owned(), members.len().to_string()),
            ("width of the embeddings".to_owned(), joined.dim().to_string()),
        ];
        Ok(Output {
            result,
            metrics: BTreeMap::from([(MEMBERS.to_owned(), members.len() as f64)]),
            report: Report {
                facts,
                ..Report::default()
            },
        })
    }
}

fn file<'a>(model: &'a ModelFiles, name: &str) -> Result<&'a std::path::PathBuf> {
    let file = model.files.get(name);
    file.ok_or_else(|| OperatorError::internal(format!("a member has no file `{name}`")))
}

/// The bytes of a model's catalogue file: equal bytes mean the same items with the same ids.
fn items_of(model: &ModelFiles) -> Result<Vec<u8>> {
    let path = file(model, ITEMS)?;
    std::fs::read(path).map_err(OperatorError::io(path))
}
